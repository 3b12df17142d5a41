//! Clients of `roomd.1`: people with a name, whose messages are accepted once.

use std::sync::Arc;

use crate::history::chunk::Kind;
use crate::metrics::HubCounters;
use crate::net::slots::ConnId;
use crate::outbox::{Outbox, Transport};
use crate::reasons::CloseReason;
use crate::room::event::Moment;
use crate::room::hello::Hello;
use crate::room::participants::Welcome;
use crate::room::resume::{self, Since};
use crate::room::room::{Person, Room, Who};
use crate::wire;
use crate::wire::cursor::Cursor;
use crate::wire::roomd1::{self, Code};

impl<T: Transport> Room<T> {
    /// A client of `roomd.1` comes. It is told how things are, then given what it lacks of the history,
    /// and hears every later entry. One that is here with the same identity is replaced.
    pub fn welcome(
        &mut self,
        conn: ConnId,
        hello: &Hello,
        outbox: Arc<Outbox<T>>,
        at: Moment,
        tally: &mut HubCounters,
    ) {
        self.now = at;
        let identity = &hello.identity;
        let before = self.participants.find(identity).and_then(|key| self.present.remove(&key));
        let before = before.and_then(|conn| self.replace(conn, tally));
        let welcome = self.participants.come(identity, hello.name.as_deref(), at.received);
        let (key, name) = (welcome.key, welcome.name.clone());
        let person = Person { key, tag: identity.tag, num: identity.num, name: name.clone() };
        self.present.insert(key, conn);
        let hears = hello.hear.then(|| outbox.encoding());
        self.add(conn, Who::Person(Box::new(person)), outbox, hears);
        match before {
            None => self.say_came(conn),
            Some(old) if old != name => self.say_renamed(conn),
            Some(_) => {}
        }
        self.greet(conn, hello, &welcome, tally);
    }

    /// Answers the hello of somebody who was added just now, and lets it hear the log.
    pub(super) fn greet(
        &mut self,
        conn: ConnId,
        hello: &Hello,
        welcome: &Welcome,
        tally: &mut HubCounters,
    ) {
        let log = self.info.log.clone();
        let _held = log.hold();
        // What is in the batch is a part of the history by now.
        self.batch.append(&log, self.now.received);
        let end = self.batch.end();
        let resume = resume::resume(
            &self.kept(),
            Since::parse(hello.since.as_deref().filter(|_| hello.hear)),
            if hello.hear { hello.history.into() } else { 0 },
        );
        if hello.hear {
            tally.resumed(resume.result, resume.missed);
        }
        let count = self.people();
        let mut list = Vec::new();
        let who = (hello.who && self.presence.is_small()).then(|| {
            self.list(&mut list);
            String::from_utf8_lossy(&list)
        });
        let mut frames = Vec::new();
        let answer = roomd1::Welcome {
            room: self.info.name.as_str(),
            title: self.info.title.as_deref(),
            cursor: Cursor { epoch: log.epoch(), seq: resume.start - 1 },
            head: self.seq,
            missed: resume.missed,
            you: hello.identity.tag,
            name: &welcome.name,
            n: welcome.n,
            now: self.now.at,
            max: self.info.max_message,
            count,
            who: who.as_deref(),
        };
        wire::text_of(&mut frames, |out| roomd1::hello(out, &answer));
        if let Some(why) = welcome.rejected {
            wire::text_of(&mut frames, |out| roomd1::err(out, Code::Name, None, why));
        }
        let Some(place) = self.places.get(&conn) else { return };
        // If it is gone already, the next batch finds that out.
        let _ = self.members[*place].outbox.send(&frames);
        let start = log.ring.find(resume.start).filter(|_| resume.start <= self.seq);
        self.enter(conn, start.unwrap_or(end), end);
    }

    /// A client used a number for what was no message.
    pub fn use_up(&mut self, conn: ConnId, n: u64) {
        let Some(place) = self.places.get(&conn) else { return };
        if let Who::Person(person) = &self.members[*place].who {
            self.participants.accept(person.key, n);
        }
    }

    /// A client wants another name.
    pub fn rename(&mut self, conn: ConnId, wish: &str, at: Moment) {
        let Some(place) = self.places.get(&conn) else { return };
        let member = &mut self.members[*place];
        let Who::Person(person) = &mut member.who else { return };
        match self.participants.rename(person.key, wish, at.received) {
            Ok(name) if name == person.name => {}
            Ok(name) => {
                person.name = name;
                self.now = at;
                self.say_renamed(conn);
            }
            Err(why) => {
                let mut frame = Vec::new();
                wire::text_of(&mut frame, |out| roomd1::err(out, Code::Name, None, why));
                let _ = member.outbox.send(&frame);
            }
        }
    }

    /// Removes a member whose identity joins again; its name.
    pub(super) fn replace(&mut self, conn: ConnId, tally: &mut HubCounters) -> Option<Arc<str>> {
        let member = self.remove(conn)?;
        tally.fenced += 1;
        self.hear_out(&member, tally);
        member.outbox.close_for(CloseReason::Replaced);
        match member.who {
            Who::Person(person) => Some(person.name),
            Who::Number(_) | Who::Follower => None,
        }
    }

    /// Tells everybody the name that a member has now.
    fn say_renamed(&mut self, conn: ConnId) {
        if self.has_witnesses() {
            self.notice(conn, Kind::Renamed);
        }
    }
}
