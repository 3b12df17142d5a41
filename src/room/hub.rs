//! Who is here and what was said.
//!
//! The hub owns the list of clients. It takes events in the order of its inbox, which is the one
//! order that everybody sees. It gathers what they say in a batch, each message encoded once, and
//! sends the batch to every client as one buffer. There are no sockets here and no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::config::{BATCH_BYTES, INBOX};
use crate::metrics::{HubCounters, Metrics};
use crate::outbox::{Outbox, Sent, Transport};
use crate::reasons::CloseReason;
use crate::room::event::{Event, Key};
use crate::wire;

/// What the hub needs of a client's sending side. None of it may block.
pub trait Deliver {
    /// Sends whole frames. After [`Sent::Refused`] the client counts as gone.
    fn deliver(self: &Arc<Self>, frames: &[u8]) -> Sent;
    /// Sends a close frame as the last word.
    fn close(self: &Arc<Self>, frame: &[u8]);
    /// Ends the connection.
    fn cut(self: &Arc<Self>);
}

impl<L: Transport> Deliver for Outbox<L> {
    fn deliver(self: &Arc<Self>, frames: &[u8]) -> Sent {
        self.send(frames)
    }

    fn close(self: &Arc<Self>, frame: &[u8]) {
        Outbox::close(self, frame);
    }

    fn cut(self: &Arc<Self>) {
        Outbox::cut(self);
    }
}

/// The room.
#[derive(Debug)]
pub struct Hub<O> {
    clients: BTreeMap<Key, Client<O>>,
    /// Whole frames that have not been sent yet.
    batch: Vec<u8>,
    /// How many they are.
    frames: u64,
    tally: HubCounters,
    stopping: bool,
}

#[derive(Debug)]
struct Client<O> {
    id: i64,
    outbox: Arc<O>,
    /// Where in the batch this client joined: it hears what comes after.
    since: usize,
}

impl<O: Deliver> Hub<O> {
    /// An empty room.
    pub fn new() -> Self {
        Hub {
            clients: BTreeMap::new(),
            batch: Vec::new(),
            frames: 0,
            tally: HubCounters::default(),
            stopping: false,
        }
    }

    /// Serves the room until every sender of events is gone, and says what it counts.
    pub fn run(mut self, inbox: &Receiver<Event<O>>, metrics: &Metrics) {
        while let Ok(event) = inbox.recv() {
            self.handle(event);
            // What has come meanwhile goes out together; nothing waits for company, and not for
            // those either who go on talking after they have left.
            let mut meanwhile = inbox.try_iter().take(INBOX);
            while self.batch.len() < BATCH_BYTES {
                let Some(event) = meanwhile.next() else { break };
                self.handle(event);
            }
            self.flush();
            metrics.hub_counted(&mut self.tally);
        }
    }

    /// Takes one event. What is to be said about it goes out with the next [`Hub::flush`].
    pub fn handle(&mut self, event: Event<O>) {
        match event {
            Event::Join { outbox, .. } if self.stopping => {
                outbox.close(&CloseReason::Stopping.frame());
            }
            Event::Join { key, id, outbox } => {
                self.clients.insert(key, Client { id, outbox, since: self.batch.len() });
            }
            Event::Broadcast { key, text, heard } => {
                // One who was closed for being slow may go on talking, but has left.
                if let Some(client) = self.clients.get(&key) {
                    wire::says(&mut self.batch, client.id, &text);
                    self.frames += 1;
                    self.tally.messages += 1;
                    self.tally.heard.push(heard);
                }
            }
            Event::Leave { key, farewell } => {
                if let Some(client) = self.clients.remove(&key) {
                    match farewell {
                        Some(frame) => {
                            // It hears what was said before it left, its own last words too.
                            let news = &self.batch[client.since..];
                            if !news.is_empty() && client.outbox.deliver(news) == Sent::Taken {
                                self.tally.deliveries += wire::count(news);
                                self.tally.bytes += news.len() as u64;
                            }
                            client.outbox.close(&frame);
                        }
                        None => client.outbox.cut(),
                    }
                    wire::left(&mut self.batch, client.id);
                    self.frames += 1;
                }
            }
            Event::Question { done } => drop(done),
            Event::Shutdown { done } => {
                self.flush();
                self.stopping = true;
                let farewell = CloseReason::Stopping.frame();
                for client in std::mem::take(&mut self.clients).into_values() {
                    client.outbox.close(&farewell);
                }
                drop(done);
            }
        }
    }

    /// Sends the batch to everybody.
    pub fn flush(&mut self) {
        // Those who turn out to be gone make for another batch, and each goes only once.
        while !self.batch.is_empty() {
            let (mut left, mut leavers) = (Vec::new(), 0);
            // Counted are the exceptions: nearly everybody stays and gets the whole batch.
            let (mut missed, mut missed_bytes) = (0, 0);
            let frames = self.frames;
            self.clients.retain(|_, client| {
                let since = std::mem::take(&mut client.since);
                let news = &self.batch[since..];
                let stays = news.is_empty() || client.outbox.deliver(news) == Sent::Taken;
                if !stays {
                    wire::left(&mut left, client.id);
                    leavers += 1;
                } else if since > 0 {
                    missed += frames - wire::count(news);
                    missed_bytes += since as u64;
                }
                stays
            });
            let stayed = self.clients.len() as u64;
            self.tally.deliveries += frames * stayed - missed;
            self.tally.bytes += self.batch.len() as u64 * stayed - missed_bytes;
            self.tally.batches += 1;
            self.batch.clear();
            self.batch.append(&mut left);
            self.frames = leavers;
        }
        // One huge message must not hold its memory for good.
        self.batch.shrink_to(4 * BATCH_BYTES);
    }
}

impl<O: Deliver> Default for Hub<O> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
#[cfg(any(test, fuzzing))]
pub mod trial;
