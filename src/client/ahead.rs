//! What was read from a client before it was asked for.
//!
//! tungstenite's read buffer is small, since every client has one for good, however silent it is.
//! One who says much is read from in larger pieces, for as long as it goes on.

use std::io::{self, Read};
use std::ops::Range;

use crate::config::READ_AHEAD;

/// Bytes that wait to be taken.
pub struct Ahead {
    bytes: Box<[u8]>,
    waiting: Range<usize>,
}

impl Ahead {
    /// These bytes, and room for [`READ_AHEAD`] when they are taken.
    pub fn of(mut bytes: Vec<u8>) -> Self {
        let waiting = 0..bytes.len();
        bytes.resize(bytes.len().max(READ_AHEAD), 0);
        Ahead { bytes: bytes.into(), waiting }
    }

    /// Reads what `source` has, once, if nothing waits. How many bytes that was.
    pub fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        if !self.waiting.is_empty() {
            return Ok(0);
        }
        let read = source.read(&mut self.bytes)?;
        self.waiting = 0..read;
        Ok(read)
    }

    /// Moves as much as fits to `out`. How much that was.
    pub fn take(&mut self, out: &mut [u8]) -> usize {
        let taken = self.waiting.len().min(out.len());
        let end = self.waiting.start + taken;
        out[..taken].copy_from_slice(&self.bytes[self.waiting.start..end]);
        self.waiting.start = end;
        taken
    }

    /// Takes back the last of the bytes that were handed on, be it that they were taken from here or
    /// that nothing waits here.
    pub fn take_back(&mut self, bytes: &[u8]) {
        match self.waiting.start.checked_sub(bytes.len()) {
            Some(start) => {
                self.bytes[start..self.waiting.start].copy_from_slice(bytes);
                self.waiting.start = start;
            }
            // They never were here.
            None => *self = Ahead::of(bytes.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_in_order_and_once() {
        let all: Vec<u8> = (0..=255).cycle().take(3 * READ_AHEAD + 7).collect();
        let mut source = &all[10..];
        let (mut ahead, mut got, mut out) = (Ahead::of(all[..10].to_vec()), Vec::new(), [0; 100]);
        for step in 1.. {
            ahead.fill(&mut source).expect("a slice can be read");
            let taken = ahead.take(&mut out[..step % 100 + 1]);
            if taken == 0 {
                break;
            }
            let back = step % 3 * taken / 3;
            let (kept, back) = out[..taken].split_at(taken - back);
            ahead.take_back(back);
            let taken = kept.len();
            got.extend_from_slice(&out[..taken]);
        }
        assert_eq!(got, all);
    }
}
