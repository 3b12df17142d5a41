//! One accepted connection: its socket, its peer and the place that it takes.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SendFlags, send, sockopt};

use crate::config::{PIECE, WIDE_PIECE, WIDE_SEND_BUFFER};
use crate::metrics::Metrics;
use crate::net::deadline;
use crate::net::slots::{Closable, Slot};
use crate::outbox::flusher::Flusher;
use crate::outbox::pool::Share;
use crate::outbox::{Outbox, Transport};
use crate::reasons::CloseReason;

/// An accepted connection. There is one descriptor for it; reading and writing share the socket.
/// Dropping it closes the socket and frees the place.
pub struct Conn {
    /// The socket, in blocking mode. Bytes to a WebSocket client leave through its outbox alone.
    pub stream: TcpStream,
    /// Who is there.
    pub peer: SocketAddr,
    /// The place among the open connections.
    pub place: Slot,
    /// Who looks after the client when it falls behind.
    pub drain: Flusher<Arc<Conn>>,
    /// Its part of what waits for all clients together.
    pub share: Share,
    /// Who counts what becomes of it.
    pub metrics: Arc<Metrics>,
}

impl Conn {
    /// Makes the kernel's buffer wide, if there is memory for that.
    fn widen(&self) -> bool {
        // If it fails, the connection is as good as before.
        self.share.widen()
            && sockopt::set_socket_send_buffer_size(&self.stream, WIDE_SEND_BUFFER).is_ok()
    }
}

/// The outbox of a connection.
pub type ConnOutbox = Outbox<Arc<Conn>>;

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A connection whose request is read or answered: it is read no further.
impl Closable for Conn {
    fn stop(self: Arc<Self>) {
        let _ = self.stream.shutdown(Shutdown::Read);
    }

    fn cut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// It has no queue: who answers a request waits until it is sent.
    fn lag(&self) -> u64 {
        0
    }

    fn give_up(self: Arc<Self>) {
        Closable::cut(&*self);
    }
}

/// A client. The hub has closed those in the room by then, which makes this nothing to them.
impl Closable for ConnOutbox {
    fn stop(self: Arc<Self>) {
        self.close(&CloseReason::Stopping.frame());
    }

    fn cut(&self) {
        Outbox::cut(self);
    }

    fn lag(&self) -> u64 {
        Outbox::lag(self)
    }

    fn give_up(self: Arc<Self>) {
        Outbox::give_up(&self);
    }
}

impl Transport for Arc<Conn> {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        // For this call alone: O_NONBLOCK would also hit the thread that reads. Linux adds to a
        // segment that has not left, up to 64 KiB and whatever the buffer's size; the end of a
        // record ends the segment, so what the kernel holds is the buffer and one piece.
        let flags = SendFlags::DONTWAIT | SendFlags::EOR;
        let mut most = if self.share.is_wide() { WIDE_PIECE } else { PIECE };
        let mut sent = 0;
        while sent < bytes.len() {
            let piece = &bytes[sent..bytes.len().min(sent + most)];
            match send(&self.stream, piece, flags) {
                Ok(taken) => sent += taken,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.widen() => most = WIDE_PIECE,
                // What the error is about will be said again.
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    }

    fn half_close(&self) {
        // It fails only when the connection is gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn cut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn forget(&self) {
        deadline::forget(&self.stream);
    }

    fn watch(outbox: &Arc<Outbox<Self>>) {
        outbox.link().drain.watch(outbox.clone());
    }

    fn queue_changed(&self, before: usize, after: usize) {
        self.share.changed(before, after);
    }

    fn relieve(&self) {
        self.share.relieve(|| self.place.furthest_behind());
    }

    fn evicted(&self) {
        self.metrics.evicted();
    }
}
