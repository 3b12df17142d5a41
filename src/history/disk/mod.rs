//! History that survives a restart: the messages of some rooms in files, as they are on the wire.
//!
//! ```text
//! DIR/lock                            one server at a time
//! DIR/secret                          from which tags are made
//! DIR/ROOM/0000000000000205.log       messages from number 205 on, one JSON object a line
//! ```
//!
//! [`load`] reads what is left when the server starts, whatever is left. [`writer`] is a thread that
//! follows the logs of the rooms ([`Progress`]): the hubs do not wait for it, and a room whose disk fails
//! goes on in memory.

pub mod files;
pub mod format;
pub mod load;
pub mod segment;
pub mod state;
pub mod writer;

#[cfg(any(test, fuzzing))]
pub mod fuzz_target;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::config::DISK_ROOMS;
use crate::config::budget::LogBounds;
use crate::history::before::Before;
use crate::history::disk::files::Files;
use crate::history::disk::load::Loaded;
use crate::history::disk::segment::Folder;
use crate::history::progress::Progress;
use crate::history::ring::Ring;

/// A room as earlier runs have left it.
pub struct Restored<F: Files> {
    /// Its last messages, for [`Log::continuing`](crate::history::Log::continuing).
    pub earlier: Ring,
    /// What is known beside them.
    pub before: Before,
    /// Between the log and the writer.
    pub progress: Arc<Progress>,
    /// For the writer.
    pub folder: Folder<F>,
}

/// Longer files are not read, unless a room may have more bytes.
const MOST: u64 = 1 << 20;

/// Reads the room in the folder at `path`, for a log within `bounds`. Its files may take `limit` bytes, and
/// `wake` wakes the writer.
pub fn restore<F: Files>(
    files: F,
    path: PathBuf,
    limit: u64,
    bounds: LogBounds,
    wake: Sender<()>,
    now: u64,
) -> Restored<F> {
    let Loaded { ring, before, segments, unusable } =
        load::load(&path, bounds, limit.max(MOST), now);
    let mut folder = Folder::new(files, path, segments, limit);
    if let Err(error) = folder.set_aside(&unusable).and_then(|()| folder.cut()) {
        log::warn!("cannot mend the files in {}: {error}", folder.path().display());
    }
    let progress = Arc::new(Progress::new(ring.end().bytes, wake));
    Restored { earlier: ring, before, progress, folder }
}

/// How many bytes each of so many rooms may take, if one may take `limit`.
pub fn share(limit: u64, rooms: usize) -> u64 {
    limit.min(limit * DISK_ROOMS as u64 / rooms.max(1) as u64)
}

/// A room's folder in the state folder at `dir`. No name of a room has a dot.
pub fn folder_of(dir: &Path, room: &str) -> PathBuf {
    match room {
        "lock" | "secret" => dir.join(format!("{room}.room")),
        _ => dir.join(room),
    }
}
