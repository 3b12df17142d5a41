//! The room: events in, batches of frames out. No sockets and no clock.

pub mod batch;
pub mod event;
pub mod hub;
pub mod probe;
#[allow(clippy::module_inception, reason = "a room is what this folder is about")]
pub mod room;
