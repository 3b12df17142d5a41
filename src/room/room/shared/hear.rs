//! What the entries of the log do, on every node.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::engine::entry::{self, What};
use crate::engine::link::{News, Through, Waiting};
use crate::history::chunk::{self, Author, Kind};
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
use crate::room::room::shared::{Guest, message};
use crate::room::room::{Person, Room, Who};

impl<T: Transport> Room<T> {
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
                let is_new = matches!(guest, Entry::Vacant(_));
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
}
