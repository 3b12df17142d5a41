//! An engine in memory: what the scripts do, as functions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::config::ENGINE_ENTRY;
use crate::engine::calls::{Beats, HISTORY_BYTES, News, Opening, Place, Reading, Secret, Taken};
use crate::engine::command::{Command, Kind, Present, Who};
use crate::engine::connection::Fault;
use crate::engine::entry::{BETWEEN, Raw};
use crate::engine::link::Snapshot;

/// What an engine has. A copy of it is what one has that was restored from a backup.
#[derive(Clone, Debug, Default)]
pub struct State {
    secret: Option<Secret>,
    beats: BTreeMap<String, u64>,
    /// When each was declared dead, in seconds.
    gone: BTreeMap<String, u64>,
    rooms_of: BTreeMap<String, BTreeSet<String>>,
    wakes: BTreeMap<String, u64>,
    rooms: BTreeMap<String, Room>,
}

#[derive(Clone, Debug, Default)]
struct Room {
    log: VecDeque<Raw>,
    meta: Option<Meta>,
    nodes: BTreeMap<String, u64>,
    people: BTreeMap<String, Person>,
    last: BTreeMap<String, Numbers>,
    names: BTreeMap<String, String>,
    absent: BTreeSet<(u64, String)>,
    keys: BTreeMap<String, (String, String)>,
    key_age: BTreeSet<(u64, String)>,
    epochs: Vec<(u64, u64)>,
    on: BTreeMap<String, BTreeMap<u64, Record>>,
    /// All that was ever said in this history, by number: what the log has forgotten, too.
    said: BTreeMap<u64, String>,
    /// The last number that somebody removed from the log.
    removed: u64,
}

/// The greatest number of somebody's messages that was accepted, and what was lost of them: whether it was told to
/// say these again, the first and the last.
#[derive(Clone, Debug, Default)]
struct Numbers {
    top: u64,
    lost: Vec<(bool, u64, u64)>,
}

#[derive(Clone, Debug)]
struct Meta {
    server: String,
    epoch: u64,
    pos: u64,
    seq: u64,
}

/// Whose connection it is, and the name that its messages have.
#[derive(Clone, Debug)]
struct Record {
    who: Who,
    name: String,
}

#[derive(Clone, Debug)]
struct Person {
    gone: u64,
    place: Option<(String, u64)>,
    tag: String,
    name: String,
    fold: String,
    came: (u64, u64),
    asked: u64,
}

/// What an engine does not do that the others rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It takes what nodes say that were declared dead.
    Fence,
    /// It takes what somebody says under the same number again.
    Deduplication,
    /// It takes what a node hands over again, because it does not know whether it arrived.
    Counter,
    /// It takes what was meant for another epoch.
    Epoch,
    /// Some of those who were on a dead node leave, and the rest is forgotten.
    Reaping,
}

/// An engine.
#[derive(Debug)]
pub struct Memory {
    pub state: State,
    /// It is not what it should be.
    pub lack: Option<Lack>,
    /// Names this run of it.
    pub server: String,
    /// Its clock, in milliseconds, which people set.
    pub now: u64,
    /// Entries that it keeps of each log, whatever it is told.
    pub most: usize,
    /// How often anybody was woken: never the same again, even if it was emptied meanwhile.
    wakes: u64,
    /// All secrets that it ever had: whoever talks under two of them is two.
    pub secrets: BTreeSet<[u8; 32]>,
    /// What was said in each epoch of each room, by number, that of epochs before included.
    pub truth: BTreeMap<(String, u64), BTreeMap<u64, String>>,
    /// How many logs began in an epoch that another had.
    pub twice: u64,
}

/// A call of a script.
struct Turn {
    now: u64,
    /// Entries of the log that are kept, unless they are trimmed by now.
    keep: Option<usize>,
    /// The last entry is of messages that this call has appended.
    is_said: bool,
    has_deduplication: bool,
}

/// An entry to append.
struct New<'a> {
    kind: &'a str,
    n: String,
    node: &'a str,
    conn: u64,
    counter: u64,
    who: (i64, &'a str),
    name: &'a str,
    text: &'a str,
}

/// In milliseconds.
const NAMES_ARE_KEPT: u64 = 600_000;

/// In seconds.
const THE_DEAD_ARE_KEPT: u64 = 86_400;

/// Of so many entries a script looks whether they are too old: twenty times a hundred, of which each begins with the
/// last of those before.
const LOOKED_AT: usize = 100 + 19 * 99;

impl Memory {
    pub fn new(most: usize) -> Memory {
        let (state, server) = (State::default(), "server 1".to_owned());
        let (secrets, truth) = (BTreeSet::new(), BTreeMap::new());
        let (lack, now, wakes, twice) = (None, 1_000_000_000, 0, 0);
        Memory { state, lack, server, now, most, wakes, secrets, truth, twice }
    }

    fn turn(&self, keep: usize) -> Turn {
        let has_deduplication = self.lack != Some(Lack::Deduplication);
        let keep = Some(keep.min(self.most));
        Turn { now: self.now, keep, is_said: false, has_deduplication }
    }

    fn is_gone(&self, node: &str) -> bool {
        self.lack != Some(Lack::Fence) && self.state.gone.contains_key(node)
    }

    /// Somebody removes the log of a room.
    pub fn remove_log(&mut self, room: &str) {
        if let Some(room) = self.state.rooms.get_mut(room) {
            room.log.clear();
            room.removed = room.meta.as_ref().map_or(0, |meta| meta.seq);
        }
    }

    /// The last number that was removed from a room.
    pub fn removed(&self, room: &str) -> u64 {
        self.state.rooms.get(room).map_or(0, |room| room.removed)
    }

    /// The last entries of the log of a room.
    pub fn log(&self, room: &str, last: usize) -> Vec<Raw> {
        let room = self.state.rooms.get(room);
        let log = room.into_iter().flat_map(|room| {
            let first = room.log.len().saturating_sub(last);
            room.log.range(first..)
        });
        log.cloned().collect()
    }

    /// Who is in a room on each node.
    pub fn members(&self, room: &str) -> BTreeSet<(String, u64)> {
        let on = self.state.rooms.get(room).into_iter().flat_map(|room| &room.on);
        on.flat_map(|(node, on)| on.keys().map(|conn| (node.clone(), *conn))).collect()
    }

    /// The epoch of a room, and all that was said in it.
    pub fn said(&self, room: &str) -> (u64, BTreeMap<u64, String>) {
        let Some(room) = self.state.rooms.get(room) else { return Default::default() };
        (room.meta.as_ref().map_or(0, |meta| meta.epoch), room.said.clone())
    }

    pub fn share_secret(&mut self, secret: &Secret) -> Secret {
        let kept = self.state.secret;
        if kept.is_none_or(|kept| secret.since > 0 && *secret < kept) {
            let since = if secret.since > 0 { secret.since } else { self.now };
            self.secrets.insert(secret.bytes);
            self.state.secret = Some(Secret { since, ..*secret });
        }
        self.state.secret.unwrap_or_default()
    }

    pub fn open(&mut self, opening: &Opening<'_>) -> Result<(Snapshot, u64), Fault> {
        let Opening { room: name, node, epoch, salt, is_all, history, age } = *opening;
        if self.is_gone(node) {
            return Err(Fault::Fenced);
        }
        let (server, now) = (self.server.clone(), self.now);
        let mut turn = self.turn(1_000_000);
        let room = self.state.rooms.entry(name.to_owned()).or_default();
        let is_new = |meta: &Meta| meta.server != server || meta.epoch < epoch;
        let is_whole = !room.log.is_empty();
        if room.meta.as_ref().is_none_or(is_new) || !is_whole {
            let before = room.meta.clone();
            let (old, pos, seq) =
                before.as_ref().map_or((0, 0, 0), |meta| (meta.epoch, meta.pos, meta.seq));
            if before.is_some() {
                room.epochs.push((old, seq));
                let dropped = room.epochs.len().saturating_sub(16);
                room.epochs.drain(..dropped);
            }
            let last = old.max(epoch);
            let next = if now > last { now } else { last + 1 + salt };
            room.meta = Some(Meta { server, epoch: next, pos: u64::MAX, seq });
            let is_removed = before.is_some() && !is_whole;
            let text = format!("{old} {pos}{}", if is_removed { " removed" } else { "" });
            room.append(&mut turn, New { kind: "e", ..New::of_node(node, &text) });
            let other = self.truth.insert((name.to_owned(), next), room.said.clone());
            self.twice += u64::from(other.is_some());
        }
        let taken = *room.nodes.entry(node.to_owned()).or_insert(0);
        room.drop_old(now.saturating_sub(age.as_millis() as u64));
        self.state.rooms_of.entry(node.to_owned()).or_default().insert(name.to_owned());
        let Some(Meta { epoch, pos, seq, .. }) = room.meta.clone() else {
            return Err(Fault::Epoch);
        };
        let mut snapshot = Snapshot { epoch, pos, seq, ..Snapshot::default() };
        if is_all {
            snapshot.past.clone_from(&room.epochs);
            for (node, on) in room.on.iter().filter(|(node, _)| room.nodes.contains_key(*node)) {
                for (conn, Record { who, name }) in on {
                    let (num, tag) = (who.num, or_dash(&who.tag));
                    snapshot.members.push(format!("{node} {conn} {num} {tag} {name}"));
                }
            }
            snapshot.history = room.last_messages(history, HISTORY_BYTES);
        }
        Ok((snapshot, taken))
    }

    pub fn publish(
        &mut self,
        place: &Place<'_>,
        commands: &[(u64, Command)],
    ) -> Result<Taken, Fault> {
        let Place { room: name, node, epoch, keep } = *place;
        if self.is_gone(node) {
            return Err(Fault::Fenced);
        }
        let mut turn = self.turn(keep);
        let room = self.state.rooms.get_mut(name).ok_or(Fault::Epoch)?;
        let is_any = self.lack == Some(Lack::Epoch);
        let is_current = room.meta.as_ref().is_some_and(|meta| meta.epoch == epoch || is_any);
        let is_current = is_current && !room.log.is_empty();
        let Some(mut last) = room.nodes.get(node).copied().filter(|_| is_current) else {
            return Err(Fault::Epoch);
        };
        let (epoch, first) = room.meta.as_ref().map_or((0, 1), |it| (it.epoch, it.seq + 1));
        let mut known = Vec::new();
        for (counter, command) in commands {
            if *counter <= last && self.lack != Some(Lack::Counter) {
                continue;
            }
            last = *counter;
            room.take(&mut turn, node, last, command, &mut known);
        }
        room.nodes.insert(node.to_owned(), last);
        let pos = room.meta.as_ref().map_or(0, |meta| meta.pos);
        let truth = self.truth.entry((name.to_owned(), epoch)).or_default();
        truth.extend(room.said.range(first..).map(|(seq, text)| (*seq, text.clone())));
        Ok(Taken { counter: last, pos, known })
    }

    pub fn sync(&mut self, place: &Place<'_>, sent: u64, present: &[Present]) -> Result<(), Fault> {
        let Place { room: name, node, epoch, keep } = *place;
        if self.is_gone(node) {
            return Err(Fault::Fenced);
        }
        let mut turn = self.turn(keep);
        let room = self.state.rooms.get_mut(name).ok_or(Fault::Epoch)?;
        let is_any = self.lack == Some(Lack::Epoch);
        let is_another = |meta: &Meta| meta.epoch != epoch && !is_any;
        if room.meta.as_ref().is_none_or(is_another) || room.log.is_empty() {
            return Err(Fault::Epoch);
        }
        if room.nodes.get(node) == Some(&sent) {
            room.sync(&mut turn, node, present);
        }
        Ok(())
    }

    pub fn beat(&mut self, node: &str) -> Result<Beats, Fault> {
        if self.is_gone(node) {
            return Err(Fault::Fenced);
        }
        *self.state.beats.entry(node.to_owned()).or_default() += 1;
        let beats = self.state.beats.iter();
        let beats = beats.map(|(node, beat)| (node.clone(), beat.to_string())).collect();
        let has_rooms = |node: &&String| self.state.rooms_of.contains_key(*node);
        let unburied = self.state.gone.keys().filter(has_rooms).cloned().collect();
        Ok(Beats { beats, unburied, secret: self.state.secret })
    }

    pub fn fence(&mut self, node: &str, beat: &str, rooms: &[String]) -> Option<Vec<String>> {
        let last = self.state.beats.get(node).map_or_else(String::new, u64::to_string);
        if last != beat {
            return None;
        }
        self.state.beats.remove(node);
        let now = self.now / 1000;
        self.state.gone.insert(node.to_owned(), now);
        self.state.gone.retain(|_, since| now.saturating_sub(*since) <= THE_DEAD_ARE_KEPT);
        if !rooms.is_empty() {
            let rooms_of = self.state.rooms_of.entry(node.to_owned()).or_default();
            rooms_of.extend(rooms.iter().cloned());
        }
        Some(self.rooms(node))
    }

    pub fn rooms(&self, node: &str) -> Vec<String> {
        self.state.rooms_of.get(node).into_iter().flatten().cloned().collect()
    }

    pub fn reap(&mut self, name: &str, node: &str, keep: usize, by_itself: bool) {
        if !by_itself && !self.state.gone.contains_key(node) {
            return;
        }
        let mut turn = self.turn(keep);
        let room = self.state.rooms.entry(name.to_owned()).or_default();
        let mut on = room.on.remove(node).unwrap_or_default();
        if self.lack == Some(Lack::Reaping) {
            let rest = on.split_off(&on.keys().nth(on.len() / 2).copied().unwrap_or(0));
            room.on.insert(node.to_owned(), rest);
        }
        for (conn, Record { who, .. }) in on {
            room.go_from(turn.now, &who.mac, node, conn);
        }
        room.nodes.remove(node);
        if room.meta.is_some() && !room.log.is_empty() {
            room.append(&mut turn, New::of_node(node, ""));
        }
        if let Some(rooms) = self.state.rooms_of.get_mut(node) {
            rooms.remove(name);
            if rooms.is_empty() {
                self.state.rooms_of.remove(node);
            }
        }
    }

    pub fn forget(&mut self, node: &str) {
        self.state.beats.remove(node);
    }

    pub fn wake(&mut self, node: &str) {
        self.wakes += 1;
        self.state.wakes.insert(node.to_owned(), self.wakes);
    }

    pub fn read(&self, reading: &Reading<'_>) -> News {
        let last: u64 = reading.woken.parse().expect("an id");
        let woken = self.state.wakes.get(reading.node).filter(|id| **id > last);
        let mut news = News { woken: woken.map(u64::to_string), entries: Vec::new() };
        for (index, (room, at)) in reading.rooms.iter().enumerate() {
            let Some(room) = self.state.rooms.get(*room) else { continue };
            let entries = room.log.iter().filter(|raw| raw.id > *at).take(reading.count);
            let entries: Vec<Raw> = entries.cloned().collect();
            if !entries.is_empty() {
                news.entries.push((index, entries));
            }
        }
        news
    }
}

impl Numbers {
    /// Takes a number, unless it was accepted before.
    fn accept(&mut self, n: u64) -> bool {
        if self.top < n {
            self.top = n;
            self.lost.retain(|(is_told, ..)| !is_told);
            return true;
        }
        let lost = self.lost.iter_mut().find(|(_, low, high)| (*low..=*high).contains(&n));
        let is_lost = lost.map(|(_, low, _)| *low = n + 1).is_some();
        self.lost.retain(|(_, low, high)| low <= high);
        is_lost
    }

    /// It comes with a cursor of the epoch `at`, or 0: the last number up to which everything was accepted, but for
    /// what it knows that was lost.
    fn tell(&mut self, at: u64, epoch: u64) -> u64 {
        self.lost.retain(|(is_told, ..)| at > 0 && (*is_told || at < epoch));
        self.lost.iter_mut().for_each(|(is_told, ..)| *is_told = true);
        let lost = self.lost.iter().map(|(_, low, _)| low - 1);
        lost.min().unwrap_or(self.top).min(self.top)
    }

    /// Its node has heard of all numbers up to this one.
    fn hear(&mut self, n: u64) {
        self.lost.iter_mut().for_each(|(is_told, _, high)| *is_told |= *high > n);
        if self.top < n {
            self.lost.push((false, self.top + 1, n));
            self.top = n;
        }
        if self.lost.len() > 8 {
            self.lost.remove(0);
        }
    }
}

impl New<'_> {
    fn of_node<'a>(node: &'a str, text: &'a str) -> New<'a> {
        let (conn, counter, who) = (0, 0, (0, "-"));
        New { kind: "d", n: "0".into(), node, conn, counter, who, name: "", text }
    }
}

impl Room {
    fn append(&mut self, turn: &mut Turn, new: New<'_>) {
        let Some(meta) = &mut self.meta else { return };
        let now = turn.now;
        meta.pos = meta.pos.wrapping_add(1);
        let New { kind, n, node, conn, counter, who: (num, tag), name, text } = new;
        let seq = meta.seq;
        let head = format!("{kind} {seq} {n} {now} {node} {conn} {counter} {num} {tag} {name}");
        if kind == "s" {
            self.said.insert(seq, text.to_owned());
        }
        let id = (meta.epoch, meta.pos);
        let more = head.len() + text.len() + 2;
        let is_next = std::mem::replace(&mut turn.is_said, kind == "s") && turn.is_said;
        let last = self.log.back_mut().filter(|last| is_next && last.size() + more <= ENGINE_ENTRY);
        if let Some(last) = last {
            (last.id, last.count) = (id, last.count + 1);
            last.heads += &format!("\n{head}");
            last.texts.push(BETWEEN);
            last.texts.extend(text.as_bytes());
            return;
        }
        self.log.push_back(Raw { id, count: 1, heads: head, texts: text.into() });
        // The first entry of a call drops old ones, so those behind it are more than are kept.
        if let Some(keep) = turn.keep.take() {
            self.drop_first(self.log.len().saturating_sub(keep));
        }
    }

    fn drop_first(&mut self, count: usize) {
        self.log.drain(..count);
    }

    /// What is older goes, but for the last entry.
    fn drop_old(&mut self, than: u64) {
        let looked = self.log.len().min(LOOKED_AT);
        let is_old = |raw: &&Raw| raw.entry().is_none_or(|entry| entry.at < than);
        let old = self.log.iter().take(looked).take_while(is_old).count();
        self.drop_first(old.min(looked.saturating_sub(1)));
    }

    /// So many messages at most, and so many bytes, with the entries between them.
    fn last_messages(&self, messages: usize, bytes: usize) -> Vec<Raw> {
        let (mut last, mut count, mut size) = (Vec::new(), 0, 0);
        for raw in self.log.iter().rev() {
            size += raw.size();
            if count >= messages || size > bytes {
                break;
            }
            if raw.heads.starts_with("s ") {
                count += raw.count;
                last.push(raw.clone());
            }
        }
        last.reverse();
        last
    }

    fn is_free(&self, now: u64, fold: &str, mac: &str) -> bool {
        let Some(owner) = self.names.get(fold).filter(|owner| *owner != mac) else { return true };
        let Some(person) = self.people.get(owner) else { return true };
        person.gone > 0 && now.saturating_sub(person.gone) >= NAMES_ARE_KEPT
    }

    fn give(&mut self, now: u64, mac: &str, person: &mut Person, wish: &str) {
        let parts: Vec<&str> = wish.split('\n').collect();
        let (mut name, mut fold) = (person.tag.clone(), person.tag.clone());
        if parts[0] == person.name && !person.name.is_empty() {
            return;
        } else if let [wished, its_fold, one, one_fold, two, two_fold] = parts[..] {
            if self.is_free(now, its_fold, mac) {
                (name, fold) = (wished.into(), its_fold.into());
            } else {
                let numbered = (2..100).map(|n| match n {
                    ..10 => (format!("{one}{n}"), format!("{one_fold}{n}")),
                    _ => (format!("{two}{n}"), format!("{two_fold}{n}")),
                });
                let free = numbered.into_iter().find(|(_, fold)| self.is_free(now, fold, mac));
                (name, fold) = free.unwrap_or((name, fold));
            }
        } else if wish.is_empty() && !person.name.is_empty() {
            return;
        }
        if person.fold != person.tag && self.names.get(&person.fold).is_some_and(|it| it == mac) {
            self.names.remove(&person.fold);
        }
        self.names.insert(fold.clone(), mac.to_owned());
        (person.name, person.fold) = (name, fold);
    }

    fn forget(&mut self, mac: &str) {
        if let Some(person) = self.people.get(mac).filter(|person| person.gone > 0).cloned() {
            for fold in [&person.fold, &person.tag] {
                if self.names.get(fold).is_some_and(|owner| owner == mac) {
                    self.names.remove(fold);
                }
            }
            self.people.remove(mac);
            self.last.remove(mac);
        }
        self.absent.retain(|(_, other)| other != mac);
    }

    /// Somebody is not here any more.
    fn go(&mut self, now: u64, mac: &str) {
        let Some(person) = self.people.get_mut(mac) else { return };
        (person.gone, person.place) = (now, None);
        if person.tag.starts_with('~') && person.name == person.tag {
            return self.forget(mac);
        }
        self.absent.retain(|(_, other)| other != mac);
        self.absent.insert((now, mac.to_owned()));
        while self.absent.len() > 256 {
            let Some((_, oldest)) = self.absent.first().cloned() else { return };
            self.forget(&oldest);
        }
    }

    fn go_from(&mut self, now: u64, mac: &str, node: &str, conn: u64) {
        let place = Some((node.to_owned(), conn));
        if self.people.get(mac).is_some_and(|person| person.place == place) {
            self.go(now, mac);
        }
    }

    fn stranger(&mut self, mac: &str, tag: &str) -> Person {
        self.names.entry(tag.into()).or_insert_with(|| mac.into());
        let (name, place) = (String::new(), None);
        let (tag, fold) = (tag.to_owned(), tag.to_owned());
        Person { gone: 0, place, tag, name, fold, came: (0, 0), asked: 0 }
    }

    fn take(
        &mut self,
        turn: &mut Turn,
        node: &str,
        counter: u64,
        command: &Command,
        known: &mut Vec<(u64, String)>,
    ) {
        let (now, conn, text) = (turn.now, command.conn, command.text.as_str());
        let record = match command.kind {
            Kind::Join | Kind::Publish => {
                let who = command.who.as_deref().cloned().unwrap_or_default();
                Record { who, name: String::new() }
            }
            _ => match self.on.get(node).and_then(|on| on.get(&conn)) {
                Some(record) => record.clone(),
                None => return,
            },
        };
        let Record { who, name } = &record;
        let Who { mac, tag, num } = who;
        let dash = or_dash(tag);
        let new = New {
            kind: "",
            n: command.n.to_string(),
            node,
            conn,
            counter,
            who: (*num, dash),
            name,
            text,
        };
        match command.kind {
            Kind::Join if mac.is_empty() => {
                self.enter(node, conn, who, "");
                self.append(turn, New { kind: "j", n: "-1".into(), text: "", ..new });
            }
            Kind::Join => {
                let before = self.people.get(mac).cloned();
                let asked = now.saturating_sub(command.n);
                let mut old = String::new();
                if let Some((node, conn)) = before.as_ref().and_then(|it| it.place.clone()) {
                    if before.as_ref().is_some_and(|it| it.asked > asked) {
                        let new = New { kind: "x", n: "0".into(), text: "", ..new };
                        return self.append(turn, new);
                    }
                    old = format!("{node} {conn}");
                    if let Some(on) = self.on.get_mut(&node) {
                        on.remove(&conn);
                    }
                }
                let accepted = match &before {
                    Some(_) => {
                        let epoch = self.meta.as_ref().map_or(0, |meta| meta.epoch);
                        let last = self.last.entry(mac.clone()).or_default();
                        last.tell(command.since, epoch).to_string()
                    }
                    None => "-1".into(),
                };
                let mut person = before.unwrap_or_else(|| self.stranger(mac, tag));
                let came = self.meta.as_ref().map_or((0, 0), |meta| (meta.epoch, meta.pos + 1));
                (person.gone, person.place) = (0, Some((node.to_owned(), conn)));
                (person.came, person.asked) = (came, asked);
                self.give(now, mac, &mut person, text);
                let name = person.name.clone();
                self.people.insert(mac.clone(), person);
                self.absent.retain(|(_, other)| other != mac);
                self.enter(node, conn, who, &name);
                let new = New { kind: "j", n: accepted, name: &name, text: &old, ..new };
                self.append(turn, new);
            }
            Kind::Say => {
                if command.n > 0 && !mac.is_empty() {
                    let last = self.last.entry(mac.clone()).or_default();
                    if !last.accept(command.n) && turn.has_deduplication {
                        return;
                    }
                }
                self.count();
                self.append(turn, New { kind: "s", ..new });
            }
            Kind::UseUp => {
                if !mac.is_empty() {
                    self.last.entry(mac.clone()).or_default().accept(command.n);
                }
            }
            Kind::Rename => {
                let Some(mut person) = self.people.get(mac).cloned() else { return };
                let before = person.name.clone();
                self.give(now, mac, &mut person, text);
                let name = person.name.clone();
                self.people.insert(mac.clone(), person);
                self.enter(node, conn, who, &name);
                if name != before {
                    let new = New { kind: "r", n: "0".into(), name: &name, text: "", ..new };
                    self.append(turn, new);
                }
            }
            Kind::Leave => {
                if let Some(on) = self.on.get_mut(node) {
                    on.remove(&conn);
                }
                if !mac.is_empty() {
                    self.go(now, mac);
                }
                self.append(turn, New { kind: "l", n: "0".into(), ..new });
            }
            Kind::Publish => {
                let request = command.request.as_deref().cloned().unwrap_or_default();
                if let Some([key, body]) = &request.key {
                    self.drop_keys(now);
                    if let Some((its_body, message)) = self.keys.get(key) {
                        let what = if its_body == body { message } else { "-" };
                        return known.push((counter, what.to_owned()));
                    }
                }
                let mut name = tag.clone();
                if !request.name.is_empty() {
                    let mut person = match self.people.get(mac) {
                        Some(person) => person.clone(),
                        None => self.stranger(mac, tag),
                    };
                    self.give(now, mac, &mut person, &request.name);
                    name.clone_from(&person.name);
                    self.people.insert(mac.clone(), person);
                    self.go(now, mac);
                }
                self.count();
                let seq = self.meta.as_ref().map_or(0, |meta| meta.seq);
                self.append(turn, New { kind: "s", conn: 0, name: &name, ..new });
                if let Some([key, body]) = request.key {
                    self.keys.insert(key.clone(), (body, format!("{seq} {now} {name}")));
                    self.key_age.insert((now, key));
                }
            }
        }
    }

    fn drop_keys(&mut self, now: u64) {
        while let Some((at, key)) = self.key_age.first().cloned() {
            let count = self.key_age.len();
            if count < 1024 && !(count > 64 && now.saturating_sub(at) >= NAMES_ARE_KEPT) {
                return;
            }
            self.key_age.pop_first();
            self.keys.remove(&key);
        }
    }

    fn count(&mut self) {
        if let Some(meta) = &mut self.meta {
            meta.seq += 1;
        }
    }

    /// A connection of a node is somebody's.
    fn enter(&mut self, node: &str, conn: u64, who: &Who, name: &str) {
        let record = Record { who: who.clone(), name: name.to_owned() };
        self.on.entry(node.to_owned()).or_default().insert(conn, record);
    }

    fn sync(&mut self, turn: &mut Turn, node: &str, present: &[Present]) {
        let now = turn.now;
        let mut here = BTreeSet::new();
        for Present { conn, who, n, name, fold, came } in present {
            let Who { mac, tag, num } = who;
            let dash = or_dash(tag);
            let place = Some((node.to_owned(), *conn));
            let person = self.people.get(mac).cloned();
            let at_once = person.as_ref().filter(|person| person.gone == 0);
            let is_elsewhere = |it: &&Person| it.gone > 0 || it.place != place;
            let elsewhere = person.as_ref().filter(is_elsewhere);
            let is_replaced = elsewhere.is_some_and(|person| person.came > *came);
            let new = New {
                kind: if is_replaced { "x" } else { "p" },
                n: "0".into(),
                node,
                conn: *conn,
                counter: 0,
                who: (*num, dash),
                name,
                text: "",
            };
            if is_replaced {
                self.append(turn, new);
                continue;
            }
            here.insert(*conn);
            let (mut name, mut fold) = (name.clone(), fold.clone());
            if !mac.is_empty() {
                if !self.is_free(now, &fold, mac) {
                    (name, fold) = (tag.clone(), tag.clone());
                }
                if let Some(person) = at_once {
                    (name, fold) = (person.name.clone(), person.fold.clone());
                }
                self.names.insert(fold.clone(), mac.clone());
                self.names.entry(tag.clone()).or_insert_with(|| mac.clone());
                let asked = at_once.filter(|person| person.place == place);
                let asked = asked.map_or(0, |person| person.asked);
                let (tag, name, came) = (tag.clone(), name.clone(), *came);
                let person = Person { gone: 0, place, tag, name, fold, came, asked };
                self.people.insert(mac.clone(), person);
                self.absent.retain(|(_, other)| other != mac);
                self.last.entry(mac.clone()).or_default().hear(*n);
            }
            self.enter(node, *conn, who, &name);
            self.append(turn, New { name: &name, ..new });
        }
        let on = self.on.entry(node.into()).or_default().clone();
        for (conn, Record { who, name }) in on.into_iter().filter(|(conn, _)| !here.contains(conn))
        {
            if let Some(on) = self.on.get_mut(node) {
                on.remove(&conn);
            }
            self.go_from(now, &who.mac, node, conn);
            let who = (who.num, or_dash(&who.tag));
            let (kind, n, text) = ("l", "0".into(), "lost");
            let new = New { kind, n, node, conn, counter: 0, who, name: &name, text };
            self.append(turn, new);
        }
        self.append(turn, New::of_node(node, "sync"));
    }
}

/// As scripts take it.
fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
