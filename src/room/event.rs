//! What can happen to the room: the hub's only input.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;
use tungstenite::Utf8Bytes;

use crate::history::flow::Credit;
use crate::net::slots::ConnId;
use crate::outbox::Outbox;

/// Everything that can happen to the room. `T` is what outboxes send through.
#[derive(Debug)]
pub enum Event<T> {
    /// A client came. Several may have the same `id`.
    Join { conn: ConnId, id: i64, outbox: Arc<Outbox<T>> },
    /// A client said something, for which it has credit: `at` so many milliseconds since 1970, and
    /// `received` by a clock that never goes back.
    Broadcast { conn: ConnId, text: Utf8Bytes, at: u64, received: Instant, credit: Credit },
    /// A client goes. If it takes one last word, that is its `farewell`, a close frame.
    Leave { conn: ConnId, farewell: Option<Vec<u8>> },
    /// Somebody wants to know whether the hub still gets to its events: `done` is dropped.
    Question { done: Sender<Infallible> },
    /// The server stops: everybody goes. Once they have been told, `done` is dropped.
    Shutdown { done: Sender<Infallible> },
}
