//! What is counted about the history on the disk.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::metrics::prometheus::Exposition;

/// All of it, for all rooms.
#[derive(Debug, Default)]
pub struct HistoryCounts {
    errors: AtomicU64,
    bytes: AtomicU64,
    writes: AtomicU64,
    syncs: AtomicU64,
    missing: AtomicU64,
    /// Rooms that are not written at the moment, with the reason.
    faults: Mutex<BTreeMap<String, String>>,
}

impl HistoryCounts {
    /// So many bytes were written at once.
    pub fn wrote(&self, bytes: usize) {
        self.writes.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// The disk was asked to keep what was written.
    pub fn synced(&self) {
        self.syncs.fetch_add(1, Relaxed);
    }

    /// So many messages will not be on the disk.
    pub fn missed(&self, messages: u64) {
        self.missing.fetch_add(messages, Relaxed);
    }

    /// Something failed, so the room is not written. True if it was until now.
    pub fn failed(&self, room: &str, why: String) -> bool {
        self.errors.fetch_add(1, Relaxed);
        self.faults().insert(room.into(), why).is_none()
    }

    /// The room is written. True if it was not until now.
    pub fn recovered(&self, room: &str) -> bool {
        self.faults().remove(room).is_some()
    }

    /// Which rooms are not written, and why, in a line. None: all are.
    pub fn fault(&self) -> Option<String> {
        let faults = self.faults();
        let faults: Vec<_> = faults.iter().map(|(room, why)| format!("{room}: {why}")).collect();
        (!faults.is_empty()).then(|| format!("history is in memory only: {}", faults.join("; ")))
    }

    fn faults(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends all counts.
    pub(super) fn text(&self, text: &mut Exposition) {
        let rooms = self.faults().len();
        for (name, help, count) in [
            (
                "roomd_history_errors_total",
                "Attempts to write the history that failed.",
                &self.errors,
            ),
            ("roomd_history_writes_total", "Writes to files of the history.", &self.writes),
            (
                "roomd_history_written_bytes_total",
                "Bytes written to files of the history.",
                &self.bytes,
            ),
            (
                "roomd_history_syncs_total",
                "Times the disk was asked to keep the history over a power cut.",
                &self.syncs,
            ),
            (
                "roomd_history_missing_total",
                "Messages that are missing in the files of the history.",
                &self.missing,
            ),
        ] {
            text.counter(name, help).is(count.load(Relaxed));
        }
        text.gauge("roomd_history_faulty_rooms", "Rooms whose history cannot be written.")
            .is(rooms);
    }
}
