//! The thread that hands to the engine what this node's clients do, one batch at a time.
//!
//! A batch that was cut off is sent again as it was, since the scripts pass over what they have taken. The
//! thread also shows that this node lives, and buries others that do not.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::Receiver;
use redis::{Cmd, Value};

use crate::engine::connection::{Connection, Fault, Script, list, number, odd, text, texts};
use crate::engine::entry::Raw;
use crate::engine::keys;
use crate::engine::link::{News, Snapshot};
use crate::engine::node::{Feed, Node, Settings};

/// Hands commands to the engine.
pub struct Writer {
    node: Arc<Node>,
    settings: Settings,
    woken: Receiver<()>,
    /// What tags are made with if the engine has no secret yet.
    secret: [u8; 32],
    /// Counts connections.
    connections: u64,
    /// The beats of the other nodes, and since when they have not changed.
    beats: HashMap<String, (String, Instant)>,
    next_beat: Instant,
    /// The mean size of what is said.
    mean: usize,
}

/// The pause after the first failure, which doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// How often a room that is open is marked as used, and its old messages dropped.
const TOUCH: Duration = Duration::from_secs(60);

/// A room in which nobody is stays for so long beyond the age of its history.
const IDLE: Duration = Duration::from_secs(3600);

/// Bytes of history that a node takes when it opens a room.
const HISTORY_BYTES: usize = 1 << 20;

/// Entries of a log that are kept in any case: more than all nodes can have under way.
const LEAST_KEPT: usize = 2000;

/// What an entry takes in the engine beside its text.
const ENTRY: usize = 96;

impl Writer {
    /// The writer of this node.
    pub fn new(
        node: Arc<Node>,
        settings: Settings,
        woken: Receiver<()>,
        secret: [u8; 32],
    ) -> Writer {
        let (beats, next_beat) = (HashMap::new(), Instant::now());
        Writer { node, settings, woken, secret, connections: 0, beats, next_beat, mean: 2 * ENTRY }
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
            self.node.is_down(&why, is_first);
            is_first = false;
            if started.elapsed() > LAST_PAUSE {
                pause = FIRST_PAUSE;
            }
            pause_for(&self.node, pause, false);
            pause = (2 * pause).min(LAST_PAUSE);
        }
    }

    /// Serves on one connection, until the node stops.
    fn serve(&mut self) -> Result<(), Fault> {
        let mut engine = Connection::open(&self.settings.to)?;
        self.learn_secret(&mut engine)?;
        self.connections += 1;
        self.node.has_connected();
        // Whoever could not be heard may live.
        for (_, since) in self.beats.values_mut() {
            *since = Instant::now();
        }
        self.next_beat = Instant::now();
        let mut touched = Instant::now();
        loop {
            let turn = self.turn(&mut engine);
            match turn {
                Ok(true) => {}
                // Whoever has emptied the engine has emptied it of this, too.
                Err(Fault::Epoch) => self.learn_secret(&mut engine)?,
                Ok(false) if self.node.is_stopping() => return self.part(&mut engine),
                Ok(false) => {
                    let _ = self.woken.recv_deadline(self.next_beat);
                }
                Err(Fault::Fenced) => self.start_anew(),
                Err(fault) => return Err(fault),
            }
            if touched.elapsed() > TOUCH {
                touched = Instant::now();
                self.node
                    .feeds()
                    .iter()
                    .for_each(|feed| feed.opened_on.store(0, Ordering::Relaxed));
            }
        }
    }

    /// Does what there is to do. False: there was nothing.
    fn turn(&mut self, engine: &mut Connection) -> Result<bool, Fault> {
        if self.node.is_suspicious() || Instant::now() >= self.next_beat {
            self.next_beat = Instant::now() + self.settings.beat;
            self.beat(engine)?;
        }
        let feeds = self.node.feeds();
        for feed in &feeds {
            if feed.opened_on.load(Ordering::Relaxed) != self.connections {
                self.open(engine, feed)?;
            }
        }
        self.node.is_up();
        let name = self.node.name();
        let keep = (self.settings.memory / self.mean).max(LEAST_KEPT);
        for feed in &feeds {
            let Some(present) = feed.link.present() else { continue };
            let keys = keys::of_room(&feed.link.room, &name);
            let mut cmd = engine.script(Script::Sync, &keys);
            cmd.arg(feed.link.epoch()).arg(&*name).arg(keep).arg(feed.link.sent());
            present.iter().for_each(|present| present.add_to(&mut cmd));
            match engine.call(&cmd) {
                Err(Fault::Epoch) => feed.opened_on.store(0, Ordering::Relaxed),
                answer => answer.map(|_| feed.link.was_said())?,
            }
        }
        let mut sent = Vec::new();
        let mut cmds: Vec<Cmd> = Vec::new();
        for feed in &feeds {
            let batch = feed.link.batch();
            let Some((last, _)) = batch.last() else { continue };
            let keys = keys::of_room(&feed.link.room, &name);
            let mut cmd = engine.script(Script::Publish, &keys);
            cmd.arg(feed.link.epoch()).arg(&*name).arg(keep);
            for (counter, command) in &batch {
                command.add_to(&mut cmd, *counter);
                self.mean = (self.mean * 31 + ENTRY + command.text.len()).div_ceil(32);
            }
            sent.push((feed, *last));
            cmds.push(cmd);
        }
        if cmds.is_empty() {
            return Ok(false);
        }
        let mut failed = None;
        for ((feed, last), answer) in sent.into_iter().zip(engine.call_all(&cmds)?) {
            match answer {
                Ok(answer) => took(feed, last, answer)?,
                Err(fault) => {
                    feed.opened_on.store(0, Ordering::Relaxed);
                    failed = failed.or(Some(fault));
                }
            }
        }
        failed.map_or(Ok(true), Err)
    }

    /// Opens a room, or goes on with it on this connection.
    fn open(&mut self, engine: &mut Connection, feed: &Arc<Feed>) -> Result<(), Fault> {
        let is_new = feed.position().is_none();
        let name = self.node.name();
        let (snapshot, taken) =
            open(engine, &self.settings, &name, feed, feed.link.epoch(), is_new)?;
        let Snapshot { epoch, pos, .. } = snapshot;
        feed.link.opened(epoch, taken, is_new.then_some(snapshot));
        if is_new {
            feed.set_position((epoch, pos));
            self.wake_reader(engine, &name)?;
        }
        if feed.link.taken(taken, (epoch, pos), Vec::new()) {
            feed.deliver(News::Settled);
        }
        feed.opened_on.store(self.connections, Ordering::Relaxed);
        self.node.has_opened();
        Ok(())
    }

    /// The reader waits for entries of the rooms that it knows; this is one more.
    fn wake_reader(&self, engine: &mut Connection, name: &str) -> Result<(), Fault> {
        let key = keys::wake(name);
        let mut add = redis::cmd("XADD");
        add.arg(&key).arg("MAXLEN").arg(1).arg("*").arg("w").arg("");
        let mut expire = redis::cmd("EXPIRE");
        expire.arg(&key).arg(86_400);
        engine.call_all(&[add, expire])?.into_iter().try_for_each(|answer| answer.map(drop))
    }

    /// Shows that this node lives, and looks after the others.
    fn beat(&mut self, engine: &mut Connection) -> Result<(), Fault> {
        let name = self.node.name();
        let keys = [keys::BEATS.into(), keys::GONE.into()];
        let mut cmd = engine.script(Script::Beat, &keys);
        cmd.arg(&*name);
        let mut answer = list(engine.call(&cmd)?)?.into_iter();
        let beats = texts(answer.next().ok_or_else(odd)?)?;
        let unburied = texts(answer.next().ok_or_else(odd)?)?;
        let now = Instant::now();
        let mut news: HashMap<String, String> =
            beats.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        news.remove(&*name);
        // One that the engine has forgotten, because it lost something, may be dead, too.
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
        for (who, beat) in dead {
            self.beats.remove(&who);
            let keys = [keys::BEATS.into(), keys::GONE.into(), keys::rooms(&who)];
            let mut cmd = engine.script(Script::Fence, &keys);
            cmd.arg(&who).arg(&beat);
            let answer = engine.call(&cmd)?;
            if answer == Value::Nil {
                continue;
            }
            let mut rooms = texts(answer)?;
            rooms.extend(self.node.feeds().iter().map(|feed| feed.link.room.clone()));
            rooms.sort_unstable();
            rooms.dedup();
            if !beat.is_empty() {
                log::warn!("node {who} does not live any more: its clients leave");
            }
            self.bury(engine, &who, &rooms)?;
        }
        for who in unburied {
            let mut members = redis::cmd("SMEMBERS");
            members.arg(keys::rooms(&who));
            let rooms = texts(engine.call(&members)?)?;
            self.bury(engine, &who, &rooms)?;
        }
        Ok(())
    }

    /// The clients of a node leave these rooms.
    fn bury(&self, engine: &mut Connection, who: &str, rooms: &[String]) -> Result<(), Fault> {
        let keep = (self.settings.memory / self.mean).max(LEAST_KEPT);
        for room in rooms {
            let mut cmd = engine.script(Script::Reap, &keys::of_room(room, who));
            cmd.arg(who).arg(keep).arg(room);
            engine.call(&cmd)?;
        }
        Ok(())
    }

    /// This node was declared dead, and its clients have left. It goes on as another one.
    fn start_anew(&mut self) {
        log::warn!("the other nodes took this one for dead: its clients have to come again");
        self.node.rename();
        for feed in self.node.feeds() {
            feed.link.fence();
            feed.opened_on.store(0, Ordering::Relaxed);
            feed.deliver(News::Fenced);
        }
        self.next_beat = Instant::now();
    }

    /// This node goes, in an orderly way.
    fn part(&mut self, engine: &mut Connection) -> Result<(), Fault> {
        let name = self.node.name();
        let mut members = redis::cmd("SMEMBERS");
        members.arg(keys::rooms(&name));
        let rooms = texts(engine.call(&members)?)?;
        self.bury(engine, &name, &rooms)?;
        let mut forget = redis::cmd("HDEL");
        forget.arg(keys::BEATS).arg(&*name);
        engine.call(&forget).map(drop)
    }

    fn learn_secret(&mut self, engine: &mut Connection) -> Result<(), Fault> {
        let hex: String = self.secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut set = redis::cmd("SETNX");
        set.arg(keys::SECRET).arg(hex);
        let mut get = redis::cmd("GET");
        get.arg(keys::SECRET);
        engine.call(&set)?;
        let hex = text(engine.call(&get)?)?;
        let mut secret = [0; 32];
        for (n, byte) in secret.iter_mut().enumerate() {
            let digits = hex.get(2 * n..2 * n + 2).ok_or_else(odd)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| odd())?;
        }
        // Should the engine lose it, it gets the same again.
        self.secret = secret;
        self.node.learn(secret);
        Ok(())
    }
}

/// The engine has taken a batch.
fn took(feed: &Feed, last: u64, answer: Value) -> Result<(), Fault> {
    let mut answer = list(answer)?.into_iter();
    let mut next = || answer.next().ok_or_else(odd);
    let (taken, pos) = (number(next()?)?, number(next()?)?);
    let known = texts(next()?)?.into_iter().map(|line| {
        let (counter, what) = line.split_once(' ').ok_or_else(odd)?;
        Ok((counter.parse().map_err(|_| odd())?, what.to_owned()))
    });
    let known = known.collect::<Result<Vec<_>, Fault>>()?;
    if feed.link.taken(taken.max(last), (feed.link.epoch(), pos), known) {
        feed.deliver(News::Settled);
    }
    Ok(())
}

/// Opens a room: how it is, and the counter of the last command that the engine took. With `is_all`, who is
/// in it and its history, too.
pub(super) fn open(
    engine: &mut Connection,
    settings: &Settings,
    name: &str,
    feed: &Feed,
    epoch: u64,
    is_all: bool,
) -> Result<(Snapshot, u64), Fault> {
    let room = &feed.link.room;
    let server = engine.server.clone();
    let mut cmd = engine.script(Script::Open, &keys::of_room(room, name));
    cmd.arg(server).arg(name).arg(room).arg(epoch).arg(u8::from(is_all)).arg(settings.history);
    cmd.arg(HISTORY_BYTES).arg((settings.age + IDLE).as_millis() as u64);
    cmd.arg(settings.age.as_millis() as u64);
    let mut answer = list(engine.call(&cmd)?)?.into_iter();
    let mut next = || answer.next().ok_or_else(odd);
    let (epoch, pos, seq, taken) =
        (number(next()?)?, number(next()?)?, number(next()?)?, number(next()?)?);
    let past = texts(next()?)?.into_iter().map(|line| {
        let (epoch, seq) = line.split_once(' ').ok_or_else(odd)?;
        Ok((epoch.parse().map_err(|_| odd())?, seq.parse().map_err(|_| odd())?))
    });
    let past = past.collect::<Result<Vec<_>, Fault>>()?;
    let members = texts(next()?)?;
    let mut history = list(next()?)?.into_iter().map(Raw::of).collect::<Result<Vec<_>, Fault>>()?;
    history.reverse();
    Ok((Snapshot { epoch, pos, seq, past, members, history }, taken))
}

/// Waits about so long, or until the node stops, or, with `for_writer`, until the writer has a new connection.
pub(super) fn pause_for(node: &Node, pause: Duration, for_writer: bool) {
    // Not all nodes at the same time.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let jitter = now.subsec_micros() % 1000;
    let until = Instant::now() + pause / 2 + pause * jitter / 2000;
    let connections = node.connections();
    let is_over = || node.is_stopping() || for_writer && node.connections() != connections;
    while Instant::now() < until && !is_over() {
        std::thread::sleep(Duration::from_millis(10).min(pause));
    }
}
