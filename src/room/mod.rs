//! The room: events in, batches of frames out. No sockets and no clock.

pub mod batch;
pub mod event;
pub mod follow;
pub mod handle;
pub mod hello;
pub mod hub;
pub mod idempotency;
pub mod identity;
pub mod info;
pub mod name;
pub mod names;
pub mod participants;
pub mod presence;
pub mod probe;
pub mod publish;
pub mod resume;
#[allow(clippy::module_inception, reason = "a room is what this folder is about")]
pub mod room;
pub mod rooms;
