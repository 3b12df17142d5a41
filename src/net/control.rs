//! Stops an accept loop, and asks it for signs of life.
//!
//! A probe is a connection that does not come from the network: one end of a socket pair, which the
//! accept loop treats like an accepted connection. So a probe's answer shows that the accept loop
//! runs, that a thread is to be had and that requests are answered. The server cannot connect to its
//! own port instead: under systemd it has the socket, but not the network that it belongs to.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Any answer will do; this one is short and has no cost.
const REQUEST: &[u8] = b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The end that controls an accept loop. Dropping it ends the loop.
#[derive(Debug)]
pub struct Control {
    wake: Arc<UnixStream>,
    probes: Sender<TcpStream>,
}

/// Probes an accept loop as long as there is one.
#[derive(Clone, Debug)]
pub struct Prober {
    // A strong reference would keep the loop running while a probe waits.
    wake: Weak<UnixStream>,
    probes: Sender<TcpStream>,
}

/// The end that the accept loop has. It is readable when there is something to do.
#[derive(Debug)]
pub struct Commands {
    woken: UnixStream,
    probes: Receiver<TcpStream>,
}

/// A control and the commands that it gives.
///
/// # Errors
/// When the system has no socket pair to give.
pub fn pair() -> io::Result<(Control, Commands)> {
    let (wake, woken) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    let (sender, probes) = bounded(1);
    let control = Control { wake: Arc::new(wake), probes: sender };
    Ok((control, Commands { woken, probes }))
}

impl Control {
    /// Something to probe the loop with.
    pub fn prober(&self) -> Prober {
        Prober { wake: Arc::downgrade(&self.wake), probes: self.probes.clone() }
    }
}

impl Prober {
    /// Whether a probe is answered within `patience`. A server without slots or threads to spare
    /// answers by closing it; that is busy, but not hung.
    pub fn is_answered(&self, patience: Duration) -> bool {
        let Some(wake) = self.wake.upgrade() else { return true };
        // Without descriptors nobody can tell. The accept loop waits for some, too.
        let Ok((mut probe, theirs)) = UnixStream::pair() else { return true };
        let is_sent = probe.set_read_timeout(Some(patience)).is_ok()
            && probe.write_all(REQUEST).is_ok()
            && self.probes.try_send(OwnedFd::from(theirs).into()).is_ok();
        // A full pipe wakes the loop just as well.
        let _ = (&*wake).write(&[1]);
        drop(wake);
        // Any other error is a reset: the probe was closed before its request was read.
        let is_late = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        is_sent && !probe.read(&mut [0; 64]).is_err_and(is_late)
    }
}

impl Commands {
    /// Probes that have come.
    pub fn probes(&self) -> impl Iterator<Item = TcpStream> + '_ {
        self.probes.try_iter()
    }

    /// Forgets the wake-ups so far; true if it is time to stop.
    pub fn is_stop(&self) -> bool {
        matches!((&self.woken).read(&mut [0; 64]), Ok(0))
    }
}

impl AsFd for Commands {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(10);
    const LATE: Duration = Duration::from_secs(20);

    #[test]
    fn an_answer_or_the_end_is_a_sign_of_life() {
        let (control, commands) = pair().expect("sockets");
        let prober = control.prober();
        for answer in ["HTTP/1.1 200 OK", ""] {
            std::thread::scope(|scope| {
                let probe = scope.spawn(|| prober.is_answered(LATE));
                let mut connection = commands.probes.recv_timeout(LATE).expect("a probe");
                connection.write_all(answer.as_bytes()).expect("a connection");
                drop(connection);
                assert!(probe.join().expect("no panic"));
            });
        }
        assert!(!commands.is_stop());
    }

    #[test]
    fn a_loop_that_takes_no_probe_and_one_that_does_not_answer_hang() {
        let (control, commands) = pair().expect("sockets");
        let prober = control.prober();
        assert!(!prober.is_answered(SOON));
        assert!(!prober.is_answered(SOON), "the first one is still there");
        let taken: Vec<_> = commands.probes().collect();
        assert!(!prober.is_answered(SOON) && taken.len() == 1);
        drop(control);
        while !commands.is_stop() {}
        assert!(prober.is_answered(SOON), "a stop");
    }
}
