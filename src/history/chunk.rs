//! Some entries of a log, in order, as plain data: each protocol encodes them in its own way.

use crate::config::ENTRY;
use crate::wire::tag::{By, Tag};

/// What a log has one entry for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What happened.
    pub kind: Kind,
    /// When, in milliseconds since 1970 by the server's clock. The order never follows from it.
    pub at: u64,
    /// Whoever did it.
    pub author: Author<'a>,
    /// What was said; in [`Kind::Members`] the list of them as JSON; else empty.
    pub text: &'a str,
}

/// Whoever did something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Author<'a> {
    /// The client id by which clients of the tutorial's protocol know it.
    pub num: i64,
    /// The tag by which others know it. None: it is a client of the tutorial's protocol itself.
    pub tag: Option<Tag>,
    /// Its name. Empty without a tag.
    pub name: &'a str,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message. The numbers of a room have no gap.
    Message {
        /// Its number, from 1 on.
        seq: u64,
        /// The number that its author gave it; 0 if none.
        n: u64,
    },
    /// The author came, and so many are here now.
    Joined {
        /// How many.
        count: u64,
    },
    /// The author left, and so many are here now.
    Left {
        /// How many.
        count: u64,
        /// It did not say goodbye.
        is_lost: bool,
        /// The room is small enough for everybody to hear of it. Clients of the tutorial's protocol
        /// hear of it in any case.
        is_told: bool,
    },
    /// So many are here, in a room that is too large to name them.
    Counted {
        /// How many.
        count: u64,
    },
    /// So many are here, and these are they: the room is small enough again.
    Members {
        /// How many.
        count: u64,
    },
    /// The author has this name from now on.
    Renamed,
    /// The log has a new incarnation, which goes on at the cursor that is the text.
    Moved {
        /// How many messages are missing before it, if anybody knows.
        missed: Option<u64>,
    },
}

/// A place between two entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Entries before it, since the room began.
    pub entry: u64,
    /// The [`cost`] of those.
    pub bytes: u64,
}

/// Bytes of memory that an entry takes in a log with a name and a text of so many bytes together. All
/// limits of a log count these, whatever the length of the frames is that clients are sent.
pub const fn cost(text: usize) -> usize {
    ENTRY + text
}

const _: () = assert!(size_of::<Record>() == ENTRY);

/// Entries that follow each other.
#[derive(Debug, Default)]
pub struct Chunk {
    start: Position,
    /// The epoch in which they were said, if an engine has given it; else 0.
    epoch: u64,
    records: Vec<Record>,
    /// The author's name and the text of each.
    text: String,
}

/// Which entry a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// So many entries are before it, since the room began.
    pub entry: u64,
    /// Its number.
    pub seq: u64,
    /// When it was said, in milliseconds since 1970.
    pub at: u64,
}

/// An entry but for its name and text.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// The number of a message; of a notice, how many are here.
    number: u64,
    at: u64,
    author: i64,
    n: u64,
    tag: Option<Tag>,
    /// Where the text ends in the chunk's. A chunk has 4 GiB at most.
    text_end: u32,
    name_len: u8,
    what: What,
}

/// A [`Kind`] without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Message,
    Joined,
    Left { is_lost: bool, is_told: bool },
    Counted,
    Members,
    Renamed,
    Moved { is_known: bool },
}

impl Kind {
    /// The number, if it is a message.
    pub fn seq(self) -> Option<u64> {
        match self {
            Kind::Message { seq, .. } => Some(seq),
            _ => None,
        }
    }

    fn split(self) -> (What, u64, u64) {
        match self {
            Kind::Message { seq, n } => (What::Message, seq, n),
            Kind::Joined { count } => (What::Joined, count, 0),
            Kind::Left { count, is_lost, is_told } => (What::Left { is_lost, is_told }, count, 0),
            Kind::Counted { count } => (What::Counted, count, 0),
            Kind::Members { count } => (What::Members, count, 0),
            Kind::Renamed => (What::Renamed, 0, 0),
            Kind::Moved { missed } => {
                (What::Moved { is_known: missed.is_some() }, missed.unwrap_or(0), 0)
            }
        }
    }
}

impl Author<'_> {
    /// A client of the tutorial's protocol.
    pub fn number(num: i64) -> Self {
        Author { num, ..Author::default() }
    }

    /// What it is called beside its name.
    pub fn by(&self) -> By {
        self.tag.map_or(By::Number(self.num), By::Tag)
    }
}

impl Chunk {
    /// No entries, at this place.
    pub fn new(start: Position) -> Self {
        Chunk { start, ..Chunk::default() }
    }

    /// No entries, at this place, in the epoch that an engine has given, or 0.
    pub fn in_epoch(start: Position, epoch: u64) -> Self {
        Chunk { start, epoch, ..Chunk::default() }
    }

    /// Where it starts.
    pub fn start(&self) -> Position {
        self.start
    }

    /// The epoch in which all of it was said, if an engine has given it; else 0.
    pub fn epoch(&self) -> u64 {
        self.epoch
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
        let Entry { kind, at, author, text } = entry;
        let (what, number, n) = kind.split();
        self.text.push_str(author.name);
        self.text.push_str(text);
        self.records.push(Record {
            number,
            at,
            author: author.num,
            n,
            tag: author.tag,
            text_end: self.text.len() as u32,
            name_len: author.name.len() as u8,
            what,
        });
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
        self.records.extend(other.records[entries].iter().map(|record| Record {
            text_end: (record.text_end as usize - from + start) as u32,
            ..*record
        }));
    }

    /// The entries from the `first` of this chunk on.
    pub fn entries(&self, first: usize) -> impl Iterator<Item = Entry<'_>> {
        (first..self.len()).map(|n| self.entry(n))
    }

    /// The messages, each with the entry that it is.
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = Message> {
        let start = self.start.entry;
        let records = self.records.iter().enumerate();
        records.filter(|(_, record)| record.what == What::Message).map(move |(n, record)| Message {
            entry: start + n as u64,
            seq: record.number,
            at: record.at,
        })
    }

    /// The place before an entry of it.
    pub fn before(&self, entry: u64) -> Position {
        self.position((entry - self.start.entry) as usize)
    }

    /// The number of its last message.
    pub fn last_message(&self) -> Option<u64> {
        self.messages().next_back().map(|message| message.seq)
    }

    /// The time of its last entry, in milliseconds since 1970; 0 without one.
    pub fn last_at(&self) -> u64 {
        self.records.last().map_or(0, |record| record.at)
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

    fn entry(&self, index: usize) -> Entry<'_> {
        let Record { number, at, author, n, tag, text_end, name_len, what } = self.records[index];
        let kind = match what {
            What::Message => Kind::Message { seq: number, n },
            What::Joined => Kind::Joined { count: number },
            What::Left { is_lost, is_told } => Kind::Left { count: number, is_lost, is_told },
            What::Counted => Kind::Counted { count: number },
            What::Members => Kind::Members { count: number },
            What::Renamed => Kind::Renamed,
            What::Moved { is_known } => Kind::Moved { missed: is_known.then_some(number) },
        };
        let both = &self.text[self.text_end(index)..text_end as usize];
        let (name, text) = both.split_at(name_len.into());
        Entry { kind, at, author: Author { num: author, tag, name }, text }
    }

    /// Where the text of the first `entries` ends.
    fn text_end(&self, entries: usize) -> usize {
        entries.checked_sub(1).map_or(0, |last| self.records[last].text_end as usize)
    }
}
