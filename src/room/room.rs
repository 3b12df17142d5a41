//! One room: its members, its log and the next batch.

use std::collections::HashMap;
use std::sync::Arc;

use crate::history::Log;
use crate::history::chunk::{Entry, Kind, Position};
use crate::history::flow::Credit;
use crate::metrics::HubCounters;
use crate::net::slots::ConnId;
use crate::outbox::frames::{Cursor, Frames};
use crate::outbox::{Outbox, Sent, Transport};
use crate::room::batch::Batch;

/// A room.
#[derive(Debug)]
pub struct Room<T> {
    log: Arc<Log>,
    /// In one piece of memory, since every batch goes to all of them.
    members: Vec<Member<T>>,
    /// Where in `members` each one is.
    places: HashMap<ConnId, usize>,
    batch: Batch,
    /// The number of the last message.
    seq: u64,
    /// When the last event happened, in milliseconds since 1970.
    now: u64,
}

#[derive(Debug)]
struct Member<T> {
    outbox: Arc<Outbox<T>>,
    id: i64,
    conn: ConnId,
    /// It hears the entries from this position on.
    since: Position,
}

impl<T: Transport> Room<T> {
    /// An empty room with this log.
    pub fn new(log: Arc<Log>) -> Self {
        let (batch, members, places) = (Batch::default(), Vec::new(), HashMap::new());
        Room { log, members, places, batch, seq: 0, now: 0 }
    }

    /// Bytes that wait to be sent.
    pub fn pending(&self) -> usize {
        self.batch.frames().bytes().len()
    }

    /// A client comes. It hears every later entry.
    pub fn join(&mut self, conn: ConnId, id: i64, outbox: Arc<Outbox<T>>) {
        let since = self.batch.end();
        outbox.enter(&self.log, since);
        self.places.insert(conn, self.members.len());
        self.members.push(Member { outbox, id, conn, since });
        self.log.flow.set_members(self.members.len());
    }

    /// A client says something. False if it is not here: one that was closed for being slow may go on
    /// talking, but has left.
    pub fn say(&mut self, conn: ConnId, at: u64, text: &str, credit: Credit) -> bool {
        let Some(place) = self.places.get(&conn) else { return false };
        let author = self.members[*place].id;
        (self.seq, self.now) = (self.seq + 1, at);
        let kind = Kind::Message { seq: self.seq };
        self.batch.push(Entry { kind, at, author, text }, Some(credit));
        true
    }

    /// A client goes. It hears what was said before, its own last words too, and then its `farewell`;
    /// without one, its connection is cut.
    pub fn leave(&mut self, conn: ConnId, farewell: Option<&[u8]>, tally: &mut HubCounters) {
        let Some(member) = self.remove(conn) else { return };
        match farewell {
            Some(frame) => {
                self.batch.append(&self.log);
                let frames = self.batch.frames();
                if !frames.is_empty() && member.outbox.deliver(frames) == Sent::Taken {
                    let (missed, missed_bytes) = member.missed(frames);
                    tally.deliveries += frames.len() as u64 - missed;
                    tally.bytes += frames.bytes().len() as u64 - missed_bytes;
                }
                member.outbox.close(frame);
            }
            None => member.outbox.cut(),
        }
        self.say_left(&member);
    }

    /// Sends the batch to everybody.
    pub fn flush(&mut self, keep: usize, tally: &mut HubCounters) {
        // Those who turn out to be gone make for another batch, and each goes only once.
        while !self.batch.frames().is_empty() {
            self.batch.append(&self.log);
            let frames = self.batch.frames();
            let mut gone = Vec::new();
            // Counted are the exceptions: nearly everybody stays and gets the whole batch.
            let (mut missed, mut missed_bytes) = (0, 0);
            for member in &self.members {
                if member.outbox.deliver(frames) == Sent::Refused {
                    gone.push(member.conn);
                } else if member.since > frames.start() {
                    let (frames, bytes) = member.missed(frames);
                    missed += frames;
                    missed_bytes += bytes;
                }
            }
            let stayed = (self.members.len() - gone.len()) as u64;
            tally.deliveries += frames.len() as u64 * stayed - missed;
            tally.bytes += frames.bytes().len() as u64 * stayed - missed_bytes;
            tally.batches += 1;
            self.batch.restart(keep);
            for conn in gone {
                if let Some(member) = self.remove(conn) {
                    self.say_left(&member);
                }
            }
        }
    }

    /// Everybody goes, behind the batch, with this close frame. Nobody waits for anybody.
    pub fn close(&mut self, frame: &[u8], tally: &mut HubCounters) {
        self.flush(0, tally);
        self.places.clear();
        for member in std::mem::take(&mut self.members) {
            member.outbox.close(frame);
        }
        self.log.flow.set_members(0);
        self.log.flow.open();
    }

    fn remove(&mut self, conn: ConnId) -> Option<Member<T>> {
        let place = self.places.remove(&conn)?;
        let member = self.members.swap_remove(place);
        if let Some(moved) = self.members.get(place) {
            self.places.insert(moved.conn, place);
        }
        self.log.flow.set_members(self.members.len());
        Some(member)
    }

    fn say_left(&mut self, member: &Member<T>) {
        let entry = Entry { kind: Kind::Left, at: self.now, author: member.id, text: "" };
        self.batch.push(entry, None);
    }
}

impl<T> Member<T> {
    /// How many of these frames, and bytes of them, were said before it came.
    fn missed(&self, frames: &Frames) -> (u64, u64) {
        let entries = self.since.entry.saturating_sub(frames.start().entry);
        let news = frames.behind(Cursor { position: self.since, torn: 0 });
        let bytes = frames.bytes().len() - news.map_or(frames.bytes().len(), <[u8]>::len);
        (entries.min(frames.len() as u64), bytes as u64)
    }
}
