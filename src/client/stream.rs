//! The connection as tungstenite sees it: reads wait for the client, and no longer than its
//! deadlines, and for memory when a long message comes; writes gather, and leave through the
//! client's outbox.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::framing::Progress;
use crate::client::intake::Intake;
use crate::client::permits::{Permit, Permits};
use crate::config::{ANSWER_BUFFER, LONG_MESSAGE, Limits};
use crate::net::conn::{Conn, ConnOutbox};
use crate::wire;

/// What a session needs of its client's connection, beside reading: answers to what came together
/// leave together, in order, before the thread waits for the client.
pub trait Answer: Read + Write {
    /// Adds an answer: `write` appends whole frames. What it returns is returned.
    fn answer<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T;
    /// The caller has let go of the message that it had last. True if that was a long one, of
    /// which whoever read it should keep no memory; nothing behind it has been read.
    fn end_message(&mut self) -> bool;
    /// The answers that have not been sent. They are the caller's now.
    fn take_answers(&mut self) -> Vec<u8>;
    /// Sends the answers. As long as the client does not take them, nothing more is read from it.
    fn send_answers(&mut self);
}

/// A client's connection.
pub struct Stream {
    outbox: Arc<ConnOutbox>,
    intake: Intake,
    permits: Permits,
    /// Held while a long message comes in.
    permit: Option<Permit>,
    long_has_ended: bool,
    /// Whole frames, sent before the thread waits for the client: answers to what came together
    /// leave together.
    answers: Vec<u8>,
    /// How many of them are echoes.
    echoes: u32,
    ping_interval: Duration,
    ping_timeout: Duration,
    /// A ping is under way; how many bytes the client had taken late at the time.
    pinged: Option<u64>,
}

impl Stream {
    /// A connection with the `limits`' ping interval and timeout, from which some bytes have been
    /// `received`.
    ///
    /// # Errors
    /// When the socket is gone already.
    pub fn new(
        outbox: Arc<ConnOutbox>,
        received: Vec<u8>,
        limits: &Limits,
        permits: Permits,
    ) -> io::Result<Self> {
        let Limits { ping_interval, ping_timeout, .. } = *limits;
        outbox.link().stream.set_read_timeout(Some(ping_interval))?;
        Ok(Stream {
            outbox,
            intake: Intake::new(received, LONG_MESSAGE),
            permits,
            permit: None,
            long_has_ended: false,
            answers: Vec::new(),
            echoes: 0,
            ping_interval,
            ping_timeout,
            pinged: None,
        })
    }

    /// Waits until the client sends something, and not longer than it may be silent.
    fn wait(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.send_answers();
        loop {
            match self.intake.read(&mut Socket(self.outbox.link()), bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.was_silent()?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    if self.pinged.take().is_some() {
                        self.outbox.link().stream.set_read_timeout(Some(self.ping_interval))?;
                    }
                    return result;
                }
            }
        }
    }

    /// How many of the `bytes` that have been read may be handed out. Waits for a permit if they begin
    /// a long message.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let passed = self.intake.pass(bytes);
        match passed.message {
            Progress::Long if self.permit.is_none() => {
                self.send_answers();
                self.permit = Some(self.permits.permit(self.outbox.link().clone()));
            }
            Progress::Long | Progress::Short => {}
            Progress::LongEnds => self.long_has_ended = true,
        }
        passed.bytes
    }

    /// The client was silent for as long as it may be: pings it, or gives it up.
    fn was_silent(&mut self) -> io::Result<()> {
        self.intake.rest();
        let caught_up = self.outbox.caught_up();
        match self.pinged {
            None => {
                self.outbox.send(wire::PING);
                self.outbox.link().stream.set_read_timeout(Some(self.ping_timeout))?;
            }
            // The ping waits behind other bytes, but those are being taken.
            Some(before) if before < caught_up => {}
            Some(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        self.pinged = Some(caught_up);
        Ok(())
    }

    fn send_if_many(&mut self) {
        if self.answers.len() >= ANSWER_BUFFER {
            self.send_answers();
        }
    }

    /// Counts the answers, which are about to be sent: together, since others count at the same
    /// place.
    fn count_answers(&mut self) {
        let echoes = std::mem::take(&mut self.echoes);
        self.outbox.link().metrics.answered(echoes, self.answers.len());
    }
}

/// The reading side of a connection: waits until its timeout, and counts.
struct Socket<'a>(&'a Conn);

impl Read for Socket<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = (&self.0.stream).read(bytes)?;
        self.0.metrics.received(read);
        Ok(read)
    }
}

impl Answer for Stream {
    fn answer<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let before = self.answers.len();
        let result = write(&mut self.answers);
        self.echoes += u32::from(self.answers.len() > before);
        result
    }

    fn end_message(&mut self) -> bool {
        let was_long = std::mem::take(&mut self.long_has_ended);
        if was_long {
            self.permit = None;
        }
        self.send_if_many();
        was_long
    }

    fn take_answers(&mut self) -> Vec<u8> {
        self.count_answers();
        std::mem::take(&mut self.answers)
    }

    fn send_answers(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        self.count_answers();
        self.outbox.send(&self.answers);
        self.answers.clear();
        self.answers.shrink_to(ANSWER_BUFFER / 4);
        // This ends: the drain thread sees to it that the client catches up or is cut.
        while self.outbox.push_on() {
            let mut fds = [PollFd::new(&self.outbox.link().stream, PollFlags::OUT)];
            let _ = poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
        }
    }
}

impl Read for Stream {
    /// [`io::ErrorKind::TimedOut`] when the client does not answer a ping,
    /// [`io::ErrorKind::OutOfMemory`] when it took too long for a message whose memory others need.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = match self.intake.waiting(bytes) {
            0 => self.wait(bytes),
            taken => Ok(taken),
        };
        if self.permit.as_ref().is_some_and(Permit::is_revoked) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(self.pass(&bytes[..read?]))
    }
}

impl Write for Stream {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        self.answers.extend_from_slice(frames);
        self.send_if_many();
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
