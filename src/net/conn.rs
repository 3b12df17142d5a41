//! One accepted connection: its socket, its peer and its slot.

use std::fmt;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::metrics::Metrics;
use crate::net::address;
use crate::net::deadline;
use crate::net::rates::AddressRates;
use crate::net::slots::{Closable, Full, Slot};
use crate::rate::Pace;

/// An accepted connection. There is one descriptor for it; reading and writing share the socket.
/// Dropping it closes the socket and frees the slot.
pub struct Conn {
    /// The socket, in blocking mode. Bytes to a WebSocket client leave through its outbox alone.
    pub stream: TcpStream,
    /// The address of the peer.
    pub peer: SocketAddr,
    /// The peer is a proxy that is trusted to say for whom it asks.
    pub is_proxied: bool,
    /// For whom, once that is known.
    pub client: OnceLock<IpAddr>,
    /// The slot among the open connections.
    pub slot: Slot,
    /// The rates of its address, once it is about to become a client; unless there are none.
    pub rates: OnceLock<Arc<AddressRates>>,
    /// Counts what becomes of the client.
    pub metrics: Arc<Metrics>,
}

/// Whom a connection serves: the peer, or the client of a trusted proxy.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    peer: SocketAddr,
    client: Option<IpAddr>,
}

impl Source {
    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.client.unwrap_or(self.peer.ip())
    }
}

/// As log lines have it.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            Some(client) => write!(f, "{client} through {}", self.peer),
            None => self.peer.fmt(f),
        }
    }
}

impl From<SocketAddr> for Source {
    fn from(peer: SocketAddr) -> Self {
        Source { peer, client: None }
    }
}

impl Conn {
    /// Moves the connection out of its shared reference, into the outbox that a stop turns to from then on. The
    /// caller has the only reference that lasts: a stop, which goes through all connections, and the eviction of
    /// one that is idle hold another for a moment, and this waits for that.
    pub fn take(mut shared: Arc<Self>) -> Self {
        loop {
            match Arc::try_unwrap(shared) {
                Ok(conn) => return conn,
                Err(stopping) => shared = stopping,
            }
            thread::yield_now();
        }
    }

    /// Whom it serves.
    pub fn source(&self) -> Source {
        Source { peer: self.peer, client: self.client.get().copied() }
    }

    /// The proxy that is the peer asks for this `client`, or does not say for whom; then it is for
    /// itself. From now on the connection counts for that address.
    ///
    /// # Errors
    /// When it has as many as one may have.
    pub fn serve_for(&self, client: Option<IpAddr>) -> Result<(), Full> {
        let client = client.unwrap_or(self.peer.ip().to_canonical());
        // Nobody else sets it.
        let _ = self.client.set(client);
        self.slot.count_for(address::of_client(client))
    }

    /// The pace of its client: `rate` messages a second, within the rate of its address. None if that
    /// is 0.
    pub fn pace(&self, rate: u32) -> Option<Pace> {
        let pace = Pace::new(rate, Instant::now())?;
        Some(match self.rates.get() {
            Some(rates) => pace.within(rates.messages.clone()),
            None => pace,
        })
    }

    /// Ends reading: a blocked read returns, and later ones find the end.
    pub fn stop_reading(&self) {
        // It fails only when the connection is gone already.
        let _ = self.stream.shutdown(Shutdown::Read);
    }

    /// Waits for so long. False as soon as the peer has gone or closed its side, or the server stops.
    pub fn waits(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.stream, PollFlags::RDHUP)];
            // Unasked, it tells of errors and resets, too. One of its own is an interruption.
            let is_woken = poll(&mut fds, Timespec::try_from(left).ok().as_ref()).is_ok();
            if is_woken && !fds[0].revents().is_empty() {
                return false;
            }
            if left.is_zero() {
                return true;
            }
        }
    }
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
        self.stop_reading();
    }

    fn cut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
