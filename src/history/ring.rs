//! The entries of a log: a ring of chunks, bounded in bytes of memory.
//!
//! The hub alone appends. Anybody may take a chunk, which is shared and not copied, and read it
//! without holding up the hub. When the ring is full the oldest chunk goes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use crate::config::budget::LogBounds;
use crate::history::chunk::{Chunk, Position};
use crate::sync::{Mutex, MutexGuard};

/// The entries that a log still has.
#[derive(Debug)]
pub struct Ring {
    /// Names it among all rings there ever were.
    id: u64,
    /// Bytes of memory of all chunks, above which the oldest goes.
    size: usize,
    /// Bytes of entries, as [`Position::bytes`] counts them, that stay in any case.
    keep: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Arc<Chunk>>,
    end: Position,
    memory: usize,
}

/// A chunk takes entries up to so many bytes; a longer entry has a chunk to itself.
const CHUNK: usize = 16 * 1024;

impl Ring {
    /// An empty ring within these bounds.
    pub fn new(bounds: LogBounds) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed);
        let LogBounds { size, keep, .. } = bounds;
        Ring { id, size, keep: keep as u64, state: Mutex::default() }
    }

    /// Names the ring among all that there ever were.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The place behind the last entry.
    pub fn end(&self) -> Position {
        self.lock().end
    }

    /// The chunk that has this entry; none if it has gone, or has not come.
    pub fn chunk(&self, entry: u64) -> Option<Arc<Chunk>> {
        let state = self.lock();
        let behind = state.chunks.partition_point(|chunk| chunk.start().entry <= entry);
        let chunk = state.chunks.get(behind.checked_sub(1)?)?;
        (entry < chunk.end().entry).then(|| chunk.clone())
    }

    /// Appends the entries of `batch` from the `first` on, which follow on those that are here.
    pub fn append(&self, batch: &Chunk, first: usize) {
        let mut state = self.lock();
        debug_assert_eq!(batch.position(first), state.end, "there is one order");
        let mut next = first;
        while next < batch.len() {
            next = state.fill(batch, next, CHUNK.min(self.size / 16));
        }
        state.end = batch.end();
        while state.memory > self.size {
            let second = state.chunks.get(1).map(|chunk| chunk.start().bytes);
            if second.is_none_or(|start| state.end.bytes - start < self.keep) {
                return;
            }
            let oldest = state.chunks.pop_front();
            state.memory -= oldest.map_or(0, |chunk| chunk.memory());
        }
    }

    /// Drops the chunks all of whose entries were said before so many bytes: nobody lacks them.
    pub fn forget(&self, bytes: u64) {
        let mut state = self.lock();
        while let Some(oldest) = state.chunks.front().filter(|chunk| chunk.end().bytes <= bytes) {
            state.memory -= oldest.memory();
            state.chunks.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts entries of `batch`, from the `next` on, into the last chunk, or into a new one if they do
    /// not fit. Where the rest begins.
    fn fill(&mut self, batch: &Chunk, next: usize, most: usize) -> usize {
        let start = batch.position(next);
        let bytes = |entries: usize, since: Position| {
            (batch.position(entries).bytes - since.bytes) as usize
        };
        // A chunk that somebody reads cannot be added to.
        if let Some(last) = self.chunks.back_mut().and_then(Arc::get_mut) {
            let since = last.start();
            let end =
                (next..batch.len()).take_while(|n| bytes(n + 1, since) <= most).count() + next;
            let before = last.memory();
            if end > next {
                last.extend(batch, next..end);
                self.memory += last.memory() - before;
                return end;
            }
            last.shrink();
            self.memory -= before - last.memory();
        }
        let end = (next..batch.len()).take_while(|n| bytes(n + 1, start) <= most).count() + next;
        let end = end.max(next + 1);
        let mut chunk = Chunk::new(start);
        chunk.extend(batch, next..end);
        self.memory += chunk.memory();
        self.chunks.push_back(Arc::new(chunk));
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::chunk::{Entry, Kind, cost};
    use crate::testing::Rng;

    const SIZE: usize = 40_000;
    const KEEP: usize = SIZE - SIZE / 4;
    const BOUNDS: LogBounds = LogBounds { size: SIZE, keep: KEEP, lag: 0, in_flight: 0 };
    const LONGEST: usize = 5_000;

    /// Appends of all sizes against a list of everything: whatever is still there is what was appended,
    /// in order and without a gap; the rest is the oldest; and the memory is bounded and used.
    #[test]
    fn a_ring_is_the_end_of_the_list_of_all_entries() {
        for seed in 0..60 {
            let (mut dice, ring, mut all) = (Rng::new(seed), Ring::new(BOUNDS), Vec::new());
            let mut held = None;
            while all.len() < 1500 {
                let mut batch = Chunk::new(ring.end());
                for _ in 0..=dice.roll(20) {
                    let longest = [10, 300, LONGEST][dice.roll(3)];
                    let text = format!("{} {}", all.len(), "t".repeat(dice.roll(longest)));
                    let kind = match dice.roll(5) {
                        0 => Kind::Left,
                        _ => Kind::Message { seq: all.len() as u64 + 1 },
                    };
                    let text = if kind == Kind::Left { String::new() } else { text };
                    let (at, author) = (all.len() as u64, dice.roll(9) as i64);
                    batch.push(Entry { kind, at, author, text: &text });
                    all.push((kind, at, author, text));
                }
                let appended = dice.roll(batch.len());
                let mut first = Chunk::new(ring.end());
                first.extend(&batch, 0..appended);
                ring.append(&first, 0);
                ring.append(&batch, appended);
                // Now and then somebody reads the last chunk while more is appended.
                held = (dice.roll(2) == 0).then(|| ring.chunk(ring.end().entry - 1));
                check(&ring, &all);
            }
            drop(held);
        }
    }

    #[test]
    fn what_nobody_lacks_is_forgotten_chunk_by_chunk() {
        let ring = Ring::new(BOUNDS);
        for n in 1..=20 {
            let mut batch = Chunk::new(ring.end());
            let kind = Kind::Message { seq: n };
            batch.push(Entry { kind, at: 0, author: 0, text: &"t".repeat(1000) });
            ring.append(&batch, 0);
        }
        ring.forget(10 * cost(1000) as u64);
        assert!(ring.chunk(10).is_some() && ring.chunk(5).is_none());
        ring.forget(ring.end().bytes);
        assert!(ring.chunk(19).is_none());
        assert_eq!(ring.lock().memory, 0);
        assert_eq!(ring.end().entry, 20);
    }

    fn check(ring: &Ring, all: &[(Kind, u64, i64, String)]) {
        let end = ring.end();
        assert_eq!(end.entry, all.len() as u64);
        assert_eq!(end.bytes, all.iter().map(|entry| cost(entry.3.len()) as u64).sum::<u64>());
        let memory = ring.lock().memory;
        assert!(memory <= SIZE + LONGEST, "{memory} bytes");
        let mut entry = (0..end.entry).find(|n| ring.chunk(*n).is_some()).expect("an entry");
        let kept: usize = all[entry as usize..].iter().map(|entry| cost(entry.3.len())).sum();
        assert!(entry == 0 || kept >= KEEP, "only {kept} bytes are left");
        assert!(ring.chunk(end.entry).is_none() && (0..entry).all(|n| ring.chunk(n).is_none()));
        while entry < end.entry {
            let chunk = ring.chunk(entry).expect("no gap");
            let first = (entry - chunk.start().entry) as usize;
            for there in chunk.entries(first) {
                let (kind, at, author, text) = &all[entry as usize];
                let expected = Entry { kind: *kind, at: *at, author: *author, text };
                assert_eq!(there, expected);
                entry += 1;
            }
        }
    }
}
