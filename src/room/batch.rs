//! What the hub has taken and not sent yet: entries for the log, and their frames.

use std::time::Instant;

use crate::history::Log;
use crate::history::chunk::{Chunk, Entry, Position};
use crate::history::flow::Credit;
use crate::outbox::encoding::{ENCODINGS, Encoding, View};
use crate::outbox::frames::Frames;

/// Entries that go out together.
#[derive(Debug, Default)]
pub struct Batch {
    entries: Chunk,
    /// Of the first entries, for each protocol; of those for which somebody asked.
    frames: [Frames; ENCODINGS],
    /// So many of the entries are in the log.
    appended: usize,
    credit: Option<Credit>,
}

impl Batch {
    /// No entries, at this place of the log.
    pub fn new(start: Position) -> Self {
        let mut batch = Batch::default();
        batch.restart_at(start, 0);
        batch
    }

    /// Adds an entry, and the credit for it if it is a message.
    pub fn push(&mut self, entry: Entry<'_>, credit: Option<Credit>) {
        self.entries.push(entry);
        self.credit = match (credit, self.credit.take()) {
            (Some(credit), others) => Some(credit.join(others)),
            (None, others) => others,
        };
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// Whether there is a message in it.
    pub fn has_message(&self) -> bool {
        self.entries.last_message().is_some()
    }

    /// The place in the log behind this batch.
    pub fn end(&self) -> Position {
        self.entries.end()
    }

    /// Encodes the entries for clients with this `encoding`. Whoever is sent the frames may have to read
    /// on in the log, so [`Batch::append`] comes first.
    pub fn encode(&mut self, log: &Log, encoding: Encoding) {
        self.frames[encoding as usize].extend(
            &self.entries,
            log,
            View { encoding, is_replay: false },
        );
    }

    /// The frames that [`Batch::encode`] made.
    pub fn frames(&self, encoding: Encoding) -> &Frames {
        &self.frames[encoding as usize]
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
        self.restart_at(self.end(), keep);
    }

    fn restart_at(&mut self, start: Position, keep: usize) {
        // Their frames are longer.
        self.entries.restart(start, keep / 2);
        for frames in &mut self.frames {
            frames.restart(start, keep);
        }
        self.appended = 0;
    }
}
