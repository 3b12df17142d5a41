//! What a subscriber over HTTP wants to hear of a room.

use std::time::Duration;

use crate::room::identity::Identity;
use crate::wire::cursor::Cursor;

/// How a subscriber wants to hear a room. It is a member for order, history and flow control, of whom
/// nobody else hears.
#[derive(Debug)]
pub struct Follow {
    /// The head of the response. The hub ends it, and with it the place from which the subscriber hears.
    pub head: Vec<u8>,
    /// As whom it would publish.
    pub identity: Identity,
    /// What it wants to hear.
    pub wants: Wants,
    /// When it has heard enough.
    pub until: Until,
}

/// From where on a subscriber wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// What is behind this place.
    Since(Cursor),
    /// All that there is.
    All,
    /// What is yet to come.
    News,
    /// What is at most so old.
    Recent(Duration),
    /// Messages before this place.
    Before(Cursor),
}

/// When a subscriber has heard enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never.
    Forever,
    /// When it has what is there.
    Present,
    /// When it has one message at least.
    Message,
}

/// So many messages before a place, at most.
pub const PAGE: u64 = 200;
