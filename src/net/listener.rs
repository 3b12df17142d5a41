//! The accept loop: gives each connection a slot and a thread, or rejects it.
//!
//! It never stops accepting for good. An accept error is either that of one connection, which is
//! gone already, or the system is short of something: that is logged once, and accepting goes on
//! after a pause.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::config::budget::Buffers;
use crate::config::network::Network;
use crate::config::{ACCEPT_PAUSE, BACKLOG};
use crate::metrics::Metrics;
use crate::net::address;
use crate::net::conn::Conn;
use crate::net::control::Commands;
use crate::net::slots::{Full, Slot, Slots};
use crate::net::threads::Threads;

/// Sets up a socket that listens, and by inheritance the connections that it accepts. The
/// kernel's buffers of those are as `buffers` say.
///
/// # Errors
/// What the system says; none is expected of a fresh socket.
pub fn prepare(socket: &TcpListener, buffers: Buffers) -> io::Result<()> {
    use rustix::net::sockopt;
    socket.set_nonblocking(true)?;
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_send_buffer_size(socket, buffers.send)?;
    sockopt::set_socket_recv_buffer_size(socket, buffers.receive)?;
    Ok(())
}

/// Has the kernel hold more connections until they are accepted: std listens with a backlog of its
/// own choice, and listening again changes it.
///
/// # Errors
/// What the system says; none is expected of a fresh socket.
pub fn set_backlog(socket: &TcpListener) -> io::Result<()> {
    Ok(rustix::net::listen(socket, BACKLOG)?)
}

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// There is no slot.
    Full(Full),
    /// The system gives no thread.
    NoThread,
}

/// An accept loop.
pub struct Listener<R> {
    /// Made ready by [`prepare`].
    pub socket: TcpListener,
    /// A stop, and probes.
    pub commands: Commands,
    /// Slots for connections.
    pub slots: Slots,
    /// Threads for connections.
    pub threads: Threads<Arc<Conn>>,
    /// Proxies that are trusted to say for whom they ask.
    pub trusted: Vec<Network>,
    /// Answers a connection that is not served.
    pub reject: R,
    /// Counts what becomes of clients.
    pub metrics: Arc<Metrics>,
}

impl<R: Fn(TcpStream, SocketAddr, Rejection)> Listener<R> {
    /// Accepts until the stop.
    pub fn run(self) {
        let mut is_short = false;
        loop {
            match self.socket.accept() {
                Ok((stream, peer)) => {
                    is_short = false;
                    self.admit(stream, peer);
                    // In a flood of connections this loop does not get to wait.
                    self.admit_probes();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.wait(None) {
                        return self.admit_rest();
                    }
                }
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    if !is_short {
                        log::warn!("cannot accept connections: {error}; trying on");
                        is_short = true;
                    }
                    if self.wait(Some(ACCEPT_PAUSE)) {
                        return;
                    }
                }
            }
        }
    }

    /// Admits those who had connected before the stop: the end of the socket would reset them. There cannot have
    /// been more than the kernel holds, and those who go on coming keep nobody from the end.
    fn admit_rest(&self) {
        for _ in 0..BACKLOG {
            match self.socket.accept() {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) if is_of_connection(&error) => {}
                Err(_) => return,
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        // Other systems hand down that the listening socket does not block.
        if cfg!(not(target_os = "linux")) {
            if let Err(error) = stream.set_nonblocking(false) {
                return log::debug!("{peer} left at once: {error}");
            }
        }
        // Whom a proxy asks for, and for which address that counts, is in the request.
        let is_proxied = self.trusted.iter().any(|network| network.contains(peer.ip()));
        let address = if is_proxied { None } else { address::of_connection(&stream, peer.ip()) };
        let slot = match self.slots.acquire(address) {
            Ok(slot) => slot,
            Err(full) => return (self.reject)(stream, peer, Rejection::Full(full)),
        };
        if let Err((conn, error)) = self.threads.serve(self.conn(stream, peer, is_proxied, slot)) {
            log::warn!("no thread for {peer}: {error}");
            // A handle of its own, since the slot is freed with the connection.
            if let Ok(stream) = conn.stream.try_clone() {
                drop(conn);
                (self.reject)(stream, peer, Rejection::NoThread);
            }
        }
    }

    /// Serves probes, which are not in the network's counts. Where there is no slot or thread for
    /// one it is closed, and that is its answer.
    fn admit_probes(&self) {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        for stream in self.commands.probes() {
            if let Ok(slot) = self.slots.acquire(None) {
                let _ = self.threads.serve(self.conn(stream, peer, false, slot));
            }
        }
    }

    /// A connection to which a stop turns.
    fn conn(&self, stream: TcpStream, peer: SocketAddr, is_proxied: bool, slot: Slot) -> Arc<Conn> {
        let (metrics, rates) = (self.metrics.clone(), OnceLock::new());
        let client = OnceLock::new();
        let conn = Arc::new(Conn { stream, peer, is_proxied, client, slot, rates, metrics });
        let closable: Weak<Conn> = Arc::downgrade(&conn);
        // This thread has ended before there is a stop.
        conn.slot.register(closable);
        conn
    }

    /// Waits for a connection, or for `pause` whatever comes; true if it is time to stop.
    fn wait(&self, pause: Option<Duration>) -> bool {
        let timeout = pause.and_then(|pause| Timespec::try_from(pause).ok());
        let mut fds =
            [PollFd::new(&self.commands, PollFlags::IN), PollFd::new(&self.socket, PollFlags::IN)];
        let fds = if pause.is_some() { &mut fds[..1] } else { &mut fds[..] };
        // An error of poll itself is an interruption; the loop comes here again.
        let is_woken = poll(fds, timeout.as_ref()).is_ok() && !fds[0].revents().is_empty();
        // Before the probes: a wake-up that is forgotten here has its probe there already.
        let is_stop = is_woken && self.commands.is_stop();
        self.admit_probes();
        is_stop
    }
}

/// Whether an accept error is about the one connection, which is gone (accept(2)).
fn is_of_connection(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::CONNABORTED | Errno::INTR | Errno::PROTO | Errno::PERM)
    )
}
