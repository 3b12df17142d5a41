//! Bytes as a client's frames, read by the session's own code: whatever they are, they end in
//! messages and one ending, the same however they are cut in pieces on their way.

use std::io::{Read, Write};

use super::*;
use crate::client::reader::Reader;
use crate::testing::Rng;

/// Small enough for short inputs to reach it.
const MAX_MESSAGE: usize = 300;

const LONG_MESSAGE: usize = 100;

const CLOSE: u8 = 0x88;
const PONG: u8 = 0x8a;

/// Takes `sent` for what a client sends behind its handshake, and then ends the connection.
pub fn run(sent: &[u8]) {
    let mut dice = Rng::new(sent.len() as u64);
    for echo in [Echo::Tutorial, Echo::Verbatim] {
        let whole = listen(sent, echo, &mut || usize::MAX);
        whole.check(echo);
        assert_eq!(whole, listen(sent, echo, &mut || 1));
        assert_eq!(whole, listen(sent, echo, &mut || 1 + dice.roll(40)));
    }
}

/// What became of it all.
#[derive(Debug, PartialEq)]
struct Heard {
    messages: Vec<Message>,
    end: String,
    /// The farewell of an end that is a fault.
    farewell: Option<CloseReason>,
    /// Everything that the client was sent.
    answers: Vec<u8>,
    has_last_word: bool,
}

/// What is `sent` comes in pieces.
fn listen(sent: &[u8], echo: Echo, piece: &mut dyn FnMut() -> usize) -> Heard {
    let limits = Limits { max_message: MAX_MESSAGE, rate: 0, ..Limits::default() };
    let line = Line::new(sent, piece);
    let mut client = Client::new(line, &limits, limits.max_message);
    let mut messages = Vec::new();
    let end = client.read_all(|line, message| {
        let result = line.answer(|out| answer_echo(echo, &message, out));
        messages.push(message);
        result
    });
    let last_word = client.last_word(&end);
    let mut answers = std::mem::take(&mut client.stream.out);
    let has_last_word = last_word.is_some();
    answers.extend(last_word.unwrap_or_default());
    Heard {
        messages,
        end: end.to_string(),
        farewell: if let End::Fault(farewell, _) = end { Some(farewell) } else { None },
        answers,
        has_last_word,
    }
}

impl Heard {
    fn check(&self, echo: Echo) {
        for message in &self.messages {
            assert!(message.len() <= MAX_MESSAGE, "a message is too long");
        }
        let mut frames = frames(&self.answers);
        let has_close = frames.last().is_some_and(|frame| frame[0] == CLOSE);
        let last = if has_close { frames.pop() } else { None };
        assert_eq!(last.is_some(), self.has_last_word, "{}", self.end);
        assert!(
            !frames.iter().any(|frame| frame[0] == CLOSE),
            "something comes behind the last word"
        );
        if let Some(farewell) = self.farewell {
            assert_eq!(last, Some(&farewell.frame()[..]));
        }
        assert!(last.is_none_or(|last| last[1] <= 125), "a control frame is too long");
        // Each message has its answer, in order, with pongs between them.
        let mut expected = Vec::new();
        for message in &self.messages {
            let _ = answer_echo(echo, message, &mut expected);
        }
        frames.retain(|frame| frame[0] != PONG || frame[1] > 125);
        assert_eq!(frames.concat(), expected);
    }
}

fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (frame, rest) = bytes.split_at(wire::boundary(bytes, 1));
        assert!(frame.len() >= 2 && wire::boundary(frame, 1) == frame.len(), "a torn frame");
        frames.push(frame);
        bytes = rest;
    }
    frames
}

/// A connection on which bytes come in pieces.
pub struct Line<'a> {
    pieces: Pieces<'a>,
    reader: Reader,
    out: Vec<u8>,
    answers: Vec<u8>,
    /// What it was slowed down by, if it had been slowed down.
    pub waited: Duration,
}

struct Pieces<'a> {
    sent: &'a [u8],
    piece: &'a mut dyn FnMut() -> usize,
    is_silent: bool,
}

impl<'a> Line<'a> {
    pub fn new(sent: &'a [u8], piece: &'a mut dyn FnMut() -> usize) -> Self {
        Line {
            pieces: Pieces { sent, piece, is_silent: false },
            reader: Reader::new(&[], LONG_MESSAGE, MAX_MESSAGE),
            out: Vec::new(),
            answers: Vec::new(),
            waited: Duration::ZERO,
        }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        // As often as not.
        self.is_silent = !self.is_silent && self.sent.len() % 2 == 0;
        if self.is_silent {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = (self.piece)().min(bytes.len()).min(self.sent.len());
        self.sent.read(&mut bytes[..len])
    }
}

impl Read for Line<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.out.append(&mut self.answers);
        let was_long = self.reader.end_long_message();
        assert!(!was_long, "something is read before a long message is let go of");
        loop {
            if self.reader.long_message().is_some() {
                self.reader.admit();
            }
            match self.reader.take(bytes) {
                0 => match self.reader.read(&mut self.pieces, bytes) {
                    Ok(Some(read)) => return Ok(read),
                    Ok(None) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                },
                taken => return Ok(taken),
            }
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        self.answers.extend_from_slice(frames);
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Answer for Line<'_> {
    fn answer<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        write(&mut self.answers)
    }

    fn end_message(&mut self) -> bool {
        self.reader.end_long_message()
    }

    fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answers)
    }

    fn close_code(&self) -> Option<u16> {
        self.reader.close_code()
    }

    fn wait(&mut self, time: Duration) -> bool {
        self.waited += time;
        true
    }

    fn while_waiting<T>(&mut self, wait: impl FnOnce(&mut dyn FnMut() -> bool) -> T) -> T {
        wait(&mut || true)
    }
}
