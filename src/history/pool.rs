//! Memory that the logs of all rooms share.
//!
//! Each room that somebody is in has so much of it that its longest messages get through. The rest is
//! lent: to logs whose readers are behind, and to those that have history to keep. When there is none
//! left, the log that was silent longest gives up its oldest history, one of a room that was declared
//! after all others.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use crate::config::budget::{LogBounds, Logs};
use crate::history::Log;
use crate::sync::{Mutex, MutexGuard};

/// The memory of all logs.
pub struct Pool {
    /// Bytes that the log of a room has in any case while somebody is in it.
    guaranteed: usize,
    /// Bytes that one log may have.
    most: usize,
    /// Bytes that are lent at a time.
    step: usize,
    bounds: Box<dyn Fn(usize) -> LogBounds + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Bytes that no log has.
    free: usize,
    leases: Vec<Lease>,
}

/// What a log has of the pool. It is given back once the log is gone.
#[derive(Debug)]
struct Lease {
    log: Weak<Log>,
    size: usize,
    /// Somebody is in its room, or it is a room that is always there.
    is_occupied: bool,
    /// Its history goes last.
    is_declared: bool,
}

/// What a log needs more memory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Its readers are behind: what others keep as history makes place.
    Readers,
    /// It has more history: that of rooms which have been [`SILENT`] makes place, but not that of a
    /// room that was declared for one of others.
    History,
}

/// A room that nobody has talked in for so long gives up its history for another one's.
pub const SILENT: Duration = Duration::from_secs(60);

impl Pool {
    /// The memory that the budget has for logs.
    pub fn new(logs: Logs) -> Arc<Self> {
        let Logs { total, guaranteed, most, .. } = logs;
        Pool::within(total, guaranteed, most, move |size| logs.bounds(size))
    }

    fn within(
        total: usize,
        guaranteed: usize,
        most: usize,
        bounds: impl Fn(usize) -> LogBounds + Send + Sync + 'static,
    ) -> Arc<Self> {
        let state = Mutex::new(State { free: total, leases: Vec::new() });
        let step = guaranteed.div_ceil(2);
        Arc::new(Pool { guaranteed, most, step, bounds: Box::new(bounds), state })
    }

    /// A pool for one log alone, which has these bounds.
    #[cfg(any(test, fuzzing))]
    pub fn of_one(bounds: LogBounds) -> Arc<Self> {
        Pool::within(bounds.size, bounds.size, bounds.size, move |_| bounds)
    }

    /// The bounds of a log of `size` bytes.
    pub(super) fn bounds(&self, size: usize) -> LogBounds {
        (self.bounds)(size)
    }

    /// The bounds of a log that has as much as it may.
    pub fn most(&self) -> LogBounds {
        self.bounds(self.most)
    }

    /// Has a log take part. It has no memory yet.
    pub(super) fn add(&self, log: &Arc<Log>, is_declared: bool) {
        let log = Arc::downgrade(log);
        self.lock().leases.push(Lease { log, size: 0, is_occupied: false, is_declared });
    }

    /// Somebody comes into the room of this log, which was empty. False if there is no memory for it.
    pub(super) fn occupy(&self, log: &Log) -> bool {
        let mut state = self.lock();
        let Some(mine) = state.find(log) else { return false };
        let missing = self.guaranteed.saturating_sub(state.leases[mine].size);
        if !self.free(&mut state, missing, mine, Need::Readers) {
            return false;
        }
        state.leases[mine].is_occupied = true;
        self.lend(&mut state, missing, mine, log);
        true
    }

    /// Nobody is in the room of this log any more. Its history may go as far as memory is needed.
    pub(super) fn vacate(&self, log: &Log) {
        let mut state = self.lock();
        if let Some(mine) = state.find(log) {
            state.leases[mine].is_occupied = false;
        }
    }

    /// More memory for this log. False if there is none.
    pub(super) fn grow(&self, log: &Log, need: Need) -> bool {
        let mut state = self.lock();
        let Some(mine) = state.find(log) else { return false };
        let more = self.step.min(self.most.saturating_sub(state.leases[mine].size));
        if more == 0 || !self.free(&mut state, more, mine, need) {
            return false;
        }
        self.lend(&mut state, more, mine, log);
        true
    }

    fn lend(&self, state: &mut State, more: usize, to: usize, log: &Log) {
        let State { free, leases } = state;
        *free -= more;
        leases[to].size += more;
        log.resize(self.bounds(leases[to].size));
    }

    /// Sees to it that so much is free, if need be at the cost of others.
    fn free(&self, state: &mut State, wanted: usize, mine: usize, need: Need) -> bool {
        if state.free >= wanted {
            return true;
        }
        for place in self.lenders(state, mine, need) {
            let Lease { log, size, is_occupied, .. } = &state.leases[place];
            let (Some(log), before) = (log.upgrade(), *size) else { continue };
            let least = if *is_occupied { self.guaranteed } else { 0 };
            let target = least.max(before.saturating_sub(wanted - state.free));
            let left = log.shrink(before, |needed| self.size_for(needed).max(target));
            state.leases[place].size = left;
            state.free += before - left;
            if state.free >= wanted {
                return true;
            }
        }
        false
    }

    /// Whose history may go for this log, in this order.
    fn lenders(&self, state: &State, mine: usize, need: Need) -> Vec<usize> {
        let said_last = |lease: &Lease| lease.log.upgrade().map_or(0, |log| log.ring.last_at());
        let is_mine_declared = state.leases[mine].is_declared;
        let silent_since = said_last(&state.leases[mine]).saturating_sub(SILENT.as_millis() as u64);
        let others = state.leases.iter().enumerate().filter(|(place, _)| *place != mine);
        let mut lenders: Vec<_> = others
            .filter(|(_, lease)| lease.size > if lease.is_occupied { self.guaranteed } else { 0 })
            .map(|(place, lease)| (lease.is_declared, said_last(lease), place))
            .filter(|(is_declared, last, _)| match need {
                Need::Readers => true,
                Need::History => *last <= silent_since && (is_mine_declared || !is_declared),
            })
            .collect();
        lenders.sort_unstable();
        lenders.into_iter().map(|(_, _, place)| place).collect()
    }

    /// The memory that a log needs whose readers lack so many bytes, or as many again. Whoever has less
    /// is given more, so two rooms do not take it from each other in turn.
    fn size_for(&self, needed: u64) -> usize {
        if needed == 0 { 0 } else { (5 * needed / 2) as usize }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { free, leases } = &mut *state;
        leases.retain(|lease| {
            let is_there = lease.log.strong_count() > 0;
            *free += if is_there { 0 } else { lease.size };
            is_there
        });
        state
    }
}

impl State {
    fn find(&self, log: &Log) -> Option<usize> {
        self.leases.iter().position(|lease| std::ptr::eq(lease.log.as_ptr(), log))
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::config::budget::History;
    use crate::history::chunk::{Author, Chunk, Entry, Kind, cost};
    use crate::history::flow::Lag;
    use crate::testing::Rng;
    use crate::wire::cursor::Epoch;

    const GUARANTEED: usize = 64 * 1024;
    const MOST: usize = 8 * GUARANTEED;
    const ALL: History = History { messages: u64::MAX, age: u64::MAX, bytes: 0 };

    fn pool(total: usize) -> Arc<Pool> {
        Pool::within(total, GUARANTEED, MOST, |size| {
            let bounds = LogBounds::new(size.max(GUARANTEED), 16 * 1024);
            LogBounds { history: History { bytes: bounds.history.bytes, ..ALL }, ..bounds }
        })
    }

    struct Room {
        log: Arc<Log>,
        seq: u64,
    }

    impl Room {
        fn new(pool: &Arc<Pool>, is_declared: bool) -> Self {
            Room { log: Log::new(Epoch::from_random(1), pool, is_declared, || {}), seq: 0 }
        }

        /// So many bytes are said at this time, in milliseconds.
        fn says(&mut self, bytes: usize, at: u64) {
            for _ in 0..bytes / 1024 {
                self.seq += 1;
                let mut batch = Chunk::new(self.log.ring.end());
                let kind = Kind::Message { seq: self.seq, n: 0 };
                batch.push(Entry { kind, at, author: Author::default(), text: &"t".repeat(1000) });
                self.log.append(&batch, 0, None, Instant::now());
            }
        }

        /// Bytes of messages that it has.
        fn kept(&self) -> usize {
            (1..=self.seq).rev().take_while(|seq| self.has(*seq)).count() * 1024
        }

        fn has(&self, seq: u64) -> bool {
            let place = self.log.ring.find(seq);
            place.is_some_and(|place| {
                self.log
                    .ring
                    .chunk(place.entry)
                    .is_some_and(|chunk| chunk.messages().any(|message| message.seq == seq))
            })
        }
    }

    const MINUTE: u64 = 60_000;

    #[test]
    fn history_grows_while_there_is_memory() {
        let pool = pool(2 * MOST);
        let mut room = Room::new(&pool, false);
        assert!(room.log.occupy());
        room.says(2 * MOST, MINUTE);
        assert!(room.kept() > MOST / 5 * 2 && room.kept() <= MOST, "{}", room.kept());
        let first = room.log.ring.first(MINUTE);
        assert!(room.seq - first > (MOST / 3 / 1024) as u64, "a newcomer is given a lot of it");
    }

    #[test]
    fn the_room_that_was_silent_longest_gives_up_its_history() {
        let pool = pool(MOST + 2 * GUARANTEED);
        let mut rooms: Vec<_> = (0..4).map(|n| Room::new(&pool, n == 0)).collect();
        for (at, room) in rooms.iter_mut().enumerate() {
            assert!(room.log.occupy());
            room.says(3 * GUARANTEED, at as u64);
        }
        let before: Vec<_> = rooms.iter().map(Room::kept).collect();
        // A talk that goes on at the same time is not at their cost.
        rooms[3].says(MOST, MINUTE / 2);
        assert_eq!(before[..3], rooms[..3].iter().map(Room::kept).collect::<Vec<_>>());
        rooms[3].says(2 * GUARANTEED, 2 * MINUTE);
        let after: Vec<_> = rooms.iter().map(Room::kept).collect();
        assert_eq!(before[0], after[0], "of a room that was declared");
        assert!(after[1] < before[1] && after[1] >= GUARANTEED / 2, "{after:?}");
        assert!(rooms[1].has(rooms[1].seq), "the oldest goes");
    }

    #[test]
    fn readers_who_are_behind_come_before_history() {
        let pool = pool(MOST + GUARANTEED);
        let (mut quiet, mut busy) = (Room::new(&pool, true), Room::new(&pool, false));
        assert!(quiet.log.occupy() && busy.log.occupy());
        quiet.says(2 * MOST, 0);
        let reader = busy.log.lag(busy.log.ring.end());
        for _ in 0..MOST / 2 / 1024 {
            let credit = busy.log.credit(cost(1000), &mut Default::default(), || false);
            assert!(credit.is_some());
            busy.says(1024, 1);
        }
        assert!(busy.has(1), "the reader lacks it");
        assert!(quiet.kept() < MOST / 2, "{}", quiet.kept());
        let used = busy.log.flow.resize(|used| {
            assert!(used as usize >= MOST / 2);
            pool.bounds(MOST)
        });
        assert_eq!(used.size, MOST);
        drop(reader);
    }

    #[test]
    fn a_room_has_what_its_longest_messages_need_or_is_not_made() {
        let pool = pool(2 * GUARANTEED);
        let mut rooms: Vec<_> = (0..3).map(|_| Room::new(&pool, false)).collect();
        assert!(rooms[0].log.occupy());
        rooms[0].says(2 * GUARANTEED, 0);
        assert!(rooms[1].log.occupy(), "at the cost of history");
        assert!(!rooms[2].log.occupy(), "there is no memory for it");
        rooms[0].log.vacate();
        assert!(rooms[2].log.occupy(), "nobody is in the first one");
        assert!(rooms[0].log.is_empty(0) && !rooms[0].log.occupy());
        assert_eq!(rooms[0].log.ring.head(), rooms[0].seq, "its numbers go on");
        drop(rooms.remove(1));
        assert!(rooms[0].log.occupy(), "the memory of a log that is gone");
    }

    /// Whatever the rooms do, no reader falls off, each room that is occupied has what it is guaranteed, and
    /// all together take no more than there is.
    #[test]
    fn random_rooms() {
        for seed in 0..30 {
            let (mut dice, total) = (Rng::new(seed), MOST + 4 * GUARANTEED);
            let pool = pool(total);
            let mut rooms: Vec<_> = (0..6).map(|n| Room::new(&pool, n == 0)).collect();
            let mut readers: Vec<(usize, u64, Lag)> = Vec::new();
            let mut occupied = [false; 6];
            for now in 0..400 {
                let n = dice.roll(6);
                let room = &mut rooms[n];
                match dice.roll(8) {
                    0 if !readers.iter().any(|(of, ..)| *of == n) && n > 0 => {
                        room.log.vacate();
                        occupied[n] = false;
                    }
                    1 if occupied[n] => {
                        let end = room.log.ring.end();
                        readers.push((n, room.seq + 1, room.log.lag(end)));
                    }
                    2 if !readers.is_empty() => {
                        drop(readers.swap_remove(dice.roll(readers.len())));
                    }
                    3 => {
                        occupied[n] |= room.log.occupy();
                    }
                    _ if occupied[n] => {
                        // As long as there would be credit for it.
                        for _ in 0..dice.roll(60) {
                            room.log.grow(Need::Readers, room.log.ring.end().bytes);
                            let (bounds, mut used) = (room.log.ring.bounds(), 0);
                            room.log.flow.resize(|bytes| {
                                used = bytes as usize;
                                bounds
                            });
                            if used + cost(1000) <= bounds.lag {
                                room.says(1024, now * MINUTE / 3);
                            }
                        }
                    }
                    _ => {}
                }
                for (n, first, _) in &readers {
                    let room = &rooms[*n];
                    assert!(*first > room.seq || room.has(*first), "seed {seed}");
                }
                let state = pool.lock();
                let lent: usize = state.leases.iter().map(|lease| lease.size).sum();
                assert_eq!(lent + state.free, total, "seed {seed}");
                for (lease, is_occupied) in state.leases.iter().zip(occupied) {
                    assert!(!is_occupied || lease.size >= GUARANTEED, "seed {seed}");
                }
            }
        }
    }
}
