//! The thread that hands to the engine what this node's clients do, one batch at a time.
//!
//! A batch that was cut off is sent again as it was, since the scripts pass over what they have taken. The
//! thread also shows that this node lives, and buries others that do not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::Receiver;

use crate::config::ENGINE_ENTRY;
use crate::engine::calls::{Batch, Beats, Engine, Opening, Place, Secret, Taken};
use crate::engine::command::{Command, Kind};
use crate::engine::connection::{Connection, Fault};
use crate::engine::link::{News, Snapshot};
use crate::engine::node::{Feed, Node, Settings};

/// Hands commands to the engine.
pub struct Writer {
    node: Arc<Node>,
    settings: Settings,
    woken: Receiver<()>,
    /// What tags are made with if the engine has no secret yet.
    secret: Secret,
    /// Counts connections.
    connections: u64,
    /// The beats of the other nodes, and since when they have not changed.
    beats: BTreeMap<String, (String, Instant)>,
    next_beat: Instant,
    /// When the rooms were last marked as used.
    touched: Instant,
    /// The mean sizes of what is said, and of the entries that follow from that.
    means: (usize, usize),
}

/// The pause after the first failure, which doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// How often a room that is open is marked as used, and its old messages dropped.
const TOUCH: Duration = Duration::from_secs(10);

/// Messages of a log that are kept in any case: more than all nodes can have under way.
const LEAST_KEPT: usize = 2000;

/// What an entry takes in the engine beside its heads and texts, and a head.
const ENTRY: usize = 32;
const HEAD: usize = 64;

impl Writer {
    /// The writer of this node.
    pub fn new(
        node: Arc<Node>,
        settings: Settings,
        woken: Receiver<()>,
        secret: [u8; 32],
    ) -> Writer {
        let now = node.now();
        Writer {
            node,
            settings,
            woken,
            secret: Secret { since: 0, bytes: secret },
            connections: 0,
            beats: BTreeMap::new(),
            next_beat: now,
            touched: now,
            means: (2 * (ENTRY + HEAD), 2 * (ENTRY + HEAD)),
        }
    }

    /// Serves until the node stops.
    pub fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut is_first = true;
        while !self.node.is_stopping() {
            let started = Instant::now();
            let Err(fault) = self.serve() else { return };
            let why = match fault {
                Fault::Lost(why) => why,
                Fault::Fenced | Fault::Epoch => "an unexpected answer".into(),
            };
            self.node.is_down(&*self.settings.to, &why, is_first);
            is_first = false;
            if started.elapsed() > LAST_PAUSE {
                pause = FIRST_PAUSE;
            }
            self.node.rest_until(end_of(pause));
            pause = (2 * pause).min(LAST_PAUSE);
        }
    }

    /// Serves on one connection, until the node stops.
    fn serve(&mut self) -> Result<(), Fault> {
        let mut engine = Connection::open(&self.settings.to)?;
        self.begin(&mut engine)?;
        loop {
            match self.step(&mut engine)? {
                true => {}
                false if self.node.is_stopping() => return self.part(&mut engine),
                false => drop(self.woken.recv_deadline(self.next_beat)),
            }
        }
    }

    /// Goes on on a new connection.
    pub(super) fn begin(&mut self, engine: &mut impl Engine) -> Result<(), Fault> {
        self.share_secret(engine)?;
        self.connections += 1;
        self.node.has_connected();
        let now = self.node.now();
        // Whoever could not be heard may live.
        for (_, since) in self.beats.values_mut() {
            *since = now;
        }
        (self.next_beat, self.touched) = (now, now);
        Ok(())
    }

    /// Does what there is to do, and what follows if that is refused. False: there was nothing.
    pub(super) fn step(&mut self, engine: &mut impl Engine) -> Result<bool, Fault> {
        let is_busy = match self.turn(engine) {
            // Whoever has emptied the engine has emptied it of this, too.
            Err(Fault::Epoch) => self.share_secret(engine).map(|()| true)?,
            Err(Fault::Fenced) => {
                self.start_anew("the other nodes took this one for dead");
                true
            }
            other => other?,
        };
        let now = self.node.now();
        if now - self.touched > TOUCH {
            self.touched = now;
            self.node.feeds().iter().for_each(|feed| feed.opened_on.store(0, Ordering::Relaxed));
        }
        Ok(is_busy)
    }

    /// Does what there is to do. False: there was nothing.
    fn turn(&mut self, engine: &mut impl Engine) -> Result<bool, Fault> {
        let now = self.node.now();
        if self.node.is_suspicious() || now >= self.next_beat {
            self.next_beat = now + self.settings.beat;
            self.beat(engine)?;
            // What was opened is heard by now, or the engine was emptied of it.
            for feed in self.node.feeds().iter().filter(|feed| feed.link.is_unheard()) {
                feed.opened_on.store(0, Ordering::Relaxed);
            }
        }
        let feeds = self.node.feeds();
        for feed in &feeds {
            let is_open = feed.opened_on.load(Ordering::Relaxed) == self.connections;
            if !is_open || feed.link.is_overtaken() {
                self.open(engine, feed)?;
            }
        }
        self.node.is_up();
        let name = self.node.name();
        let keep = self.keep();
        for feed in &feeds {
            let Some(present) = feed.link.present() else { continue };
            let (room, epoch) = (&*feed.link.room, feed.link.epoch());
            let place = Place { room, node: &name, epoch, keep };
            match engine.sync(&place, feed.link.sent(), &present) {
                Err(Fault::Epoch) => feed.opened_on.store(0, Ordering::Relaxed),
                answer => answer.map(|()| feed.link.was_said())?,
            }
        }
        let (mut sent, mut batches) = (Vec::new(), Vec::new());
        for feed in &feeds {
            let commands = feed.link.batch();
            let Some((last, _)) = commands.last() else { continue };
            for (_, command) in &commands {
                follow(&mut self.means.0, ENTRY + HEAD + command.text.len());
            }
            sizes(&commands).into_iter().for_each(|size| follow(&mut self.means.1, size));
            sent.push((feed, *last));
            let (room, epoch) = (&*feed.link.room, feed.link.epoch());
            batches.push(Batch { place: Place { room, node: &name, epoch, keep }, commands });
        }
        if batches.is_empty() {
            return Ok(false);
        }
        let mut failed = None;
        let asked = self.node.now();
        let answers = engine.publish(&batches)?;
        self.node.counts.published.took(self.node.now() - asked);
        for ((feed, last), answer) in sent.into_iter().zip(answers) {
            match answer {
                Ok(answer) => took(feed, last, answer),
                Err(fault) => {
                    feed.opened_on.store(0, Ordering::Relaxed);
                    failed = failed.or(Some(fault));
                }
            }
        }
        failed.map_or(Ok(true), Err)
    }

    /// Opens a room, or goes on with it on this connection.
    fn open(&mut self, engine: &mut impl Engine, feed: &Arc<Feed>) -> Result<(), Fault> {
        let is_new = feed.position().is_none();
        let name = self.node.name();
        let opening =
            opening(&self.settings, &self.node, &name, feed, feed.link.latest_epoch(), is_new);
        let (snapshot, taken) = engine.open(&opening)?;
        let Snapshot { epoch, pos, .. } = snapshot;
        feed.link.opened(epoch, taken, is_new.then_some(snapshot));
        if is_new {
            feed.set_position((epoch, pos));
            engine.wake(&name)?;
        }
        if feed.link.taken(taken, (epoch, pos), Vec::new()) {
            feed.deliver(News::Settled);
        }
        feed.opened_on.store(self.connections, Ordering::Relaxed);
        self.node.has_opened();
        Ok(())
    }

    /// Shows that this node lives, and looks after the others.
    fn beat(&mut self, engine: &mut impl Engine) -> Result<(), Fault> {
        let name = self.node.name();
        let Beats { beats, unburied, secret } = engine.beat(&name)?;
        if secret != Some(self.secret) {
            self.share_secret(engine)?;
        }
        let now = self.node.now();
        let mut news: BTreeMap<String, String> = beats.into_iter().collect();
        news.remove(&*name);
        // One that the engine has forgotten, because it lost something, may be dead, too.
        for who in self.node.feeds().iter().flat_map(|feed| feed.link.doubted()) {
            self.beats.entry(who).or_insert((String::new(), now));
        }
        self.beats.remove(&*name);
        for who in self.beats.keys() {
            news.entry(who.clone()).or_default();
        }
        let mut dead = Vec::new();
        for (who, beat) in news {
            let seen = self.beats.entry(who.clone()).or_insert_with(|| (beat.clone(), now));
            if seen.0 != beat {
                *seen = (beat, now);
            } else if now - seen.1 > self.settings.lease {
                dead.push((who, beat));
            }
        }
        let rooms: Vec<_> = self.node.feeds().iter().map(|feed| feed.link.room.clone()).collect();
        for (who, beat) in dead {
            self.beats.remove(&who);
            let Some(rooms) = engine.fence(&who, &beat, &rooms)? else { continue };
            if !beat.is_empty() {
                self.node.counts.reaped.add(1);
                log::warn!("node {who} does not live any more: its clients leave");
            }
            self.bury(engine, &who, &rooms)?;
        }
        for who in unburied {
            let rooms = engine.rooms(&who)?;
            self.bury(engine, &who, &rooms)?;
        }
        Ok(())
    }

    /// The clients of a node leave these rooms.
    fn bury(&self, engine: &mut impl Engine, who: &str, rooms: &[String]) -> Result<(), Fault> {
        let by_itself = *who == *self.node.name();
        rooms.iter().try_for_each(|room| engine.reap(room, who, self.keep(), by_itself))
    }

    /// How many entries of a log are kept.
    fn keep(&self) -> usize {
        let (said, entry) = self.means;
        self.settings.memory.max(LEAST_KEPT * said) / entry
    }

    /// The clients of this node have left. It goes on as another one.
    fn start_anew(&mut self, why: &str) {
        self.node.counts.fenced.add(1);
        log::warn!("{why}: its clients have to come again");
        let was = self.node.name();
        self.node.rename();
        for feed in self.node.feeds() {
            feed.opened_on.store(0, Ordering::Relaxed);
            if feed.position().is_some() {
                feed.link.fence();
                feed.deliver(News::Fenced(was.clone()));
            }
        }
        self.next_beat = self.node.now();
    }

    /// This node goes, in an orderly way.
    fn part(&mut self, engine: &mut impl Engine) -> Result<(), Fault> {
        let name = self.node.name();
        let rooms = engine.rooms(&name)?;
        self.bury(engine, &name, &rooms)?;
        engine.forget(&name)
    }

    fn share_secret(&mut self, engine: &mut impl Engine) -> Result<(), Fault> {
        // Should the engine lose it, it gets the same again.
        let secret = engine.share_secret(&self.secret)?;
        let is_another = self.secret.since > 0 && self.secret.bytes != secret.bytes;
        self.secret = secret;
        self.node.learn(secret.bytes);
        if is_another {
            // Its clients are others by now than those of the nodes that had the engine before it was emptied.
            let parted = self.part(engine);
            // Though nobody may know whether they have left under its old name.
            self.start_anew("the other nodes make tags with another secret");
            parted?;
        }
        Ok(())
    }
}

/// The engine has taken a batch.
fn took(feed: &Feed, last: u64, Taken { counter, pos, known }: Taken) {
    if feed.link.taken(counter.max(last), (feed.link.epoch(), pos), known) {
        feed.deliver(News::Settled);
    }
}

/// A mean follows what comes.
fn follow(mean: &mut usize, size: usize) {
    *mean = (*mean * 31 + size).div_ceil(32);
}

/// The sizes of the entries that follow from commands, about.
fn sizes(commands: &[(u64, Command)]) -> Vec<usize> {
    let (mut sizes, mut shared): (Vec<usize>, _) = (Vec::new(), 0);
    for (_, command) in commands {
        let is_said = matches!(command.kind, Kind::Say | Kind::Publish);
        let size = HEAD + command.text.len();
        match sizes.last_mut().filter(|_| is_said && shared > 0 && shared + size <= ENGINE_ENTRY) {
            Some(last) => *last += size,
            None => sizes.push(ENTRY + size),
        }
        shared = match (is_said, sizes.last()) {
            (true, Some(last)) => last - ENTRY,
            _ => 0,
        };
    }
    sizes
}

/// How a node opens a room. With `is_all`, it wants to know who is in it and its history, too.
pub(super) fn opening<'a>(
    settings: &Settings,
    node: &Node,
    name: &'a str,
    feed: &'a Feed,
    epoch: u64,
    is_all: bool,
) -> Opening<'a> {
    let Settings { history, age, .. } = *settings;
    let (room, salt) = (&*feed.link.room, node.salt());
    Opening { room, node: name, epoch, salt, is_all, history, age }
}

/// The end of a pause of about this length: not all nodes come back at the same time.
pub(super) fn end_of(pause: Duration) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let jitter = now.subsec_micros() % 1000;
    Instant::now() + pause / 2 + pause * jitter / 2000
}
