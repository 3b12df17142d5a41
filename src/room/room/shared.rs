//! A room that several machines share: what its clients do goes to the engine, and happens when it comes
//! back from there, in the one order of all nodes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::engine::command::{self, Command};
use crate::engine::entry;
use crate::engine::link::{Link, Snapshot};
use crate::history::before::Past;
use crate::history::chunk::{self, Author, Chunk, Kind};
use crate::net::slots::ConnId;
use crate::outbox::{Outbox, Transport};
use crate::room::batch::Batch;
use crate::room::event::Farewell;
use crate::room::hello::Hello;
use crate::room::presence::News;
use crate::room::publish::Outcome;
use crate::room::room::shared::roster::{Guest, News as Came, Place, Roster};
use crate::room::room::{Room, Who};
use crate::wire::cursor::Epoch;
use crate::wire::roomd1;

mod ask;
mod epoch;
mod hear;
mod roster;
mod through;

/// What a shared room has beside what every room has.
pub type Shared<T> = Box<State<T>>;

/// What a shared room has beside what every room has.
#[derive(Debug)]
pub struct State<T> {
    link: Arc<Link>,
    /// Who is here on all nodes.
    roster: Roster,
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
    past: Vec<Past>,
    /// The last entry that was heard.
    at: (u64, u64),
    /// The name under which this node was declared dead, once its clients were sent away for that.
    died_as: Option<Arc<str>>,
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

impl<T: Transport> Room<T> {
    /// Takes what the engine has of the room, if the room is shared.
    pub(super) fn share(&mut self) {
        let Some(link) = self.info.link.clone() else { return };
        let snapshot = link.take_snapshot().unwrap_or_default();
        let log = self.info.log.clone();
        log.set_epoch(snapshot.epoch);
        let first = snapshot.messages().next();
        log.ring.begin(log.ring.end(), first.map_or(snapshot.seq, |first| first.seq - 1));
        let mut chunk = Chunk::new(log.ring.end());
        for entry in snapshot.messages() {
            chunk.push(message(&entry));
            self.now.at = self.now.at.max(entry.at);
        }
        if chunk.len() > 0 {
            log.append(&chunk, 0, None, self.now.received);
        }
        self.batch = Batch::new(log.ring.end());
        self.seq = snapshot.seq;
        let shared = State {
            link,
            roster: Roster::of(&snapshot),
            mine: HashMap::new(),
            joining: HashMap::new(),
            leaving: HashMap::new(),
            answers: HashMap::new(),
            unanswered: VecDeque::new(),
            past: past(&snapshot),
            at: (snapshot.epoch, snapshot.pos),
            died_as: None,
        };
        self.shared = Some(Box::new(shared));
        self.count();
    }

    /// Has the engine be told what its members want.
    pub fn hand_over(&self) {
        if let Some(shared) = &self.shared {
            shared.link.hand_over();
        }
    }

    /// Whether it pays to wait for more of what its members want before the engine is told.
    pub fn gathers(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.link.gathers())
    }

    /// Whether other machines share it.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    fn name_member(&mut self, conn: ConnId, name: &str) {
        let Some(place) = self.places.get(&conn) else { return };
        if let Who::Person(person) = &mut self.members[*place].who {
            person.name = name.into();
        }
    }

    /// Somebody is not here any more, without a goodbye.
    fn forget_guest(&mut self, place: &Place) {
        let guest = self.shared.as_mut().and_then(|shared| shared.roster.remove(place));
        self.count();
        if let Some(guest) = guest {
            self.tell_left(guest.author(), true);
        }
    }

    /// Somebody is in this place.
    fn note_guest(&mut self, place: Place, guest: Guest) {
        let Some(shared) = &mut self.shared else { return };
        let news = shared.roster.insert(place, guest.clone());
        self.count();
        match news {
            Came::Came => self.tell_came(guest.author()),
            Came::Renamed => self.tell(Kind::Renamed, guest.author()),
            Came::Nothing => {}
        }
    }

    fn tell_came(&mut self, author: Author<'_>) {
        let count = self.people();
        if self.presence.came(count) == News::Name {
            self.tell(Kind::Joined { count }, author);
        }
    }

    fn tell(&mut self, kind: Kind, author: Author<'_>) {
        if self.has_witnesses() {
            self.batch.push(chunk::Entry { kind, at: self.now.at, author, text: "" }, None);
        }
    }
}

impl<T> State<T> {
    /// A member that was removed could not be sent anything any more.
    pub(super) fn lost(&mut self, conn: ConnId) {
        self.mine.remove(&conn);
        if self.leaving.remove(&conn).is_none() {
            self.push_leave(conn, true);
            self.link.hand_over();
        }
    }

    /// Whether somebody waits to be heard joining or leaving.
    pub(super) fn is_moving(&self) -> bool {
        !self.leaving.is_empty() || !self.joining.is_empty()
    }

    /// The epochs before.
    pub(super) fn past(&self) -> &[Past] {
        &self.past
    }

    /// How many are here, on all nodes.
    pub(super) fn people(&self) -> u64 {
        self.roster.count()
    }

    /// Appends who they are, as JSON.
    pub(super) fn list(&self, out: &mut Vec<u8>) {
        roomd1::members(out, self.roster.people().map(|author| (author.by(), author.name)));
    }

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

fn past(snapshot: &Snapshot) -> Vec<Past> {
    let past = snapshot.past.iter();
    past.map(|(epoch, last)| Past {
        epoch: Some(Epoch::from_number(*epoch)),
        last: *last,
        is_clean: true,
    })
    .collect()
}
