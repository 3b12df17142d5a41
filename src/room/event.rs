//! What can happen to a room: the hub's only input.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::engine::News;
use crate::history::flow::Credit;
use crate::net::slots::ConnId;
use crate::outbox::Outbox;
use crate::room::follow::Follow;
use crate::room::hello::Hello;
use crate::room::info::{RoomId, RoomInfo};
use crate::room::publish::Publication;

/// Everything that can happen. `T` is what outboxes send through.
#[derive(Debug)]
pub enum Event<T> {
    /// A client came. Several may have the same id.
    Join { room: Arc<RoomInfo>, conn: ConnId, who: Newcomer, outbox: Arc<Outbox<T>>, at: Moment },
    /// A client of a room said something, for which it has credit. `n` is the number that it gave it, or 0.
    Broadcast { room: RoomId, conn: ConnId, text: Said, n: u64, at: Moment, credit: Credit },
    /// Somebody says something who is in no room.
    Publish(Box<Publication>),
    /// A client wants another name.
    Rename { room: RoomId, conn: ConnId, name: String, at: Moment },
    /// What the client numbered `n` was not a message, so the number is used up.
    UseUp { room: RoomId, conn: ConnId, n: u64 },
    /// A client goes.
    Leave { room: RoomId, conn: ConnId, farewell: Farewell },
    /// Something has happened in a room that several machines share.
    News { room: Arc<RoomInfo>, news: News },
    /// The room is dropped: it is empty, and nobody can get at it any more.
    Drop { room: RoomId },
    /// Somebody wants to know whether the hub still gets to its events: `done` is dropped.
    Question { done: Sender<Infallible> },
    /// The server stops: everybody goes. Once they have been told, `done` is dropped.
    Shutdown { done: Sender<Infallible> },
}

/// Who comes.
#[derive(Debug)]
pub enum Newcomer {
    /// A client of the tutorial's protocol, with its id.
    Number(i64),
    /// A client of `roomd.1`.
    Person(Box<Hello>),
    /// A subscriber over HTTP.
    Follower(Box<Follow>),
}

/// What was said: as it was read, or unpacked.
pub type Said = tungstenite::Utf8Bytes;

/// When something happened.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// In milliseconds since 1970, by a clock that people set.
    pub at: u64,
    /// By a clock that never goes back.
    pub received: Instant,
}

/// How a client goes.
#[derive(Debug)]
pub struct Farewell {
    /// What it gets last: a close frame if it has not said goodbye itself. None: it would not take
    /// anything, and its connection is cut.
    pub frames: Option<Vec<u8>>,
    /// It has not said goodbye, and may come again: it was lost.
    pub is_lost: bool,
}
