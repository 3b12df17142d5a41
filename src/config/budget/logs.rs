//! The bounds of the logs of rooms.

use crate::config::budget::KIB;
use crate::config::{ENTRY, Limits, NAME_BYTES};

/// What of a room's log a newcomer, or one that resumes, is given. Whichever bound comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The last so many messages.
    pub messages: u64,
    /// Those not older than so many milliseconds.
    pub age: u64,
    /// The last so many bytes of the log. Less than all of it, since newcomers are readers that are
    /// behind.
    pub bytes: u64,
}

/// The bytes of a room's log and of the messages in flight to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Memory of the log.
    pub size: usize,
    /// Entries that stay even if others have memory at hand that they do not need.
    pub keep: usize,
    /// What the reader that is furthest behind may lack, together with what is in flight. It is less
    /// than what stays, since notices need no credit.
    pub lag: usize,
    /// Messages on their way to the hub. There are few, so that the next one need not wait for long.
    pub in_flight: usize,
    /// What of it newcomers are given.
    pub history: History,
}

impl LogBounds {
    /// For a log of `size` bytes, or more if messages of up to `max_message` bytes need it.
    pub fn new(size: usize, max_message: usize) -> Self {
        let longest = longest_entry(max_message);
        let size = size.max(2 * longest);
        let lag = size - size / 8;
        let in_flight = (2 * longest).max(128 * KIB).min(lag);
        let history = History { messages: 0, age: u64::MAX, bytes: size as u64 / 2 };
        LogBounds { size, keep: size - size / 16, lag, in_flight, history }
    }
}

/// Bytes of an entry with the longest name and text.
pub const fn longest_entry(max_message: usize) -> usize {
    ENTRY + NAME_BYTES + max_message
}

/// The memory of the logs of all rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logs {
    /// Bytes for all of them.
    pub total: usize,
    /// Bytes that the log of a room has in any case while somebody is in it: two of the longest messages.
    pub guaranteed: usize,
    /// Bytes that one log may have.
    pub most: usize,
    max_message: usize,
    /// Of a log that has enough for it.
    history: History,
}

impl Logs {
    /// For at least `declared` rooms, in so many bytes; of these, a log may have the `most`.
    pub(super) fn new(total: usize, most: usize, declared: usize, limits: &Limits) -> Self {
        let max_message = limits.max_message;
        let guaranteed = LogBounds::new(64 * KIB, max_message).size;
        let total = total.max(declared * guaranteed);
        let most = most.max(guaranteed).min(total);
        let history = History {
            messages: limits.history as u64,
            age: limits.history_age.as_millis() as u64,
            bytes: limits.history_size.map_or(u64::MAX, |bytes| bytes as u64),
        };
        Logs { total, guaranteed, most, max_message, history }
    }

    /// The bounds of a log that has `size` bytes.
    pub fn bounds(&self, size: usize) -> LogBounds {
        let bounds = LogBounds::new(size.max(self.guaranteed), self.max_message);
        let bytes = self.history.bytes.min(bounds.history.bytes);
        LogBounds { history: History { bytes, ..self.history }, ..bounds }
    }
}
