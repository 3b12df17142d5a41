//! Reads what is left of a room's segments. Whatever is in them, there is a result.
//!
//! All of them are read, the oldest first, since each may have the last word of a client ([`Before`]).
//! The log gets the messages behind the last hole: those of a log have no gap. The others stay on the
//! disk.
//!
//! A line is used if it follows on the one before, or if what is between can be told: so many lines
//! could not be read, or the line behind it follows. Else one digit that was damaged would cost all
//! lines behind it, or all numbers that there are. A number that was given is not given again: the next
//! one follows from the last line, or from the name of a file and how many lines it has.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::config::budget::LogBounds;
use crate::history::before::{Before, Past};
use crate::history::chunk::{Chunk, Position};
use crate::history::disk::format::{Line, Message};
use crate::history::disk::segment::{self, Segment};
use crate::history::ring::Ring;
use crate::wire::cursor::Epoch;
use crate::wire::tag::{By, Tag};

/// What is left of a room.
#[derive(Debug)]
pub struct Loaded {
    /// The last messages.
    pub ring: Ring,
    /// What is known beside them.
    pub before: Before,
    /// The files. Bytes of the last one behind those that can be used are to be cut off.
    pub segments: Vec<Segment>,
    /// The numbers of those of which nothing can be used.
    pub unusable: Vec<u64>,
}

/// So many earlier incarnations are known. Whoever comes from an older one is told that messages may be
/// missing.
const PAST: usize = 100;

/// So many clients are remembered, those that spoke last: with 16 KiB, as many as a room remembers of
/// those who have gone.
const ACCEPTED: usize = 800;

/// Bytes of messages that are handed to the log together.
const BATCH: u64 = 16 * 1024;

/// A line has more bytes: where lines cannot be counted, bytes can.
const SHORTEST: u64 = 32;

/// Reads the room in the folder at `path` for a log within `bounds`, at this time in milliseconds since
/// 1970. Files of more than `most` bytes cannot be used.
pub fn load(path: &Path, bounds: LogBounds, most: u64, now: u64) -> Loaded {
    let listed = segment::list(path).unwrap_or_else(|error| {
        log::warn!("cannot read {}: {error}; the room begins anew", path.display());
        Vec::new()
    });
    load_files(path, listed, |file| read(file, most), bounds, now)
}

/// The same for these files, the oldest first, each of which is asked for once, in this order.
pub fn load_files(
    path: &Path,
    listed: Vec<Segment>,
    mut read: impl FnMut(&Path) -> io::Result<Vec<u8>>,
    bounds: LogBounds,
    now: u64,
) -> Loaded {
    let mut reading = Reading::new(bounds, now);
    let (mut segments, mut unusable) = (Vec::new(), Vec::new());
    for segment in listed {
        let file = path.join(segment.name());
        let read = read(&file);
        let usable = match &read {
            Ok(bytes) if !segment.is_bad => reading.file(segment.number, bytes),
            _ => None,
        };
        if usable.is_none() {
            let lines = match &read {
                Ok(bytes) => bytes.iter().filter(|byte| **byte == b'\n').count() as u64,
                Err(_) => segment.len / SHORTEST,
            };
            reading.skip(segment.number, lines);
            if !segment.is_bad {
                let why =
                    read.err().map_or("no line of it can be used".into(), |it| it.to_string());
                log::warn!("{} is set aside as .bad: {why}", file.display());
                unusable.push(segment.number);
            }
        }
        segments.push(Segment { len: usable.unwrap_or(segment.len), ..segment });
    }
    let (ring, before) = reading.end();
    Loaded { ring, before, segments, unusable }
}

fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other("it is too long"));
    }
    Ok(bytes)
}

/// What has been read so far.
struct Reading {
    now: u64,
    ring: Ring,
    /// Messages on their way to the ring.
    batch: Chunk,
    /// The number of the next message; 0 before the first file.
    next: u64,
    /// The incarnation that the lines are of. None: the last one has ended.
    run: Option<Run>,
    past: VecDeque<Past>,
    hole: u64,
    /// The greatest number of each client, and the number of the room's message with it.
    accepted: HashMap<Tag, (u64, u64)>,
}

/// An incarnation. Its name may be lost with the line that it begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Run {
    epoch: Option<Epoch>,
}

impl Reading {
    fn new(bounds: LogBounds, now: u64) -> Self {
        let ring = Ring::new(bounds, bounds.history);
        Reading {
            now,
            batch: Chunk::new(ring.end()),
            ring,
            next: 0,
            run: None,
            past: VecDeque::new(),
            hole: 0,
            accepted: HashMap::new(),
        }
    }

    /// Takes a file that begins with this number. How many bytes can be used; none if nothing can.
    fn file(&mut self, number: u64, bytes: &[u8]) -> Option<u64> {
        let mut end = 0;
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').map(|line| {
            end += line.len();
            (line.strip_suffix(b"\n").and_then(Line::parse), end as u64)
        });
        let lines: Vec<_> = lines.collect();
        let has_place =
            |line: &Option<Line<'_>>| line.as_ref().is_some_and(|it| it.span().is_some());
        if !lines.iter().any(|(line, _)| has_place(line)) {
            // A file without anything was begun, and what was said then is lost.
            return bytes.is_empty().then(|| self.skip(number, 0)).map(|()| 0);
        }
        self.reach(number);
        let (mut usable, mut unread) = (None, 0);
        for (n, (line, end)) in lines.iter().enumerate() {
            match line {
                // It has no place, so it neither fills one nor makes a file of use.
                Some(Line::Other) if unread == 0 => usable = usable.and(Some(*end)),
                Some(Line::Other) => {}
                Some(line) if self.take(line, unread, &lines[n + 1..]) => {
                    (usable, unread) = (Some(*end), 0);
                }
                _ => unread += 1,
            }
        }
        usable
    }

    /// A file with this number cannot be used, which may have so many messages.
    fn skip(&mut self, number: u64, lines: u64) {
        self.reach(number);
        self.reach(number + lines);
        self.go_on();
    }

    /// Whatever had a number before this one is in files that were read, or missing.
    fn reach(&mut self, next: u64) {
        let next = next.max(1);
        if self.next == 0 {
            self.empty(next);
        } else if next > self.next {
            self.miss(next);
        }
    }

    /// Takes a line, behind so many that could not be read and before the `later` ones. False if it
    /// cannot be used.
    fn take(&mut self, line: &Line<'_>, unread: u64, later: &[(Option<Line<'_>>, u64)]) -> bool {
        let Some((start, after)) = line.span() else { return false };
        let Some(gap) = start.checked_sub(self.next) else { return false };
        let is_followed = is_followed(after, later);
        // A hole says itself how far it goes.
        let is_refuted = matches!(line, Line::Hole { .. }) && is_followed == Some(false);
        if is_refuted || gap > unread && is_followed != Some(true) {
            return false;
        }
        if gap > 0 {
            self.miss(start);
        }
        match line {
            Line::Run { epoch, .. } => self.begin(*epoch),
            Line::Message(message) => self.message(message),
            Line::Hole { .. } => {
                self.go_on();
                self.miss(after);
            }
            Line::End { .. } => {
                self.go_on();
                self.finish(true);
            }
            Line::Other => {}
        }
        true
    }

    fn begin(&mut self, epoch: Epoch) {
        let run = Some(Run { epoch: Some(epoch) });
        if self.run != run {
            self.finish(false);
            self.run = run;
        }
    }

    /// What comes is of the present incarnation, or of one whose name is lost.
    fn go_on(&mut self) {
        self.run = self.run.or(Some(Run { epoch: None }));
    }

    /// The present incarnation is over.
    fn finish(&mut self, is_clean: bool) {
        let Some(Run { epoch }) = self.run.take() else { return };
        if self.past.len() == PAST {
            self.past.pop_front();
        }
        self.past.push_back(Past { epoch, last: self.next.max(1) - 1, is_clean });
    }

    fn message(&mut self, message: &Message<'_>) {
        self.go_on();
        self.next = message.seq + 1;
        if let By::Tag(tag) = message.by {
            if message.n > 0 {
                let accepted = self.accepted.entry(tag).or_default();
                *accepted = (accepted.0.max(message.n), message.seq);
            }
        }
        self.batch.push(message.entry());
        if self.batch.end().bytes - self.batch.start().bytes >= BATCH {
            self.hand_over();
        }
    }

    /// What had a number from the next one to before this one is missing.
    fn miss(&mut self, next: u64) {
        self.hole = next - 1;
        self.empty(next);
    }

    /// Nothing is left in the log, and this number is next.
    fn empty(&mut self, next: u64) {
        self.next = next;
        self.ring.begin(Position::default(), next - 1);
        self.batch = Chunk::new(Position::default());
    }

    fn hand_over(&mut self) {
        self.ring.append(&self.batch, 0);
        let end = self.batch.end();
        self.ring.forget(end.bytes, self.now);
        self.ring.trim();
        self.batch.restart(end, BATCH as usize);
    }

    fn end(mut self) -> (Ring, Before) {
        self.finish(false);
        self.hand_over();
        let mut accepted: Vec<_> = self.accepted.into_iter().collect();
        accepted.sort_unstable_by_key(|(_, (_, seq))| std::cmp::Reverse(*seq));
        accepted.truncate(ACCEPTED);
        let accepted = accepted.into_iter().map(|(tag, (n, _))| (tag, n)).collect();
        (self.ring, Before::new(self.past.into(), self.hole, accepted))
    }
}

/// Whether the next line that can be read follows on number `after`, as far as those between allow. None:
/// there is no such line.
fn is_followed(after: u64, later: &[(Option<Line<'_>>, u64)]) -> Option<bool> {
    let mut unread = 0;
    for (line, _) in later {
        match line.as_ref().map(Line::span) {
            None => unread += 1,
            Some(Some((start, _))) => {
                return Some(start.checked_sub(after).is_some_and(|gap| gap <= unread));
            }
            Some(None) => {}
        }
    }
    None
}
