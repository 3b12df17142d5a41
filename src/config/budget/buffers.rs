//! The kernel's buffers of a connection, and in which pieces they are filled.

use crate::config::RECEIVE_BUFFER;
use crate::config::budget::KIB;

/// The kernel's buffers of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Size of the send buffer; the kernel doubles it.
    pub send: usize,
    /// The same for the receive buffer.
    pub receive: usize,
}

impl Buffers {
    /// What is received needs no more than this: a client sends at the pace of a person or a sensor, and
    /// more only slows it down.
    pub(super) fn of(send: usize) -> Self {
        Buffers { send, receive: send.min(RECEIVE_BUFFER) }
    }

    /// What the kernel is given at once.
    pub fn pieces(self) -> Pieces {
        let usual = self.send.max(8 * KIB);
        Pieces { usual, last: usual.max(self.send + self.send / 2) }
    }

    /// What the kernel may hold of a connection's bytes. What is sent may be a piece more, the one with
    /// which the buffer gets full.
    pub(super) fn held(self) -> usize {
        2 * self.send + 2 * self.receive + self.pieces().last
    }
}

/// How many bytes the kernel is given at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Two of these fit the buffer: many systems acknowledge the second segment at once, and the first one
    /// alone only after a while.
    usual: usize,
    /// The last piece may be as long. A short one behind it would cost as much as a long one.
    last: usize,
}

impl Pieces {
    /// How many of the next `bytes` to give to it.
    pub fn next(self, bytes: usize) -> usize {
        if bytes <= self.last { bytes } else { self.usual }
    }
}
