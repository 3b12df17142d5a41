//! The entries of a log: a ring of chunks, bounded in bytes of memory.
//!
//! The hub alone appends. Anybody may take a chunk, which is shared and not copied, and read it
//! without holding up the hub. When the ring is full the oldest chunk goes. What nobody lacks who is
//! connected stays as history, as far as [`History`] says.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use crate::config::budget::{History, LogBounds};
use crate::history::chunk::{Chunk, Message, Position};
use crate::sync::{Mutex, MutexGuard};

/// The entries that a log still has.
#[derive(Debug)]
pub struct Ring {
    /// Names it among all rings there ever were.
    id: u64,
    /// What is kept, as far as there is memory.
    history: History,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bounds: LogBounds,
    chunks: VecDeque<Arc<Chunk>>,
    end: Position,
    /// The number of the last message.
    head: u64,
    memory: usize,
    /// Newcomers are given nothing before this entry.
    given_from: u64,
    /// The epoch of what comes next, if an engine has given it; else 0.
    epoch: u64,
    /// What was lost elsewhere, in the order in which that was found out.
    lost: Vec<Lost>,
}

/// Entries that were said, and then lost elsewhere: whoever comes later is given what is before and behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where they begin.
    pub start: Position,
    /// Where they end, and with them the epoch.
    pub end: Position,
}

/// A chunk takes entries up to so many bytes; a longer entry has a chunk to itself.
const CHUNK: usize = 16 * 1024;

impl Ring {
    /// An empty ring within these bounds, which keeps as much of this `history` as they allow.
    pub fn new(bounds: LogBounds, history: History) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed);
        let (chunks, end) = (VecDeque::new(), Position::default());
        let state = State {
            bounds,
            chunks,
            end,
            head: 0,
            memory: 0,
            given_from: 0,
            epoch: 0,
            lost: Vec::new(),
        };
        Ring { id, history, state: Mutex::new(state) }
    }

    /// Other bounds from now on. [`Ring::trim`] drops what is too much then.
    pub fn resize(&self, bounds: LogBounds) {
        self.lock().bounds = bounds;
    }

    /// Nothing is in it, and what comes next is appended at this place, behind the message with number
    /// `head`.
    pub fn begin(&self, end: Position, head: u64) {
        let mut state = self.lock();
        state.chunks.clear();
        (state.end, state.head, state.memory) = (end, head, 0);
    }

    /// What comes next is of this epoch, which an engine has given.
    pub fn set_epoch(&self, epoch: u64) {
        self.lock().epoch = epoch;
    }

    /// What comes next is behind the message with number `head`, and newcomers are given nothing from before:
    /// something is missing here.
    pub fn begin_anew(&self, head: u64) {
        let mut state = self.lock();
        (state.head, state.given_from) = (head, state.end.entry);
    }

    /// The messages behind the one with number `head` were lost elsewhere: their numbers come again, and newcomers
    /// are given those before alone. An entry that tells of it comes next.
    pub fn lose_behind(&self, head: u64) {
        let mut state = self.lock();
        if let Some(start) = state.find(head + 1) {
            let end = state.end;
            state.lost.push(Lost { start, end });
        }
        state.head = head;
    }

    /// The next of what was lost, for somebody who is before `entry`, and came before the entry `came` and after
    /// one that told of the loss.
    pub fn next_lost(&self, entry: u64, came: u64) -> Option<Lost> {
        let state = self.lock();
        let concerns = |lost: &&Lost| lost.end.entry > entry && lost.end.entry < came;
        state.lost.iter().filter(concerns).min_by_key(|lost| lost.start).copied()
    }

    /// All entries.
    pub fn chunks(&self) -> Vec<Arc<Chunk>> {
        self.lock().chunks.iter().cloned().collect()
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

    /// The number of the last message; 0 before the first.
    pub fn head(&self) -> u64 {
        self.lock().head
    }

    /// The place before the first message from number `seq` on. None: there is none yet.
    pub fn find(&self, seq: u64) -> Option<Position> {
        self.lock().find(seq)
    }

    /// The number of the first message that a newcomer may be given at this time, in milliseconds since
    /// 1970; one more than [`Ring::head`] if there is none.
    pub fn first(&self, now: u64) -> u64 {
        let state = self.lock();
        let history = state.bounds.history;
        let mut chunks = state.chunks.iter().filter(|chunk| history.has(&state, chunk, now));
        let is_kept = |message: &Message| history.has_message(state.head, message, now);
        let first = chunks.find_map(|chunk| state.given(chunk).find(is_kept));
        first.map_or(state.head + 1, |first| first.seq)
    }

    /// The number of the first message since this time, in milliseconds since 1970.
    pub fn first_since(&self, at: u64) -> Option<u64> {
        let state = self.lock();
        let mut chunks = state.chunks.iter();
        let found = chunks.find_map(|chunk| state.given(chunk).find(|message| message.at >= at));
        found.map(|message| message.seq)
    }

    /// When the last entry that is kept was appended, in milliseconds since 1970; 0 if none is.
    pub fn last_at(&self) -> u64 {
        self.lock().chunks.back().map_or(0, |chunk| chunk.last_at())
    }

    /// Appends the entries of `batch` from the `first` on, which follow on those that are here.
    pub fn append(&self, batch: &Chunk, first: usize) {
        let mut state = self.lock();
        debug_assert_eq!(batch.position(first), state.end, "there is one order");
        let mut next = first;
        while next < batch.len() {
            let most = CHUNK.min(state.bounds.size / 16);
            next = state.fill(batch, next, most);
        }
        state.end = batch.end();
        state.head = batch.last_message().unwrap_or(state.head);
    }

    /// The bounds that it has now.
    #[cfg(test)]
    pub fn bounds(&self) -> LogBounds {
        self.lock().bounds
    }

    /// Whether there is history that newcomers would be given if the ring had more memory. Once it is
    /// [forgotten](Ring::forget) there is none.
    pub fn wants_memory(&self) -> bool {
        let state = self.lock();
        let given = state.bounds.history.bytes;
        let oldest = state.chunks.front();
        given < self.history.bytes
            && oldest.is_some_and(|chunk| state.end.bytes - chunk.start().bytes > given)
    }

    /// Drops the oldest chunks until the rest is within the bounds.
    pub fn trim(&self) {
        let mut state = self.lock();
        while state.is_over() {
            state.drop_oldest();
        }
    }

    /// Drops the chunks all of whose entries were said before so many bytes, so that nobody lacks them,
    /// and that are not history any more at this time, in milliseconds since 1970.
    pub fn forget(&self, bytes: u64, now: u64) {
        let mut state = self.lock();
        let is_needed = |state: &State, chunk: &Arc<Chunk>| {
            chunk.end().bytes > bytes || self.history.has(state, chunk, now)
        };
        while state.chunks.front().is_some_and(|chunk| !is_needed(&state, chunk)) {
            state.drop_oldest();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    /// Whether a chunk has a message that a newcomer may be given.
    fn has(&self, state: &State, chunk: &Chunk, now: u64) -> bool {
        let is_near = state.end.bytes - chunk.start().bytes <= self.bytes;
        let last = state.given(chunk).next_back();
        is_near && last.is_some_and(|last| self.has_message(state.head, &last, now))
    }

    fn has_message(&self, head: u64, message: &Message, now: u64) -> bool {
        head - message.seq < self.messages && now.saturating_sub(message.at) <= self.age
    }
}

impl State {
    /// Whether the chunks take too much memory, and enough stays without the oldest.
    fn is_over(&self) -> bool {
        let LogBounds { size, keep, .. } = self.bounds;
        let second = self.chunks.get(1).map_or(self.end, |chunk| chunk.start());
        self.memory > size && self.end.bytes - second.bytes >= keep as u64
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.chunks.pop_front() else { return };
        self.memory -= oldest.memory();
        self.lost.retain(|lost| lost.end.entry > oldest.end().entry);
    }

    /// The messages of a chunk that newcomers are given, as far as they are young enough.
    fn given(&self, chunk: &Chunk) -> impl DoubleEndedIterator<Item = Message> {
        let is_given = chunk.start().entry >= self.given_from;
        let is_lost = |entry: u64| {
            let mut lost = self.lost.iter();
            lost.any(|lost| (lost.start.entry..lost.end.entry).contains(&entry))
        };
        chunk.messages().filter(move |message| is_given && !is_lost(message.entry))
    }

    /// The place before the first message from number `seq` on.
    fn find(&self, seq: u64) -> Option<Position> {
        let mut found = None;
        // From the end, since most lack little.
        for chunk in
            self.chunks.iter().rev().take_while(|chunk| chunk.start().entry >= self.given_from)
        {
            match self.given(chunk).find(|message| message.seq >= seq) {
                Some(first) => found = Some(chunk.before(first.entry)),
                None if self.given(chunk).next().is_some() => break,
                None => {}
            }
        }
        found
    }

    /// Puts entries of `batch`, from the `next` on, into the last chunk, or into a new one if they do
    /// not fit. Where the rest begins.
    fn fill(&mut self, batch: &Chunk, next: usize, most: usize) -> usize {
        let start = batch.position(next);
        let bytes = |entries: usize, since: Position| {
            (batch.position(entries).bytes - since.bytes) as usize
        };
        // A chunk that somebody reads cannot be added to.
        let (given_from, epoch) = (self.given_from, self.epoch);
        let last = self.chunks.back_mut().and_then(Arc::get_mut);
        let goes_on = |last: &&mut Chunk| last.start().entry >= given_from && last.epoch() == epoch;
        if let Some(last) = last.filter(goes_on) {
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
        let mut chunk = Chunk::in_epoch(start, epoch);
        chunk.extend(batch, next..end);
        self.memory += chunk.memory();
        self.chunks.push_back(Arc::new(chunk));
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::chunk::{Author, Entry, Kind, cost};
    use crate::testing::Rng;
    use crate::wire::tag::Tag;

    const LEFT: Kind = Kind::Left { count: 3, is_lost: true, is_told: false };

    const SIZE: usize = 40_000;
    const KEEP: usize = SIZE - SIZE / 4;
    const NO_HISTORY: History = History { messages: 0, age: 0, bytes: 0 };
    const BOUNDS: LogBounds =
        LogBounds { size: SIZE, keep: KEEP, lag: 0, in_flight: 0, history: NO_HISTORY };
    const LONGEST: usize = 5_000;

    fn ring_of(bounds: LogBounds) -> Ring {
        Ring::new(bounds, bounds.history)
    }

    /// Appends of all sizes against a list of everything: whatever is still there is what was appended,
    /// in order and without a gap; the rest is the oldest; and the memory is bounded and used.
    #[test]
    fn a_ring_is_the_end_of_the_list_of_all_entries() {
        for seed in 0..60 {
            let (mut dice, ring, mut all) = (Rng::new(seed), ring_of(BOUNDS), Vec::new());
            let mut held = None;
            while all.len() < 1500 {
                let mut batch = Chunk::new(ring.end());
                for _ in 0..=dice.roll(20) {
                    let longest = [10, 300, LONGEST][dice.roll(3)];
                    let text = format!("{} {}", all.len(), "t".repeat(dice.roll(longest)));
                    let kind = match dice.roll(5) {
                        0 => LEFT,
                        _ => Kind::Message { seq: all.len() as u64 + 1, n: dice.roll(3) as u64 },
                    };
                    let text = if kind == LEFT { String::new() } else { text };
                    let (at, num) = (all.len() as u64, dice.roll(9) as i64);
                    let name = ["", "", "Ana", "Żółw"][dice.roll(4)];
                    let tag = (!name.is_empty()).then_some(Tag(*b"abcdefgh"));
                    batch.push(Entry { kind, at, author: Author { num, tag, name }, text: &text });
                    all.push((kind, at, num, name, text));
                }
                let appended = dice.roll(batch.len());
                let mut first = Chunk::new(ring.end());
                first.extend(&batch, 0..appended);
                ring.append(&first, 0);
                ring.append(&batch, appended);
                ring.trim();
                // Now and then somebody reads the last chunk while more is appended.
                held = (dice.roll(2) == 0).then(|| ring.chunk(ring.end().entry - 1));
                check(&ring, &all);
            }
            drop(held);
        }
    }

    #[test]
    fn what_nobody_lacks_is_forgotten_chunk_by_chunk() {
        let ring = ring_of(BOUNDS);
        for n in 1..=20 {
            let mut batch = Chunk::new(ring.end());
            let kind = Kind::Message { seq: n, n: 0 };
            let author = Author::default();
            batch.push(Entry { kind, at: n, author, text: &"t".repeat(1000) });
            ring.append(&batch, 0);
        }
        ring.forget(10 * cost(1000) as u64, 20);
        assert!(ring.chunk(10).is_some() && ring.chunk(5).is_none());
        ring.forget(ring.end().bytes, 20);
        assert!(ring.chunk(19).is_none());
        assert_eq!(ring.lock().memory, 0);
        assert_eq!(ring.end().entry, 20);
    }

    /// A newcomer is given the last messages, within each of the bounds, and their number finds them.
    #[test]
    fn history_is_the_end_of_the_log_within_its_bounds() {
        let all = History { messages: 1000, age: 1000, bytes: 1 << 20 };
        for (history, first) in [
            (all, 1),
            (History { messages: 5, ..all }, 16),
            (History { age: 7, ..all }, 13),
            (NO_HISTORY, 21),
        ] {
            let ring = ring_of(LogBounds { size: 1 << 20, keep: 1 << 20, history, ..BOUNDS });
            for seq in 1..=20 {
                let mut batch = Chunk::new(ring.end());
                batch.push(Entry { kind: LEFT, at: seq, author: Author::default(), text: "" });
                let (kind, author) = (Kind::Message { seq, n: 0 }, Author::default());
                batch.push(Entry { kind, at: seq, author, text: &"t".repeat(1000) });
                ring.append(&batch, 0);
                ring.forget(ring.end().bytes, seq);
            }
            assert_eq!((ring.first(20), ring.head()), (first, 20), "{history:?}");
            for seq in first..=20 {
                let entry = ring.find(seq).expect("it is there").entry;
                assert_eq!(entry, 2 * seq - 1, "number {seq}");
                assert!(ring.chunk(entry).is_some());
            }
            assert_eq!(ring.find(21), None);
        }
    }

    #[test]
    fn history_of_bytes() {
        let history = History { messages: 1000, age: 1000, bytes: 40 * 1024 };
        let ring = ring_of(LogBounds { size: 1 << 20, keep: 1 << 20, history, ..BOUNDS });
        for seq in 1..=200 {
            let mut batch = Chunk::new(ring.end());
            let (kind, author) = (Kind::Message { seq, n: 0 }, Author::default());
            batch.push(Entry { kind, at: 0, author, text: &"t".repeat(1000) });
            ring.append(&batch, 0);
            ring.forget(ring.end().bytes, 0);
        }
        let kept = (201 - ring.first(0)) as usize * cost(1000);
        assert!((20 * 1024..=40 * 1024).contains(&kept), "{kept} bytes are kept");
    }

    /// Numbers that were lost are given again; who comes then is given the new ones, and who came before the old.
    #[test]
    fn what_was_lost_is_given_to_nobody_who_comes_later() {
        let history = History { messages: 1000, age: 1000, bytes: 1 << 20 };
        let ring = ring_of(LogBounds { size: 1 << 20, keep: 1 << 20, history, ..BOUNDS });
        let say = |numbers: std::ops::RangeInclusive<u64>, at: u64| {
            let mut batch = Chunk::new(ring.end());
            for seq in numbers {
                let (kind, author) = (Kind::Message { seq, n: 0 }, Author::default());
                batch.push(Entry { kind, at, author, text: "t" });
            }
            ring.append(&batch, 0);
        };
        let given = |came: u64| {
            let (mut entries, mut entry) = (Vec::new(), 0);
            while entry < came {
                match ring.next_lost(entry, came).filter(|lost| lost.start.entry <= entry) {
                    Some(lost) => entry = lost.end.entry,
                    None => {
                        entries.push(entry);
                        entry += 1;
                    }
                }
            }
            entries
        };
        let lose_behind = |head: u64| {
            ring.lose_behind(head);
            let mut batch = Chunk::new(ring.end());
            let kind = Kind::Moved { missed: None };
            batch.push(Entry { kind, at: 0, author: Author::default(), text: "" });
            ring.append(&batch, 0);
        };
        // From 0 on.
        say(1..=5, 1);
        lose_behind(3);
        // From 6 on.
        say(4..=5, 2);
        lose_behind(4);
        lose_behind(4);
        // From 10 on.
        say(5..=5, 3);
        let find = |seq| ring.find(seq).map(|place| place.entry);
        assert_eq!([3, 4, 5, 6].map(find), [Some(2), Some(6), Some(10), None]);
        assert_eq!((ring.first(3), ring.head(), ring.first_since(3)), (1, 5, Some(5)));
        assert_eq!(given(5), [0, 1, 2, 3, 4], "it came before that");
        assert_eq!(given(8), [0, 1, 2, 5, 6, 7]);
        assert_eq!(given(11), [0, 1, 2, 5, 6, 8, 9, 10]);
        lose_behind(2);
        // From 12 on.
        say(3..=3, 4);
        assert_eq!([2, 3, 4].map(find), [Some(1), Some(12), None]);
        assert_eq!(given(13), [0, 1, 11, 12]);
        assert_eq!(given(11), [0, 1, 2, 5, 6, 8, 9, 10], "it came before that");
        ring.forget(ring.end().bytes, 2000);
        assert_eq!((ring.first(2000), ring.head(), ring.next_lost(0, 13)), (4, 3, None));
    }

    fn check(ring: &Ring, all: &[(Kind, u64, i64, &str, String)]) {
        let end = ring.end();
        assert_eq!(end.entry, all.len() as u64);
        assert_eq!(
            end.bytes,
            all.iter().map(|entry| cost(entry.3.len() + entry.4.len()) as u64).sum::<u64>()
        );
        let memory = ring.lock().memory;
        assert!(memory <= SIZE + LONGEST, "{memory} bytes");
        let mut entry = (0..end.entry).find(|n| ring.chunk(*n).is_some()).expect("an entry");
        let kept: usize =
            all[entry as usize..].iter().map(|entry| cost(entry.3.len() + entry.4.len())).sum();
        assert!(entry == 0 || kept >= KEEP, "only {kept} bytes are left");
        assert!(ring.chunk(end.entry).is_none() && (0..entry).all(|n| ring.chunk(n).is_none()));
        while entry < end.entry {
            let chunk = ring.chunk(entry).expect("no gap");
            let first = (entry - chunk.start().entry) as usize;
            for there in chunk.entries(first) {
                let (kind, at, num, name, text) = &all[entry as usize];
                let tag = (!name.is_empty()).then_some(Tag(*b"abcdefgh"));
                let author = Author { num: *num, tag, name };
                let expected = Entry { kind: *kind, at: *at, author, text };
                assert_eq!(there, expected);
                entry += 1;
            }
        }
    }
}
