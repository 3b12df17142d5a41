//! A room's log: messages and notices, in the one order of the room.
//!
//! The hub appends. Whoever reads has a [`Cursor`](crate::outbox::frames::Cursor) of its own: a client
//! that fell behind, and later whoever joins, resumes or follows. The log is bounded in bytes
//! ([`ring`]), and the room runs at the pace of its readers ([`flow`]), so that nobody who is
//! connected falls off its tail.

pub mod chunk;
pub mod flow;
pub mod ring;
mod window;

use std::time::Instant;

use crate::config::budget::LogBounds;
use crate::history::chunk::Chunk;
use crate::history::flow::{Credit, Flow};
use crate::history::ring::Ring;
use crate::wire::cursor::Epoch;

/// The log of one room.
#[derive(Debug)]
pub struct Log {
    /// Names this incarnation of the room in cursors.
    pub epoch: Epoch,
    /// The entries.
    pub ring: Ring,
    /// Who may add to them, and how far behind the readers are.
    pub flow: Flow,
}

impl Log {
    /// An empty log within these bounds. `wake` has somebody call [`Flow::look`] soon.
    pub fn new(epoch: Epoch, bounds: LogBounds, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Log { epoch, ring: Ring::new(bounds), flow: Flow::new(bounds, Box::new(wake)) }
    }

    /// Whether nothing was ever said, and nothing is on its way to the hub.
    pub fn is_unused(&self) -> bool {
        // In this order: what arrives meanwhile is seen in one of the two.
        self.flow.in_flight() == 0 && self.ring.head() == 0
    }

    /// Appends the entries of `batch` from the `first` on, and forgets those that nobody lacks. Whoever
    /// lacks some of the entries before has to have a [`flow::Lag`]. For the hub alone.
    pub fn append(&self, batch: &Chunk, first: usize, credit: Option<Credit>, now: Instant) {
        self.ring.append(batch, first);
        let unneeded = self.flow.appended(batch.end(), credit, now);
        // Whoever keeps up has not been sent the batch yet.
        self.ring.forget(unneeded.min(batch.start().bytes), batch.last_at());
    }
}
