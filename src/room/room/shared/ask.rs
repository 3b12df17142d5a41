//! What clients of this node want, handed to the engine as commands.

use std::sync::Arc;
use std::time::Duration;

use hmac_sha256::Hash;

use crate::config::ENGINE_NOTICE;
use crate::engine::command::{self, Command, Request};
use crate::engine::link::MOST_WAITING;
use crate::history::flow::Credit;
use crate::metrics::HubCounters;
use crate::net::slots::ConnId;
use crate::outbox::{Outbox, Transport};
use crate::reasons::CloseReason;
use crate::room::event::{Farewell, Moment, Newcomer, Said};
use crate::room::identity::Identity;
use crate::room::names;
use crate::room::publish::Publication;
use crate::room::room::shared::Mine;
use crate::room::room::{Room, Who};
use crate::wire;
use crate::wire::cursor::Cursor;
use crate::wire::roomd1::{self, Code};

impl<T: Transport> Room<T> {
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
                let cursor = hello.since.as_deref().and_then(Cursor::parse);
                command.since = cursor.and_then(|cursor| cursor.epoch.number()).unwrap_or(0);
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
        // With more of them, its client learns it again when it sends that again.
        if self.places.contains_key(&conn) && shared.link.waiting() <= MOST_WAITING {
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
        if shared.joining.contains_key(&conn) && !shared.link.take_back(&[conn].into()).is_empty() {
            shared.mine.remove(&conn);
            let joining = shared.joining.remove(&conn);
            if let Some(((_, outbox), frames)) = joining.zip(farewell.frames) {
                outbox.close(&frames);
            }
            return;
        }
        shared.push_leave(conn, farewell.is_lost);
        match farewell.frames {
            Some(_) => {
                shared.leaving.insert(conn, farewell);
                self.part_if_away(tally);
            }
            None => {
                shared.joining.remove(&conn);
                // In a new epoch it is not said to be here any more.
                shared.mine.remove(&conn);
                if let Some(member) = self.remove(conn) {
                    member.outbox.cut();
                }
            }
        }
    }

    /// Nobody who leaves waits to be heard leaving while the engine is away. What they said last is published when
    /// it is back. Nor does anybody wait for long to be let in.
    pub fn part_if_away(&mut self, tally: &mut HubCounters) {
        let leaving = self.shared.as_ref().filter(|_| self.info.is_away_for(Duration::ZERO));
        let leaving: Vec<_> =
            leaving.into_iter().flat_map(|it| it.leaving.keys().copied()).collect();
        for conn in leaving {
            let joining = self.shared.as_mut().and_then(|shared| shared.joining.remove(&conn));
            match joining {
                Some((_, outbox)) => self.part_before_hello(conn, &outbox),
                None => self.part(conn, tally),
            }
        }
        self.refuse_who_joins();
    }

    fn refuse_who_joins(&mut self) {
        let Some(shared) = self.shared.as_mut().filter(|_| self.info.is_away_for(ENGINE_NOTICE))
        else {
            return;
        };
        let joining = std::mem::take(&mut shared.joining);
        let back = shared.link.take_back(&joining.keys().copied().collect());
        for (conn, (_, outbox)) in joining {
            shared.mine.remove(&conn);
            if !back.contains(&conn) {
                shared.push_leave(conn, true);
            }
            outbox.close_for(CloseReason::Unreachable);
        }
    }

    fn part_before_hello(&mut self, conn: ConnId, outbox: &Arc<Outbox<T>>) {
        let farewell = self.shared.as_mut().and_then(|shared| shared.leaving.remove(&conn));
        if let Some(frames) = farewell.and_then(|farewell| farewell.frames) {
            outbox.close(&frames);
        }
    }
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
