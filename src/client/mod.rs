//! One WebSocket client, reading: from the accepted handshake to the end of its session.

pub mod member;
pub mod permits;
pub mod reader;
pub mod roomd1;
pub mod session;
pub mod socket;
pub mod stream;
