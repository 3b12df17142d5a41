//! Some entries of a log, in order, as plain data: each protocol encodes them in its own way.

use crate::config::ENTRY;

/// What a log has one entry for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What happened.
    pub kind: Kind,
    /// When, in milliseconds since 1970 by the server's clock. The order never follows from it.
    pub at: u64,
    /// The client id of whoever did it.
    pub author: i64,
    /// What was said; empty in a notice.
    pub text: &'a str,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message. The numbers of a room have no gap.
    Message {
        /// Its number, from 1 on.
        seq: u64,
    },
    /// The author left. Notices have no number.
    Left,
}

/// A place between two entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Entries before it, since the room began.
    pub entry: u64,
    /// The [`cost`] of those.
    pub bytes: u64,
}

/// Bytes of memory that an entry with `text` bytes of text takes in a log. All limits of a log
/// count these, whatever the length of the frames is that clients are sent.
pub const fn cost(text: usize) -> usize {
    ENTRY + text
}

const _: () = assert!(size_of::<Record>() == ENTRY);

/// Entries that follow each other.
#[derive(Debug, Default)]
pub struct Chunk {
    start: Position,
    records: Vec<Record>,
    text: String,
}

/// An entry but for its text, which ends at `text_end` of the chunk's. Notices have the number 0.
#[derive(Clone, Copy, Debug)]
struct Record {
    seq: u64,
    at: u64,
    author: i64,
    text_end: usize,
}

impl Chunk {
    /// No entries, at this place.
    pub fn new(start: Position) -> Self {
        Chunk { start, ..Chunk::default() }
    }

    /// Where it starts.
    pub fn start(&self) -> Position {
        self.start
    }

    /// Where it ends.
    pub fn end(&self) -> Position {
        self.position(self.len())
    }

    /// The place behind the first `entries`.
    pub fn position(&self, entries: usize) -> Position {
        let bytes = entries * cost(0) + self.text_end(entries);
        Position {
            entry: self.start.entry + entries as u64,
            bytes: self.start.bytes + bytes as u64,
        }
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: Entry<'_>) {
        let seq = match entry.kind {
            Kind::Message { seq } => seq,
            Kind::Left => 0,
        };
        self.text.push_str(entry.text);
        let text_end = self.text.len();
        self.records.push(Record { seq, at: entry.at, author: entry.author, text_end });
    }

    /// Adds entries of `other`, which follow on what is here.
    pub fn extend(&mut self, other: &Chunk, entries: std::ops::Range<usize>) {
        let (from, to) = (other.text_end(entries.start), other.text_end(entries.end));
        let start = self.text.len();
        // By an eighth: doubling would take up to twice the memory that a log is allowed.
        if self.text.capacity() < start + to - from {
            self.text.reserve_exact((to - from).max(start / 8));
        }
        if self.records.capacity() < self.len() + entries.len() {
            self.records.reserve_exact(entries.len().max(self.len() / 8));
        }
        self.text.push_str(&other.text[from..to]);
        self.records.extend(
            other.records[entries]
                .iter()
                .map(|record| Record { text_end: record.text_end - from + start, ..*record }),
        );
    }

    /// The entries from the `first` of this chunk on.
    pub fn entries(&self, first: usize) -> impl Iterator<Item = Entry<'_>> {
        (first..self.len()).map(|n| {
            let Record { seq, at, author, text_end } = self.records[n];
            let kind = if seq == 0 { Kind::Left } else { Kind::Message { seq } };
            Entry { kind, at, author, text: &self.text[self.text_end(n)..text_end] }
        })
    }

    /// Forgets all entries; what is added next follows at `start`. Memory for `keep` bytes of text
    /// stays at hand.
    pub fn restart(&mut self, start: Position, keep: usize) {
        self.start = start;
        self.records.clear();
        self.text.clear();
        self.text.shrink_to(keep);
        self.records.shrink_to(keep / (2 * ENTRY));
    }

    /// Gives back the memory that no entry needs.
    pub fn shrink(&mut self) {
        self.records.shrink_to_fit();
        self.text.shrink_to_fit();
    }

    /// Bytes of memory, those at hand included.
    pub fn memory(&self) -> usize {
        size_of::<Chunk>() + self.records.capacity() * size_of::<Record>() + self.text.capacity()
    }

    /// Where the text of the first `entries` ends.
    fn text_end(&self, entries: usize) -> usize {
        entries.checked_sub(1).map_or(0, |last| self.records[last].text_end)
    }
}
