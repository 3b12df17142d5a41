//! A room's log: what was said and who left, in the one order of the room.
//!
//! The hub appends. Whoever reads has a [`Cursor`](crate::outbox::frames::Cursor) of its own: a client
//! that fell behind, and later whoever joins, resumes or follows. The log is bounded in bytes
//! ([`ring`]), and the room runs at the pace of its readers ([`flow`]), so that nobody who is
//! connected falls off its tail.

pub mod chunk;
pub mod flow;
pub mod ring;
mod window;

use crate::history::flow::Flow;
use crate::history::ring::Ring;

/// The log of one room.
#[derive(Debug)]
pub struct Log {
    /// The entries.
    pub ring: Ring,
    /// Who may add to them, and how far behind the readers are.
    pub flow: Flow,
}

impl Log {
    /// The size of a log that should have `wanted` bytes, for messages that take at most `longest`
    /// bytes each as [`chunk::cost`] counts them: four of those at least.
    pub fn size(wanted: usize, longest: usize) -> usize {
        wanted.max(4 * longest)
    }

    /// An empty log of `size` bytes, for messages of at most `longest`. `wake` has somebody call
    /// [`Flow::look`] soon.
    pub fn new(size: usize, longest: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let ring = Ring::new(size, flow::bound(size) + size / 8);
        Log { ring, flow: Flow::new(size, longest, Box::new(wake)) }
    }
}
