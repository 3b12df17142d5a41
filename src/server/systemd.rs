//! The sockets that a service manager passes, and the notices that it gets: sd_listen_fds(3),
//! sd_notify(3).
//!
//! The protocol is systemd's, which others speak too. Without a service manager nothing happens.

use std::ffi::OsString;
use std::io;
use std::mem;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use crate::config::NOTICE_TIMEOUT;

/// Sockets that listen already.
#[derive(Debug, Default)]
pub struct Passed {
    /// Instead of one at [`Config::listen`](crate::Config::listen).
    pub room: Option<TcpListener>,
    /// For health and metrics alone, whatever [`Config::admin`](crate::Config::admin) is.
    pub admin: Option<TcpListener>,
}

/// The name of the socket that is for health and metrics; the room's may have any other.
const ADMIN: &str = "admin";

/// The sockets that the program was started with. They are the program's from then on, so this is
/// to be called once, and before anything is opened.
///
/// # Errors
/// A line that says what was passed instead of listening TCP sockets.
pub fn passed() -> Result<Passed, String> {
    let refused = |what: String| {
        Err(format!(
            "cannot serve on what the service manager passed: {what}; pass one listening TCP socket, \
             and one with the name {ADMIN} if you like (in a socket unit, an empty ListenStream= \
             clears those before it)"
        ))
    };
    let sockets = match sd_listen_fds::get() {
        Ok(sockets) => sockets.into_iter(),
        Err(error) => return refused(format!("LISTEN_FDS and LISTEN_PID: {error}")),
    };
    let sockets: Vec<_> =
        sockets.map(|(name, socket)| (name.as_deref() == Some(ADMIN), socket.into_std())).collect();
    if let Err(what) = check(&sockets) {
        // Closing what was never open would be an error of its own.
        mem::forget(sockets);
        return refused(what);
    }
    let mut passed = Passed::default();
    for (is_admin, socket) in sockets {
        let place = if is_admin { &mut passed.admin } else { &mut passed.room };
        *place = Some(socket.into());
    }
    Ok(passed)
}

/// All of them listen, and there is at most one of each kind.
fn check(sockets: &[(bool, OwnedFd)]) -> Result<(), String> {
    for (number, (_, socket)) in (3..).zip(sockets) {
        match listens(socket) {
            Ok(true) => {}
            Ok(false) => return Err(format!("descriptor {number} is something else")),
            Err(error) => return Err(format!("descriptor {number}: {error}")),
        }
    }
    let admins = sockets.iter().filter(|(is_admin, _)| *is_admin).count();
    match (admins, sockets.len() - admins) {
        (0 | 1, 0 | 1) => Ok(()),
        (0 | 1, rooms) => Err(format!("{rooms} sockets for the room")),
        _ => Err(format!("{admins} sockets with the name {ADMIN}")),
    }
}

/// Whether this is a TCP socket that listens.
fn listens(socket: &OwnedFd) -> io::Result<bool> {
    use rustix::net::{AddressFamily, SocketType, getsockname, sockopt};
    let family = getsockname(socket)?.address_family();
    Ok([AddressFamily::INET, AddressFamily::INET6].contains(&family)
        && sockopt::socket_type(socket)? == SocketType::STREAM
        && sockopt::socket_acceptconn(socket)?)
}

/// The service manager that started the program.
#[derive(Debug)]
pub struct ServiceManager {
    /// Connected to it.
    socket: UnixDatagram,
    /// After how long without a sign of life it kills and restarts the program.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Looks for it in the environment.
    ///
    /// # Errors
    /// When there is one that cannot be reached.
    pub fn find(env: impl Fn(&str) -> Option<OsString>) -> io::Result<Option<Self>> {
        let Some(name) = env("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(&name)?)?;
        socket.set_write_timeout(Some(NOTICE_TIMEOUT))?;
        let watchdog = env("WATCHDOG_USEC").and_then(|micros| micros.to_str()?.parse().ok());
        // It may be meant for the process that started this one.
        let is_ours = env("WATCHDOG_PID")
            .is_none_or(|pid| pid.to_str() == Some(process::id().to_string().as_str()));
        let watchdog = watchdog.filter(|micros| is_ours && *micros > 0).map(Duration::from_micros);
        Ok(Some(ServiceManager { socket, watchdog }))
    }

    /// The server serves.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The server stops.
    pub fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// The server lives.
    pub(crate) fn is_alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// After how long without a sign of life it kills the server, if it waits for any.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog
    }

    #[cfg(test)]
    pub(crate) fn at(socket: UnixDatagram) -> Self {
        ServiceManager { socket, watchdog: None }
    }

    fn tell(&self, state: &str) {
        if let Err(error) = self.socket.send(state.as_bytes()) {
            log::warn!("cannot tell the service manager {state:?}: {error}");
        }
    }
}

/// The address that `NOTIFY_SOCKET` names: a path, or a name of Linux's own after an `@`.
fn address(name: &OsString) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        if let Some(name) = name.as_bytes().strip_prefix(b"@") {
            return SocketAddr::from_abstract_name(name);
        }
    }
    SocketAddr::from_pathname(name)
}
