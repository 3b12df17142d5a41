//! In a build without the engine no room is shared: these types have no values, so what is done with them
//! takes neither memory nor time.

use std::time::Duration;

/// What a room has that several machines share.
#[derive(Clone, Debug)]
pub enum SharedLink {}

/// What the hub of such a room hears.
#[derive(Debug)]
pub enum News {}

impl SharedLink {
    /// The room is dropped.
    pub fn close(&self) {
        match *self {}
    }

    /// Whether the engine could not be reached for so long.
    pub fn is_away_for(&self, _time: Duration) -> bool {
        match *self {}
    }

    /// Whether the room is open.
    pub fn wait_until_open(&self, _patience: Duration, _away: Duration) -> bool {
        match *self {}
    }
}
