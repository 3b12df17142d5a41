//! What this node is to the others, and what its threads and hubs share.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::engine::link::{Link, News};
use crate::engine::master::Master;
use crate::history::Log;
use crate::metrics::engine::EngineCounts;

/// How much of everything, and how long.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the engine is.
    pub to: Arc<Master>,
    /// Bytes of the log of a room in the engine.
    pub memory: usize,
    /// Messages of it that a node takes when it opens a room.
    pub history: usize,
    /// How old those may be.
    pub age: Duration,
    /// Entries of the greatest length for which the reader has memory.
    pub entries: usize,
    /// From so many messages a second on, the reader gathers some before it delivers them.
    pub fast: usize,
    /// How often this node shows that it lives.
    pub beat: Duration,
    /// A node that has not shown that it lives for so long is dead.
    pub lease: Duration,
}

/// This node.
pub struct Node {
    state: Mutex<State>,
    changed: Condvar,
    counter: AtomicU64,
    wake: Sender<()>,
    stopping: AtomicBool,
    /// How often the writer has connected.
    connections: AtomicU64,
    /// The engine cannot be reached: whoever only wants to know that need not wait for the lock.
    is_away: AtomicBool,
    /// Entries come fast.
    is_fast: AtomicBool,
    /// The reader has lost its connection, so the writer may have, too.
    suspicion: AtomicBool,
    secret: Box<dyn Fn([u8; 32]) + Send + Sync>,
    /// What is counted.
    pub counts: Arc<EngineCounts>,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    random: [u8; 8],
    /// How many it gave.
    salts: AtomicU64,
}

struct State {
    name: Arc<str>,
    lives: u64,
    feeds: Vec<Arc<Feed>>,
    /// Since when the engine cannot be reached; none if it can.
    down_since: Option<Instant>,
    /// With which of its words it has refused this node, as the log says; empty if it has not.
    refused_with: String,
}

/// A room of this node, as the reader sees it.
pub struct Feed {
    /// Its link.
    pub link: Arc<Link>,
    /// Its log here.
    pub log: Arc<Log>,
    deliver: Box<dyn Fn(News) + Send + Sync>,
    /// The writer's connection on which it was opened; 0 if none.
    pub(super) opened_on: AtomicU64,
    /// How far it was read; none before it is opened.
    pub(super) at: Mutex<Option<(u64, u64)>>,
}

/// Letters of a name.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl Node {
    /// A node with a name that is made of these `random` bytes. `secret` is told what tags are made with, and
    /// `up` whether the engine is reached; `clock` never goes back.
    /// The receiver is for the writer.
    pub fn new(
        random: [u8; 8],
        secret: impl Fn([u8; 32]) + Send + Sync + 'static,
        counts: Arc<EngineCounts>,
        clock: impl Fn() -> Instant + Send + Sync + 'static,
    ) -> (Arc<Node>, Receiver<()>) {
        counts.is_reached(false);
        let (wake, woken) = bounded(1);
        let state = State {
            name: name(random, 1),
            lives: 1,
            feeds: Vec::new(),
            down_since: Some(clock()),
            refused_with: String::new(),
        };
        let node = Node {
            state: Mutex::new(state),
            changed: Condvar::new(),
            counter: AtomicU64::new(0),
            wake,
            stopping: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            is_away: AtomicBool::new(true),
            is_fast: AtomicBool::new(false),
            suspicion: AtomicBool::new(false),
            secret: Box::new(secret),
            counts,
            clock: Box::new(clock),
            random,
            salts: AtomicU64::new(0),
        };
        (Arc::new(node), woken)
    }

    /// The time, by its clock.
    pub fn now(&self) -> Instant {
        (self.clock)()
    }

    /// A number below 2^20 that this node does not give again before it has given all, and that other nodes
    /// hardly give at the same time.
    pub(super) fn salt(&self) -> u64 {
        let mine =
            self.random.iter().fold(0, |salt, byte| (salt * 257 + u64::from(*byte)) % (1 << 20));
        // An odd step, so that all come.
        (mine + self.salts.fetch_add(1, Ordering::Relaxed) * 0x9_e377) % (1 << 20)
    }

    /// Its name among the nodes.
    pub fn name(&self) -> Arc<str> {
        self.lock().name.clone()
    }

    /// Adds a room. `deliver` gives its hub the news.
    pub fn add(
        &self,
        link: Arc<Link>,
        log: Arc<Log>,
        deliver: impl Fn(News) + Send + Sync + 'static,
    ) {
        let (opened_on, at) = (AtomicU64::new(0), Mutex::new(None));
        let feed = Feed { link, log, deliver: Box::new(deliver), opened_on, at };
        self.lock().feeds.push(Arc::new(feed));
        self.wake();
    }

    /// The room is dropped.
    pub fn remove(&self, link: &Arc<Link>) {
        self.lock().feeds.retain(|feed| !Arc::ptr_eq(&feed.link, link));
    }

    /// Waits until the room is open, for so long at most. False: the engine cannot be reached, or has not
    /// been for longer than `away`.
    pub fn wait_until_open(&self, link: &Arc<Link>, patience: Duration, away: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            let is_open = state
                .feeds
                .iter()
                .any(|feed| Arc::ptr_eq(&feed.link, link) && feed.position().is_some());
            let is_down = state.down_since.is_some_and(|since| self.now() - since > away);
            if is_open && !is_down {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || is_down || self.is_stopping() {
                return false;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// How long the engine could not be reached; none if it can.
    pub fn down_for(&self) -> Option<Duration> {
        if !self.is_away.load(Ordering::Relaxed) {
            return None;
        }
        self.lock().down_since.map(|since| self.now() - since)
    }

    /// The server stops: what waits is sent, and the others are told.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.tell();
        self.wake();
    }

    /// Waits until then, or until it stops.
    pub(super) fn rest_until(&self, then: Instant) {
        self.rest_unless(then, || false);
    }

    /// Waits until then, or until it stops, or until the writer has a new connection.
    pub(super) fn rest_until_connected(&self, then: Instant) {
        let connections = self.connections();
        self.rest_unless(then, || self.connections() != connections);
    }

    fn rest_unless(&self, then: Instant, is_over: impl Fn() -> bool) {
        let mut state = self.lock();
        while !self.is_stopping() && !is_over() {
            let left = then.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Whether entries come fast, as the reader counts.
    pub(super) fn is_fast(&self) -> bool {
        self.is_fast.load(Ordering::Relaxed)
    }

    pub(super) fn set_fast(&self, is_fast: bool) {
        self.is_fast.store(is_fast, Ordering::Relaxed);
    }

    /// Whether it stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// There is something for the writer.
    pub fn wake(&self) {
        // If it is full, the writer is about to look.
        let _ = self.wake.try_send(());
    }

    pub(super) fn has_connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.tell();
    }

    /// Wakes those who rest. With the lock, so that none of them is about to.
    fn tell(&self) {
        let _state = self.lock();
        self.changed.notify_all();
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Has the writer look whether its connection is good.
    pub(super) fn suspect(&self) {
        self.suspicion.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Whether the writer is to look, once.
    pub(super) fn is_suspicious(&self) -> bool {
        self.suspicion.swap(false, Ordering::Relaxed)
    }

    pub(super) fn next_counter(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn feeds(&self) -> Vec<Arc<Feed>> {
        self.lock().feeds.clone()
    }

    pub(super) fn learn(&self, secret: [u8; 32]) {
        (self.secret)(secret);
    }

    /// It was declared dead, and goes on as another.
    pub(super) fn rename(&self) {
        let mut state = self.lock();
        state.lives += 1;
        state.name = name(self.random, state.lives);
    }

    /// The engine is reached, and all rooms are open.
    pub(super) fn is_up(&self) {
        let was_down = self.lock().down_since.take();
        if let Some(since) = was_down {
            self.is_away.store(false, Ordering::Relaxed);
            self.counts.is_reached(true);
            log::info!("the engine is reached, after {:.1} s", (self.now() - since).as_secs_f32());
        }
        self.changed.notify_all();
    }

    /// A room was opened.
    pub(super) fn has_opened(&self) {
        self.changed.notify_all();
    }

    /// The engine, which is here, is not reached. One line, and one for whatever else it says itself.
    pub(super) fn is_down(&self, place: &impl fmt::Display, why: &str, is_first: bool) {
        let mut state = self.lock();
        let is_new = state.down_since.is_none() || is_first;
        if is_new {
            self.counts.is_reached(false);
        }
        let code = code(why);
        if is_new || code.is_some_and(|code| code != state.refused_with) {
            log::warn!("the engine {place} cannot be reached, and is tried again: {why}");
            state.refused_with = code.unwrap_or_default().to_owned();
        }
        state.down_since.get_or_insert_with(|| self.now());
        self.is_away.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    /// Gives the hub news; waits while its inbox is full.
    pub(super) fn deliver(&self, news: News) {
        (self.deliver)(news);
    }

    /// How far the room was read; none before it is open.
    pub(super) fn position(&self) -> Option<(u64, u64)> {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_position(&self, at: (u64, u64)) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

/// The word that an error of the engine begins with, such as WRONGPASS; none if it is not one of the engine.
fn code(why: &str) -> Option<&str> {
    why.split(' ').next().filter(|word| word.bytes().all(|byte| byte.is_ascii_uppercase()))
}

fn name(random: [u8; 8], lives: u64) -> Arc<str> {
    let letters = random.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    format!("{}.{lives}", letters.iter().collect::<String>()).into()
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("room", &self.link.room).finish_non_exhaustive()
    }
}
