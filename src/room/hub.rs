//! The thread that owns the members of the room and their order.
//!
//! The hub takes events in the order of its inbox, which is the one order that everybody sees. It
//! gathers what they say in a batch, each message encoded once, appends it to the room's log, and
//! sends it to every client as one buffer.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::config::{BATCH_BYTES, INBOX};
use crate::history::Log;
use crate::metrics::{HubCounters, Metrics};
use crate::outbox::Transport;
use crate::reasons::CloseReason;
use crate::room::event::Event;
use crate::room::room::Room;

/// The hub of one room.
#[derive(Debug)]
pub struct Hub<T> {
    room: Room<T>,
    tally: HubCounters,
    is_stopping: bool,
}

impl<T: Transport> Hub<T> {
    /// An empty room with this log.
    pub fn new(log: Arc<Log>) -> Self {
        Hub { room: Room::new(log), tally: HubCounters::default(), is_stopping: false }
    }

    /// Serves the room until every sender of events is gone, and says what it counts.
    pub fn run(mut self, inbox: &Receiver<Event<T>>, metrics: &Metrics) {
        while let Ok(event) = inbox.recv() {
            self.handle(event);
            // What has come meanwhile goes out together; nothing waits for company, and not for
            // those either who go on talking after they have left.
            let mut meanwhile = inbox.try_iter().take(INBOX);
            while self.room.pending() < BATCH_BYTES {
                let Some(event) = meanwhile.next() else { break };
                self.handle(event);
            }
            self.flush();
            metrics.hub_counted(&mut self.tally);
        }
    }

    /// Takes one event. What is to be said about it goes out with the next [`Hub::flush`].
    pub fn handle(&mut self, event: Event<T>) {
        match event {
            Event::Join { outbox, .. } if self.is_stopping => {
                outbox.close(&CloseReason::Stopping.frame());
            }
            Event::Join { conn, id, outbox } => self.room.join(conn, id, outbox),
            Event::Broadcast { conn, text, at, received, credit } => {
                if self.room.say(conn, at, &text, credit) {
                    self.tally.messages += 1;
                    self.tally.heard.push(received);
                }
            }
            Event::Leave { conn, farewell } => {
                self.room.leave(conn, farewell.as_deref(), &mut self.tally);
            }
            Event::Question { done } => drop(done),
            Event::Shutdown { done } => {
                self.is_stopping = true;
                self.room.close(&CloseReason::Stopping.frame(), &mut self.tally);
                drop(done);
            }
        }
    }

    /// Sends the batch to everybody.
    pub fn flush(&mut self) {
        // One huge message must not hold its memory for good.
        self.room.flush(2 * BATCH_BYTES, &mut self.tally);
    }
}

#[cfg(any(test, fuzzing))]
pub mod fuzz_target;
#[cfg(test)]
mod tests;
