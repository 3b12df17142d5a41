//! One WebSocket client, reading: from the accepted handshake to the end of its session.

pub mod ahead;
pub mod framing;
pub mod intake;
pub mod permits;
pub mod session;
pub mod socket;
pub mod stream;
