//! A room that several machines share: what its clients do goes to the engine, and happens when it comes
//! back from there, in the one order of all nodes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::Sender;
use hmac_sha256::Hash;

use crate::config::BATCH_BYTES;
use crate::engine::command::{self, Command, Present, Request};
use crate::engine::entry::{self, What};
use crate::engine::link::{Link, MOST_WAITING, News, Snapshot, Through, Waiting};
use crate::history::before::Past;
use crate::history::chunk::{self, Author, Chunk, Kind};
use crate::history::flow::Credit;
use crate::metrics::HubCounters;
use crate::net::slots::ConnId;
use crate::outbox::{Outbox, Transport};
use crate::reasons::CloseReason;
use crate::room::event::{Farewell, Moment, Newcomer, Said};
use crate::room::hello::Hello;
use crate::room::idempotency::Published;
use crate::room::identity::Identity;
use crate::room::names;
use crate::room::participants::{Key, Welcome};
use crate::room::presence::News as Told;
use crate::room::publish::{Outcome, Publication};
use crate::room::room::{Person, Room, Who};
use crate::wire;
use crate::wire::cursor::{Cursor, Epoch};
use crate::wire::roomd1::{self, Code};
use crate::wire::tag::Tag;

/// What a shared room has beside what every room has.
#[derive(Debug)]
pub struct Shared<T> {
    pub(super) link: Arc<Link>,
    /// Who is here on all nodes, by node and connection.
    pub(super) roster: BTreeMap<(String, ConnId), Guest>,
    /// Those of this node.
    mine: HashMap<ConnId, Mine>,
    /// Clients of `roomd.1` whose hello was not answered yet.
    joining: HashMap<ConnId, (Box<Hello>, Arc<Outbox<T>>)>,
    /// What those get last who wait to be heard leaving.
    leaving: HashMap<ConnId, Farewell>,
    /// Who waits for what becomes of a message, by the counter of the command.
    answers: HashMap<u64, Sender<Outcome>>,
    /// Who will not learn it, and finds that out by itself.
    unanswered: VecDeque<Sender<Outcome>>,
    /// The epochs before.
    pub(super) past: Vec<Past>,
    /// The last number that this node has missed.
    pub(super) hole: u64,
    /// The last entry that was heard.
    at: (u64, u64),
}

/// Somebody who is here.
#[derive(Debug)]
pub(super) struct Guest {
    num: i64,
    tag: Option<Tag>,
    name: String,
    /// Its node has said so in this epoch.
    is_known: bool,
}

/// Somebody who is here on this node.
#[derive(Debug, Default)]
struct Mine {
    mac: String,
    /// The greatest number of its messages that was heard.
    n: u64,
    /// The epoch and position of its join.
    came: (u64, u64),
}

/// So many who will not learn what became of their messages are kept until they give up.
const UNANSWERED: usize = 256;

impl Guest {
    pub(super) fn author(&self) -> Author<'_> {
        Author { num: self.num, tag: self.tag, name: &self.name }
    }
}

impl<T: Transport> Room<T> {
    /// Takes what the engine has of the room, if the room is shared.
    pub(super) fn share(&mut self) {
        let Some(link) = self.info.link.clone() else { return };
        let snapshot = link.take_snapshot().unwrap_or_default();
        let log = self.info.log.clone();
        log.set_epoch(snapshot.epoch);
        let first = snapshot.history.iter().filter_map(|raw| raw.entry()).next();
        log.ring.begin(log.ring.end(), first.map_or(snapshot.seq, |first| first.seq - 1));
        let mut chunk = Chunk::new(log.ring.end());
        for entry in snapshot.history.iter().filter_map(|raw| raw.entry()) {
            chunk.push(message(&entry));
            self.now.at = self.now.at.max(entry.at);
        }
        if chunk.len() > 0 {
            log.append(&chunk, 0, None, self.now.received);
        }
        self.batch = super::Batch::new(log.ring.end());
        self.seq = snapshot.seq;
        let shared = Shared {
            link,
            roster: roster(&snapshot),
            mine: HashMap::new(),
            joining: HashMap::new(),
            leaving: HashMap::new(),
            answers: HashMap::new(),
            unanswered: VecDeque::new(),
            past: past(&snapshot),
            hole: 0,
            at: (snapshot.epoch, snapshot.pos),
        };
        self.shared = Some(Box::new(shared));
        self.count();
    }

    /// Whether other machines share it.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// A client wants to join.
    pub fn ask_to_join(
        &mut self,
        conn: ConnId,
        who: Newcomer,
        outbox: Arc<Outbox<T>>,
        at: Moment,
        tally: &mut HubCounters,
    ) {
        let Some(shared) = &mut self.shared else { return };
        let mut command = Command::of(command::Kind::Join, conn);
        match who {
            Newcomer::Follower(follow) => self.follow(conn, &follow, outbox, at, tally),
            Newcomer::Number(id) => {
                command.who = Some(Box::new(command::Who { num: id, ..Default::default() }));
                shared.mine.insert(conn, Mine::default());
                shared.link.push(command, None);
                let encoding = outbox.encoding();
                self.add(conn, Who::Number(id), outbox, Some(encoding));
                let since = self.batch.end();
                self.enter(conn, since, since);
            }
            Newcomer::Person(hello) => {
                let who = of(&hello.identity);
                shared.mine.insert(conn, Mine { mac: who.mac.clone(), ..Mine::default() });
                command.who = Some(Box::new(who));
                command.text = wish(hello.name.as_deref()).into();
                shared.joining.insert(conn, (hello, outbox));
                shared.link.push(command, None);
            }
        }
    }

    /// A client wants to say something, which it gave the number `n`, or 0.
    pub fn ask_to_say(&mut self, conn: ConnId, text: Said, n: u64, credit: Credit) {
        let Some(shared) = &mut self.shared else { return };
        let is_here = self.places.contains_key(&conn) || shared.joining.contains_key(&conn);
        if is_here && !shared.leaving.contains_key(&conn) {
            let command = Command { n, text, ..Command::of(command::Kind::Say, conn) };
            shared.link.push(command, Some(credit));
        }
    }

    /// Somebody who is not in the room wants to publish.
    pub fn ask_to_publish(&mut self, publication: Publication) {
        let Some(shared) = &mut self.shared else { return };
        let Publication { identity, name, text, key, credit, answer, .. } = publication;
        let hash = |parts: &[&str]| {
            let mut hash = Hash::new();
            parts.iter().for_each(|part| hash.update(part.as_bytes()));
            hex(&hash.finalize()[..16])
        };
        let key = key.map(|key| [hash(&[identity.tag.as_str(), " ", &key]), hash(&[&text])]);
        let name = name.map_or_else(String::new, |name| wish(Some(&name)));
        let command = Command {
            who: Some(Box::new(of(&identity))),
            text,
            request: Some(Box::new(Request { key, name })),
            ..Command::of(command::Kind::Publish, 0)
        };
        let counter = shared.link.push(command, Some(credit));
        shared.answers.insert(counter, answer);
    }

    /// A client wants another name.
    pub fn ask_for_name(&mut self, conn: ConnId, name: &str) {
        let Some(place) = self.places.get(&conn) else { return };
        let Some(shared) = &mut self.shared else { return };
        let member = &self.members[*place];
        let Who::Person(person) = &member.who else { return };
        if name == &*person.name {
            return;
        }
        let why = match names::check(name) {
            Err(why) => why,
            Ok(_) if shared.link.waiting() > MOST_WAITING => "the room cannot be reached",
            Ok(_) => {
                let text = wish(Some(name)).into();
                let command = Command { text, ..Command::of(command::Kind::Rename, conn) };
                shared.link.push(command, None);
                return;
            }
        };
        let mut frame = Vec::new();
        wire::text_of(&mut frame, |out| roomd1::err(out, Code::Name, None, why));
        let _ = member.outbox.send(&frame);
    }

    /// A client used a number for what was no message.
    pub fn ask_to_use_up(&mut self, conn: ConnId, n: u64) {
        let Some(shared) = &mut self.shared else { return };
        if self.places.contains_key(&conn) {
            shared.link.push(Command { n, ..Command::of(command::Kind::UseUp, conn) }, None);
        }
    }

    /// A client goes. It is sent its farewell when its leaving is heard, behind its last words.
    pub fn ask_to_leave(
        &mut self,
        conn: ConnId,
        farewell: Farewell,
        at: Moment,
        tally: &mut HubCounters,
    ) {
        let place = self.places.get(&conn);
        if place.is_some_and(|place| matches!(self.members[*place].who, Who::Follower)) {
            return self.leave(conn, &farewell, at, tally);
        }
        let Some(shared) = &mut self.shared else { return };
        let is_here = self.places.contains_key(&conn) || shared.joining.contains_key(&conn);
        if !is_here {
            return;
        }
        shared.push_leave(conn, farewell.is_lost);
        match farewell.frames {
            Some(_) => drop(shared.leaving.insert(conn, farewell)),
            None => {
                shared.joining.remove(&conn);
                if let Some(member) = self.remove(conn) {
                    member.outbox.cut();
                }
            }
        }
    }

    /// A member that was removed could not be sent anything any more.
    pub(super) fn ask_to_leave_lost(&mut self, conn: ConnId) {
        if let Some(shared) = &mut self.shared {
            if shared.leaving.remove(&conn).is_none() {
                shared.push_leave(conn, true);
            }
        }
    }

    /// Hears what has happened. How many bytes wait to be sent by that.
    pub fn hear(&mut self, news: News, at: Moment, tally: &mut HubCounters) -> usize {
        self.now.received = at.received;
        let mut bytes = 0;
        match news {
            News::Entries(entries) => {
                let name = self.shared.as_ref().map(|shared| shared.link.node.name());
                for raw in entries {
                    let Some(shared) = &mut self.shared else { break };
                    shared.link.delivered(raw.size());
                    let Some(entry) = raw.entry() else {
                        log::warn!("{}: an entry of the engine is damaged", shared.link.room);
                        shared.at = raw.id;
                        continue;
                    };
                    let is_mine = name.as_deref() == Some(entry.node);
                    let counter = if is_mine { entry.counter } else { 0 };
                    let mut heard = None;
                    for through in shared.link.hear(raw.id, counter) {
                        match through {
                            Through::Heard(waiting) => heard = Some(waiting),
                            Through::PassedOver(waiting, known) => {
                                self.pass_over(waiting, known, tally);
                            }
                        }
                    }
                    self.now.at = self.now.at.max(entry.at);
                    self.apply(&entry, raw.id, is_mine, heard, tally);
                    bytes += chunk::cost(entry.text.len());
                    if let Some(shared) = &mut self.shared {
                        shared.at = raw.id;
                    }
                }
            }
            News::Gap(snapshot) => self.skip(&snapshot, tally),
            News::Settled => self.settle(tally),
            News::Fenced => self.move_away(tally),
        }
        bytes
    }

    /// Does what an entry tells of.
    fn apply(
        &mut self,
        entry: &entry::Entry<'_>,
        id: (u64, u64),
        is_mine: bool,
        heard: Option<Waiting>,
        tally: &mut HubCounters,
    ) {
        let Some(shared) = &mut self.shared else { return };
        let conn = entry.conn;
        let author = Author { num: entry.num, tag: entry.tag, name: entry.name };
        match entry.what {
            What::Said => self.say_heard(entry, is_mine, heard, tally),
            What::Joined => self.come(entry, id, is_mine, tally),
            What::Renamed => {
                if let Some(guest) = shared.roster.get_mut(&(entry.node.to_owned(), conn)) {
                    guest.name = entry.name.into();
                }
                if is_mine {
                    self.name_member(conn, entry.name);
                }
                self.tell(Kind::Renamed, author);
            }
            What::Left => {
                let was_here = shared.roster.remove(&(entry.node.to_owned(), conn)).is_some();
                if is_mine {
                    shared.mine.remove(&conn);
                    self.part(conn, tally);
                }
                self.count();
                if was_here {
                    self.tell_left(author, entry.text == "lost");
                }
            }
            What::Present => {
                let guest = shared.roster.entry((entry.node.to_owned(), conn));
                let is_new = matches!(guest, std::collections::btree_map::Entry::Vacant(_));
                let guest = guest.or_insert_with(|| Guest::of(entry));
                guest.is_known = true;
                let has_new_name = !is_new && guest.name != entry.name;
                guest.name = entry.name.into();
                if is_mine && has_new_name {
                    self.name_member(conn, entry.name);
                }
                if is_new {
                    self.tell_came(author);
                } else if has_new_name {
                    self.tell(Kind::Renamed, author);
                }
            }
            What::Replaced => {
                shared.roster.remove(&(entry.node.to_owned(), conn));
                if is_mine {
                    shared.mine.remove(&conn);
                    shared.leaving.remove(&conn);
                    if let Some((_, outbox)) = shared.joining.remove(&conn) {
                        outbox.close_for(CloseReason::Replaced);
                    }
                    self.replace(conn, tally);
                }
                self.count();
            }
            What::Node => {
                if is_mine && entry.text != "sync" {
                    // This node was declared dead, and its writer is about to find out.
                    self.move_away(tally);
                }
                let Some(shared) = &mut self.shared else { return };
                let is_gone = |guest: &Guest| entry.text != "sync" || !guest.is_known;
                let of_node = (entry.node.to_owned(), 0)..=(entry.node.to_owned(), ConnId::MAX);
                let gone = shared.roster.range(of_node).filter(|(_, guest)| is_gone(guest));
                let gone: Vec<_> = gone.map(|(key, _)| key.clone()).collect();
                for key in gone {
                    self.forget_guest(&key);
                }
            }
            What::Epoch => self.begin_epoch(entry, id, tally),
        }
    }

    /// A message is heard.
    fn say_heard(
        &mut self,
        entry: &entry::Entry<'_>,
        is_mine: bool,
        heard: Option<Waiting>,
        tally: &mut HubCounters,
    ) {
        let Some(shared) = &mut self.shared else { return };
        self.seq = entry.seq;
        let n = u64::try_from(entry.n).unwrap_or(0);
        let credit = heard.map(|waiting| {
            tally.messages += 1;
            tally.heard.push(waiting.since);
            if let Some(answer) = shared.answers.remove(&waiting.counter) {
                let message = Published { seq: entry.seq, at: entry.at };
                // Whoever asked may have given up.
                let _ = answer.try_send(Outcome::Published {
                    message,
                    name: entry.name.into(),
                    is_new: true,
                });
            }
            waiting.credit
        });
        self.batch.push(message(entry), credit.flatten());
        if is_mine && n > 0 {
            if let Some(mine) = shared.mine.get_mut(&entry.conn) {
                mine.n = mine.n.max(n);
            }
            let member = self.places.get(&entry.conn).map(|place| &self.members[*place]);
            if let Some(member) = member.filter(|member| member.hears.is_none()) {
                member.acknowledge(n, Some(entry.seq));
            }
        }
    }

    /// Somebody comes, on whatever node.
    fn come(
        &mut self,
        entry: &entry::Entry<'_>,
        id: (u64, u64),
        is_mine: bool,
        tally: &mut HubCounters,
    ) {
        let Some(shared) = &mut self.shared else { return };
        let author = Author { num: entry.num, tag: entry.tag, name: entry.name };
        let replaced = entry.text.split_once(' ');
        let replaced = replaced.and_then(|(node, conn)| Some((node, conn.parse().ok()?)));
        let mut old_name = None;
        if let Some((node, conn)) = replaced {
            old_name = shared.roster.remove(&(node.to_owned(), conn)).map(|guest| guest.name);
            if *node == *shared.link.node.name() {
                shared.mine.remove(&conn);
                shared.leaving.remove(&conn);
                if let Some((_, outbox)) = shared.joining.remove(&conn) {
                    outbox.close_for(CloseReason::Replaced);
                }
                self.replace(conn, tally);
            }
        }
        let Some(shared) = &mut self.shared else { return };
        let before = shared.roster.insert((entry.node.to_owned(), entry.conn), Guest::of(entry));
        let joining = if is_mine { shared.joining.remove(&entry.conn) } else { None };
        let n = u64::try_from(entry.n).ok();
        if let Some(mine) = shared.mine.get_mut(&entry.conn).filter(|_| is_mine) {
            (mine.n, mine.came) = (n.unwrap_or(0), id);
        }
        let greeted = joining.map(|(hello, outbox)| {
            let name: Arc<str> = entry.name.into();
            let Identity { tag, num, .. } = hello.identity;
            let person = Person { key: Key::NOBODY, tag, num, name: name.clone() };
            let hears = hello.hear.then(|| outbox.encoding());
            self.add(entry.conn, Who::Person(Box::new(person)), outbox, hears);
            (hello, name)
        });
        self.count();
        match old_name {
            _ if before.is_some() => {}
            None => self.tell_came(author),
            Some(old) if old != entry.name => self.tell(Kind::Renamed, author),
            Some(_) => {}
        }
        if let Some((hello, name)) = greeted {
            let is_kept = hello.name.as_deref() == Some(&*name);
            let rejected = hello
                .name
                .as_deref()
                .filter(|_| !is_kept)
                .and_then(|wish| names::check(wish).err());
            let welcome = Welcome { key: Key::NOBODY, name, n, rejected };
            self.greet(entry.conn, &hello, &welcome, tally);
        }
    }

    /// The engine was restarted, or another one took over: the log goes on in a new epoch, maybe without some
    /// of the last entries.
    fn begin_epoch(&mut self, entry: &entry::Entry<'_>, id: (u64, u64), tally: &mut HubCounters) {
        // What was heard before is of the old epoch.
        self.flush(2 * BATCH_BYTES, self.now, tally);
        let Some(shared) = &mut self.shared else { return };
        let before = entry.text.split_once(' ');
        let before = before.and_then(|(epoch, pos)| Some((epoch.parse().ok()?, pos.parse().ok()?)));
        let before: (u64, u64) = before.unwrap_or((0, 0));
        let is_lost = before < shared.at;
        if before.0 == 0 {
            shared.past.clear();
        } else {
            for past in &mut shared.past {
                past.last = past.last.min(entry.seq);
            }
            let epoch = Some(Epoch::from_number(shared.at.0));
            shared.past.push(Past { epoch, last: entry.seq, is_clean: true });
        }
        log::warn!(
            "{}: the engine goes on in another epoch{}",
            shared.link.room,
            if is_lost { ", and has lost what was said last" } else { "" }
        );
        self.move_log(id.0, entry.seq, (!is_lost).then_some(0));
        let Some(shared) = &mut self.shared else { return };
        let name = shared.link.node.name();
        let mut present = Vec::new();
        for ((node, conn), guest) in &mut shared.roster {
            guest.is_known = false;
            if **node != *name {
                continue;
            }
            let Some(mine) = shared.mine.get(conn) else { continue };
            let tag = guest.tag.map_or_else(String::new, |tag| tag.to_string());
            present.push(Present {
                conn: *conn,
                who: command::Who { mac: mine.mac.clone(), tag, num: guest.num },
                n: mine.n,
                name: guest.name.clone(),
                fold: names::fold(&guest.name),
                came: mine.came,
            });
        }
        shared.link.begin_epoch(id, present);
    }

    /// Some entries were dropped before this node read them.
    fn skip(&mut self, snapshot: &Snapshot, tally: &mut HubCounters) {
        self.flush(2 * BATCH_BYTES, self.now, tally);
        let Some(shared) = &mut self.shared else { return };
        let is_same = snapshot.epoch == shared.at.0 && snapshot.seq >= self.seq;
        let seq = if is_same { self.seq } else { 0 };
        let entries = snapshot.history.iter().filter_map(|raw| raw.entry());
        let news: Vec<_> = entries.filter(|entry| entry.seq > seq).collect();
        let start = news.first().map_or(snapshot.seq, |first| first.seq - 1);
        let missed = is_same.then(|| start - seq);
        log::warn!(
            "{}: this node was too slow, and has missed {} messages",
            shared.link.room,
            missed.map_or("some".into(), |missed| missed.to_string())
        );
        shared.past = past(snapshot);
        if missed != Some(0) {
            shared.hole = start;
        }
        shared.at = (snapshot.epoch, snapshot.pos);
        let (link, now) = (shared.link.clone(), roster(snapshot));
        self.move_log(snapshot.epoch, start, missed);
        for entry in &news {
            self.seq = entry.seq;
            self.now.at = self.now.at.max(entry.at);
            self.batch.push(message(entry), None);
        }
        self.seq = snapshot.seq;
        let gone = self.shared.iter().flat_map(|shared| shared.roster.keys());
        let gone: Vec<_> = gone.filter(|key| !now.contains_key(*key)).cloned().collect();
        for key in gone {
            self.forget_guest(&key);
        }
        for (key, guest) in now {
            let Some(shared) = &mut self.shared else { return };
            let author = Guest { is_known: true, name: guest.name.clone(), ..guest };
            if shared.roster.insert(key, guest).is_none() {
                self.count();
                self.tell_came(author.author());
            }
        }
        // What of one's own was in the gap is through.
        for through in link.hear((snapshot.epoch, snapshot.pos), 0) {
            if let Through::PassedOver(waiting, known) = through {
                self.pass_over(waiting, known, tally);
            }
        }
    }

    /// The log goes on in this epoch, behind this number, and its readers are told how many they miss.
    fn move_log(&mut self, epoch: u64, seq: u64, missed: Option<u64>) {
        let log = self.info.log.clone();
        log.set_epoch(epoch);
        if seq != self.seq {
            log.ring.begin_anew(seq);
        }
        self.seq = seq;
        let cursor = Cursor { epoch: log.epoch(), seq }.to_string();
        let (kind, author) = (Kind::Moved { missed }, Author::default());
        self.batch.push(chunk::Entry { kind, at: self.now.at, author, text: &cursor }, None);
    }

    fn settle(&mut self, tally: &mut HubCounters) {
        let settled = self.shared.as_ref().map(|shared| shared.link.settled());
        for through in settled.into_iter().flatten() {
            if let Through::PassedOver(waiting, known) = through {
                self.pass_over(waiting, known, tally);
            }
        }
    }

    /// The engine took something of which no entry tells.
    fn pass_over(&mut self, waiting: Waiting, known: Option<String>, tally: &mut HubCounters) {
        let Some(shared) = &mut self.shared else { return };
        let Waiting { counter, command, .. } = waiting;
        match command.kind {
            command::Kind::Say if command.n > 0 => {
                tally.duplicates += 1;
                if let Some(place) = self.places.get(&command.conn) {
                    self.members[*place].acknowledge(command.n, None);
                }
            }
            command::Kind::Publish => {
                let Some(answer) = shared.answers.remove(&counter) else { return };
                match known.as_deref().map(published) {
                    Some(Some(outcome)) => drop(answer.try_send(outcome)),
                    Some(None) => drop(answer.try_send(Outcome::Conflict)),
                    // The answer of the script was lost.
                    None => shared.keep_unanswered(answer),
                }
            }
            command::Kind::Leave => self.part(command.conn, tally),
            _ => {}
        }
    }

    /// This node was declared dead: everybody was told that its clients have left, and they come again.
    fn move_away(&mut self, tally: &mut HubCounters) {
        self.flush(2 * BATCH_BYTES, self.now, tally);
        let Some(shared) = &mut self.shared else { return };
        shared.link.clear();
        let answers: Vec<_> = shared.answers.drain().map(|(_, answer)| answer).collect();
        answers.into_iter().for_each(|answer| shared.keep_unanswered(answer));
        shared.mine.clear();
        shared.leaving.clear();
        for (_, (_, outbox)) in shared.joining.drain() {
            outbox.close_for(CloseReason::Moved);
        }
        let people = self.members.iter().filter(|member| !matches!(member.who, Who::Follower));
        let people: Vec<_> = people.map(|member| member.conn).collect();
        for conn in people {
            if let Some(member) = self.remove(conn) {
                member.outbox.close_for(CloseReason::Moved);
            }
        }
    }

    /// A member is sent what it hears last, if it waits for that.
    fn part(&mut self, conn: ConnId, tally: &mut HubCounters) {
        let farewell = self.shared.as_mut().and_then(|shared| shared.leaving.remove(&conn));
        let Some(frames) = farewell.and_then(|farewell| farewell.frames) else { return };
        if let Some(member) = self.remove(conn) {
            self.hear_out(&member, tally);
            member.outbox.close(&frames);
        }
    }

    fn name_member(&mut self, conn: ConnId, name: &str) {
        let Some(place) = self.places.get(&conn) else { return };
        if let Who::Person(person) = &mut self.members[*place].who {
            person.name = name.into();
        }
    }

    /// Somebody is not here any more, without a goodbye.
    fn forget_guest(&mut self, key: &(String, ConnId)) {
        let guest = self.shared.as_mut().and_then(|shared| shared.roster.remove(key));
        if let Some(guest) = guest {
            self.count();
            self.tell_left(guest.author(), true);
        }
    }

    fn tell_came(&mut self, author: Author<'_>) {
        let count = self.people();
        if self.presence.came(count) == Told::Name {
            self.tell(Kind::Joined { count }, author);
        }
    }

    fn tell(&mut self, kind: Kind, author: Author<'_>) {
        if self.has_witnesses() {
            self.batch.push(chunk::Entry { kind, at: self.now.at, author, text: "" }, None);
        }
    }
}

impl<T> Shared<T> {
    fn push_leave(&mut self, conn: ConnId, is_lost: bool) {
        let text = if is_lost { "lost" } else { "" };
        let command = Command { text: text.into(), ..Command::of(command::Kind::Leave, conn) };
        self.link.push(command, None);
    }

    fn keep_unanswered(&mut self, answer: Sender<Outcome>) {
        self.unanswered.push_back(answer);
        if self.unanswered.len() > UNANSWERED {
            self.unanswered.pop_front();
        }
    }
}

impl Guest {
    fn of(entry: &entry::Entry<'_>) -> Guest {
        let entry::Entry { num, tag, name, .. } = *entry;
        Guest { num, tag, name: name.into(), is_known: true }
    }
}

/// The entry of the log here.
fn message<'a>(entry: &entry::Entry<'a>) -> chunk::Entry<'a> {
    let n = u64::try_from(entry.n).unwrap_or(0);
    let author = Author { num: entry.num, tag: entry.tag, name: entry.name };
    chunk::Entry {
        kind: Kind::Message { seq: entry.seq, n },
        at: entry.at,
        author,
        text: entry.text,
    }
}

/// What a script says of a request that came before; none for a conflict.
fn published(known: &str) -> Option<Outcome> {
    let mut words = known.splitn(3, ' ');
    let mut number = || words.next()?.parse().ok();
    let message = Published { seq: number()?, at: number()? };
    let name = words.next().unwrap_or_default().into();
    Some(Outcome::Published { message, name, is_new: false })
}

fn roster(snapshot: &Snapshot) -> BTreeMap<(String, ConnId), Guest> {
    let guest = |line: &String| {
        let mut words = line.splitn(5, ' ');
        let (node, conn) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        let (num, tag) = (words.next()?.parse().ok()?, entry::tag(words.next()?));
        let name = words.next().unwrap_or_default().into();
        Some(((node, conn), Guest { num, tag, name, is_known: true }))
    };
    snapshot.members.iter().filter_map(guest).collect()
}

fn past(snapshot: &Snapshot) -> Vec<Past> {
    let past = snapshot.past.iter();
    past.map(|(epoch, last)| Past {
        epoch: Some(Epoch::from_number(*epoch)),
        last: *last,
        is_clean: true,
    })
    .collect()
}

fn of(identity: &Identity) -> command::Who {
    let tag = identity.tag.to_string();
    command::Who { mac: hex(&identity.mac), tag, num: identity.num }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the scripts make a name of. One that is no name may still be the one that the server gave before.
fn wish(name: Option<&str>) -> String {
    match name.map(|name| (name, names::check(name))) {
        None => String::new(),
        Some((_, Ok(name))) => command::wish(&name, names::fold, names::numbered),
        Some((name, Err(_))) => name.replace('\n', " "),
    }
}
