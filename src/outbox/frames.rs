//! Entries of a log as frames: encoded once, and sent to many.

use std::sync::Arc;

use crate::history::Log;
use crate::history::chunk::{Chunk, Position};
use crate::outbox::encoding::{ENCODINGS, View};
use crate::wire::cursor::Epoch;

/// Where a reader is in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// All before it has been sent.
    pub position: Position,
    /// So many bytes of the next entry's frame have been sent, too.
    pub torn: usize,
}

/// Frames of entries that follow each other. An entry of which clients are not told has an empty one.
#[derive(Debug, Default)]
pub struct Frames {
    start: Position,
    end: Position,
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    /// How many are not empty.
    count: usize,
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
        self.end
    }

    /// How many entries they are of.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// How many frames clients are sent.
    pub fn count(&self) -> usize {
        self.count
    }

    /// All frames.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory that it has, but for the marks.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Begins anew at `start`. Memory for `keep` bytes stays at hand.
    pub fn restart(&mut self, start: Position, keep: usize) {
        (self.start, self.end) = (start, start);
        self.bytes.clear();
        self.bytes.shrink_to(keep);
        self.marks.clear();
        self.marks.shrink_to(keep / FRAME);
        self.count = 0;
    }

    /// Adds the frames of the entries of `chunk` behind those that are here, which were said in this `epoch`, as
    /// `view` shows them.
    pub fn extend(&mut self, chunk: &Chunk, epoch: Epoch, view: View) {
        let first = self.len();
        for (n, entry) in chunk.entries(first).enumerate() {
            let before = self.bytes.len();
            view.encode(&mut self.bytes, epoch, &entry);
            self.count += usize::from(self.bytes.len() > before);
            self.end = chunk.position(first + n + 1);
            self.marks.push(Mark { frames: self.bytes.len(), log: self.end.bytes });
        }
    }

    /// How many of the frames before the entry `end` clients are sent, and the bytes of those.
    pub fn before(&self, end: u64) -> (u64, u64) {
        let end = (end.saturating_sub(self.start.entry) as usize).min(self.len());
        let ends = self.marks[..end].iter().map(|mark| mark.frames);
        let starts = std::iter::once(0).chain(self.marks.iter().map(|mark| mark.frames));
        let count = ends.zip(starts).filter(|(end, start)| end > start).count();
        (count as u64, self.frames_end(end) as u64)
    }

    /// What a reader at `cursor` lacks of these frames. None if it is elsewhere.
    pub fn behind(&self, cursor: Cursor) -> Option<&[u8]> {
        // Nearly everybody.
        if cursor.torn == 0 && cursor.position.entry == self.start.entry {
            return Some(&self.bytes);
        }
        self.between(cursor, u64::MAX)
    }

    /// The same, up to the entry `end`.
    pub fn between(&self, cursor: Cursor, end: u64) -> Option<&[u8]> {
        let before = self.index(cursor.position.entry).filter(|before| *before <= self.len())?;
        let end = self.index(end).map_or(self.len(), |end| end.min(self.len()));
        self.bytes.get(self.frames_end(before) + cursor.torn..self.frames_end(end))
    }

    /// Where a reader at `cursor`, who is in these frames, is when it has been sent so many more bytes
    /// of those before the entry `end`.
    pub fn advance(&self, cursor: Cursor, sent: usize, end: u64) -> Cursor {
        let before = (cursor.position.entry - self.start.entry) as usize;
        let end = self.index(end).map_or(self.len(), |end| end.min(self.len()));
        let at = self.frames_end(before) + cursor.torn + sent;
        let whole = before + self.marks[before..end].partition_point(|mark| mark.frames <= at);
        Cursor { position: self.position(whole), torn: at - self.frames_end(whole) }
    }

    fn index(&self, entry: u64) -> Option<usize> {
        usize::try_from(entry.checked_sub(self.start.entry)?).ok()
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

/// Encodes what readers who are behind lack, and keeps what it encoded last for each protocol: whoever is at the
/// same place comes next.
#[derive(Debug, Default)]
pub struct Encoder([Encoded; ENCODINGS]);

/// The frames of one chunk.
#[derive(Debug, Default)]
struct Encoded {
    /// The ring that the chunk is of, by its id, and how its entries are seen.
    of: Option<(u64, View)>,
    frames: Frames,
}

/// What is kept of a chunk's frames when the next one is encoded.
const KEEP: usize = 32 * 1024;

impl Encoder {
    /// The frames around this `entry` of the log; none if the log does not have it. It may have been
    /// taken from there before: then it is in `chunk`.
    pub fn frames(
        &mut self,
        log: &Log,
        entry: u64,
        view: View,
        chunk: Option<&Arc<Chunk>>,
    ) -> Option<&Frames> {
        let encoded = &mut self.0[view.encoding as usize];
        let frames = &mut encoded.frames;
        let is_here = encoded.of == Some((log.ring.id(), view))
            && (frames.start().entry..frames.end().entry).contains(&entry);
        if !is_here {
            let chunk = chunk.cloned().or_else(|| log.ring.chunk(entry))?;
            let of = Some((log.ring.id(), view));
            // The last chunk of a log grows.
            if encoded.of != of || frames.start() != chunk.start() {
                encoded.of = of;
                frames.restart(chunk.start(), KEEP);
            }
            frames.extend(&chunk, log.epoch_of(&chunk), view);
        }
        Some(&encoded.frames)
    }
}
