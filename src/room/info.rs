//! What everybody may know of a room: its hub, the sessions in it, and who lists the rooms.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::SharedLink;
use crate::history::Log;
use crate::room::name::RoomName;

/// Names a room for as long as the server runs; never used twice, even if a room of the same name comes
/// again.
pub type RoomId = u64;

/// A room, as seen from outside.
#[derive(Debug)]
pub struct RoomInfo {
    /// Names this incarnation of it.
    pub id: RoomId,
    /// Its name in paths.
    pub name: RoomName,
    /// What people call it.
    pub title: Option<String>,
    /// Its log, which decides when something may be said.
    pub log: Arc<Log>,
    /// The longest message, in bytes.
    pub max_message: usize,
    /// So many keys of requests that may come again it remembers at most.
    pub keys: usize,
    /// Up to so many members hear who comes and goes.
    pub presence: usize,
    /// How long a client that says something waits for the other machines that share it, if they cannot be reached.
    pub patience: Duration,
    /// Through which other machines share it.
    pub link: Option<SharedLink>,
    /// How many members it has, as its hub counts them.
    pub members: AtomicU64,
}

impl RoomInfo {
    /// Whether the other machines that share it cannot be reached for so long that nobody should wait.
    pub fn is_unreachable(&self) -> bool {
        self.is_away_for(self.patience)
    }

    /// Whether they cannot be reached for longer than this.
    pub fn is_away_for(&self, time: Duration) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_away_for(time))
    }

    /// How many members it has.
    pub fn count(&self) -> u64 {
        self.members.load(Ordering::Relaxed)
    }
}
