//! What the hub has taken and not sent yet: entries for the log, and their frames.

use std::time::Instant;

use crate::history::Log;
use crate::history::chunk::{Chunk, Entry, Position};
use crate::history::flow::Credit;
use crate::outbox::encoding::{Encoding, View};
use crate::outbox::frames::Frames;

/// Entries that go out together.
#[derive(Debug, Default)]
pub struct Batch {
    entries: Chunk,
    /// Of the first entries, for the protocol for which somebody asked last: in all of them at once, they would
    /// take five times the memory.
    frames: Frames,
    encoding: Option<Encoding>,
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

    /// The frames of the entries for clients with this `encoding`. Whoever is sent the frames may have to
    /// read on in the log, so [`Batch::append`] comes first.
    pub fn encode(&mut self, log: &Log, encoding: Encoding) -> &Frames {
        if self.encoding.replace(encoding) != Some(encoding) {
            self.frames.restart(self.entries.start(), usize::MAX);
        }
        self.frames.extend(&self.entries, log.epoch(), View { encoding, is_replay: false });
        &self.frames
    }

    /// Appends the entries that are not in the log yet. The credit for it has done its work.
    pub fn append(&mut self, log: &Log, now: Instant) {
        if self.appended < self.entries.len() {
            log.append(&self.entries, self.appended, self.credit.take(), now);
            self.appended = self.entries.len();
        }
    }

    /// Begins anew, behind this batch. Memory for `keep` bytes stays at hand, and for no more than twice as
    /// many as there were: all rooms that a hub serves in one turn share what a turn takes.
    pub fn restart(&mut self, keep: usize) {
        let keep = keep.min(2 * self.frames.bytes().len());
        self.restart_at(self.end(), keep);
    }

    /// Keeps nothing at hand.
    pub fn release(&mut self) {
        self.restart_at(self.end(), 0);
    }

    fn restart_at(&mut self, start: Position, keep: usize) {
        // Their frames are longer.
        self.entries.restart(start, keep / 2);
        self.frames.restart(start, keep);
        (self.encoding, self.appended) = (None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::chunk::{Author, Kind};
    use crate::room::hub::fuzz_target::room;

    /// All protocols get theirs from one piece of memory, of which a busy room keeps what it needs, and a silent
    /// one nothing.
    #[test]
    fn frames_take_the_memory_of_one_protocol() {
        let log = room().log.clone();
        let mut batch = Batch::new(log.ring.end());
        let say = |batch: &mut Batch, seq, text: &str| {
            let kind = Kind::Message { seq, n: 0 };
            batch.push(Entry { kind, at: 1, author: Author::number(7), text }, None);
        };
        say(&mut batch, 1, &"x".repeat(5000));
        for encoding in Encoding::ALL {
            let frames = batch.encode(&log, encoding);
            assert!(frames.bytes().len() > 5000 && frames.len() == 1);
        }
        // Asked again, it goes on; asked for another, it begins anew.
        say(&mut batch, 2, "y");
        let last = batch.encode(&log, Encoding::ALL[Encoding::ALL.len() - 1]).bytes().to_vec();
        let first = batch.encode(&log, Encoding::Tutorial).bytes().to_vec();
        assert_eq!(batch.encode(&log, Encoding::ALL[Encoding::ALL.len() - 1]).bytes(), last);
        assert_eq!(batch.encode(&log, Encoding::Tutorial).bytes(), first);
        assert!(batch.frames.capacity() < 15_000, "{}", batch.frames.capacity());
        batch.append(&log, Instant::now());
        batch.restart(32 * 1024);
        say(&mut batch, 3, "z");
        batch.encode(&log, Encoding::Tutorial);
        batch.append(&log, Instant::now());
        batch.restart(32 * 1024);
        assert!(batch.frames.capacity() < 100, "it was a short one");
        batch.release();
        assert_eq!(batch.frames.capacity(), 0);
    }
}
