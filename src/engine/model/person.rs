//! Somebody who talks, and checks each frame that it is sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::Value;

use super::machine::{Machine, ROOMS};
use super::memory::Memory;
use crate::history::chunk;
use crate::net::slots::ConnId;
use crate::outbox::Outbox;
use crate::outbox::encoding::Encoding;
use crate::outbox::fuzz_target::{BOUNDS, RESPONSE, Socket, flush_all};
use crate::room::event::{Event, Farewell, Moment, Newcomer};
use crate::room::hello::Hello;

pub struct Person {
    index: usize,
    pub room: usize,
    /// One of the tutorial's protocol, who hears nothing that it could check.
    pub is_number: bool,
    /// What it says is long.
    is_wordy: bool,
    /// Its name on the page changes.
    name: String,
    said: u64,
    /// The numbers of its messages of which it does not know yet that they were accepted.
    pub waiting: VecDeque<u64>,
    cursor: Option<(String, u64)>,
    /// What it has heard, without a gap that it was not told of.
    pub view: BTreeMap<u64, String>,
    /// Its own messages that have to be there, since it was told of no loss.
    pub kept: BTreeSet<String>,
    /// All of which it was told that they are there.
    pub accepted: BTreeSet<String>,
    pub conn: Option<Conn>,
    /// What it was told that it missed, but for numbers.
    pub losses: u64,
    pub missed: u64,
}

pub struct Conn {
    pub machine: usize,
    /// Which machine there.
    pub life: u64,
    pub id: ConnId,
    socket: Arc<Socket>,
    outbox: Arc<Outbox<Arc<Socket>>>,
    read: usize,
    is_greeted: bool,
    /// How many of those that wait it has sent on this connection.
    sent: usize,
    /// Who is here, as it was told: tags and names.
    pub here: BTreeMap<String, String>,
}

/// A connection that is over, of which the hub has not heard yet.
pub struct Gone {
    pub machine: usize,
    pub life: u64,
    pub event: Event<Arc<Socket>>,
}

impl Person {
    pub fn new(index: usize, is_wordy: bool) -> Person {
        Person {
            index,
            room: index % ROOMS.len(),
            is_number: index % 5 == 4,
            is_wordy,
            name: format!("Person {index}"),
            said: 0,
            waiting: VecDeque::new(),
            cursor: None,
            view: BTreeMap::new(),
            kept: BTreeSet::new(),
            accepted: BTreeSet::new(),
            conn: None,
            losses: 0,
            missed: 0,
        }
    }

    pub fn me(&self) -> [u8; 16] {
        [self.index as u8 + 1; 16]
    }

    fn text(&self, n: u64) -> String {
        let padding = if self.is_wordy { n as usize * 37 % 900 } else { 0 };
        format!("{} says {n}{:padding$}", self.index, "")
    }

    pub fn joins(&mut self, machine: &mut Machine, index: usize, life: u64) {
        let room = machine.rooms[self.room].clone();
        let encoding = if self.is_number { Encoding::Tutorial } else { Encoding::Roomd1 };
        let socket = Socket::generous(None);
        let outbox = Outbox::new(socket.clone(), encoding, RESPONSE.to_vec(), BOUNDS);
        outbox.open();
        let id = machine.next_conn();
        let who = match self.is_number {
            true => Newcomer::Number(id as i64 * 3 + index as i64 + 1000 * life as i64),
            false => Newcomer::Person(Box::new(Hello {
                identity: machine.identify(ROOMS[self.room], &self.me()),
                name: Some(self.name.clone()),
                since: self.cursor.as_ref().map(|(epoch, seq)| format!("{epoch}.{seq}")),
                history: 1000,
                who: true,
                hear: true,
            })),
        };
        let at = Moment::now();
        let _ =
            machine.events.send(Event::Join { room, conn: id, who, outbox: outbox.clone(), at });
        let (read, here) = (RESPONSE.len(), BTreeMap::new());
        let is_greeted = self.is_number;
        self.conn = Some(Conn {
            machine: index,
            life,
            id,
            socket,
            outbox,
            read,
            is_greeted,
            sent: 0,
            here,
        });
    }

    /// Its connection is over, with a goodbye or without.
    pub fn goes(&mut self, room: u64, is_lost: bool) -> Option<Gone> {
        let Conn { machine, life, id, socket, .. } = self.conn.take()?;
        let is_over = socket.half_closed.load(Ordering::Relaxed) > 0
            || socket.cut.load(Ordering::Relaxed) > 0;
        if is_lost {
            *socket.is_broken.lock().expect("no panic") = true;
        }
        let frames = (!is_lost && !is_over).then(|| vec![0x88, 2, 3, 232]);
        let farewell = Farewell { frames, is_lost };
        let event = Event::Leave { room, conn: id, farewell };
        Some(Gone { machine, life, event })
    }

    /// Up to where it has heard everything, or was told what it missed.
    pub fn at(&self) -> Option<(u64, u64)> {
        let (epoch, seq) = self.cursor.as_ref()?;
        Some((u64::from_str_radix(epoch, 36).expect("a number"), *seq))
    }

    /// How it is, for who looks for a fault.
    pub fn tell(&self) -> String {
        let Person { index, said, waiting, cursor, losses, missed, conn, .. } = self;
        let conn = conn.as_ref().map(|conn| (conn.machine, conn.life, conn.id, conn.is_greeted));
        format!("{index}: {said} {waiting:?} {cursor:?} {losses} {missed} {conn:?}")
    }

    /// Says something new, or again, if it may.
    pub fn says(&mut self, machine: &Machine, is_new: bool) {
        if is_new && self.waiting.len() < 6 {
            self.said += 1;
            self.waiting.push_back(self.said);
        }
        let Some(conn) = self.conn.as_mut().filter(|conn| conn.is_greeted) else { return };
        let Some(n) = self.waiting.get(conn.sent).copied() else { return };
        let id = conn.id;
        let text = self.text(n);
        let room = &machine.rooms[self.room];
        let bytes = chunk::cost(64 + text.len());
        let credit = room.log.credit(bytes, &mut Default::default(), || false);
        // It waits.
        let Some(credit) = credit else { return };
        self.conn.iter_mut().for_each(|conn| conn.sent += 1);
        let (n, at) = (if self.is_number { 0 } else { n }, Moment::now());
        let event = Event::Broadcast { room: room.id, conn: id, text: text.into(), n, at, credit };
        let _ = machine.events.send(event);
        if self.is_number {
            self.waiting.clear();
            self.conn.iter_mut().for_each(|conn| conn.sent = 0);
        }
    }

    pub fn renames(&mut self, machine: &Machine, to: usize) {
        let Some(conn) = self.conn.as_ref().filter(|conn| conn.is_greeted) else { return };
        self.name = ["Ana", "Bob", "Cleo"][to % 3].into();
        let (room, at, name) = (machine.rooms[self.room].id, Moment::now(), self.name.clone());
        let _ = machine.events.send(Event::Rename { room, conn: conn.id, name, at });
    }

    /// Hears what it was sent. False: its connection is over.
    pub fn hears(&mut self, engine: &Memory) -> bool {
        let Some(conn) = &mut self.conn else { return true };
        // As the flusher does for those that are behind, which they are when they come.
        flush_all(&conn.outbox, Instant::now());
        let taken = conn.socket.taken();
        let is_over = conn.socket.half_closed.load(Ordering::Relaxed) > 0
            || conn.socket.cut.load(Ordering::Relaxed) > 0;
        let mut rest = &taken[conn.read..];
        conn.read = taken.len();
        while !rest.is_empty() {
            let (head, len) = match rest[1] {
                126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
                127 => panic!("a frame of more than 64 KiB"),
                len => (2, usize::from(len)),
            };
            let (opcode, payload) = (rest[0] & 15, &rest[head..head + len]);
            if opcode == 1 && !self.is_number {
                let object = serde_json::from_slice(payload).expect("JSON");
                self.hear(&object, engine);
            }
            rest = &rest[head + len..];
        }
        !is_over
    }

    fn hear(&mut self, object: &Value, engine: &Memory) {
        let whose = format!("person {}: {object}, at {:?}", self.index, self.cursor);
        let number = |key: &str| object[key].as_u64();
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let Some(conn) = &mut self.conn else { return };
        match object["t"].as_str().expect("a type") {
            "hello" => {
                assert!(!conn.is_greeted, "two hellos: {whose}");
                conn.is_greeted = true;
                let members = object["who"].as_array().expect("who is here");
                for member in members {
                    let (tag, name) = (member[0].to_string(), member[1].to_string());
                    assert!(
                        conn.here.insert(tag, name).is_none(),
                        "somebody is here twice: {whose}"
                    );
                }
                self.count(number("count"), &whose);
                let is_new = self.cursor.is_none();
                self.move_to(&text("cursor"), number("missed"), engine, &whose);
                match number("n") {
                    Some(n) => {
                        // What it was told before of more than that is lost.
                        self.kept.retain(|text| number_of(text) <= n);
                        self.prove(|mine| mine <= n);
                    }
                    // What was on its way may have arrived.
                    None if !is_new => self.waiting.clear(),
                    None => {}
                }
            }
            "msg" => {
                let seq = number("seq").expect("a number");
                let (epoch, last) = self.cursor.clone().expect("a hello came first");
                assert_eq!(seq, last + 1, "not the next: {whose}");
                let said = truth(engine, self.room, &epoch).and_then(|said| said.get(&seq));
                assert_eq!(said, Some(&text("text")), "not what was said: {whose}");
                self.view.insert(seq, text("text"));
                self.cursor = Some((epoch, seq));
                let mine = text("text");
                if mine.starts_with(&format!("{} says ", self.index)) {
                    let n = number_of(&mine);
                    self.kept.insert(mine);
                    self.prove(|mine| mine == n);
                }
            }
            "ack" => {
                let n = number("n").expect("a number");
                self.prove(|mine| mine == n);
            }
            "join" => {
                let (by, name) = (object["by"].to_string(), object["name"].to_string());
                assert!(conn.here.insert(by, name).is_none(), "it is here already: {whose}");
                self.count(number("count"), &whose);
            }
            "leave" => {
                let was_here = conn.here.remove(&object["by"].to_string()).is_some();
                assert!(was_here, "it is not here: {whose}");
                self.count(number("count"), &whose);
            }
            "name" => {
                let name = object["name"].to_string();
                let before = conn.here.insert(object["by"].to_string(), name);
                assert!(before.is_some(), "it is not here: {whose}");
            }
            "epoch" => self.move_to(&text("cursor"), number("missed"), engine, &whose),
            "err" | "away" | "back" => {}
            _ => panic!("{whose}"),
        }
    }

    fn count(&self, count: Option<u64>, whose: &str) {
        let here = self.conn.as_ref().map(|conn| conn.here.len() as u64);
        assert_eq!(
            count,
            here,
            "another count: {whose}; {:?}",
            self.conn.as_ref().map(|it| &it.here)
        );
    }

    /// Those of its messages were accepted whose numbers these are.
    fn prove(&mut self, is_proven: impl Fn(u64) -> bool) {
        let mut place = 0;
        while let Some(n) = self.waiting.get(place).copied() {
            if !is_proven(n) {
                place += 1;
                continue;
            }
            self.waiting.remove(place);
            let text = self.text(n);
            self.kept.insert(text.clone());
            self.accepted.insert(text);
            if let Some(conn) = self.conn.as_mut().filter(|conn| place < conn.sent) {
                conn.sent -= 1;
            }
        }
    }

    /// It goes on at this cursor.
    fn move_to(&mut self, cursor: &str, missed: Option<u64>, engine: &Memory, whose: &str) {
        let (epoch, seq) = cursor.split_once('.').expect("a cursor");
        let seq: u64 = seq.parse().expect("a number");
        match (missed, &self.cursor) {
            (Some(missed), Some((_, last))) => {
                assert_eq!(seq, last + missed, "another number is missing: {whose}");
                self.missed += missed;
                let said = truth(engine, self.room, epoch).expect("an epoch");
                for (seq, text) in &self.view {
                    assert_eq!(said.get(seq), Some(text), "{seq} was lost and not told: {whose}");
                }
            }
            _ => {
                self.losses += u64::from(self.cursor.is_some());
                self.view.clear();
                self.kept.clear();
            }
        }
        self.cursor = Some((epoch.to_owned(), seq));
    }
}

/// The number that somebody gave to what it says.
fn number_of(text: &str) -> u64 {
    let number = text.split(' ').nth(2).expect("a number");
    number.parse().expect("a number")
}

fn truth<'a>(engine: &'a Memory, room: usize, epoch: &str) -> Option<&'a BTreeMap<u64, String>> {
    let epoch = u64::from_str_radix(epoch, 36).expect("a number");
    engine.truth.get(&(ROOMS[room].to_owned(), epoch))
}
