//! What the benchmark's clients say, and how they know it again.
//!
//! A text is padding and a tag of eight characters. Since the tag comes last, it is found without
//! looking at what the server has put in front.

use std::fmt;

const TAG: usize = 8;
/// A digit has five bits and is written as one of the 32 characters from `0` on, none of which JSON escapes.
const ZEROS: u64 = u64::from_be_bytes(*b"00000000");
const NO_DIGIT: u64 = u64::from_be_bytes([0xE0; TAG]);
const BITS: usize = 5;
/// The last six digits are the number, the first two are the sender.
const NUMBER_DIGITS: usize = 6;

/// One message: who sent it, and the how manyth of that sender it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message(u64);

impl Message {
    pub fn new(sender: usize, number: usize) -> Message {
        let value = (sender as u64) << (BITS * NUMBER_DIGITS) | number as u64;
        let digit = |place: usize| (value >> (BITS * place) & 31) << (8 * place);
        Message((0..TAG).map(digit).sum())
    }

    /// The message in a text that the server sent, or in an object whose last member is the text; none if it is
    /// something else.
    pub fn find(text: &[u8]) -> Option<Message> {
        let text = text.strip_suffix(b"\"}").unwrap_or(text);
        let digits = u64::from_be_bytes(*text.last_chunk()?).wrapping_sub(ZEROS);
        (digits & NO_DIGIT == 0).then_some(Message(digits))
    }

    pub fn text(self, length: usize) -> Vec<u8> {
        let mut text = vec![b'.'; length - TAG];
        text.extend((self.0 + ZEROS).to_be_bytes());
        text
    }

    pub fn sender(self) -> usize {
        (self.value() >> (BITS * NUMBER_DIGITS)) as usize
    }

    pub fn number(self) -> usize {
        (self.value() & ((1 << (BITS * NUMBER_DIGITS)) - 1)) as usize
    }

    fn value(self) -> u64 {
        let digits = self.0.to_be_bytes();
        digits.iter().fold(0, |sum, d| sum << BITS | u64::from(*d))
    }
}

/// Who left, if the text is the room's notice of that.
pub fn who_left(text: &[u8]) -> Option<usize> {
    let id = text.strip_prefix(b"Client #")?.strip_suffix(b" left the chat")?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} of sender {}", self.number(), self.sender())
    }
}
