//! What the entries of the log do, on every node.

use std::sync::Arc;

use crate::engine::entry::{self, What};
use crate::engine::link::{News, Waiting};
use crate::history::chunk::{self, Author};
use crate::metrics::HubCounters;
use crate::net::slots::ConnId;
use crate::outbox::Transport;
use crate::reasons::CloseReason;
use crate::room::event::Moment;
use crate::room::idempotency::Published;
use crate::room::identity::Identity;
use crate::room::names;
use crate::room::participants::{Key, Welcome};
use crate::room::publish::Outcome;
use crate::room::room::shared::message;
use crate::room::room::shared::roster::Guest;
use crate::room::room::{Person, Room, Who};
use crate::wire::cursor::Epoch;

impl<T: Transport> Room<T> {
    /// Hears what has happened. How many bytes wait to be sent by that.
    pub fn hear(&mut self, news: News, at: Moment, tally: &mut HubCounters) -> usize {
        self.now.received = at.received;
        let mut bytes = 0;
        match news {
            News::Entries(entries) => {
                let name = self.shared.as_ref().map(|shared| shared.link.node.name());
                for raw in &entries {
                    if let Some(shared) = &self.shared {
                        shared.link.delivered(raw.size());
                    }
                    for (pos, entry) in raw.entries() {
                        bytes += self.hear_entry((raw.id.0, pos), entry, name.as_deref(), tally);
                    }
                }
                if let Some(shared) = &self.shared {
                    shared.link.has_heard(shared.at);
                }
                self.settle(tally);
            }
            News::Gap(snapshot) => self.skip(&snapshot, tally),
            News::Settled => self.settle(tally),
            News::Fenced(name) => self.die(name, tally),
        }
        bytes
    }

    /// Hears something that has happened, of which this is the id; this node has that `name`. How many bytes
    /// wait to be sent by that.
    fn hear_entry(
        &mut self,
        id: (u64, u64),
        entry: Option<entry::Entry<'_>>,
        name: Option<&str>,
        tally: &mut HubCounters,
    ) -> usize {
        let Some(shared) = &mut self.shared else { return 0 };
        let Some(entry) = entry else {
            log::warn!("{}: an entry of the engine is damaged", shared.link.room);
            shared.at = id;
            return 0;
        };
        let is_mine = name == Some(entry.node);
        let mut heard = None;
        if is_mine && entry.counter > 0 {
            let (passed_over, waiting) = shared.link.hear(id, entry.counter, self.now.received);
            heard = waiting;
            passed_over.into_iter().for_each(|it| self.pass_over(it, tally));
        } else if entry.what != What::Said && entry.what != What::Epoch {
            // An epoch is heard once it is known who is here: else the writer could send what they say before it
            // has told the engine of them. What others say is heard with the last of the entries.
            shared.link.has_heard(id);
        }
        self.now.at = self.now.at.max(entry.at);
        self.apply(&entry, id, is_mine, heard, tally);
        if let Some(shared) = &mut self.shared {
            shared.at = id;
        }
        chunk::cost(entry.text.len())
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
            What::Said => self.say_heard(entry, id, is_mine, heard, tally),
            What::Joined => self.come(entry, id, is_mine, tally),
            What::Renamed => {
                let place = (entry.node.to_owned(), conn);
                if shared.roster.at(&place).is_some() {
                    self.note_guest(place, Guest::of(entry));
                }
                if is_mine {
                    self.name_member(conn, entry.name);
                }
            }
            What::Left => {
                let gone = shared.roster.remove(&(entry.node.to_owned(), conn));
                if is_mine {
                    shared.mine.remove(&conn);
                    self.part(conn, tally);
                }
                self.count();
                if gone.is_some() {
                    self.tell_left(author, entry.text == "lost");
                }
            }
            What::Present => {
                if is_mine {
                    self.name_member(conn, entry.name);
                }
                self.note_guest((entry.node.to_owned(), conn), Guest::of(entry));
            }
            What::Replaced => {
                if is_mine {
                    self.replace_here(conn, tally);
                }
                // It may have been here in this place alone.
                self.forget_guest(&(entry.node.to_owned(), conn));
            }
            What::Node => {
                if is_mine && entry.text != "sync" {
                    // This node was declared dead, and its writer is about to find out.
                    self.die(entry.node.into(), tally);
                }
                let Some(shared) = &mut self.shared else { return };
                let is_gone = |guest: &Guest| entry.text != "sync" || !guest.is_known;
                let guests = shared.roster.of_node(entry.node);
                let gone =
                    guests.filter(|(_, guest)| is_gone(guest)).map(|(place, _)| place.clone());
                for place in gone.collect::<Vec<_>>() {
                    self.forget_guest(&place);
                }
            }
            What::Epoch => self.begin_epoch(entry, id, tally),
        }
    }

    /// A client of this node has come again elsewhere.
    fn replace_here(&mut self, conn: ConnId, tally: &mut HubCounters) {
        let Some(shared) = &mut self.shared else { return };
        shared.mine.remove(&conn);
        shared.leaving.remove(&conn);
        if let Some((_, outbox)) = shared.joining.remove(&conn) {
            outbox.close_for(CloseReason::Replaced);
        }
        self.replace(conn, tally);
    }

    /// A message is heard.
    fn say_heard(
        &mut self,
        entry: &entry::Entry<'_>,
        id: (u64, u64),
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
            let answer = match shared.answers.is_empty() {
                true => None,
                false => shared.answers.remove(&waiting.counter),
            };
            if let Some(answer) = answer {
                let message = Published { seq: entry.seq, at: entry.at };
                // Whoever asked may have given up.
                let _ = answer.try_send(Outcome::Published {
                    message,
                    epoch: Epoch::from_number(id.0),
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
        let replaced = entry.text.split_once(' ');
        let replaced =
            replaced.and_then(|(node, conn)| Some((node.to_owned(), conn.parse().ok()?)));
        if let Some((_, conn)) =
            replaced.as_ref().filter(|(node, _)| **node == *shared.link.node.name())
        {
            self.replace_here(*conn, tally);
        }
        let Some(shared) = &mut self.shared else { return };
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
        // First its new place: it was not away meanwhile.
        self.note_guest((entry.node.to_owned(), entry.conn), Guest::of(entry));
        if let Some(place) = replaced {
            self.forget_guest(&place);
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
}
