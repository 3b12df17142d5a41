//! The thread that writes the history: it follows the logs of the rooms, and nobody waits for it.
//!
//! It writes once [`WRITE_BYTES`] are pending or [`WRITE_DELAY`] after the first of them, and asks the
//! disk to keep that as [`HistorySync`] says, and when a segment is full. After a fault the room is left
//! alone for a while. What the log has lost by then is missing in the files, which say so.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::{HistorySync, WRITE_BYTES, WRITE_DELAY};
use crate::history::Log;
use crate::history::chunk::Position;
use crate::history::disk::files::Files;
use crate::history::disk::format;
use crate::history::disk::segment::Folder;
use crate::history::progress::{NEVER, Progress};
use crate::metrics::Metrics;
use crate::metrics::history::HistoryCounts;

/// Writes the history of some rooms.
pub struct Writer<F: Files> {
    rooms: Vec<Room<F>>,
    sync: HistorySync,
    /// How long a room is left alone after a fault.
    pause: Duration,
    metrics: Arc<Metrics>,
    stop: Arc<AtomicU8>,
    woken: Receiver<()>,
}

/// Ends the thread.
#[derive(Clone, Debug)]
pub struct Stop {
    stop: Arc<AtomicU8>,
    wake: Sender<()>,
}

/// What [`Stop`] says: nothing yet, to write what there is, and that this is all.
const GO_ON: u8 = 0;
const WRITE: u8 = 1;
const END: u8 = 2;

struct Room<F: Files> {
    name: String,
    log: Arc<Log>,
    progress: Arc<Progress>,
    folder: Folder<F>,
    /// The place before the entry that is read next.
    place: Position,
    /// The number of the message that is written next.
    next: u64,
    /// When the first of what is pending was seen.
    pending_since: Option<Instant>,
    /// When the first of what the disk was not asked to keep was seen.
    dirty_since: Option<Instant>,
    /// After a fault: the room is not written before this time.
    retry: Option<Instant>,
    /// How long it is left alone then.
    pause: Duration,
}

/// Some entries as lines.
struct Lines {
    bytes: Vec<u8>,
    /// The place behind the entries.
    end: Position,
    /// The number of the next message behind the lines.
    next: u64,
    /// So many messages the lines say are missing.
    missing: u64,
}

impl Stop {
    /// Has everything written that is in the logs by now, and then nothing more. If nothing is added to
    /// the logs any more (`is_all`), the files say so.
    pub fn stop(&self, is_all: bool) {
        self.stop.store(if is_all { END } else { WRITE }, Ordering::SeqCst);
        // If it is full, the thread looks anyway.
        let _ = self.wake.try_send(());
    }
}

impl<F: Files> Writer<F> {
    /// A writer without rooms, what stops it, and what wakes it. After a fault it leaves a room alone for
    /// the `pause`.
    pub fn new(
        sync: HistorySync,
        pause: Duration,
        metrics: Arc<Metrics>,
    ) -> (Self, Stop, Sender<()>) {
        let (wake, woken) = bounded(1);
        let stop = Arc::new(AtomicU8::new(GO_ON));
        let handle = Stop { stop: stop.clone(), wake: wake.clone() };
        (Writer { rooms: Vec::new(), sync, pause, metrics, stop, woken }, handle, wake)
    }

    /// Follows this log from its present end on, before anything is appended, and says so in the files:
    /// else nobody would know later that something was said and lost.
    pub fn add(&mut self, name: &str, log: Arc<Log>, progress: Arc<Progress>, folder: Folder<F>) {
        let mut room = Room {
            name: name.into(),
            progress,
            folder,
            place: log.ring.end(),
            next: log.ring.head() + 1,
            log,
            pending_since: None,
            dirty_since: None,
            retry: None,
            pause: self.pause,
        };
        room.step(Instant::now(), self.sync, &self.metrics.history);
        self.rooms.push(room);
    }

    /// Writes until it is stopped.
    pub fn run(mut self) {
        loop {
            let stop = self.stop.load(Ordering::SeqCst);
            let now = Instant::now();
            if stop != GO_ON {
                return self.finish(now, stop == END);
            }
            // A sender is in `Stop` and in each log, so this does not spin.
            match self.step(now) {
                Some(due) => drop(self.woken.recv_deadline(due)),
                None => drop(self.woken.recv()),
            }
        }
    }

    /// Does what is due; when something is due next.
    pub fn step(&mut self, now: Instant) -> Option<Instant> {
        let (sync, counts) = (self.sync, &self.metrics.history);
        self.rooms.iter_mut().filter_map(|room| room.step(now, sync, counts)).min()
    }

    /// Writes the rest of each room, and that it is all.
    pub fn finish(&mut self, now: Instant, is_all: bool) {
        for room in &mut self.rooms {
            let result = room.finish(now, is_all, self.sync, &self.metrics.history);
            room.report(result, now, &self.metrics.history);
        }
    }
}

impl<F: Files> Room<F> {
    /// Does what is due at this time; when something is due next.
    fn step(&mut self, now: Instant, sync: HistorySync, counts: &HistoryCounts) -> Option<Instant> {
        if self.retry.is_some_and(|retry| now < retry) {
            return self.retry;
        }
        loop {
            let result = self.try_step(now, sync, counts);
            if self.report(result, now, counts) {
                self.progress.wake_at(NEVER);
                return self.retry;
            }
            let more = if self.pending_since.is_some() { WRITE_BYTES } else { 1 };
            self.progress.wake_at(self.place.bytes + more);
            // What came before that wakes nobody.
            if self.log.ring.end().bytes < self.place.bytes + more {
                let write = self.pending_since.map(|since| since + WRITE_DELAY);
                return write.into_iter().chain(self.sync_due(sync)).min();
            }
        }
    }

    fn try_step(
        &mut self,
        now: Instant,
        sync: HistorySync,
        counts: &HistoryCounts,
    ) -> io::Result<()> {
        if !self.folder.is_open() {
            self.write(&[], now, sync, counts)?;
            self.sync(sync, counts)?;
        }
        let pending = self.log.ring.end().bytes - self.place.bytes;
        if pending > 0 {
            let since = *self.pending_since.get_or_insert(now);
            if pending >= WRITE_BYTES || now >= since + WRITE_DELAY || self.retry.is_some() {
                self.catch_up(now, sync, counts)?;
            }
        }
        if self.sync_due(sync).is_some_and(|due| now >= due) {
            self.sync(sync, counts)?;
        }
        Ok(())
    }

    /// When the disk has to be asked to keep what was written.
    fn sync_due(&self, sync: HistorySync) -> Option<Instant> {
        match sync {
            HistorySync::Every(pause) => self.dirty_since.map(|since| since + pause),
            HistorySync::Always => self.dirty_since,
            HistorySync::Off => None,
        }
    }

    /// Writes all that the log has.
    fn catch_up(
        &mut self,
        now: Instant,
        sync: HistorySync,
        counts: &HistoryCounts,
    ) -> io::Result<()> {
        let end = self.log.ring.end();
        while self.place.entry < end.entry {
            let Lines { bytes, end, next, missing } = self.read();
            if !bytes.is_empty() {
                self.write(&bytes, now, sync, counts)?;
            }
            self.are_missing(missing, counts);
            (self.place, self.next) = (end, next);
            self.progress.has_read(end.bytes);
        }
        self.pending_since = None;
        Ok(())
    }

    /// The next entries, with a hole for what is gone.
    fn read(&self) -> Lines {
        let mut lines = Lines { bytes: Vec::new(), end: self.place, next: self.next, missing: 0 };
        let ring = &self.log.ring;
        let Some(chunk) = ring.chunk(self.place.entry) else {
            // It is gone. The next message that is there tells what is missing.
            let end = ring.end();
            lines.end = ring.find(self.next).unwrap_or(end);
            return lines;
        };
        for entry in chunk.entries((self.place.entry - chunk.start().entry) as usize) {
            let Some(seq) = entry.kind.seq() else { continue };
            // A message that is too long has no line. The next one tells that it is missing.
            let longest = self.folder.longest();
            if entry.text.len() as u64 > longest {
                continue;
            }
            let (start, gap) = (lines.bytes.len(), seq.saturating_sub(lines.next));
            if gap > 0 {
                format::hole(&mut lines.bytes, lines.next, seq - 1);
            }
            let message = lines.bytes.len();
            format::message(&mut lines.bytes, &entry);
            if (lines.bytes.len() - message) as u64 > longest {
                lines.bytes.truncate(start);
            } else {
                (lines.next, lines.missing) = (seq + 1, lines.missing + gap);
            }
        }
        lines.end = chunk.end();
        lines
    }

    /// Appends `lines`, in a new segment if they need one.
    fn write(
        &mut self,
        lines: &[u8],
        now: Instant,
        sync: HistorySync,
        counts: &HistoryCounts,
    ) -> io::Result<()> {
        if !self.folder.needs_new(lines.len()) {
            return self.append(lines, now, counts);
        }
        self.sync(sync, counts)?;
        self.folder.begin(self.next)?;
        let mut run = Vec::with_capacity(128 + lines.len());
        format::run(&mut run, self.log.epoch, self.next, milliseconds());
        run.extend_from_slice(lines);
        self.append(&run, now, counts)
    }

    fn append(&mut self, lines: &[u8], now: Instant, counts: &HistoryCounts) -> io::Result<()> {
        self.folder.append(lines)?;
        self.dirty_since.get_or_insert(self.pending_since.unwrap_or(now));
        counts.wrote(lines.len());
        Ok(())
    }

    fn sync(&mut self, sync: HistorySync, counts: &HistoryCounts) -> io::Result<()> {
        self.dirty_since = None;
        if sync != HistorySync::Off && self.folder.sync()? {
            counts.synced();
        }
        Ok(())
    }

    /// Writes the rest, and that it is all.
    fn finish(
        &mut self,
        now: Instant,
        is_all: bool,
        sync: HistorySync,
        counts: &HistoryCounts,
    ) -> io::Result<()> {
        self.catch_up(now, sync, counts)?;
        if is_all {
            let mut lines = Vec::new();
            let (next, head) = (self.next, self.log.ring.head());
            if head >= next {
                format::hole(&mut lines, next, head);
            }
            format::end(&mut lines, head + 1);
            self.write(&lines, now, sync, counts)?;
            self.are_missing(head + 1 - next, counts);
            self.next = head + 1;
        }
        self.sync(sync, counts)
    }

    /// The files say that so many messages before what is written next are missing.
    fn are_missing(&self, messages: u64, counts: &HistoryCounts) {
        if messages > 0 {
            counts.missed(messages);
            let path = self.folder.path().display();
            log::warn!("history of {}: {messages} messages are missing in {path}", self.name);
        }
    }

    /// Takes note of how it went. True if the room is at fault.
    fn report(&mut self, result: io::Result<()>, now: Instant, counts: &HistoryCounts) -> bool {
        let name = &self.name;
        match result {
            Ok(()) => {
                self.retry = None;
                if counts.recovered(name) {
                    log::info!("history of {name}: it is written to the disk again");
                }
                false
            }
            Err(error) => {
                self.retry = Some(now + self.pause);
                self.dirty_since = None;
                let path = self.folder.path().display();
                if counts.failed(name, error.to_string()) {
                    log::warn!(
                        "history of {name}: cannot write to {path}: {error}; the room goes on in \
                         memory, and the disk is tried every {} s",
                        self.pause.as_secs_f32()
                    );
                }
                true
            }
        }
    }
}

/// The time since 1970.
fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_millis() as u64
}
