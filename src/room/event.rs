//! What can happen to the room: the hub's only input.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use tungstenite::Utf8Bytes;

/// Names one connection for as long as the server runs; never used twice.
pub type Key = u64;

/// Everything that can happen to the room. `O` is the sending side of a client.
#[derive(Debug)]
pub enum Event<O> {
    /// A client came. Several may have the same `id`.
    Join { key: Key, id: i64, outbox: Arc<O> },
    /// A client said something, at this time.
    Broadcast { key: Key, text: Utf8Bytes, heard: Instant },
    /// A client goes. If it takes one last word, that is its `farewell`, a close frame.
    Leave { key: Key, farewell: Option<Vec<u8>> },
    /// Somebody wants to know whether the hub still gets to its events: `done` is dropped.
    Question { done: Sender<Infallible> },
    /// The server stops: everybody goes. Once they have been told, `done` is dropped.
    Shutdown { done: Sender<Infallible> },
}

/// Whether the hub takes an event from its `inbox`, and gets to it, within `patience` each.
pub fn answers<O>(inbox: &Sender<Event<O>>, patience: Duration) -> bool {
    let (done, answered) = bounded(0);
    inbox.send_timeout(Event::Question { done }, patience).is_ok()
        && answered.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
}
