//! What a service manager gives the program, and what it is told: sd_listen_fds(3), sd_notify(3).
//!
//! The protocol is systemd's, which others speak too. Without a service manager nothing happens.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::mem;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::config::NOTICE_TIMEOUT;
use crate::room::event::{Event, answers};

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

/// Who started the program and wants to know how it is.
#[derive(Debug)]
pub struct ServiceManager {
    /// Connected to it.
    socket: UnixDatagram,
    /// How long it waits for a sign of life before it kills and starts again.
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

    /// Whether it waits for signs of life.
    pub fn watches(&self) -> bool {
        self.watchdog.is_some()
    }

    /// Gives signs of life, if it waits for them, until `stop` has no sender any more: at half of
    /// its time, and each only when the hub has answered. A hub that takes longer than the other
    /// half hangs, or is of no use.
    pub(crate) fn watch<O>(&self, inbox: &Sender<Event<O>>, stop: &Receiver<Infallible>) {
        let Some(half) = self.watchdog.map(|watchdog| watchdog / 2) else { return };
        while stop.recv_timeout(half) == Err(RecvTimeoutError::Timeout) {
            self.vouch(inbox, half);
        }
    }

    fn vouch<O>(&self, inbox: &Sender<Event<O>>, patience: Duration) {
        if answers(inbox, patience) {
            self.tell("WATCHDOG=1");
        } else {
            log::error!("the hub does not answer within {patience:?}: no sign of life is given");
        }
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crossbeam_channel::bounded;

    use super::*;
    use crate::config::INBOX;

    /// A supervisor that waits for so long, and what it hears.
    fn supervisor(watchdog: Duration) -> (ServiceManager, UnixDatagram) {
        let (socket, hears) = UnixDatagram::pair().expect("sockets");
        hears.set_nonblocking(true).expect("no waiting");
        (ServiceManager { socket, watchdog: Some(watchdog) }, hears)
    }

    fn heard(hears: &UnixDatagram) -> Option<String> {
        let mut notice = [0; 64];
        let len = hears.recv(&mut notice).ok()?;
        Some(String::from_utf8_lossy(&notice[..len]).into_owned())
    }

    const SOON: Duration = Duration::from_millis(1);
    const LATE: Duration = Duration::from_secs(20);

    #[test]
    fn a_hub_that_works_is_vouched_for() {
        let (supervisor, hears) = supervisor(LATE);
        let (inbox, events) = bounded::<Event<()>>(0);
        std::thread::scope(|scope| {
            scope.spawn(|| supervisor.vouch(&inbox, LATE));
            let asked = events.recv_timeout(LATE).expect("a question");
            assert_eq!(heard(&hears), None, "before the answer");
            drop(asked);
        });
        assert_eq!(heard(&hears).as_deref(), Some("WATCHDOG=1"));
    }

    /// Neither one that does not get to its events, nor one whose inbox is full besides.
    #[test]
    fn a_hub_that_hangs_is_not_vouched_for() {
        let (supervisor, hears) = supervisor(LATE);
        let (inbox, events) = bounded::<Event<()>>(INBOX);
        for _ in 0..=INBOX {
            supervisor.vouch(&inbox, SOON);
        }
        assert!(events.is_full());
        assert_eq!(heard(&hears), None);
        drop(events);
        supervisor.vouch(&inbox, SOON);
        assert_eq!(heard(&hears), None, "from a hub that has ended");
    }

    #[test]
    fn watching_ends_with_the_server() {
        let (supervisor, hears) = supervisor(LATE);
        let (inbox, _events) = bounded::<Event<()>>(INBOX);
        let (stop, stopped) = bounded(0);
        drop(stop);
        let began = Instant::now();
        supervisor.watch(&inbox, &stopped);
        assert!(began.elapsed() < LATE / 2);
        assert_eq!(heard(&hears), None);
    }
}
