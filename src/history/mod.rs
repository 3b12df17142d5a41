//! A room's log: messages and notices, in the one order of the room.
//!
//! The hub appends. Whoever reads has a [`Cursor`](crate::outbox::frames::Cursor) of its own: a client
//! that fell behind, and later whoever joins, resumes or follows. The log is bounded in bytes
//! ([`ring`]), and the room runs at the pace of its readers ([`flow`]), so that nobody who is
//! connected falls off its tail.

pub mod before;
pub mod chunk;
pub mod disk;
pub mod flow;
pub mod pool;
pub mod progress;
pub mod ring;
mod window;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crate::config::HAS_ENGINE;
use crate::config::budget::LogBounds;
use crate::history::before::Before;
use crate::history::chunk::Chunk;
use crate::history::flow::{Credit, Flow};
use crate::history::pool::{Need, Pool};
use crate::history::progress::Progress;
use crate::history::ring::Ring;
use crate::sync::{Mutex, MutexGuard};
use crate::wire::cursor::Epoch;

/// The log of one room.
#[derive(Debug)]
pub struct Log {
    epoch: Epoch,
    /// The epoch if an engine gives it; 0: it does not.
    moved: AtomicU64,
    /// What it continues.
    pub before: Before,
    /// The entries.
    pub ring: Ring,
    /// Who may add to them, and how far behind the readers are.
    pub flow: Flow,
    /// How far the disk has got with it, if it is kept there.
    disk: Option<Arc<Progress>>,
    pool: Arc<Pool>,
    /// Held while somebody is given a place in the log, so that memory is not taken from it meanwhile.
    places: Mutex<()>,
    /// The pool had no more to give for each [`Need`]. It is asked again once so many bytes have been said.
    asks_again: [AtomicU64; 2],
}

impl Log {
    /// An empty log, which has no memory until it is [occupied](Log::occupy). The history of a room that
    /// was declared goes last when the pool is short. `wake` has somebody call [`Flow::look`] soon.
    pub fn new(
        epoch: Epoch,
        pool: &Arc<Pool>,
        is_declared: bool,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        Log::make(epoch, pool, is_declared, Box::new(wake), Before::default(), None)
    }

    /// The log of a room that was declared, which goes on behind what is in `earlier` and is kept on the
    /// disk. It has as much of that as the pool has memory for.
    pub fn continuing(
        epoch: Epoch,
        pool: &Arc<Pool>,
        wake: impl Fn() + Send + Sync + 'static,
        earlier: &Ring,
        before: Before,
        disk: Arc<Progress>,
    ) -> Arc<Self> {
        let log = Log::make(epoch, pool, true, Box::new(wake), before, Some(disk));
        log.occupy();
        let chunks = earlier.chunks();
        let start = chunks.first().map_or(earlier.end(), |chunk| chunk.start());
        log.ring.begin(start, earlier.head());
        for chunk in &chunks {
            log.ring.append(chunk, 0);
            log.fit(chunk.end().bytes);
        }
        log.flow.begin_at(earlier.end());
        log
    }

    fn make(
        epoch: Epoch,
        pool: &Arc<Pool>,
        is_declared: bool,
        wake: Box<dyn Fn() + Send + Sync>,
        before: Before,
        disk: Option<Arc<Progress>>,
    ) -> Arc<Self> {
        let bounds = pool.bounds(0);
        let log = Arc::new(Log {
            epoch,
            moved: AtomicU64::new(0),
            before,
            ring: Ring::new(bounds, pool.most().history),
            flow: Flow::new(bounds, wake),
            disk,
            pool: pool.clone(),
            places: Mutex::new(()),
            asks_again: Default::default(),
        });
        pool.add(&log, is_declared);
        log
    }

    /// A log with these bounds.
    #[cfg(any(test, fuzzing))]
    pub fn alone(
        epoch: Epoch,
        bounds: LogBounds,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        let log = Log::new(epoch, &Pool::of_one(bounds), true, wake);
        log.occupy();
        log
    }

    /// Names this incarnation of the room in cursors.
    pub fn epoch(&self) -> Epoch {
        self.name(self.moved.load(Ordering::Relaxed))
    }

    /// The incarnation in which the entries of a chunk were said.
    pub fn epoch_of(&self, chunk: &Chunk) -> Epoch {
        self.name(chunk.epoch())
    }

    fn name(&self, epoch: u64) -> Epoch {
        match epoch {
            epoch if HAS_ENGINE && epoch > 0 => Epoch::from_number(epoch),
            _ => self.epoch,
        }
    }

    /// The log goes on in this epoch, which an engine gives.
    pub fn set_epoch(&self, epoch: u64) {
        self.moved.store(epoch, Ordering::Relaxed);
        self.ring.set_epoch(epoch);
    }

    /// Whether readers are far enough for something from elsewhere to be appended, if so many `bytes` are on
    /// their way already. If not, somebody looks soon for those to evict.
    pub fn has_room(&self, bytes: u64) -> bool {
        if self.flow.has_room(2 * bytes) {
            return true;
        }
        // Before anybody waits for readers, there may be more memory.
        while !self.flow.has_room(2 * bytes) && self.grow(Need::Readers, self.flow.end()) {}
        if self.flow.has_room(bytes) {
            return true;
        }
        self.flow.wake();
        false
    }

    /// Somebody comes into the room, which was empty. False if there is no memory for it.
    pub fn occupy(&self) -> bool {
        self.pool.occupy(self)
    }

    /// Nobody is in the room any more: its history may go when the memory is needed elsewhere.
    pub fn vacate(&self) {
        self.pool.vacate(self);
    }

    /// Whether there is nothing at this time, in milliseconds since 1970, that somebody who comes could
    /// be given, and nothing is on its way to the hub.
    pub fn is_empty(&self, now: u64) -> bool {
        // In this order: what arrives meanwhile is seen in one of the two.
        self.flow.in_flight() == 0 && self.ring.first(now) > self.ring.head()
    }

    /// What is in the log stays there for as long as this is held. For the hub, while it gives readers
    /// their places.
    pub fn hold(&self) -> MutexGuard<'_, ()> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the entries of `batch` from the `first` on, and forgets those that nobody lacks. Whoever
    /// lacks some of the entries before has to have a [`flow::Lag`]. For the hub alone, which
    /// [holds](Log::hold) the log until it has sent the batch.
    pub fn append(&self, batch: &Chunk, first: usize, credit: Option<Credit>, now: Instant) {
        self.ring.append(batch, first);
        let unneeded = self.flow.appended(batch.end(), credit, now);
        // Whoever keeps up has not been sent the batch yet.
        let mut unneeded = unneeded.min(batch.start().bytes);
        if let Some(disk) = &self.disk {
            disk.appended(batch.end().bytes);
            unneeded = unneeded.min(disk.read());
        }
        self.ring.forget(unneeded, batch.last_at());
        self.fit(batch.end().bytes);
    }

    /// Takes as much memory as there is for the history, and drops what is too much. So far the log goes
    /// to `end`.
    fn fit(&self, end: u64) {
        while self.ring.wants_memory() && self.grow(Need::History, end) {}
        self.ring.trim();
    }

    /// Asks for more memory. Whoever was refused it says something first; so far the log goes to `end`.
    fn grow(&self, need: Need, end: u64) -> bool {
        let asks_again = &self.asks_again[need as usize];
        if end < asks_again.load(Ordering::Relaxed) {
            return false;
        }
        let has_grown = self.pool.grow(self, need);
        if !has_grown {
            asks_again.store(end + ASKS_AFTER, Ordering::Relaxed);
        }
        has_grown
    }

    fn resize(&self, bounds: LogBounds) {
        self.ring.resize(bounds);
        self.flow.resize(|_| bounds);
    }

    /// Gives up history until it has the `size` that its readers need, or all of it if it is being read.
    /// The size that is left of that `before`.
    fn shrink(&self, before: usize, size: impl Fn(u64) -> usize) -> usize {
        let Ok(_places) = self.places.try_lock() else { return before };
        let mut left = before;
        let bounds = self.flow.resize(|needed| {
            left = size(needed).min(before);
            self.pool.bounds(left)
        });
        // Without anybody in the room, less may be left than messages would need.
        self.ring.resize(LogBounds { size: left, keep: bounds.keep.min(left), ..bounds });
        self.ring.trim();
        left
    }
}

/// Bytes that are said before the pool is asked again that had nothing to give.
const ASKS_AFTER: u64 = 64 * 1024;
