//! What is for one client alone and has not been sent yet.
//!
//! Pure: it holds bytes and knows frame boundaries, so that a client can be cut short without
//! tearing a frame.

use std::collections::VecDeque;

use crate::wire;

/// Whole frames in order, of which the first may have been sent in part.
#[derive(Debug, Default)]
pub struct Queue {
    bytes: VecDeque<u8>,
    /// How many of the first bytes finish a frame of which the client has a part.
    torn: usize,
}

impl Queue {
    /// A queue of one piece that is not a frame and is never dropped: the handshake's response.
    pub fn of(response: Vec<u8>) -> Self {
        Queue { torn: response.len(), bytes: response.into() }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the rest of `frames` after `sent` bytes of them went out. The queue is empty.
    pub fn start(&mut self, frames: &[u8], sent: usize) {
        debug_assert!(self.is_empty(), "what waits goes first");
        self.torn = wire::boundary(frames, sent) - sent;
        self.push(&frames[sent..]);
    }

    /// Adds whole frames.
    pub fn push(&mut self, frames: &[u8]) {
        let capacity = self.bytes.capacity();
        if self.bytes.len() + frames.len() > capacity {
            // By a quarter: doubling would take up to twice the bytes that a queue is allowed.
            self.bytes.reserve_exact(frames.len().max(capacity / 4));
        }
        self.bytes.extend(frames);
    }

    /// Adds bytes of a stream, which is never cut within them.
    pub fn push_whole(&mut self, bytes: &[u8]) {
        self.push(bytes);
        self.torn = self.bytes.len();
    }

    /// The next bytes to send; empty when there are none.
    pub fn next(&self) -> &[u8] {
        self.bytes.as_slices().0
    }

    /// Drops `sent` bytes, which went out. An empty queue holds no memory.
    pub fn advance(&mut self, sent: usize) {
        if sent == self.bytes.len() {
            *self = Queue::default();
            return;
        }
        if sent <= self.torn {
            self.torn -= sent;
        } else {
            let frames = self.bytes.make_contiguous();
            self.torn += wire::boundary(&frames[self.torn..], sent - self.torn);
            self.torn -= sent;
        }
        self.bytes.drain(..sent);
    }

    /// Drops everything but the rest of a frame that the client has a part of.
    pub fn keep_torn(&mut self) {
        self.bytes.truncate(self.torn);
        self.bytes.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tutorial;

    fn frames(lengths: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (n, len) in lengths.iter().enumerate() {
            tutorial::says(&mut bytes, n as i64, &"z".repeat(*len));
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    /// Wherever sending stops, once at the start and once later, what is kept is the rest of the
    /// frame that was begun and not a byte more.
    #[test]
    fn only_the_torn_frame_is_kept() {
        let (bytes, ends) = frames(&[3, 0, 130, 40]);
        for first in 0..bytes.len() {
            for second in 0..=(bytes.len() - first) {
                let mut queue = Queue::default();
                queue.start(&bytes, first);
                assert_eq!(queue.len(), bytes.len() - first);
                queue.advance(second);
                queue.keep_torn();
                let sent = first + second;
                let end =
                    if sent == 0 { 0 } else { *ends.iter().find(|end| **end >= sent).unwrap() };
                assert_eq!(Vec::from(queue.bytes.clone()), bytes[sent..end], "{first} + {second}");
            }
        }
    }

    #[test]
    fn bytes_come_out_in_order_in_whatever_pieces() {
        let (bytes, _) = frames(&[5, 300, 0, 7]);
        let mut queue = Queue::default();
        queue.start(&bytes, 4);
        let mut out = bytes[..4].to_vec();
        let mut expected = bytes.clone();
        for step in 1.. {
            if step < 6 {
                queue.push(&bytes);
                expected.extend_from_slice(&bytes);
            }
            let piece = &queue.next()[..queue.next().len().min(step * 7 % 50 + 1)];
            if piece.is_empty() {
                break;
            }
            out.extend_from_slice(piece);
            queue.advance(piece.len());
        }
        assert_eq!(out, expected);
    }

    #[test]
    fn capacity_stays_near_what_is_held() {
        let (bytes, _) = frames(&[4000]);
        let mut queue = Queue::default();
        for _ in 0..60 {
            queue.push(&bytes);
        }
        assert!(queue.bytes.capacity() <= queue.len() * 5 / 4);
        queue.advance(queue.next().len());
        assert_eq!(queue.bytes.capacity(), 0);
    }

    #[test]
    fn a_response_is_never_dropped() {
        let mut queue = Queue::of(b"HTTP/1.1 101\r\n\r\n".to_vec());
        queue.push(&frames(&[9]).0);
        queue.advance(5);
        queue.keep_torn();
        assert_eq!(queue.bytes, b"1.1 101\r\n\r\n");
    }
}
