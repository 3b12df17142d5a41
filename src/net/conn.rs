//! One accepted connection: its socket, its peer and its slot.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::metrics::Metrics;
use crate::net::deadline;
use crate::net::slots::{Closable, Slot};

/// An accepted connection. There is one descriptor for it; reading and writing share the socket.
/// Dropping it closes the socket and frees the slot.
pub struct Conn {
    /// The socket, in blocking mode. Bytes to a WebSocket client leave through its outbox alone.
    pub stream: TcpStream,
    /// The address of the peer.
    pub peer: SocketAddr,
    /// The slot among the open connections.
    pub slot: Slot,
    /// Counts what becomes of the client.
    pub metrics: Arc<Metrics>,
}

impl Drop for Conn {
    fn drop(&mut self) {
        deadline::bound_close(&self.stream);
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A connection whose request is read or answered: nothing more is read from it.
impl Closable for Conn {
    fn stop(self: Arc<Self>) {
        let _ = self.stream.shutdown(Shutdown::Read);
    }

    fn cut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
