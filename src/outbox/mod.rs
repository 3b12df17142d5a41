//! The sending side of one client. Its contract:
//!
//! 1. It does not block: a send takes what the socket takes at once and keeps the rest.
//! 2. It does not reorder.
//! 3. It is the only writer of its connection, and takes whole frames; so frames never interleave.
//! 4. It is bounded in bytes. A client whose queue would grow over the bound is cut off: the queue
//!    is dropped at a frame boundary and a close frame with code 1013 takes its place. So is the
//!    one furthest behind when all queues together are too long ([`crate::outbox::pool`]).
//!
//! Normally the queue is empty and a send goes straight to the socket. Only a client that fell
//! behind has a queue; the drain thread ([`crate::outbox::flusher`]) empties it when the socket takes more.
//! The lock makes each send whole; the hub, the session and the drain thread rarely meet at it.

pub mod flusher;
pub mod pool;
pub mod queue;
pub mod sync;

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::outbox::queue::Queue;
use crate::outbox::sync::{Mutex, MutexGuard};
use crate::reasons::CloseReason;
use crate::wire;

/// What an outbox needs of the connection that it writes to.
pub trait Transport: Sized {
    /// Sends what can be sent without blocking; [`io::ErrorKind::WouldBlock`] if that is nothing.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Nothing more will be sent: the peer reads to the end of what was.
    fn half_close(&self);
    /// Ends the connection in both directions, which also ends a read that waits on it.
    fn cut(&self);
    /// The peer had its time: what it has not taken may be dropped.
    fn forget(&self);
    /// Hands the outbox to whoever calls [`Outbox::tend`] when the socket takes more. Called once
    /// until [`Outbox::tend`] has said [`Next::Done`], and once more if the deadline comes nearer.
    fn watch(outbox: &Arc<Outbox<Self>>);
    /// The memory of the queue has changed, in bytes. Called under the outbox's lock.
    fn queue_changed(&self, before: usize, after: usize);
    /// The queue has grown: if all queues are too long together, somebody has to go. Called without
    /// the lock, since that one may be any.
    fn relieve(&self);
    /// The client is given up because it reads too slowly.
    fn evicted(&self) {}
}

/// How much may wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes.
    pub max_queue: usize,
    /// From falling behind to having caught up.
    pub catch_up: Duration,
    /// From the last word to the end of the connection.
    pub close_timeout: Duration,
}

/// The sending side of one client.
#[derive(Debug)]
pub struct Outbox<L> {
    link: L,
    bounds: Bounds,
    state: Mutex<State>,
}

/// The state under its lock. When it is let go of, the memory that waits is told.
struct Locked<'a, L: Transport> {
    outbox: &'a Outbox<L>,
    state: MutexGuard<'a, State>,
}

#[derive(Debug)]
struct State {
    backlog: Queue,
    /// Memory of the backlog, as far as it has been told.
    told: usize,
    phase: Phase,
    /// It was closed because it read too slowly.
    evicted: bool,
    /// Somebody has been told by [`Transport::watch`].
    watched: bool,
    /// When the client has to have caught up, or to be gone. Counts while it is watched.
    deadline: Instant,
    /// Bytes that a client that was behind has taken since.
    caught_up: u64,
    /// When it took the last of them, or fell behind.
    taken_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The last frame is in the backlog, or sent.
    Closing,
    /// The connection is cut.
    Closed,
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was sent, or waits to be.
    Taken,
    /// The client is closed, or has just been closed because it is too slow.
    Refused,
}

/// What the drain thread has to do for a client next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Forget it.
    Done,
    /// Come again when the socket takes more, or at this time.
    Behind(Instant),
    /// All is sent: come again when the connection has ended, or at this time.
    Leaving(Instant),
}

impl<L: Transport> Outbox<L> {
    /// An outbox whose first bytes are the handshake's `response`. They and what is sent after
    /// them leave with [`Outbox::open`].
    pub fn new(link: L, response: Vec<u8>, bounds: Bounds) -> Arc<Self> {
        Arc::new(Outbox {
            link,
            bounds,
            state: Mutex::new(State {
                backlog: Queue::of(response),
                told: 0,
                phase: Phase::Open,
                evicted: false,
                // The one who calls `open` is watching.
                watched: true,
                deadline: Instant::now(),
                caught_up: 0,
                taken_at: Instant::now(),
            }),
        })
    }

    /// The connection that is written to, for reading.
    pub fn link(&self) -> &L {
        &self.link
    }

    /// Sends the handshake's response and what has gathered behind it. Call it once.
    pub fn open(self: &Arc<Self>) {
        let mut state = self.lock();
        state.watched = false;
        if state.phase == Phase::Open {
            state.deadline = Instant::now() + self.bounds.catch_up;
        }
        self.empty(&mut state);
        self.look_after(state, false);
    }

    /// Sends whole frames, now if nothing waits.
    pub fn send(self: &Arc<Self>, frames: &[u8]) -> Sent {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Sent::Refused;
        }
        let mut sent = 0;
        if state.backlog.is_empty() {
            match self.link.send(frames) {
                Ok(all) if all == frames.len() => return Sent::Taken,
                Ok(some) => sent = some,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.end(&mut state);
                    return Sent::Refused;
                }
            }
            state.taken_at = Instant::now();
            state.deadline = state.taken_at + self.bounds.catch_up;
        }
        let fits = state.backlog.len() + frames.len() - sent <= self.bounds.max_queue;
        if fits && sent == 0 {
            state.backlog.push(frames);
        } else if fits {
            state.backlog.start(frames, sent);
        } else {
            if sent > 0 {
                let frame_end = wire::boundary(frames, sent);
                state.backlog.start(&frames[..frame_end], sent);
            }
            self.evict(&mut state);
        }
        let result = if fits { Sent::Taken } else { Sent::Refused };
        self.look_after(state, !fits);
        self.link.relieve();
        result
    }

    /// Sends a close frame behind what waits, and nothing after it. The peer is given
    /// [`Bounds::close_timeout`] to take it.
    pub fn close(self: &Arc<Self>, frame: &[u8]) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
            state.deadline = Instant::now() + self.bounds.close_timeout;
            state.backlog.push(frame);
            self.empty(&mut state);
            self.look_after(state, true);
        }
    }

    /// Ends the connection at once, whatever waits.
    pub fn cut(&self) {
        self.end(&mut self.lock());
    }

    /// How far behind the client is: the bytes that wait for it, times the microseconds since it
    /// took any. One who keeps up may have much waiting, but not for long.
    pub fn lag(&self) -> u64 {
        let state = self.lock();
        let since = state.taken_at.elapsed().as_micros().max(1) as u64;
        (state.backlog.memory() as u64).saturating_mul(since)
    }

    /// Closes the client as one that is too slow, so that its memory is free for others. One who
    /// is leaving is cut.
    pub fn give_up(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            self.evict(&mut state);
            self.empty(&mut state);
            self.look_after(state, true);
        } else {
            self.link.forget();
            self.end(&mut state);
        }
    }

    /// Whether the client was closed because it read too slowly.
    pub fn evicted(&self) -> bool {
        self.lock().evicted
    }

    /// How many bytes this client has taken late: if the number grows, it lives.
    pub fn caught_up(&self) -> u64 {
        self.lock().caught_up
    }

    /// Sends of what waits as much as the socket takes. True if some still waits and the client
    /// is not leaving, so that the caller does well to wait with saying more.
    pub fn push_on(&self) -> bool {
        let mut state = self.lock();
        self.empty(&mut state);
        state.phase == Phase::Open && !state.backlog.is_empty()
    }

    /// Looks after a client that is behind or leaving: sends what the socket takes, and holds it
    /// to its deadline.
    pub fn tend(&self, now: Instant) -> Next {
        let mut state = self.lock();
        self.empty(&mut state);
        if state.phase == Phase::Open && state.backlog.is_empty() {
            state.watched = false;
            return Next::Done;
        }
        if now >= state.deadline {
            match state.phase {
                Phase::Open => {
                    self.evict(&mut state);
                    self.empty(&mut state);
                }
                Phase::Closing | Phase::Closed => {
                    self.link.forget();
                    self.end(&mut state);
                }
            }
        }
        match state.phase {
            Phase::Closed => Next::Done,
            _ if state.backlog.is_empty() => Next::Leaving(state.deadline),
            _ => Next::Behind(state.deadline),
        }
    }

    /// Sends what waits until the socket takes no more.
    fn empty(&self, state: &mut State) {
        if state.backlog.is_empty() {
            return;
        }
        while !state.backlog.is_empty() {
            match self.link.send(state.backlog.next()) {
                Ok(sent) => {
                    state.backlog.advance(sent);
                    state.caught_up += sent as u64;
                    state.taken_at = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.end(state),
            }
        }
        if state.phase == Phase::Closing {
            self.link.half_close();
        }
    }

    /// Gives up a client that is too slow, at a frame boundary.
    fn evict(&self, state: &mut State) {
        state.phase = Phase::Closing;
        state.evicted = true;
        state.deadline = Instant::now() + self.bounds.close_timeout;
        state.backlog.keep_torn();
        state.backlog.push(&CloseReason::TooSlow.frame());
        self.link.evicted();
    }

    fn end(&self, state: &mut State) {
        state.phase = Phase::Closed;
        state.backlog = Queue::default();
        self.link.cut();
    }

    /// Has the outbox watched if something waits in it and nobody does yet, or would come too late
    /// for a deadline that is `nearer` now.
    fn look_after(self: &Arc<Self>, mut state: Locked<'_, L>, nearer: bool) {
        if !state.backlog.is_empty() && (nearer || !state.watched) {
            state.watched = true;
            drop(state);
            L::watch(self);
        }
    }

    fn lock(&self) -> Locked<'_, L> {
        // A panic elsewhere in a send leaves a backlog that is whole: sends change it last.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { outbox: self, state }
    }
}

impl<L: Transport> Deref for Locked<'_, L> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl<L: Transport> DerefMut for Locked<'_, L> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl<L: Transport> Drop for Locked<'_, L> {
    fn drop(&mut self) {
        let (before, after) = (self.state.told, self.state.backlog.memory());
        if before != after {
            self.state.told = after;
            self.outbox.link.queue_changed(before, after);
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(any(test, fuzzing))]
pub mod trial;
