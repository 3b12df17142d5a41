//! What is known of a room from earlier runs of the server.

use std::sync::{Mutex, PoisonError};

use crate::wire::cursor::Epoch;
use crate::wire::tag::Tag;

/// What a log continues. Empty if it begins anew.
#[derive(Debug, Default)]
pub struct Before {
    /// Earlier incarnations whose numbers it continues, the oldest first.
    pub past: Vec<Past>,
    /// The last number that is missing between others, so that nobody knows what had it; 0 if none is.
    pub hole: u64,
    accepted: Mutex<Accepted>,
}

/// The greatest number that was accepted from each client, by its tag.
pub type Accepted = Vec<(Tag, u64)>;

/// An incarnation of a log that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// Its name, if that survived.
    pub epoch: Option<Epoch>,
    /// The number of its last message that survived.
    pub last: u64,
    /// All its messages survived, as far as its end goes.
    pub is_clean: bool,
}

impl Before {
    /// With what was accepted from whom.
    pub fn new(past: Vec<Past>, hole: u64, accepted: Accepted) -> Self {
        Before { past, hole, accepted: Mutex::new(accepted) }
    }

    /// What was accepted from whom, for the one who goes on with that.
    pub fn take_accepted(&self) -> Accepted {
        std::mem::take(&mut self.accepted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
