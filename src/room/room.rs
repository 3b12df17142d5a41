//! One room: its members, its log and the next batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::history::Log;
use crate::history::chunk::{Author, Entry, Kind, Position};
use crate::history::flow::Credit;
use crate::metrics::HubCounters;
use crate::net::slots::ConnId;
use crate::outbox::encoding::{ENCODINGS, Encoding};
use crate::outbox::{Outbox, Sent, Transport};
use crate::room::batch::Batch;
use crate::room::event::{Farewell, Moment};
use crate::room::idempotency::Keys;
use crate::room::info::RoomInfo;
use crate::room::participants::{Key, Participants};
use crate::room::presence::{News, Presence};
use crate::room::resume::Kept;
use crate::wire;
use crate::wire::roomd1;
use crate::wire::tag::{By, Tag};

mod follow;
mod people;
mod publish;
mod reach;
#[cfg_attr(not(feature = "engine"), path = "room/alone.rs")]
mod shared;

/// The outboxes of so many members are fetched from memory together. With a thousand clients each send drives
/// them out of the cache, and one at a time they cost a batch a twentieth more.
const PREFETCH: usize = 16;

/// An empty room gives back the places of more members than this.
const SPARE: usize = 128;

/// A room.
#[derive(Debug)]
pub struct Room<T> {
    info: Arc<RoomInfo>,
    /// In one piece of memory, since every batch goes to all of them.
    members: Vec<Member<T>>,
    /// Where in `members` each one is.
    places: HashMap<ConnId, usize>,
    /// The members with a name, by what the room remembers of them.
    present: HashMap<Key, ConnId>,
    participants: Participants,
    /// Requests of publishers that may come again.
    keys: Keys,
    presence: Presence,
    /// How many members hear the room by each protocol.
    hearers: [usize; ENCODINGS],
    /// Of these, subscribers over HTTP, who are not counted.
    followers: usize,
    /// Of these, subscribers who wait for one message.
    waiting: usize,
    batch: Batch,
    /// The number of the last message.
    seq: u64,
    /// When the last event happened. A room has no other clock.
    now: Moment,
    /// If other machines share the room.
    shared: Option<shared::Shared<T>>,
    /// What its members know of the engine.
    reach: reach::Reach,
}

#[derive(Debug)]
struct Member<T> {
    outbox: Arc<Outbox<T>>,
    conn: ConnId,
    /// It hears the entries from this position on.
    since: Position,
    /// The protocol by which it hears. None: it only publishes.
    hears: Option<Encoding>,
    /// It goes with the first message that it is sent.
    is_waiting: bool,
    who: Who,
}

/// How a member is known.
#[derive(Debug)]
enum Who {
    /// By its client id alone.
    Number(i64),
    Person(Box<Person>),
    /// Not at all: it is a subscriber over HTTP.
    Follower,
}

#[derive(Debug)]
struct Person {
    key: Key,
    tag: Tag,
    num: i64,
    name: Arc<str>,
}

impl<T: Transport> Room<T> {
    /// An empty room, at this time.
    pub fn new(info: Arc<RoomInfo>, now: Moment) -> Self {
        let batch = Batch::new(info.log.ring.end());
        let mut room = Room {
            members: Vec::new(),
            places: HashMap::new(),
            present: HashMap::new(),
            participants: Participants::remembering(info.log.before.take_accepted()),
            keys: Keys::new(info.keys),
            followers: 0,
            waiting: 0,
            presence: Presence::new(info.presence),
            hearers: [0; ENCODINGS],
            batch,
            seq: info.log.ring.head(),
            now,
            shared: None,
            reach: reach::Reach::new(now.received),
            info,
        };
        room.share();
        room
    }

    /// What others know of it.
    pub fn info(&self) -> &RoomInfo {
        &self.info
    }

    /// Bytes of tutorial frames that wait to be sent.
    #[cfg(any(test, fuzzing))]
    pub fn pending(&mut self) -> usize {
        self.batch.encode(&self.info.log, Encoding::Tutorial).bytes().len()
    }

    /// When it has to be flushed although nothing happens.
    pub fn due(&self) -> Option<Instant> {
        let due = self.presence.due(self.now.received);
        due.into_iter().chain(self.reach_due()).min()
    }

    /// A client of the tutorial's protocol comes. It hears every later entry.
    pub fn join(&mut self, conn: ConnId, id: i64, outbox: Arc<Outbox<T>>, at: Moment) {
        self.now = at;
        let encoding = outbox.encoding();
        self.add(conn, Who::Number(id), outbox, Some(encoding));
        self.say_came(conn);
        let since = self.batch.end();
        self.enter(conn, since, since);
    }

    /// A client says something, which it gave the number `n`, or 0. False if it is not heard: one that was
    /// closed may go on talking, but has left; and what was heard is not repeated.
    pub fn say(
        &mut self,
        conn: ConnId,
        text: &str,
        n: u64,
        at: Moment,
        credit: Credit,
        tally: &mut HubCounters,
    ) -> bool {
        let Some(place) = self.places.get(&conn) else { return false };
        let member = &self.members[*place];
        if let Who::Person(person) = &member.who {
            if n > 0 && !self.participants.accept(person.key, n) {
                tally.duplicates += 1;
                member.acknowledge(n, None);
                return false;
            }
        }
        (self.seq, self.now) = (self.seq + 1, at);
        let kind = Kind::Message { seq: self.seq, n };
        self.batch.push(Entry { kind, at: at.at, author: member.author(), text }, Some(credit));
        if n > 0 && member.hears.is_none() {
            member.acknowledge(n, Some(self.seq));
        }
        true
    }

    /// A client goes. It hears what was said before, its own last words too, and then its farewell.
    pub fn leave(
        &mut self,
        conn: ConnId,
        farewell: &Farewell,
        at: Moment,
        tally: &mut HubCounters,
    ) {
        self.now = at;
        let Some(member) = self.remove(conn) else { return };
        match &farewell.frames {
            Some(frames) => {
                self.hear_out(&member, tally);
                member.outbox.close(frames);
            }
            None => member.outbox.cut(),
        }
        self.say_left(&member, farewell.is_lost);
    }

    /// Sends the batch to everybody. Memory for `keep` bytes stays at hand for the next one, unless this is empty.
    pub fn flush(&mut self, keep: usize, now: Moment, tally: &mut HubCounters) {
        self.now = now;
        self.say_count();
        self.tell_reach(tally);
        if self.batch.is_empty() {
            return self.batch.release();
        }
        // Those who turn out to be gone make for another batch, and each goes only once.
        while !self.batch.is_empty() {
            let log = self.info.log.clone();
            let _held = log.hold();
            self.batch.append(&log, self.now.received);
            let mut gone = Vec::new();
            for encoding in Encoding::ALL {
                if self.hearers[encoding as usize] > 0 {
                    self.deliver(&log, encoding, &mut gone, tally);
                }
            }
            tally.batches += 1;
            if self.waiting > 0 && self.batch.has_message() {
                self.finish_waiting();
            }
            self.batch.restart(keep);
            for conn in gone {
                if let Some(member) = self.remove(conn) {
                    match &mut self.shared {
                        Some(shared) => shared.lost(conn),
                        None => self.say_left(&member, true),
                    }
                }
            }
        }
    }

    /// Sends the batch to the members that hear it by one protocol, and notes who is gone.
    fn deliver(
        &mut self,
        log: &Log,
        encoding: Encoding,
        gone: &mut Vec<ConnId>,
        tally: &mut HubCounters,
    ) {
        let frames = self.batch.encode(log, encoding);
        // Counted are the exceptions: nearly everybody stays and gets the whole batch.
        let mut stayed = self.hearers[encoding as usize] as u64;
        let (mut missed, mut missed_bytes) = (0, 0);
        let hears = |member: &&Member<T>| member.hears == Some(encoding);
        for members in self.members.chunks(PREFETCH) {
            members.iter().filter(hears).for_each(|member| member.outbox.prefetch());
            for member in members.iter().filter(hears) {
                if member.outbox.deliver(frames) == Sent::Refused {
                    gone.push(member.conn);
                    stayed -= 1;
                } else if member.since > frames.start() {
                    let (count, bytes) = frames.before(member.since.entry);
                    missed += count;
                    missed_bytes += bytes;
                }
            }
        }
        tally.deliveries += frames.count() as u64 * stayed - missed;
        tally.bytes += frames.bytes().len() as u64 * stayed - missed_bytes;
    }

    /// Everybody goes, behind the batch, with this close frame. Nobody waits for anybody.
    pub fn close(&mut self, frame: &[u8], now: Moment, tally: &mut HubCounters) {
        self.flush(0, now, tally);
        self.places.clear();
        for member in std::mem::take(&mut self.members) {
            member.outbox.close(frame);
        }
        (self.followers, self.waiting) = (0, 0);
        self.hearers = [0; ENCODINGS];
        self.count();
        self.info.log.flow.open();
    }

    /// What those who come may be given.
    fn kept(&self) -> Kept<'_> {
        let log = &self.info.log;
        let (past, hole) = match &self.shared {
            Some(shared) => (shared.past(), 0),
            None => (&*log.before.past, log.before.hole),
        };
        Kept { epoch: log.epoch(), head: self.seq, first: log.ring.first(self.now.at), past, hole }
    }

    fn add(&mut self, conn: ConnId, who: Who, outbox: Arc<Outbox<T>>, hears: Option<Encoding>) {
        self.places.insert(conn, self.members.len());
        let since = self.batch.end();
        self.followers += usize::from(matches!(who, Who::Follower));
        self.members.push(Member { outbox, conn, since, hears, is_waiting: false, who });
        if let Some(encoding) = hears {
            self.hearers[encoding as usize] += 1;
        }
        self.count();
    }

    /// Lets a member that was added hear the log from `start` on; what is before `came` is history.
    fn enter(&mut self, conn: ConnId, start: Position, came: Position) {
        let Some(place) = self.places.get(&conn) else { return };
        let member = &mut self.members[*place];
        member.since = came;
        if member.hears.is_some() {
            member.outbox.enter(&self.info.log, start, came.entry);
        }
    }

    fn remove(&mut self, conn: ConnId) -> Option<Member<T>> {
        let place = self.places.remove(&conn)?;
        let member = self.members.swap_remove(place);
        if let Some(moved) = self.members.get(place) {
            self.places.insert(moved.conn, place);
        }
        if let Some(encoding) = member.hears {
            self.hearers[encoding as usize] -= 1;
        }
        self.followers -= usize::from(matches!(member.who, Who::Follower));
        self.waiting -= usize::from(member.is_waiting);
        if let Who::Person(person) = &member.who {
            if self.present.get(&person.key) == Some(&conn) {
                self.present.remove(&person.key);
            }
            self.participants.go(person.key, self.now.received);
        }
        if self.members.is_empty() && self.members.capacity() > SPARE {
            (self.members, self.places, self.present) = Default::default();
        }
        self.count();
        Some(member)
    }

    /// Sends a member that was removed what was said so far.
    fn hear_out(&mut self, member: &Member<T>, tally: &mut HubCounters) {
        let _held = self.info.log.hold();
        self.batch.append(&self.info.log, self.now.received);
        if let Some(encoding) = member.hears.filter(|_| !self.batch.is_empty()) {
            let news = self.batch.encode(&self.info.log, encoding);
            if member.outbox.deliver(news) == Sent::Taken {
                let (missed, missed_bytes) = news.before(member.since.entry);
                tally.deliveries += news.count() as u64 - missed;
                tally.bytes += news.bytes().len() as u64 - missed_bytes;
            }
        }
    }

    /// Says how many there are to whom it concerns.
    fn count(&self) {
        self.info.log.flow.set_members(self.hearers.iter().sum());
        self.info.members.store(self.people(), Ordering::Relaxed);
    }

    /// How many members are counted.
    fn people(&self) -> u64 {
        match &self.shared {
            Some(shared) => shared.people(),
            None => (self.members.len() - self.followers) as u64,
        }
    }

    /// Whether somebody hears who comes and goes.
    fn has_witnesses(&self) -> bool {
        Encoding::ALL.iter().any(|it| it.has_presence() && self.hearers[*it as usize] > 0)
    }

    fn say_came(&mut self, conn: ConnId) {
        let count = self.people();
        if self.presence.came(count) == News::Name && self.has_witnesses() {
            self.notice(conn, Kind::Joined { count });
        }
    }

    fn say_left(&mut self, member: &Member<T>, is_lost: bool) {
        if matches!(member.who, Who::Follower) {
            return;
        }
        self.tell_left(member.author(), is_lost);
    }

    /// Says that somebody is not here any more.
    fn tell_left(&mut self, author: Author<'_>, is_lost: bool) {
        let count = self.people();
        let news = self.presence.left(count);
        let kind = Kind::Left { count, is_lost, is_told: news == News::Name };
        self.batch.push(Entry { kind, at: self.now.at, author, text: "" }, None);
        if news == News::Members && self.has_witnesses() {
            let mut list = Vec::new();
            self.list(&mut list);
            let text = &String::from_utf8_lossy(&list);
            let (kind, author) = (Kind::Members { count }, Author::default());
            self.batch.push(Entry { kind, at: self.now.at, author, text }, None);
        }
    }

    /// Tells a large room how many its members are, if that has changed.
    fn say_count(&mut self) {
        if self.presence.tell(self.now.received) {
            let kind = Kind::Counted { count: self.people() };
            if self.has_witnesses() {
                let author = Author::default();
                self.batch.push(Entry { kind, at: self.now.at, author, text: "" }, None);
            }
        }
    }

    /// Appends a notice of what this member did.
    fn notice(&mut self, conn: ConnId, kind: Kind) {
        if let Some(place) = self.places.get(&conn) {
            let author = self.members[*place].author();
            self.batch.push(Entry { kind, at: self.now.at, author, text: "" }, None);
        }
    }

    /// Appends who is here, as JSON.
    fn list(&self, out: &mut Vec<u8>) {
        if let Some(shared) = &self.shared {
            return shared.list(out);
        }
        let people = self.members.iter().filter(|member| !matches!(member.who, Who::Follower));
        let members = people.map(|member| (member.by(), member.author().name));
        roomd1::members(out, members);
    }
}

impl<T: Transport> Member<T> {
    fn author(&self) -> Author<'_> {
        match &self.who {
            Who::Number(id) => Author::number(*id),
            // Nobody hears of it.
            Who::Follower => Author::default(),
            Who::Person(person) => {
                Author { num: person.num, tag: Some(person.tag), name: &person.name }
            }
        }
    }

    fn by(&self) -> By {
        self.author().by()
    }

    /// Tells it that its message `n` was accepted, now as number `seq`, or before.
    fn acknowledge(&self, n: u64, seq: Option<u64>) {
        let mut frame = Vec::new();
        wire::text_of(&mut frame, |out| roomd1::ack(out, n, seq));
        // If it is gone already, the next batch finds that out.
        let _ = self.outbox.send(&frame);
    }
}
