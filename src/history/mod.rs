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

use crate::config::budget::LogBounds;
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
    /// An empty log within these bounds. `wake` has somebody call [`Flow::look`] soon.
    pub fn new(bounds: LogBounds, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Log { ring: Ring::new(bounds), flow: Flow::new(bounds, Box::new(wake)) }
    }
}
