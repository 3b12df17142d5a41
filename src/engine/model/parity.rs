//! The engine in memory against the scripts in a real one: the same calls, right ones and wrong ones, are answered
//! in the same way, and write the same log.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;
use std::time::Duration;

use super::machine::ROOMS;
use super::memory::{Memory, State};
use super::real::{Real, say, set_clock};
use super::seeds;
use super::wire::{Network, Wire};
use crate::engine::calls::{Batch, Beats, Engine, News, Opening, Place, Reading, Secret};
use crate::engine::command::{Command, Kind, Present, Request, Who, wish};
use crate::engine::connection::{Connection, Fault};
use crate::engine::entry::Raw;
use crate::engine::keys;
use crate::testing::Rng;

const SEEDS: u64 = 12;
const CALLS: usize = 300;
const CROWD: usize = 256;
const NODES: [&str; 3] = ["a", "b", "c"];
const NAMES: [&str; 5] = ["Ana", "ana", "Bob", "阿明", "a name that is as long as names may be"];

#[test]
fn the_engine_in_memory_is_like_a_real_one() {
    let real = Real::start();
    let mut engine = real.connect();
    let mut tally = BTreeMap::new();
    let seeds = seeds(SEEDS);
    for seed in seeds.clone() {
        say(&mut engine, &["FLUSHALL"]);
        let mut pair = Pair::new(seed, engine);
        for call in 0..CALLS {
            pair.about = format!("SEED={seed}, call {call}");
            pair.call();
            pair.compare_logs(Some(40));
        }
        pair.compare_logs(None);
        for (what, count) in pair.tally {
            *tally.entry(what).or_insert(0) += count;
        }
        engine = pair.real;
    }
    println!("{tally:?}");
    // Refusals and entries of each kind are among the answers.
    if seeds.count() as u64 >= SEEDS {
        let kinds =
            ["j", "s", "r", "l", "p", "x", "d", "e", "fenced", "epoch", "known", "conflict"];
        for kind in kinds {
            assert!(tally.get(kind).is_some_and(|count| *count > 20), "{kind}: {tally:?}");
        }
    }
}

/// Both engines, and what those who call them know.
struct Pair {
    dice: Rng,
    real: Connection,
    memory: Wire,
    network: Rc<RefCell<Network>>,
    now: u64,
    keep: usize,
    /// More publish than a room remembers, and it is not emptied.
    is_crowded: bool,
    nodes: Vec<Node>,
    backup: Option<State>,
    servers: u64,
    /// The last entry of each room that was counted.
    seen: BTreeMap<&'static str, (u64, u64)>,
    /// Which call it is.
    about: String,
    tally: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Node {
    name: String,
    lives: u64,
    counter: u64,
    conns: u64,
    beat: u64,
    /// How it knows each room.
    rooms: [Known; 2],
    /// By which it was woken last, in memory and in a real one.
    woken: [String; 2],
}

#[derive(Default)]
struct Known {
    epoch: u64,
    pos: u64,
    taken: u64,
    /// Where it has read the log.
    read: (u64, u64),
    last: Vec<(u64, Command)>,
}

impl Pair {
    fn new(seed: u64, mut real: Connection) -> Pair {
        let dice = Rng::new(seed);
        let is_crowded = seed % 4 == 1;
        let keep = if seed % 2 == 0 { 30 } else { 1_000_000 };
        let network = Network::new(Memory::new(1_000_000), 0);
        let memory = Wire::open(&network).expect("it is there");
        real.named = Some("server 1".into());
        let node = |name: &str| Node {
            name: format!("{name}.1"),
            lives: 1,
            woken: ["0".into(), "0".into()],
            ..Node::default()
        };
        let nodes = NODES.map(node).into();
        let (now, servers, about) = (1_700_000_000_000, 1, String::new());
        let (backup, seen, tally) = (None, BTreeMap::new(), BTreeMap::new());
        Pair {
            dice,
            real,
            memory,
            network,
            now,
            keep,
            is_crowded,
            nodes,
            backup,
            servers,
            seen,
            about,
            tally,
        }
    }

    /// Asks both, and gives what both answer.
    #[track_caller]
    fn ask<R: Debug>(&mut self, ask: impl Fn(&mut dyn Engine) -> Result<R, Fault>) -> Option<R> {
        let (ours, theirs) = (ask(&mut self.memory), ask(&mut self.real));
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{}", self.about);
        match ours {
            Err(Fault::Fenced) => self.count("fenced"),
            Err(Fault::Epoch) => self.count("epoch"),
            _ => {}
        }
        ours.ok()
    }

    fn count(&mut self, what: &str) {
        *self.tally.entry(what.to_owned()).or_default() += 1;
    }

    /// Some time passes, and somebody asks something.
    fn call(&mut self) {
        self.now += match self.dice.roll(30) {
            0 if !self.is_crowded || self.dice.roll(4) == 0 => 700_000,
            1 if !self.is_crowded => 90_000_000,
            2..6 => 0,
            _ => self.dice.roll(3000) as u64,
        };
        if self.dice.roll(40) == 0 {
            self.now -= self.dice.roll(4_000_000) as u64;
        }
        set_clock(&mut self.real, self.now);
        self.network.borrow_mut().engine.now = self.now;
        let (node, room) = (self.dice.roll(NODES.len()), self.dice.roll(ROOMS.len()));
        match self.dice.roll(100) {
            0..12 => self.open(node, room),
            12..66 => self.publish(node, room),
            66..76 => self.sync(node, room),
            76..82 => self.beat(node),
            82..86 => self.fence(node),
            86..90 => self.reap(node, room),
            90..95 => self.read(node),
            95 => {
                let name = self.nodes[node].name.clone();
                self.ask(|engine| engine.wake(&name));
            }
            96 => {
                let name = self.nodes[node].name.clone();
                self.ask(|engine| engine.forget(&name));
            }
            97 => self.share_secret(),
            _ => self.harm(),
        }
    }

    fn open(&mut self, node: usize, room: usize) {
        let known = &self.nodes[node].rooms[room];
        let epoch = match self.dice.roll(12) {
            0 => 0,
            1 => known.epoch + self.dice.roll(5) as u64,
            2 => self.now + self.dice.roll(5000) as u64,
            _ => known.epoch,
        };
        let (salt, is_all) = (self.dice.roll(1 << 20) as u64, self.dice.roll(2) == 0);
        let history = [0, 1, 10, 1000][self.dice.roll(4)];
        let age = Duration::from_secs([5, 3600][self.dice.roll(2)]);
        let name = self.nodes[node].name.clone();
        let opening = Opening { room: ROOMS[room], node: &name, epoch, salt, is_all, history, age };
        let answer = self.ask(|engine| {
            let (mut snapshot, taken) = engine.open(&opening)?;
            snapshot.members.sort();
            Ok((snapshot, taken))
        });
        match answer {
            Some((snapshot, taken)) => {
                let known = &mut self.nodes[node].rooms[room];
                (known.epoch, known.pos, known.taken) = (snapshot.epoch, snapshot.pos, taken);
            }
            None if self.dice.roll(4) > 0 => self.start_anew(node),
            None => {}
        }
    }

    /// It was declared dead.
    fn start_anew(&mut self, node: usize) {
        let lives = self.nodes[node].lives + 1;
        let name = format!("{}.{lives}", NODES[node]);
        self.nodes[node] = Node { name, lives, woken: ["0".into(), "0".into()], ..Node::default() };
    }

    /// What it takes for the epoch of a room.
    fn epoch(&mut self, node: usize, room: usize) -> u64 {
        let epoch = self.nodes[node].rooms[room].epoch;
        if self.dice.roll(15) == 0 {
            (epoch + self.dice.roll(3) as u64).saturating_sub(1)
        } else {
            epoch
        }
    }

    fn publish(&mut self, node: usize, room: usize) {
        let epoch = self.epoch(node, room);
        let commands = match self.dice.roll(8) {
            // What was cut off is sent again as it was.
            0 if !self.nodes[node].rooms[room].last.is_empty() => {
                self.nodes[node].rooms[room].last.clone()
            }
            _ => match self.dice.roll(6) {
                0 if self.is_crowded => (0..CROWD).map(|_| self.crowded(node)).collect(),
                _ => (0..1 + self.dice.roll(8)).map(|_| self.numbered(node)).collect(),
            },
        };
        self.nodes[node].rooms[room].last.clone_from(&commands);
        let (name, keep) = (self.nodes[node].name.clone(), self.keep);
        let answer = self.ask(|engine| {
            let place = Place { room: ROOMS[room], node: &name, epoch, keep };
            let batch = Batch { place, commands: commands.clone() };
            engine.publish(&[batch])?.pop().expect("an answer")
        });
        let Some(taken) = answer else { return self.is_refused(node, room) };
        let known = &mut self.nodes[node].rooms[room];
        (known.pos, known.taken) = (taken.pos, taken.counter);
        for (_, what) in taken.known {
            self.count(if what == "-" { "conflict" } else { "known" });
        }
    }

    /// It mostly looks why.
    fn is_refused(&mut self, node: usize, room: usize) {
        if self.dice.roll(4) > 0 {
            self.open(node, room);
        }
    }

    fn numbered(&mut self, node: usize) -> (u64, Command) {
        let counter = match self.dice.roll(20) {
            // Other rooms have the counters between.
            0 => self.nodes[node].counter + 1 + self.dice.roll(5) as u64,
            1 => self.nodes[node].counter.saturating_sub(self.dice.roll(5) as u64).max(1),
            _ => self.nodes[node].counter + 1,
        };
        self.nodes[node].counter = self.nodes[node].counter.max(counter);
        (counter, self.command(node))
    }

    /// One of many publishes something, with a key of many.
    fn crowded(&mut self, node: usize) -> (u64, Command) {
        self.nodes[node].counter += 1;
        let n = self.dice.roll(500);
        let who = Who { mac: format!("addcrowd{n}"), tag: format!("~crowd{n:02}"), num: 0 };
        let key = [format!("key{}", self.dice.roll(3000)), "body0".into()];
        let name = format!("Person {}", self.dice.roll(1000));
        let name = wish(&name, str::to_lowercase, |name, n| format!("{name}·{n}"));
        let request = Request { key: Some(key), name };
        let command = Command {
            who: Some(Box::new(who)),
            text: "crowd".into(),
            request: Some(Box::new(request)),
            ..Command::of(Kind::Publish, 0)
        };
        (self.nodes[node].counter, command)
    }

    fn command(&mut self, node: usize) -> Command {
        let kind = match self.dice.roll(20) {
            0..5 => Kind::Join,
            5..12 => Kind::Say,
            12 => Kind::UseUp,
            13 | 14 => Kind::Rename,
            15 | 16 => Kind::Leave,
            _ => Kind::Publish,
        };
        let mut command = Command::of(kind, self.conn(node));
        match kind {
            Kind::Join => {
                self.nodes[node].conns += 1;
                command.conn = self.nodes[node].conns;
                command.who = Some(Box::new(self.who()));
                // It has waited for so long.
                command.n = [0, 5, 2000, 1_000_000][self.dice.roll(4)];
                let epoch = self.nodes[node].rooms[0].epoch;
                command.since = [0, 1, epoch.saturating_sub(1), epoch][self.dice.roll(4)];
                command.text = self.wish().into();
            }
            Kind::Say => {
                command.n = self.dice.roll(8) as u64;
                command.text = self.text().into();
            }
            Kind::UseUp => command.n = self.dice.roll(8) as u64,
            Kind::Rename => command.text = self.wish().into(),
            Kind::Leave => command.text = ["", "lost"][self.dice.roll(2)].into(),
            Kind::Publish => {
                let n = self.dice.roll(3);
                let (mac, tag, num) = (format!("add{n}"), format!("~pump{n}  "), 0);
                command.conn = 0;
                command.who = Some(Box::new(Who { mac, tag: tag.replace(' ', "x"), num }));
                command.text = self.text().into();
                let key = match self.dice.roll(3) {
                    0 => None,
                    _ => Some([
                        format!("key{}", self.dice.roll(90)),
                        format!("body{}", self.dice.roll(2)),
                    ]),
                };
                let name = if self.dice.roll(2) == 0 { String::new() } else { self.wish() };
                command.request = Some(Box::new(Request { key, name }));
            }
        }
        command
    }

    /// One of the last that came, or one that is not there.
    fn conn(&mut self, node: usize) -> u64 {
        let conns = self.nodes[node].conns;
        (conns + 1).saturating_sub(self.dice.roll(6) as u64)
    }

    fn who(&mut self) -> Who {
        let n = self.dice.roll(7);
        match n {
            // Of the tutorial's protocol.
            0 => Who { num: -7, ..Who::default() },
            // Who cannot come again.
            1 => {
                let n = self.dice.roll(1000);
                Who { mac: format!("{n:04x}"), tag: format!("~{n:07}"), num: n as i64 }
            }
            _ => Who { mac: format!("{n:032x}"), tag: format!("person0{n}"), num: 100 + n as i64 },
        }
    }

    fn wish(&mut self) -> String {
        let name = NAMES[self.dice.roll(NAMES.len())];
        match self.dice.roll(8) {
            0 => String::new(),
            // A name that nobody may choose, which the engine may have given before.
            1 => format!("person0{}", self.dice.roll(7)),
            _ => wish(name, str::to_lowercase, |name, n| format!("{name}·{n}")),
        }
    }

    fn text(&mut self) -> String {
        match self.dice.roll(60) {
            0..5 => String::new(),
            5..10 => "a\r\n$3\r\n\0\"quoted\" ' %d %s \\n".into(),
            10..15 => "明天見 🎉".into(),
            15 => "x".repeat(self.dice.roll(100_000)),
            _ => format!("text {}", self.dice.roll(1000)),
        }
    }

    fn sync(&mut self, node: usize, room: usize) {
        let epoch = self.epoch(node, room);
        let known = &self.nodes[node].rooms[room];
        let sent = if self.dice.roll(10) == 0 { known.taken + 1 } else { known.taken };
        let (name, keep) = (self.nodes[node].name.clone(), self.keep);
        let first = (self.nodes[node].conns + 1).saturating_sub(5);
        let mut present: Vec<Present> = Vec::new();
        for conn in first..first + 7 {
            let who = self.who();
            if self.dice.roll(2) == 0 || present.iter().any(|it| it.who.mac == who.mac) {
                continue;
            }
            let name = if who.mac.is_empty() { "" } else { NAMES[self.dice.roll(NAMES.len())] };
            let came = (epoch.saturating_sub(self.dice.roll(2) as u64), self.dice.roll(200) as u64);
            let n = self.dice.roll(8) as u64;
            let (name, fold) = (name.to_owned(), name.to_lowercase());
            present.push(Present { conn, who, n, name, fold, came });
        }
        let answer = self.ask(|engine| {
            let place = Place { room: ROOMS[room], node: &name, epoch, keep };
            engine.sync(&place, sent, &present)
        });
        if answer.is_none() {
            self.is_refused(node, room);
        }
    }

    fn beat(&mut self, node: usize) {
        let name = self.nodes[node].name.clone();
        let answer = self.ask(|engine| {
            let Beats { mut beats, mut unburied, secret } = engine.beat(&name)?;
            beats.sort();
            unburied.sort();
            Ok((beats, unburied, secret))
        });
        match answer {
            Some((beats, ..)) => {
                for node in &mut self.nodes {
                    let beat = beats.iter().find(|(name, _)| *name == node.name);
                    node.beat = beat.map_or(0, |(_, beat)| beat.parse().expect("a number"));
                }
            }
            None => self.start_anew(node),
        }
    }

    fn fence(&mut self, node: usize) {
        let Node { name, beat, .. } = &self.nodes[node];
        let beat = match self.dice.roll(4) {
            0 => String::new(),
            1 => (beat + 1).to_string(),
            _ => beat.to_string(),
        };
        let (name, rooms) = (name.clone(), ROOMS[self.dice.roll(2)..].iter());
        let rooms: Vec<String> = rooms.map(|room| (*room).to_owned()).collect();
        self.ask(|engine| {
            let rooms = engine.fence(&name, &beat, &rooms)?;
            Ok(rooms.map(|mut rooms| {
                rooms.sort();
                rooms
            }))
        });
    }

    fn reap(&mut self, node: usize, room: usize) {
        let name = self.nodes[node].name.clone();
        let rooms = self.ask(|engine| {
            let mut rooms = engine.rooms(&name)?;
            rooms.sort();
            Ok(rooms)
        });
        let is_there = rooms.is_some_and(|rooms| rooms.iter().any(|it| it == ROOMS[room]));
        if is_there || self.dice.roll(4) == 0 {
            let (keep, by_itself) = (self.keep, self.dice.roll(2) == 0);
            self.ask(|engine| engine.reap(ROOMS[room], &name, keep, by_itself));
        }
    }

    fn read(&mut self, node: usize) {
        let Node { name, rooms, woken, .. } = &self.nodes[node];
        let rooms = ROOMS.iter().zip(rooms).map(|(room, known)| (*room, known.read)).collect();
        let (count, block) = (1 + self.dice.roll(20), Duration::from_millis(1));
        let mut reading = Reading { node: name, woken: &woken[0], rooms, count, block };
        let ours = self.memory.read(&reading).expect("news");
        reading.woken = &woken[1];
        let theirs = self.real.read(&reading).expect("news");
        assert_eq!(ours.woken.is_some(), theirs.woken.is_some(), "{}", self.about);
        // What they are is compared in the logs.
        let ids = |news: &News| -> Vec<(usize, Vec<(u64, u64)>)> {
            let entries = news.entries.iter();
            entries.map(|(room, raw)| (*room, raw.iter().map(|raw| raw.id).collect())).collect()
        };
        assert_eq!(ids(&ours), ids(&theirs), "{}", self.about);
        let node = &mut self.nodes[node];
        for (place, id) in node.woken.iter_mut().zip([ours.woken, theirs.woken]) {
            *place = id.unwrap_or(std::mem::take(place));
        }
        for (room, entries) in ours.entries {
            node.rooms[room].read = entries.last().expect("an entry").id;
        }
    }

    fn share_secret(&mut self) {
        let byte = self.dice.roll(3) as u8;
        let since = [0, self.now - 1000, 1_700_000_000_000 + u64::from(byte)][self.dice.roll(3)];
        let secret = Secret { since, bytes: [byte + 0xa0; 32] };
        self.ask(|engine| engine.share_secret(&secret));
    }

    fn harm(&mut self) {
        match self.dice.roll(7) {
            // Another run, or another server.
            0 | 1 => {
                self.servers += 1;
                let server = format!("server {}", self.servers);
                self.network.borrow_mut().engine.server.clone_from(&server);
                self.real.named = Some(server);
            }
            _ if self.is_crowded => {}
            2 => {
                self.network.borrow_mut().engine.state = State::default();
                say(&mut self.real, &["FLUSHALL"]);
            }
            3 => {
                let room = ROOMS[self.dice.roll(ROOMS.len())];
                self.network.borrow_mut().engine.remove_log(room);
                say(&mut self.real, &["DEL", &keys::log(room)]);
            }
            4 => {
                self.backup = Some(self.network.borrow().engine.state.clone());
                say(&mut self.real, &["SAVE"]);
            }
            _ => {
                let Some(backup) = self.backup.clone() else { return };
                self.network.borrow_mut().engine.state = backup;
                say(&mut self.real, &["DEBUG", "RELOAD", "NOSAVE"]);
            }
        }
    }

    /// The last entries of the logs are the same, or all.
    #[track_caller]
    fn compare_logs(&mut self, last: Option<usize>) {
        for room in ROOMS {
            let count = last.unwrap_or(1_000_000);
            let words = ["XREVRANGE", &keys::log(room), "+", "-", "COUNT", &count.to_string()];
            let redis::Value::Array(theirs) = say(&mut self.real, &words) else {
                panic!("no list of entries");
            };
            let theirs: Vec<Raw> =
                theirs.into_iter().rev().map(|raw| Raw::of(raw).expect("an entry")).collect();
            let ours = self.network.borrow().engine.log(room, count);
            // Of those who are lost at once, all or none are compared, wherever the log was cut.
            let cut = ours.iter().take_while(|raw| is_lost(raw)).count();
            assert_eq!(ours.len(), theirs.len(), "{room}: {}", self.about);
            assert_eq!(told(&ours[cut..]), told(&theirs[cut..]), "{room}: {}", self.about);
            for raw in ours {
                let seen = self.seen.entry(room).or_default();
                if raw.id > *seen {
                    *seen = raw.id;
                    self.count(&raw.heads[..1]);
                }
            }
        }
    }
}

/// What a log says. In which order those are lost of whom a node does not say that they are here, nobody knows.
fn told(log: &[Raw]) -> Vec<(u64, u64, &str, &[u8])> {
    let runs = log.chunk_by(|one, other| is_lost(one) && is_lost(other));
    let told = runs.flat_map(|run| {
        let mut said: Vec<_> = run.iter().map(|raw| (&*raw.heads, &*raw.texts)).collect();
        said.sort();
        run.iter().zip(said).map(|(raw, (head, text))| (raw.id.0, raw.id.1, head, text))
    });
    told.collect()
}

fn is_lost(raw: &Raw) -> bool {
    raw.heads.starts_with("l ") && raw.texts == b"lost"
}
