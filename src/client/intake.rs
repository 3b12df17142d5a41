//! What a client sends, on its way to tungstenite: in small pieces from one who says little, in larger
//! ones from one who says much, and never anything together with the end of a long message.

use std::io::{self, Read};

use crate::client::ahead::Ahead;
use crate::client::framing::{Framing, Passed};
use crate::config::READ_BUFFER;

/// The way of one client's bytes.
pub struct Intake {
    /// There is one while the client sends more than tungstenite's buffer takes at once.
    ahead: Option<Ahead>,
    framing: Framing,
}

impl Intake {
    /// Some bytes have been `received` already. A message of more than `long` bytes is a long one.
    pub fn new(received: Vec<u8>, long: usize) -> Self {
        let ahead = (!received.is_empty()).then(|| Ahead::of(received));
        Intake { ahead, framing: Framing::new(long) }
    }

    /// Gives what has been read before. How much that was; none if nothing waits.
    pub fn waiting(&mut self, bytes: &mut [u8]) -> usize {
        self.ahead.as_mut().map_or(0, |ahead| ahead.take(bytes))
    }

    /// Reads from `source`, once. Nothing waits.
    pub fn read(&mut self, source: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
        if let Some(ahead) = &mut self.ahead {
            ahead.fill(source)?;
            return Ok(ahead.take(bytes));
        }
        let read = source.read(bytes)?;
        // A small rest of the buffer is filled by one who says little, too.
        if read == bytes.len() && read >= READ_BUFFER / 2 {
            self.ahead = Some(Ahead::of(Vec::new()));
        }
        Ok(read)
    }

    /// How many of the `bytes` that have been read may be handed out, and what that means. The others
    /// wait.
    pub fn pass(&mut self, bytes: &[u8]) -> Passed {
        let passed = self.framing.pass(bytes);
        let rest = &bytes[passed.bytes..];
        match &mut self.ahead {
            _ if rest.is_empty() => {}
            Some(ahead) => ahead.take_back(rest),
            None => self.ahead = Some(Ahead::of(rest.to_vec())),
        }
        passed
    }

    /// The client is silent: no memory is kept for it. Nothing waits.
    pub fn rest(&mut self) {
        self.ahead = None;
    }
}
