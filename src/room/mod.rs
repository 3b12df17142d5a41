//! The room, pure: events in, batches of frames out. No sockets and no clock.

pub mod event;
pub mod hub;
