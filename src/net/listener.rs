//! The accept loop: gives each connection a place and a thread, or turns it away.
//!
//! It never stops accepting for good. What an error means: the connection is gone already (go on),
//! or the system has nothing to give at the moment (say so once, wait a moment, try again).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::config::budget::Buffers;
use crate::config::{ACCEPT_PAUSE, BACKLOG};
use crate::http::refusal::Refusal;
use crate::metrics::Metrics;
use crate::net::address;
use crate::net::conn::Conn;
use crate::net::control::Commands;
use crate::net::doorman::Doorman;
use crate::net::slots::Slots;
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
pub fn widen(socket: &TcpListener) -> io::Result<()> {
    Ok(rustix::net::listen(socket, BACKLOG)?)
}

/// What the accept loop works with.
pub struct Listener {
    /// Made ready by [`prepare`].
    pub socket: TcpListener,
    /// A stop, and probes.
    pub commands: Commands,
    /// Slots for connections.
    pub places: Slots,
    /// Threads for connections.
    pub gates: Threads<Arc<Conn>>,
    /// Who turns away those for whom there is no place or no thread.
    pub doorman: Doorman,
    /// Who counts what becomes of connections.
    pub metrics: Arc<Metrics>,
}

impl Listener {
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
                        return;
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

    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        // Other systems hand down that the listening socket does not block.
        if cfg!(not(target_os = "linux")) {
            if let Err(error) = stream.set_nonblocking(false) {
                return log::debug!("{peer} left at once: {error}");
            }
        }
        let place = match self.places.take(address::of_connection(&stream, peer.ip())) {
            Ok(place) => place,
            Err(full) => return self.doorman.refuse(stream, peer, Refusal::full(full)),
        };
        let metrics = self.metrics.clone();
        let conn = Arc::new(Conn { stream, peer, place, metrics });
        if let Err((conn, error)) = self.gates.serve(conn) {
            log::warn!("no thread for {peer}: {error}");
            if let Some(conn) = Arc::into_inner(conn) {
                self.doorman.refuse(conn.stream, peer, Refusal::no_thread());
            }
        }
    }

    /// Serves probes, which are not in the network's counts. Where there is no slot or thread for
    /// one it is closed, and that is its answer.
    fn admit_probes(&self) {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        for stream in self.commands.probes() {
            if let Ok(place) = self.places.take(None) {
                let conn = Conn { stream, peer, place, metrics: self.metrics.clone() };
                let _ = self.gates.serve(Arc::new(conn));
            }
        }
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
