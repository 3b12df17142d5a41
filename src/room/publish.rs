//! A message that comes over HTTP, from somebody who is not in the room.

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::history::flow::Credit;
use crate::room::event::{Moment, Said};
use crate::room::idempotency::Published;
use crate::room::identity::Identity;
use crate::room::info::RoomInfo;
use crate::wire::cursor::Epoch;

/// A message to publish.
#[derive(Debug)]
pub struct Publication {
    /// Where.
    pub room: Arc<RoomInfo>,
    /// Who says it.
    pub identity: Identity,
    /// The name that this one wants, which is a good one.
    pub name: Option<String>,
    /// What is said.
    pub text: Said,
    /// Names the request, if it may come again.
    pub key: Option<String>,
    /// When it came.
    pub at: Moment,
    /// For the bytes of it.
    pub credit: Credit,
    /// Who wants to know what becomes of it. It has room for one answer, so that the hub does not wait.
    /// Dropped without one: the server stops, and nothing was published.
    pub answer: Sender<Outcome>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is a message now, or has been since an earlier request.
    Published {
        /// The message.
        message: Published,
        /// The incarnation of the log in which it has its number.
        epoch: Epoch,
        /// The name by which it was said.
        name: Arc<str>,
        /// It was published by this request.
        is_new: bool,
    },
    /// The key stands for another text.
    Conflict,
}
