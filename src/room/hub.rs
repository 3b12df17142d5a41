//! The thread that owns the members of some rooms and their order.
//!
//! A hub takes events in the order of its inbox, which is the one order that everybody in a room sees.
//! It gathers what they say in a batch for each room, appends it to the room's log, encodes it once for
//! each protocol in use, and sends it to every client as one buffer.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Select};

use crate::config::{BATCH_BYTES, INBOX};
use crate::history::chunk;
use crate::metrics::{HubCounters, HubCounts};
use crate::outbox::Transport;
use crate::reasons::CloseReason;
use crate::room::event::{Event, Moment, Newcomer};
use crate::room::info::{RoomId, RoomInfo};
use crate::room::room::Room;

/// The hub of some rooms.
#[derive(Debug)]
pub struct Hub<T> {
    /// In the order of their ids.
    rooms: Vec<Room<T>>,
    /// Bytes of messages that wait to be sent.
    pending: usize,
    tally: HubCounters,
    is_stopping: bool,
}

impl<T: Transport> Hub<T> {
    /// A hub without rooms. Each is there from the first who joins it.
    pub fn new() -> Self {
        Hub { rooms: Vec::new(), pending: 0, tally: HubCounters::default(), is_stopping: false }
    }

    /// Serves the rooms until every sender of events is gone, and says what it counts.
    pub fn run(mut self, inbox: &Receiver<Event<T>>, counts: &HubCounts) {
        // `recv` spins before it sleeps, for about as long as a send takes, and this does not.
        let mut next = Select::new_biased();
        next.recv(inbox);
        loop {
            let ready = match self.rooms.iter().filter_map(Room::due).min() {
                Some(due) => next.select_deadline(due).ok(),
                None => Some(next.select()),
            };
            match ready.map(|it| it.recv(inbox)) {
                Some(Ok(event)) => self.handle(event),
                Some(Err(_)) => return,
                // Something is due.
                None => {}
            }
            self.take(inbox);
            self.gather(inbox);
            self.flush();
            counts.store(&mut self.tally);
        }
    }

    /// Takes what has come meanwhile. It goes out together; nothing that is sent to clients waits for company, and
    /// not for those either who go on talking after they have left.
    fn take(&mut self, inbox: &Receiver<Event<T>>) {
        let mut meanwhile = inbox.try_iter().take(INBOX);
        while self.pending < BATCH_BYTES {
            let Some(event) = meanwhile.next() else { break };
            self.handle(event);
        }
    }

    /// Takes one event. What is to be said about it goes out with the next [`Hub::flush`].
    pub fn handle(&mut self, event: Event<T>) {
        let Some(event) = self.forward(event) else { return };
        match event {
            Event::Join { outbox, .. } if self.is_stopping => {
                outbox.close(&CloseReason::Stopping.frame());
            }
            Event::Join { room, conn, who, outbox, at } => {
                let place = self.place_of(room, at);
                let room = &mut self.rooms[place];
                match who {
                    Newcomer::Number(id) => room.join(conn, id, outbox, at),
                    Newcomer::Person(hello) => {
                        room.welcome(conn, &hello, outbox, at, &mut self.tally);
                    }
                    Newcomer::Follower(follow) => {
                        room.follow(conn, &follow, outbox, at, &mut self.tally);
                    }
                }
            }
            Event::Broadcast { room, conn, text, n, at, credit } => {
                let Some(place) = self.find(room) else { return };
                if self.rooms[place].say(conn, &text, n, at, credit, &mut self.tally) {
                    self.pending += chunk::cost(text.len());
                    self.tally.messages += 1;
                    self.tally.heard.push(at.received);
                }
            }
            Event::Publish(_) if self.is_stopping => {}
            Event::Publish(publication) => {
                let (len, received) = (publication.text.len(), publication.at.received);
                let place = self.place_of(publication.room.clone(), publication.at);
                if self.rooms[place].publish(*publication) {
                    self.pending += chunk::cost(len);
                    self.tally.messages += 1;
                    self.tally.heard.push(received);
                }
            }
            Event::Rename { room, conn, name, at } => {
                if let Some(place) = self.find(room) {
                    self.rooms[place].rename(conn, &name, at);
                }
            }
            Event::UseUp { room, conn, n } => {
                if let Some(place) = self.find(room) {
                    self.rooms[place].use_up(conn, n);
                }
            }
            Event::Leave { room, conn, farewell } => {
                if let Some(place) = self.find(room) {
                    self.rooms[place].leave(conn, &farewell, Moment::now(), &mut self.tally);
                }
            }
            // Taken already.
            Event::News { .. } => {}
            Event::Drop { room } => {
                if let Some(place) = self.find(room) {
                    self.rooms.remove(place);
                }
            }
            Event::Question { done } => drop(done),
            Event::Shutdown { done } => {
                self.is_stopping = true;
                let now = Moment::now();
                for room in &mut self.rooms {
                    room.close(&CloseReason::Stopping.frame(), now, &mut self.tally);
                }
                drop(done);
            }
        }
    }

    /// Sends the batches to everybody.
    pub fn flush(&mut self) {
        let now = Moment::now();
        self.rooms.iter().for_each(Room::hand_over);
        for room in &mut self.rooms {
            // One huge message must not hold its memory for good.
            room.flush(2 * BATCH_BYTES, now, &mut self.tally);
        }
        self.pending = 0;
    }

    fn find(&self, id: RoomId) -> Option<usize> {
        self.rooms.binary_search_by_key(&id, |room| room.info().id).ok()
    }

    /// Where this room is; it is made if it is not there yet.
    fn place_of(&mut self, info: Arc<RoomInfo>, at: Moment) -> usize {
        let found = self.rooms.binary_search_by_key(&info.id, |room| room.info().id);
        found.unwrap_or_else(|place| {
            self.rooms.insert(place, Room::new(info, at));
            place
        })
    }
}

impl<T: Transport> Default for Hub<T> {
    fn default() -> Self {
        Hub::new()
    }
}

#[cfg(any(test, fuzzing))]
pub mod fuzz_target;
#[cfg(all(test, shuttle))]
mod model;
#[cfg_attr(not(feature = "engine"), path = "hub/alone.rs")]
mod shared;
#[cfg(test)]
mod tests;
