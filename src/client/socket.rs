//! The connection of a client, as its outbox writes to it.

use std::hint;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::config::budget::Pieces;
use crate::net::conn::Conn;
use crate::net::deadline;
use crate::net::slots::Closable;
use crate::outbox::flusher::Flusher;
use crate::outbox::{Outbox, Transport};
use crate::reasons::CloseReason;

/// The sending side of a client's connection.
pub struct Socket {
    /// The connection. It lies in the outbox, so that what a send needs is in one piece of memory.
    pub conn: Conn,
    /// Who sends to the client when it is behind.
    pub flusher: Flusher<Socket>,
    /// How many bytes the kernel is given at once.
    pub pieces: Pieces,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.conn.as_fd()
    }
}

impl Transport for Socket {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        // For this call alone: O_NONBLOCK would also hit the thread that reads. Linux adds to a
        // segment that has not left, up to 64 KiB and whatever the buffer's size; the end of a
        // record ends the segment, so what the kernel holds is the buffer and one piece.
        let flags = SendFlags::DONTWAIT | SendFlags::EOR;
        let mut sent = 0;
        while sent < bytes.len() {
            let piece = self.pieces.next(bytes.len() - sent);
            match send(&self.conn.stream, &bytes[sent..sent + piece], flags) {
                Ok(taken) => {
                    sent += taken;
                    if taken < piece {
                        // It is full, and would only say so.
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                // What the error is about will be said again.
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    }

    fn prefetch(&self) {
        hint::black_box(self.conn.stream.as_raw_fd());
    }

    fn half_close(&self) {
        // It fails only when the connection is gone already.
        let _ = self.conn.stream.shutdown(Shutdown::Write);
    }

    fn cut(&self) {
        let _ = self.conn.stream.shutdown(Shutdown::Both);
    }

    fn forget(&self) {
        deadline::abort_on_close(&self.conn.stream);
    }

    fn watch(outbox: &Arc<Outbox<Self>>) {
        outbox.transport().flusher.watch(outbox.clone());
    }

    fn evicted(&self) {
        self.conn.metrics.evicted();
    }
}

/// A client. The hub has closed those in the room by then, which makes this nothing to them.
impl Closable for Outbox<Socket> {
    fn stop(self: Arc<Self>) {
        self.close(&CloseReason::Stopping.frame());
    }

    fn cut(&self) {
        Outbox::cut(self);
    }
}
