//! What the hub has taken and not sent yet: entries for the log, and their frames.

use std::time::Instant;

use crate::history::Log;
use crate::history::chunk::{Chunk, Entry, Position};
use crate::history::flow::Credit;
use crate::outbox::frames::Frames;

/// Entries that go out together.
#[derive(Debug, Default)]
pub struct Batch {
    entries: Chunk,
    frames: Frames,
    /// So many of the entries are in the log.
    appended: usize,
    credit: Option<Credit>,
}

impl Batch {
    /// Adds an entry, and the credit for it if it is a message.
    pub fn push(&mut self, entry: Entry<'_>, credit: Option<Credit>) {
        self.entries.push(entry);
        self.frames.push(&entry, self.entries.end());
        self.credit = match (credit, self.credit.take()) {
            (Some(credit), others) => Some(credit.join(others)),
            (None, others) => others,
        };
    }

    /// The place in the log behind this batch.
    pub fn end(&self) -> Position {
        self.entries.end()
    }

    /// The frames. Whoever is sent them may have to read on in the log, so [`Batch::append`] comes
    /// first.
    pub fn frames(&self) -> &Frames {
        &self.frames
    }

    /// Appends the entries that are not in the log yet. The credit for it has done its work.
    pub fn append(&mut self, log: &Log) {
        if self.appended < self.entries.len() {
            log.append(&self.entries, self.appended, self.credit.take(), Instant::now());
            self.appended = self.entries.len();
        }
    }

    /// Begins anew, behind this batch. Memory for `keep` bytes stays at hand.
    pub fn restart(&mut self, keep: usize) {
        let end = self.end();
        // Their frames are longer.
        self.entries.restart(end, keep / 2);
        self.frames.restart(end, keep);
        self.appended = 0;
    }
}
