//! The drain thread: looks after the clients that are behind, and sees that those who leave do.
//!
//! One thread for all of them, which sleeps in `poll` until a socket takes more or a deadline
//! comes. Nobody is behind in the normal case, and then it sleeps for good.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::outbox::{Link, Outbox, Tended};

/// Gives clients to the drain thread. The thread ends when the last of these is dropped.
#[derive(Clone, Debug)]
pub struct Drain<L> {
    behind: Sender<Arc<Outbox<L>>>,
    waker: Arc<UnixStream>,
}

impl<L: Link + AsFd + Send + Sync + 'static> Drain<L> {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no socket pair or thread to give.
    pub fn start() -> io::Result<(Self, JoinHandle<()>)> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        // Each outbox is in here at most twice, so the clients bound it.
        let (behind, newly_behind) = unbounded();
        let thread = thread::Builder::new()
            .name("drain".into())
            .spawn(move || run(&newly_behind, &woken))?;
        Ok((Drain { behind, waker: Arc::new(waker) }, thread))
    }

    /// Hands over a client, or has one that was handed over looked at again.
    pub fn watch(&self, outbox: Arc<Outbox<L>>) {
        // The receiver outlives every sender, and a full pipe wakes the thread just as well.
        let _ = self.behind.send(outbox);
        let _ = (&*self.waker).write(&[1]);
    }
}

struct Watched<L> {
    outbox: Arc<Outbox<L>>,
    wants: PollFlags,
    deadline: Instant,
}

fn run<L: Link + AsFd>(newly_behind: &Receiver<Arc<Outbox<L>>>, woken: &UnixStream) {
    let mut watched: Vec<Watched<L>> = Vec::new();
    loop {
        let mut ready = wait(&watched, woken).into_iter();
        // Before the queue is emptied, or one who comes between the two would not be noticed.
        let ended = drained(woken);
        let now = Instant::now();
        watched.retain_mut(|client| {
            let news = ready.next();
            if news == Some(true) && client.wants.is_empty() {
                // All is sent, so the news is that the connection has ended.
                client.outbox.cut();
                return false;
            }
            let due = news.unwrap_or(true) || now >= client.deadline;
            !due || client.tend(now)
        });
        while let Ok(outbox) = newly_behind.try_recv() {
            // It is known already if its deadline has come nearer.
            watched.retain(|client| !Arc::ptr_eq(&client.outbox, &outbox));
            let mut client = Watched { outbox, wants: PollFlags::OUT, deadline: now };
            if client.tend(now) {
                watched.push(client);
            }
        }
        // Whoever is watched holds the other end, so this does not spin.
        if ended && watched.is_empty() {
            return;
        }
    }
}

/// Waits until a socket is ready, a deadline comes or somebody falls behind. Says which of
/// `watched` have news.
fn wait<L: Link + AsFd>(watched: &[Watched<L>], woken: &UnixStream) -> Vec<bool> {
    let mut fds: Vec<PollFd<'_>> =
        watched.iter().map(|client| PollFd::new(client.outbox.link(), client.wants)).collect();
    fds.push(PollFd::new(woken, PollFlags::IN));
    let timeout = watched.iter().map(|client| client.deadline).min().map(|deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => fds[..watched.len()].iter().map(|fd| !fd.revents().is_empty()).collect(),
        // Interrupted, or no memory: everybody is looked at, and the sends say how it is.
        Err(_) => Vec::new(),
    }
}

/// Empties the waker; true if its other end is closed.
fn drained(mut woken: &UnixStream) -> bool {
    let mut bytes = [0; 64];
    loop {
        match woken.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

impl<L: Link> Watched<L> {
    /// Serves the client; false if there is nothing more to do for it.
    fn tend(&mut self, now: Instant) -> bool {
        match self.outbox.tend(now) {
            Tended::Done => return false,
            Tended::Behind(deadline) => (self.wants, self.deadline) = (PollFlags::OUT, deadline),
            // Only the end of the connection is news; poll reports it unasked.
            Tended::Leaving(deadline) => {
                (self.wants, self.deadline) = (PollFlags::empty(), deadline);
            }
        }
        true
    }
}
