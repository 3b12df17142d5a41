//! Subscribers over HTTP: members of whom nobody hears.

use std::io::Write;
use std::sync::Arc;

use crate::metrics::HubCounters;
use crate::net::slots::ConnId;
use crate::outbox::{Outbox, Transport};
use crate::room::event::Moment;
use crate::room::follow::{Follow, PAGE, Until, Wants};
use crate::room::resume::{self, Resume, Since};
use crate::room::room::{Room, Who};
use crate::wire::cursor::Cursor;
use crate::wire::roomd1;

impl<T: Transport> Room<T> {
    /// A subscriber comes. It is told how things are, then given what it wants of the history, and hears
    /// every later entry, unless it has enough by then.
    pub fn follow(
        &mut self,
        conn: ConnId,
        follow: &Follow,
        outbox: Arc<Outbox<T>>,
        at: Moment,
        tally: &mut HubCounters,
    ) {
        let encoding = outbox.encoding();
        let Some(format) = encoding.format() else { return };
        self.now = at;
        self.add(conn, Who::Follower, outbox.clone(), Some(encoding));
        let log = self.info.log.clone();
        let _held = log.hold();
        // What is in the batch is a part of the history by now.
        self.batch.append(&log, at.received);
        let came = self.batch.end();
        let resume = self.find_start(follow.wants);
        tally.resumed(resume.result, resume.missed);
        let cursor = Cursor { epoch: log.epoch(), seq: resume.start - 1 };
        let you = follow.identity.tag;
        let answer = roomd1::Welcome {
            room: self.info.name.as_str(),
            title: self.info.title.as_deref(),
            cursor,
            head: self.seq,
            missed: resume.missed,
            you,
            name: you.as_str(),
            n: None,
            now: at.at,
            max: self.info.max_message,
            count: self.people(),
            who: None,
        };
        let mut response = follow.head.clone();
        // Writing to memory does not fail.
        let _ = write!(response, "Roomd-Cursor: {cursor}\r\n\r\n");
        format.hello(&mut response, cursor, |out| roomd1::hello(out, &answer));
        // If it is gone already, the next batch finds that out.
        let _ = outbox.send(&response);
        let place = |seq: u64| log.ring.find(seq).filter(|_| seq <= self.seq).unwrap_or(came);
        let start = place(resume.start);
        let end = match follow.wants {
            Wants::Before(before) if resume.missed.is_some() => place(before.seq + 1),
            _ => came,
        };
        let has_enough = match follow.until {
            Until::Forever => false,
            Until::Present => true,
            Until::Message => start < end,
        };
        if has_enough {
            self.remove(conn);
            return outbox.replay(&log, start, came.entry, end.entry);
        }
        self.enter(conn, start, came);
        if follow.until == Until::Message {
            self.wait_for_message(conn);
        }
    }

    /// From which number on a subscriber hears.
    fn find_start(&self, wants: Wants) -> Resume {
        let log = &self.info.log;
        let first = log.ring.first(self.now.at);
        let from = |start: u64| Resume { start, missed: Some(0), result: None };
        let news = self.seq + 1;
        match wants {
            Wants::All => from(first),
            Wants::News => from(news),
            Wants::Recent(age) => {
                let oldest = self.now.at.saturating_sub(age.as_millis() as u64);
                from(log.ring.first_since(oldest).map_or(news, |seq| seq.max(first)))
            }
            Wants::Since(cursor) => resume::resume(&self.kept(), Since::At(cursor), 0),
            Wants::Before(before) => {
                let of = resume::resume(&self.kept(), Since::At(before), 0);
                // Of another log, nothing is known to be before it.
                let is_here = of.missed.is_some();
                let start =
                    if is_here { first.max((before.seq + 1).saturating_sub(PAGE)) } else { news };
                Resume { start: start.min(news), missed: is_here.then_some(0), result: None }
            }
        }
    }

    /// The member goes with the first message that it is sent.
    fn wait_for_message(&mut self, conn: ConnId) {
        if let Some(place) = self.places.get(&conn) {
            self.members[*place].is_waiting = true;
            self.waiting += 1;
        }
    }

    /// Lets those go that waited for a message and were just sent one.
    pub(super) fn finish_waiting(&mut self) {
        let waiting = self.members.iter().filter(|member| member.is_waiting);
        let done: Vec<ConnId> = waiting.map(|member| member.conn).collect();
        let end = self.batch.end().entry;
        for conn in done {
            if let Some(member) = self.remove(conn) {
                member.outbox.finish(end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crossbeam_channel::bounded;

    use super::*;
    use crate::config::budget::LogBounds;
    use crate::history::flow::Turn;
    use crate::outbox::fuzz_target::Socket;
    use crate::room::hub::fuzz_target::room_within;
    use crate::room::identity::Secret;
    use crate::room::publish::Publication;

    fn at(at: u64) -> Moment {
        Moment { at, received: Instant::now() }
    }

    /// A room in which something was published at each of these seconds.
    fn published(seconds: &[u64]) -> Room<Arc<Socket>> {
        let mut bounds = LogBounds::new(1 << 20, 1000);
        bounds.history.messages = 100;
        let info = room_within(bounds);
        let secret = Secret::of([7; 32]);
        let mut room = Room::new(info.clone(), at(0));
        for second in seconds {
            let now = at(second * 1000);
            room.publish(Publication {
                room: info.clone(),
                identity: secret.identify_address("lobby", [192, 0, 2, 1].into()),
                name: None,
                text: "x".into(),
                key: None,
                at: now,
                credit: info.log.credit(100, &mut Turn::default(), || true).expect("credit"),
                answer: bounded(1).0,
            });
            room.flush(0, now, &mut HubCounters::default());
        }
        room
    }

    #[test]
    fn what_is_recent_is_so_by_the_clock() {
        let mut room = published(&[100, 160, 220]);
        room.now = at(220_500);
        let start = |age: u64| room.find_start(Wants::Recent(Duration::from_secs(age))).start;
        assert_eq!([0, 1, 60, 61, 120, 121].map(start), [4, 3, 3, 2, 2, 1]);
        assert_eq!([3600, u64::MAX / 1000].map(start), [1, 1]);
        // A clock that was set back makes nothing old.
        room.now = at(10_000);
        assert_eq!(room.find_start(Wants::Recent(Duration::ZERO)).start, 1);
    }
}
