//! Events of rooms that several machines share.

use std::thread;
use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::outbox::Transport;
use crate::reasons::CloseReason;
use crate::room::event::{Event, Moment};
use crate::room::hub::Hub;
use crate::room::info::RoomId;
use crate::room::room::Room;

/// How long a hub waits for more of what clients want.
const GATHER: Duration = Duration::from_micros(500);

impl<T: Transport> Hub<T> {
    /// Takes an event of a shared room; gives another back.
    pub(super) fn forward(&mut self, event: Event<T>) -> Option<Event<T>> {
        match event {
            Event::News { room, news } => {
                // A room that was dropped has nothing more to hear.
                let Some(link) = &room.link else { return None };
                if self.find(room.id).is_none() && !link.has_snapshot() {
                    return None;
                }
                let at = Moment::now();
                let place = self.place_of(room, at);
                self.pending += self.rooms[place].hear(news, at, &mut self.tally);
            }
            Event::Join { outbox, room, .. } if self.is_stopping && room.link.is_some() => {
                outbox.close(&CloseReason::Stopping.frame());
            }
            Event::Join { room, conn, who, outbox, at } if room.link.is_some() => {
                let place = self.place_of(room, at);
                self.rooms[place].ask_to_join(conn, who, outbox, at, &mut self.tally);
            }
            Event::Publish(publication) if publication.room.link.is_some() => {
                if !self.is_stopping {
                    let place = self.place_of(publication.room.clone(), publication.at);
                    self.rooms[place].ask_to_publish(*publication);
                }
            }
            Event::Broadcast { room, conn, text, n, credit, .. } if self.shares(room) => {
                if let Some(place) = self.find(room) {
                    self.rooms[place].ask_to_say(conn, text, n, credit);
                }
            }
            Event::Rename { room, conn, name, .. } if self.shares(room) => {
                if let Some(place) = self.find(room) {
                    self.rooms[place].ask_for_name(conn, &name);
                }
            }
            Event::UseUp { room, conn, n } if self.shares(room) => {
                if let Some(place) = self.find(room) {
                    self.rooms[place].ask_to_use_up(conn, n);
                }
            }
            Event::Leave { room, conn, farewell } if self.shares(room) => {
                if let Some(place) = self.find(room) {
                    self.rooms[place].ask_to_leave(conn, farewell, Moment::now(), &mut self.tally);
                }
            }
            other => return Some(other),
        }
        None
    }

    /// Waits for more of what clients want, if that pays: each event wakes a hub that sleeps, and each turn the
    /// engine's writer.
    pub(super) fn gather(&mut self, inbox: &Receiver<Event<T>>) {
        if self.pending == 0 && self.rooms.iter().any(Room::gathers) {
            thread::sleep(GATHER);
            self.take(inbox);
        }
    }

    /// Looks whether anybody waits who need not wait any more, which it does now and then.
    #[cfg(test)]
    pub fn look_around(&mut self) {
        self.rooms.iter_mut().for_each(|room| room.part_if_away(&mut self.tally));
    }

    fn shares(&self, room: RoomId) -> bool {
        self.find(room).is_some_and(|place| self.rooms[place].is_shared())
    }
}
