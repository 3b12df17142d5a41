//! What a client of `roomd.1` says of itself when it comes, and what it is told.

use crate::room::identity::Identity;

/// How a client of `roomd.1` wants to join.
#[derive(Debug)]
pub struct Hello {
    /// Who it is.
    pub identity: Identity,
    /// The name that it wants.
    pub name: Option<String>,
    /// The cursor from which it goes on, as it was given.
    pub since: Option<String>,
    /// So many messages at most, if it does not go on from somewhere.
    pub history: u32,
    /// Whether it wants to know who is here.
    pub who: bool,
    /// Whether it hears the room. One that does not only publishes.
    pub hear: bool,
}
