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

use crate::metrics::Metrics;
use crate::outbox::{Next, Outbox, Transport};

/// Gives clients to the drain thread. The thread ends when the last of these is dropped.
#[derive(Clone, Debug)]
pub struct Flusher<L, B = Arc<UnixStream>> {
    behind: Sender<Arc<Outbox<L>>>,
    bell: B,
}

/// What wakes the thread, and what it sleeps in: the ends of a socket pair, and `poll`. The thread
/// knows nothing else of the system, so that a model checker can run it.
pub trait Bell<L> {
    /// Wakes the thread, or lets its next sleep end at once.
    fn ring(&self);
    /// Forgets the rings so far; true if nobody is left who could ring.
    fn hush(&self) -> bool;
    /// Sleeps until a socket is ready, a deadline comes or the bell rings. Says which of `watched`
    /// have news; nothing if that cannot be said.
    fn sleep(&self, watched: &[Behind<L>]) -> Vec<bool>;
}

/// A client that is behind or leaving.
#[derive(Debug)]
pub struct Behind<L> {
    outbox: Arc<Outbox<L>>,
    /// What its socket has to be ready for. Nothing: its end alone is news.
    wants: PollFlags,
    deadline: Instant,
}

impl<L: Transport + AsFd + Send + Sync + 'static> Flusher<L> {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no socket pair or thread to give.
    pub fn start(metrics: Arc<Metrics>) -> io::Result<(Self, JoinHandle<()>)> {
        let (bell, rung) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        rung.set_nonblocking(true)?;
        let (drain, newly_behind) = Flusher::new(Arc::new(bell));
        let thread = thread::Builder::new()
            .name("drain".into())
            .spawn(move || run(&newly_behind, &Arc::new(rung), &metrics))?;
        Ok((drain, thread))
    }
}

impl<L: Transport, B: Bell<L>> Flusher<L, B> {
    fn new(bell: B) -> (Self, Receiver<Arc<Outbox<L>>>) {
        // Each outbox is in here at most twice, so the clients bound it.
        let (behind, newly_behind) = unbounded();
        (Flusher { behind, bell }, newly_behind)
    }

    /// Hands over a client, or has one that was handed over looked at again.
    pub fn watch(&self, outbox: Arc<Outbox<L>>) {
        // The receiver outlives every sender.
        let _ = self.behind.send(outbox);
        self.bell.ring();
    }
}

fn run<L: Transport>(
    newly_behind: &Receiver<Arc<Outbox<L>>>,
    bell: &impl Bell<L>,
    metrics: &Metrics,
) {
    let mut watched: Vec<Behind<L>> = Vec::new();
    loop {
        let mut news = bell.sleep(&watched).into_iter();
        // Before the queue is emptied, or one who comes between the two would not be noticed.
        let ended = bell.hush();
        let now = Instant::now();
        watched.retain_mut(|client| match news.next() {
            Some(true) if client.wants.is_empty() => {
                // All is sent, so the news is that the connection has ended.
                client.outbox.cut();
                false
            }
            Some(false) if now < client.deadline => true,
            _ => client.tend(now),
        });
        while let Ok(outbox) = newly_behind.try_recv() {
            // It is known already if its deadline has come nearer.
            watched.retain(|client| !Arc::ptr_eq(&client.outbox, &outbox));
            let mut client = Behind { outbox, wants: PollFlags::OUT, deadline: now };
            if client.tend(now) {
                watched.push(client);
            }
        }
        metrics.are_behind(watched.iter().filter(|client| !client.wants.is_empty()).count());
        // Whoever is watched holds the other end, so this does not spin.
        if ended && watched.is_empty() {
            return;
        }
    }
}

impl<L: Transport> Behind<L> {
    /// Serves the client; false if there is nothing more to do for it.
    fn tend(&mut self, now: Instant) -> bool {
        match self.outbox.tend(now) {
            Next::Done => return false,
            Next::Behind(deadline) => (self.wants, self.deadline) = (PollFlags::OUT, deadline),
            // Only the end of the connection is news; poll reports it unasked.
            Next::Leaving(deadline) => {
                (self.wants, self.deadline) = (PollFlags::empty(), deadline);
            }
        }
        true
    }
}

impl<L: Transport + AsFd> Bell<L> for Arc<UnixStream> {
    fn ring(&self) {
        // A full pipe wakes the thread just as well.
        let _ = (&**self).write(&[1]);
    }

    fn hush(&self) -> bool {
        let mut bytes = [0; 64];
        loop {
            match (&**self).read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    fn sleep(&self, watched: &[Behind<L>]) -> Vec<bool> {
        let mut fds: Vec<PollFd<'_>> =
            watched.iter().map(|client| PollFd::new(client.outbox.link(), client.wants)).collect();
        fds.push(PollFd::new(&**self, PollFlags::IN));
        let timeout = watched.iter().map(|client| client.deadline).min().and_then(|deadline| {
            Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok()
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => fds[..watched.len()].iter().map(|fd| !fd.revents().is_empty()).collect(),
            // Interrupted, or no memory: everybody is looked at, and the sends say how it is.
            Err(_) => Vec::new(),
        }
    }
}

#[cfg(all(test, shuttle))]
mod model;
