//! Entries of a log as frames: encoded once, and sent to many.

use std::sync::Arc;

use crate::history::chunk::{Chunk, Entry, Kind, Position};
use crate::history::ring::Ring;
use crate::wire;

/// Where a reader is in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// All before it has been sent.
    pub position: Position,
    /// So many bytes of the next entry's frame have been sent, too.
    pub torn: usize,
}

/// Frames of entries that follow each other.
#[derive(Debug, Default)]
pub struct Frames {
    start: Position,
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

/// About the length of a short frame.
const FRAME: usize = 64;

/// The end of one frame.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Behind the first so many bytes of the frames.
    frames: usize,
    /// Behind so many bytes of the log, as [`Position::bytes`] counts them.
    log: u64,
}

impl Frames {
    /// Where they start.
    pub fn start(&self) -> Position {
        self.start
    }

    /// Where they end.
    pub fn end(&self) -> Position {
        self.position(self.len())
    }

    /// How many frames they are.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// All frames.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Begins anew at `start`. Memory for `keep` bytes stays at hand.
    pub fn restart(&mut self, start: Position, keep: usize) {
        self.start = start;
        self.bytes.clear();
        self.bytes.shrink_to(keep);
        self.marks.clear();
        self.marks.shrink_to(keep / FRAME);
    }

    /// Adds the frame of the next entry, which ends at `end` of the log.
    pub fn push(&mut self, entry: &Entry<'_>, end: Position) {
        encode(&mut self.bytes, entry);
        self.marks.push(Mark { frames: self.bytes.len(), log: end.bytes });
    }

    /// What a reader at `cursor` lacks of these frames. None if it is elsewhere.
    pub fn behind(&self, cursor: Cursor) -> Option<&[u8]> {
        self.between(cursor, u64::MAX)
    }

    /// The same, up to the entry `end`.
    pub fn between(&self, cursor: Cursor, end: u64) -> Option<&[u8]> {
        let index = |entry: u64| usize::try_from(entry.checked_sub(self.start.entry)?).ok();
        let before = index(cursor.position.entry).filter(|before| *before <= self.len())?;
        let end = index(end).map_or(self.len(), |end| end.min(self.len()));
        self.bytes.get(self.frames_end(before) + cursor.torn..self.frames_end(end))
    }

    /// Where a reader at `cursor`, who is in these frames, is when it has been sent so many more bytes.
    pub fn advance(&self, cursor: Cursor, sent: usize) -> Cursor {
        let before = (cursor.position.entry - self.start.entry) as usize;
        let at = self.frames_end(before) + cursor.torn + sent;
        let whole = before + self.marks[before..].partition_point(|mark| mark.frames <= at);
        Cursor { position: self.position(whole), torn: at - self.frames_end(whole) }
    }

    fn position(&self, frames: usize) -> Position {
        let last = frames.checked_sub(1).map(|last| self.marks[last].log);
        Position {
            entry: self.start.entry + frames as u64,
            bytes: last.unwrap_or(self.start.bytes),
        }
    }

    fn frames_end(&self, frames: usize) -> usize {
        frames.checked_sub(1).map_or(0, |last| self.marks[last].frames)
    }
}

/// Encodes what readers who are behind lack, and keeps what it encoded last: they are often at the
/// same place.
#[derive(Debug, Default)]
pub struct Encoder {
    /// The chunk that `frames` are of, by its ring's address.
    /// An address names a ring as long as whoever is sent something holds on to it.
    ring: Option<u64>,
    frames: Frames,
}

/// What is kept of a chunk's frames when the next one is encoded.
const KEEP: usize = 32 * 1024;

impl Encoder {
    /// The frames around this `entry` of the ring; none if the ring does not have it. It may have been
    /// taken from there before: then it is in `chunk`.
    pub fn frames(
        &mut self,
        ring: &Ring,
        entry: u64,
        chunk: Option<&Arc<Chunk>>,
    ) -> Option<&Frames> {
        let is_here = self.ring == Some(ring.id())
            && (self.frames.start().entry..self.frames.end().entry).contains(&entry);
        if !is_here {
            let chunk = chunk.cloned().or_else(|| ring.chunk(entry))?;
            self.ring = Some(ring.id());
            self.frames.restart(chunk.start(), KEEP);
            for (n, entry) in chunk.entries(0).enumerate() {
                self.frames.push(&entry, chunk.position(n + 1));
            }
        }
        Some(&self.frames)
    }
}

/// Appends the frame by which clients hear of `entry`.
fn encode(out: &mut Vec<u8>, entry: &Entry<'_>) {
    match entry.kind {
        Kind::Message { .. } => wire::says(out, entry.author, entry.text),
        Kind::Left => wire::left(out, entry.author),
    }
}
