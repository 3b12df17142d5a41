//! Flow control: a room runs at the pace of its readers.
//!
//! Whoever wants to say something needs [`Credit`] for its bytes before the hub gets it. There is
//! credit as long as the bytes that the furthest reader lacks and those in flight fit the log.
//! Senders wait for more, in turns by bytes, and TCP slows their clients.
//!
//! A few readers may be nearly a whole log behind before anybody waits. When a crowd is behind, the
//! link is thin, and senders wait at once: people should read what was said a moment ago, not minutes
//! ago. [`Flow::look`] finds the readers to evict: those that take next to nothing while the room waits
//! for them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::config::budget::LogBounds;
use crate::history::Log;
use crate::history::chunk::Position;
use crate::history::pool::Need;
use crate::history::window::{STEP, STEPS, Window};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// How far readers may be behind, and the senders that wait for them.
pub struct Flow {
    /// Wakes whoever calls [`Flow::look`]: a sender has begun to wait for readers.
    wake: Box<dyn Fn() + Send + Sync>,
    /// What times are counted from.
    started: Instant,
    state: Mutex<State>,
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that the furthest reader lacks and that are on their way to the hub, at most.
    bound: u64,
    /// Of these, bytes on their way to the hub, so that the queue to it stays short.
    most_in_flight: u64,
    /// Bytes that were ever said.
    end: u64,
    said: Window,
    /// Clients that hear the room, those that keep up included.
    members: usize,
    readers: Vec<Option<Reader>>,
    free: Vec<usize>,
    behind: usize,
    /// The position of the furthest reader, or one before it.
    tail: u64,
    in_flight: u64,
    is_crowded: bool,
    waiting: BTreeMap<(u64, u64), Arc<Waiter>>,
    /// What comes from elsewhere waits until readers are far enough.
    is_held_elsewhere: bool,
    /// Numbers those who wait.
    last_waiter: u64,
    /// The next turns of those who say one thing at a time, where these are ahead of the others'.
    once: HashMap<IpAddr, u64>,
    /// The turn of whoever got credit last.
    turn: u64,
    /// The room ends: nobody waits any more.
    is_open: bool,
}

/// A reader that is behind.
#[derive(Debug)]
struct Reader {
    /// Bytes said before what it lacks.
    at: u64,
    since: Duration,
    taken: Window,
    taken_at: Option<Duration>,
}

/// A sender that waits.
#[derive(Debug)]
struct Waiter {
    bytes: u64,
    has_credit: AtomicBool,
    news: Condvar,
}

/// What a sender has said so far, for its turn. One for each sender.
#[derive(Debug, Default)]
pub struct Turn(u64);

/// Bytes that may be said in a room. Dropping it gives them back.
#[derive(Debug)]
pub struct Credit {
    log: Arc<Log>,
    bytes: u64,
}

/// The place of a reader that is behind. Dropping it says that it has caught up, or is gone.
#[derive(Debug)]
pub struct Lag {
    log: Arc<Log>,
    id: usize,
}

/// What [`Flow::look`] finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Readers that have to go.
    pub too_slow: Vec<usize>,
    /// Whether to look again soon, whatever happens.
    pub is_pressed: bool,
}

/// How often to look while senders wait.
pub const LOOK: Duration = Duration::from_millis(100);

/// How often a waiting sender looks whether its client is still there.
const STEADY: Duration = Duration::from_millis(500);

/// A line that a person types takes no more bytes.
const SHORT: u64 = 1024;

/// Readers that are behind by more than what they take in so long are part of a crowd.
const CROWD_LAG: Duration = Duration::from_millis(1500);
/// The least and the most that such a reader may be behind.
const CROWD_LEAST: u64 = 64 * 1024;
const CROWD_MOST: u64 = 512 * 1024;
/// A reader that took nothing for so long is no part of a crowd.
const ALIVE: Duration = Duration::from_secs(2);

/// Where the rest of the room keeps up: how long a reader may take next to nothing.
const PATIENCE: Duration = Duration::from_secs(3);
/// Next to nothing, in this time.
const NEXT_TO_NOTHING: u64 = 16 * 1024;
/// Where many are behind: an honest phone takes nothing for two seconds and more, sometimes four, when
/// its link loses packets and TCP waits to send them again.
const PATIENCE_WITH_CROWD: Duration = Duration::from_secs(7);
/// A reader goes that took less than this part of what readers took on average.
const PART: u64 = 16;

impl Flow {
    /// For a log within these bounds.
    pub fn new(bounds: LogBounds, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let flow = Flow { wake, started: Instant::now(), state: Mutex::default() };
        flow.resize(|_| bounds);
        flow
    }

    /// Other bounds from now on, which depend on the bytes that readers lack or that are on their way.
    pub fn resize(&self, bounds: impl FnOnce(u64) -> LogBounds) -> LogBounds {
        let mut state = self.lock();
        let bounds = bounds(state.used());
        (state.bound, state.most_in_flight) = (bounds.lag as u64, bounds.in_flight as u64);
        self.admit(&mut state);
        bounds
    }

    /// The log begins here, behind what it had before. Nobody reads it yet.
    pub fn begin_at(&self, end: Position) {
        let mut state = self.lock();
        (state.end, state.tail) = (end.bytes, end.bytes);
    }

    /// So many clients hear the room.
    pub fn set_members(&self, members: usize) {
        self.lock().members = members;
    }

    /// The log has been appended to: it ends here. The `credit` for that has done its work. Gives the
    /// place before which nobody lacks anything who is behind by now.
    pub fn appended(&self, end: Position, credit: Option<Credit>, now: Instant) -> u64 {
        let mut state = self.lock();
        let more = end.bytes - state.end;
        state.said.add(now.saturating_duration_since(self.started), more as usize);
        state.end = end.bytes;
        if let Some(credit) = credit {
            state.in_flight -= credit.forget();
        }
        self.update(&mut state, now);
        state.tail
    }

    /// Looks at all readers that are behind: whether senders have to wait, and which readers to evict.
    pub fn look(&self, now: Instant) -> Findings {
        let mut state = self.lock();
        self.update(&mut state, now);
        if state.behind == 0 {
            return Findings::default();
        }
        let is_held = !state.waiting.is_empty() || state.is_held_elsewhere;
        let used = state.used();
        // A crowd that is behind is no reason yet to close anybody.
        let is_full = used > state.bound / 4 * 3
            || is_held && used + state.first_waits_for() > state.bound
            || state.is_held_elsewhere;
        let mut too_slow = Vec::new();
        if is_full {
            let now = now.saturating_duration_since(self.started);
            too_slow = state.too_slow(now, state.bound / 2, is_held);
        }
        Findings { too_slow, is_pressed: is_full || is_held && state.is_crowded }
    }

    /// Nobody waits for credit any more: the room ends.
    pub fn open(&self) {
        let mut state = self.lock();
        state.is_open = true;
        self.admit(&mut state);
    }

    /// Counts anew how far behind the readers are, and lets in whom there is credit for.
    fn update(&self, state: &mut State, now: Instant) {
        state.find_tail();
        let now = now.saturating_duration_since(self.started);
        state.is_crowded = state.behind > 1 && state.is_a_crowd_behind(now, state.bound / 2);
        self.admit(state);
    }

    fn admit(&self, state: &mut State) {
        while let Some(first) = state.waiting.first_entry() {
            let bytes = first.get().bytes;
            if !self.fits(state, bytes) {
                return;
            }
            let Some(((turn, _), waiter)) = state.waiting.pop_first() else { return };
            state.turn = state.turn.max(turn);
            state.in_flight += bytes;
            waiter.has_credit.store(true, Ordering::Relaxed);
            waiter.news.notify_one();
        }
    }

    fn fits(&self, state: &State, bytes: u64) -> bool {
        state.is_open || !state.is_crowded && self.fits_log(state, bytes)
    }

    fn fits_log(&self, state: &State, bytes: u64) -> bool {
        let flight = state.in_flight + bytes;
        // The first on its way always may, so that the longest message gets through.
        (flight <= state.most_in_flight || state.in_flight == 0)
            && state.lacking() + flight <= state.bound
    }

    /// Whether so many more bytes from elsewhere fit into the log, whatever senders have credit for. If not,
    /// they wait.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let mut state = self.lock();
        let fits = state.is_open || state.behind == 0 || state.lacking() + bytes <= state.bound;
        state.is_held_elsewhere = !fits;
        fits
    }

    /// Bytes that were ever said.
    pub(super) fn end(&self) -> u64 {
        self.lock().end
    }

    /// Has somebody look soon which readers to evict.
    pub(super) fn wake(&self) {
        (self.wake)();
    }

    /// Bytes that are on their way to the hub.
    pub fn in_flight(&self) -> u64 {
        self.lock().in_flight
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Bytes that the furthest reader lacks.
    fn lacking(&self) -> u64 {
        // A reader may have taken what was appended a moment ago and is not counted in `end` yet.
        if self.behind == 0 { 0 } else { self.end.saturating_sub(self.tail) }
    }

    /// Bytes that the furthest reader lacks, or that are on their way.
    fn used(&self) -> u64 {
        self.lacking() + self.in_flight
    }

    fn first_waits_for(&self) -> u64 {
        self.waiting.first_key_value().map_or(0, |(_, waiter)| waiter.bytes)
    }

    fn find_tail(&mut self) {
        let furthest = self.readers.iter().flatten().map(|reader| reader.at).min();
        self.tail = furthest.unwrap_or(self.end);
    }

    /// Whether at least a quarter of the room, and at least two, are alive and further behind than
    /// people like.
    fn is_a_crowd_behind(&self, now: Duration, most: u64) -> bool {
        let steps = (ALIVE.as_millis() / STEP.as_millis()) as usize;
        let is_of_crowd = |reader: &&Reader| {
            // It took something when it fell behind. A flood may fill the log before it takes more.
            let taken_at = reader.taken_at.unwrap_or(reader.since);
            let is_alive = now.saturating_sub(taken_at) <= ALIVE;
            let time = ALIVE.min(now.saturating_sub(reader.since)).max(STEP / 2);
            let taken = reader.taken.sum(now, steps);
            let usual = taken * CROWD_LAG.as_millis() as u64 / time.as_millis() as u64;
            let lag = usual.clamp(CROWD_LEAST, CROWD_MOST).min(most);
            is_alive && self.end.saturating_sub(reader.at) > lag
        };
        let crowd = self.readers.iter().flatten().filter(is_of_crowd).count();
        crowd >= 2.max(self.members.div_ceil(4))
    }

    /// Whether all members are behind and none took anything lately, so that nobody is to blame whose last bytes
    /// went a moment sooner than the others'.
    fn is_link_down(&self, now: Duration) -> bool {
        let mut readers = self.readers.iter().flatten();
        let is_silent = |at: Option<Duration>| at.is_none_or(|at| now.saturating_sub(at) > ALIVE);
        self.behind >= self.members && readers.all(|reader| is_silent(reader.taken_at))
    }

    /// All readers that lack more than `lag` and took too little since they fell behind.
    fn too_slow(&self, now: Duration, lag: u64, is_held: bool) -> Vec<usize> {
        let is_crowd = self.behind > 1 && 4 * self.behind > self.members;
        if is_crowd && self.is_link_down(now) {
            return Vec::new();
        }
        let patience = if is_crowd { PATIENCE_WITH_CROWD } else { PATIENCE };
        // The present step comes on top.
        let steps = (patience.as_millis() / STEP.as_millis()) as usize - 1;
        debug_assert!(steps < STEPS);
        let behind = self.readers.iter().flatten();
        let by_them: u64 = behind.map(|reader| reader.taken.sum(now, steps)).sum();
        let keep_up = self.members.saturating_sub(self.behind) as u64;
        let members = self.members.max(self.behind).max(1) as u64;
        let usual = (by_them + keep_up * self.said.sum(now, steps)) / members;
        // Once the room waits, nothing is said that would tell what is usual.
        let least = match (is_crowd, is_held) {
            (true, _) => (usual / PART).max(u64::from(is_held && keep_up > 0)),
            (false, true) => NEXT_TO_NOTHING,
            (false, false) => (usual / PART).min(NEXT_TO_NOTHING),
        };
        let all = self.readers.iter().enumerate();
        all.filter_map(|(id, reader)| {
            let reader = reader.as_ref()?;
            let has_had_time = now.saturating_sub(reader.since) >= patience;
            let is_concerned = self.end.saturating_sub(reader.at) > lag;
            (is_concerned && has_had_time && reader.taken.sum(now, steps) < least).then_some(id)
        })
        .collect()
    }
}

impl Flow {
    /// The turn of somebody who says `bytes` from this `address` and has no turn of its own, since it comes
    /// for one message at a time. All at one address share a turn, or they would always be first.
    pub fn turn_of(&self, address: IpAddr, bytes: usize) -> Turn {
        let mut state = self.lock();
        let now = state.turn;
        // Whoever has not said more than others is as good as new.
        state.once.retain(|_, turn| *turn > now);
        let next = state.once.entry(address).or_insert(now);
        let turn = Turn(*next);
        *next += bytes as u64;
        turn
    }
}

impl Log {
    /// Waits until `bytes` may be said. They are counted as those of this `turn`'s sender. Every now and
    /// then `is_there` is asked, without a lock, whether waiting is of use; if it is not, there is no credit.
    pub fn credit(
        self: &Arc<Self>,
        bytes: usize,
        turn: &mut Turn,
        mut is_there: impl FnMut() -> bool,
    ) -> Option<Credit> {
        let (flow, bytes) = (&self.flow, bytes as u64);
        let mut state = flow.lock();
        // Before anybody waits for readers, they may lack half of all that there is memory for.
        while state.behind > 0 && state.used() + bytes > state.bound / 2 {
            let end = state.end;
            drop(state);
            let has_grown = self.grow(Need::Readers, end);
            state = flow.lock();
            if !has_grown {
                break;
            }
        }
        // A sender that is ahead of the others by a short line's bytes at most may say another although a crowd is
        // behind.
        let is_quiet = turn.0 <= state.turn + SHORT;
        let is_excepted = is_quiet && bytes <= SHORT && flow.fits_log(&state, bytes);
        let is_next = state.waiting.is_empty() && flow.fits(&state, bytes);
        let mine = turn.0.max(state.turn);
        turn.0 = mine + bytes;
        if is_next || is_excepted {
            state.in_flight += bytes;
            // An exception is no turn. If it were, a flood of short lines would always be excepted.
            if is_next {
                state.turn = mine;
            }
            return Some(Credit { log: self.clone(), bytes });
        }
        let waiter =
            Arc::new(Waiter { bytes, has_credit: AtomicBool::new(false), news: Condvar::new() });
        state.last_waiter += 1;
        let key = (mine, state.last_waiter);
        let is_first =
            state.waiting.insert(key, waiter.clone()).is_none() && state.waiting.len() == 1;
        flow.update(&mut state, Instant::now());
        if is_first && state.behind > 0 && !state.waiting.is_empty() {
            drop(state);
            (flow.wake)();
            state = flow.lock();
        }
        while !waiter.has_credit.load(Ordering::Relaxed) {
            state = match waiter.news.wait_timeout(state, STEADY) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
            if waiter.has_credit.load(Ordering::Relaxed) {
                break;
            }
            // Without the lock: whoever is asked may need a client's outbox, whose holder may need the lock.
            drop(state);
            let is_there = is_there();
            state = flow.lock();
            if !is_there && state.waiting.remove(&key).is_some() {
                flow.admit(&mut state);
                return None;
            }
        }
        Some(Credit { log: self.clone(), bytes })
    }

    /// A reader falls behind: it has the entries before `at`.
    pub fn lag(self: &Arc<Self>, at: Position) -> Lag {
        self.lag_at(at, self.flow.now())
    }

    fn lag_at(self: &Arc<Self>, at: Position, since: Duration) -> Lag {
        let mut state = self.flow.lock();
        let (taken, taken_at) = (Window::default(), None);
        let reader = Reader { at: at.bytes, since, taken, taken_at };
        state.tail = if state.behind == 0 { at.bytes } else { state.tail.min(at.bytes) };
        state.behind += 1;
        let id = match state.free.pop() {
            Some(id) => id,
            None => {
                state.readers.push(None);
                state.readers.len() - 1
            }
        };
        state.readers[id] = Some(reader);
        Lag { log: self.clone(), id }
    }
}

impl Credit {
    /// Adds what `other` is for, if there is another.
    pub fn join(self, other: Option<Credit>) -> Credit {
        let more = other.map_or(0, Credit::forget);
        let mut all = self;
        all.bytes += more;
        all
    }

    fn forget(mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let flow = &self.log.flow;
            let mut state = flow.lock();
            state.in_flight -= self.bytes;
            flow.admit(&mut state);
        }
    }
}

impl Lag {
    /// Names the reader in [`Findings`].
    pub fn id(&self) -> usize {
        self.id
    }

    /// The reader took `bytes`, and has the entries before `at` now.
    pub fn advance(&self, at: Position, bytes: usize) {
        self.advance_at(at, bytes, self.log.flow.now());
    }

    fn advance_at(&self, at: Position, bytes: usize, now: Duration) {
        if let Some(reader) = &mut self.log.flow.lock().readers[self.id] {
            reader.at = at.bytes;
            // Nothing is sent for a notice that its protocol does not have.
            if bytes > 0 {
                reader.taken.add(now, bytes);
                reader.taken_at = Some(now);
            }
        }
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        let flow = &self.log.flow;
        let mut state = flow.lock();
        state.readers[self.id] = None;
        state.free.push(self.id);
        state.behind -= 1;
        if !state.waiting.is_empty() {
            flow.update(&mut state, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
