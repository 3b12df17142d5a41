//! One WebSocket client, reading: from the accepted handshake to the end of its session.

pub mod follower;
pub mod member;
pub mod permits;
pub mod reader;
pub mod roomd1;
pub mod session;
pub mod socket;
pub mod stream;

use crate::client::follower::Follower;
use crate::client::session::{Context, Session};

/// A connection that stays: its request was accepted, and has no response yet. In boxes: what a thread is
/// given lies on its stack more than once, and is there for as long as the client.
pub enum Guest {
    /// By WebSocket.
    Session(Box<Session>),
    /// A stream over HTTP.
    Follower(Box<Follower>),
}

impl Guest {
    /// Serves it until it is gone.
    pub fn run(self, context: &Context) {
        match self {
            Guest::Session(mut session) => session.run(context),
            Guest::Follower(follower) => follower.run(context),
        }
    }
}
