//! The sending side of one client. Its contract:
//!
//! 1. It does not block: a send takes what the socket takes at once.
//! 2. It does not reorder, and sends each entry of the room's log once.
//! 3. It is the only writer of its connection, and sends whole frames; so frames never interleave.
//! 4. It is bounded. Of the room it keeps a cursor and no copy. What is for its client alone (the
//!    response to the handshake, pongs, echoes, the close frame) is kept in a queue, whose bound
//!    is in bytes.
//!
//! A client that keeps up is sent each batch by the hub, straight to the socket. One that fell
//! behind is left to the flusher ([`crate::outbox::flusher`]), which sends from the log when the
//! socket takes more. The lock makes each send whole; the hub, the session and the flusher rarely
//! meet at it.

pub mod encoding;
pub mod flusher;
pub mod frames;
pub mod queue;

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::history::Log;
use crate::history::chunk::{Chunk, Position};
use crate::history::flow::Lag;
use crate::history::ring::Lost;
use crate::outbox::encoding::{Encoding, View};
use crate::outbox::frames::{Cursor, Encoder, Frames};
use crate::outbox::queue::Queue;
use crate::reasons::{CloseReason, LeaveReason};
use crate::sync::{self, Mutex, MutexGuard};

/// What an outbox needs of the connection that it writes to.
pub trait Transport: Sized {
    /// Sends what can be sent without blocking; [`io::ErrorKind::WouldBlock`] if that is nothing.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Has the CPU fetch from memory what [`Transport::send`] needs.
    fn prefetch(&self) {}
    /// Nothing more will be sent: the peer reads to the end of what was.
    fn half_close(&self);
    /// Ends the connection in both directions, which also ends a read that waits on it.
    fn cut(&self);
    /// The peer had its time: the kernel may drop what it has not taken.
    fn forget(&self);
    /// Hands the outbox to whoever calls [`Outbox::flush`] when the socket takes more. Called once
    /// until [`Outbox::flush`] has said [`Next::Done`], and once more if the deadline comes nearer.
    fn watch(outbox: &Arc<Outbox<Self>>);
    /// The client is closed because it reads too slowly.
    fn evicted(&self);
}

/// How much may wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes for this client alone.
    pub max_queue: usize,
    /// How long these may wait.
    pub catch_up: Duration,
    /// From the last word to the end of the connection.
    pub close_timeout: Duration,
}

/// The sending side of one client.
#[derive(Debug)]
#[repr(C)] // As with the state: what a send needs lies together.
pub struct Outbox<T> {
    state: Mutex<State>,
    transport: T,
    encoding: Encoding,
    bounds: Bounds,
}

/// In the order of use: what most sends need comes first, side by side, since with many clients none of it
/// is in the CPU's cache any more.
#[derive(Debug)]
#[repr(C)]
struct State {
    phase: Phase,
    /// Something waits: the flusher, or whoever calls [`Outbox::open`], sends it.
    is_watched: bool,
    /// What of the room has been sent. Means nothing to a client that is not in the room.
    cursor: Cursor,
    /// The client's place among the readers that are behind.
    lag: Option<Lag>,
    /// What is for this client alone. It goes before what the room says.
    queue: Queue,
    /// The close frame, which goes last, if there is one yet.
    last: Option<Queue>,
    /// The room's log.
    log: Option<Arc<Log>>,
    /// The entries before this one are from before the client came.
    came: u64,
    /// Where the room ends for a client that is leaving.
    until: u64,
    /// The chunk with the entry whose frame is torn, for a client that has let go of the log.
    torn: Option<Arc<Chunk>>,
    /// Why it was closed, unless its session has done so.
    why: Option<LeaveReason>,
    /// When the queue has to be empty, or the client gone.
    deadline: Option<Instant>,
    /// Bytes that the client took late: while the number grows, it lives.
    late: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Nothing is added any more.
    Closing,
    /// The connection is cut.
    Closed,
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was sent, or will be.
    Taken,
    /// The client is closed.
    Refused,
}

/// What the flusher has to do for a client next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Forget it.
    Done,
    /// Come again at once: it may well take the next chunk of the log, too.
    More(Option<Instant>),
    /// Come again when the socket takes more, or at this time if there is one.
    Behind(Option<Instant>),
    /// All is sent: come again when the connection has ended, or at this time.
    Leaving(Option<Instant>),
}

/// Where a reader goes on: in the log with this id, at this entry. Of two readers of a log, the one that is further
/// behind is less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    log: u64,
    entry: u64,
}

impl<T: Transport> Outbox<T> {
    /// An outbox whose first bytes are the handshake's `response`. They and what is sent after
    /// them leave with [`Outbox::open`]. The client hears of a room by this `encoding`.
    pub fn new(transport: T, encoding: Encoding, response: Vec<u8>, bounds: Bounds) -> Arc<Self> {
        Arc::new(Outbox {
            transport,
            encoding,
            bounds,
            state: Mutex::new(State {
                phase: Phase::Open,
                // By the one who calls `open`.
                is_watched: true,
                cursor: Cursor::default(),
                queue: Queue::of(response),
                last: None,
                log: None,
                lag: None,
                came: 0,
                until: 0,
                torn: None,
                why: None,
                deadline: None,
                late: 0,
            }),
        })
    }

    /// The connection that is written to, for reading.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Sends the handshake's response and the bytes behind it. Call it once.
    pub fn open(self: &Arc<Self>) {
        let mut state = self.lock();
        state.is_watched = false;
        if state.phase == Phase::Open {
            state.deadline = Some(Instant::now() + self.bounds.catch_up);
        }
        self.send_waiting(&mut state, None);
        self.have_watched(state, false);
    }

    /// The protocol by which the client hears of a room.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The client is in the room from the entry `came` on. It hears what comes at `start` of the log, and
    /// after it; before it came, messages alone.
    pub fn enter(self: &Arc<Self>, log: &Arc<Log>, start: Position, came: u64) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.log = Some(log.clone());
            state.cursor = Cursor { position: start, torn: 0 };
            state.came = came;
            if start.entry < came {
                state.lag = Some(log.lag(start));
                self.have_watched(state, false);
            }
        }
    }

    /// Has the CPU fetch from memory what [`Outbox::deliver`] needs. Called for some clients in a row, it
    /// waits once for all of them, and not once for each.
    pub fn prefetch(&self) {
        sync::prefetch(&self.state);
        self.transport.prefetch();
    }

    /// Sends frames that have been appended to the room's log. A client that is behind, or falls
    /// behind, gets them from there.
    pub fn deliver(self: &Arc<Self>, frames: &Frames) -> Sent {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Sent::Refused;
        }
        if state.lag.is_some() || state.cursor.position.entry >= frames.end().entry {
            return Sent::Taken;
        }
        let news = frames.behind(state.cursor);
        if news.is_some_and(<[u8]>::is_empty) {
            state.cursor = Cursor { position: frames.end(), torn: 0 };
            return Sent::Taken;
        }
        // The response to the handshake, or a pong, may be waiting.
        if let Some(news) = news.filter(|_| !state.is_watched || state.queue.is_empty()) {
            match self.transport.send(news) {
                Ok(all) if all == news.len() => {
                    state.cursor = Cursor { position: frames.end(), torn: 0 };
                    return Sent::Taken;
                }
                Ok(some) => state.cursor = frames.advance(state.cursor, some, u64::MAX),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.end(&mut state);
                    return Sent::Refused;
                }
            }
        }
        let position = state.cursor.position;
        state.lag = state.log.as_ref().map(|log| log.lag(position));
        self.have_watched(state, false);
        Sent::Taken
    }

    /// Sends whole frames that are for this client alone, now if nothing waits.
    pub fn send(self: &Arc<Self>, frames: &[u8]) -> Sent {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Sent::Refused;
        }
        let mut sent = 0;
        if state.queue.is_empty() {
            if state.cursor.torn == 0 {
                match self.transport.send(frames) {
                    Ok(all) if all == frames.len() => return Sent::Taken,
                    Ok(some) => sent = some,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => {
                        self.end(&mut state);
                        return Sent::Refused;
                    }
                }
            }
            state.deadline = Some(Instant::now() + self.bounds.catch_up);
        }
        let is_stream = self.encoding.format().is_some();
        let fits = state.queue.len() + frames.len() - sent <= self.bounds.max_queue;
        if is_stream {
            state.queue.push_whole(&frames[sent..]);
        } else if fits && sent == 0 {
            state.queue.push(frames);
        } else if fits || sent > 0 {
            state.queue.start(frames, sent);
        }
        if !fits {
            self.evict_now(&mut state);
        }
        self.have_watched(state, !fits);
        if fits { Sent::Taken } else { Sent::Refused }
    }

    /// Sends a close frame behind all that the room has said, and nothing after it. The peer is given
    /// [`Bounds::close_timeout`] to take it.
    pub fn close(self: &Arc<Self>, frame: &[u8]) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            let end = state.log.as_ref().map_or(0, |log| log.ring.end().entry);
            self.begin_to_close(&mut state, end, frame);
            self.have_watched(state, true);
        }
    }

    fn begin_to_close(&self, state: &mut State, end: u64, frame: &[u8]) {
        state.phase = Phase::Closing;
        state.until = end;
        state.deadline = Some(Instant::now() + self.bounds.close_timeout);
        state.last = Some(self.last_word(frame));
        self.send_waiting(state, None);
    }

    /// A close frame, which a stream does not have.
    fn last_word(&self, frame: &[u8]) -> Queue {
        let frame = if self.encoding.format().is_some() { &[] } else { frame };
        Queue::of(frame.to_vec())
    }

    /// Sends a stream what a room has said from `start` to `end`, and ends it; before the entry `came`
    /// messages alone. What is said meanwhile it does not hear.
    pub fn replay(self: &Arc<Self>, log: &Arc<Log>, start: Position, came: u64, end: u64) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.log = Some(log.clone());
            state.cursor = Cursor { position: start, torn: 0 };
            state.came = came;
            state.lag = (start.entry < end).then(|| log.lag(start));
            self.begin_to_close(&mut state, end, &[]);
            self.have_watched(state, true);
        }
    }

    /// Ends a stream behind the entries before `end`. As long as the peer takes something in
    /// [`Bounds::close_timeout`], it is sent more.
    pub fn finish(self: &Arc<Self>, end: u64) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            self.begin_to_close(&mut state, end, &[]);
            self.have_watched(state, true);
        }
    }

    /// Whether nothing is added any more.
    pub fn has_closed(&self) -> bool {
        self.lock().phase != Phase::Open
    }

    /// Whether everything was sent, and nothing will follow.
    pub fn has_finished(&self) -> bool {
        let state = self.lock();
        state.phase != Phase::Open && !state.is_behind()
    }

    /// Closes a client that reads too slowly, behind the frame that it has a part of.
    pub fn evict(&self) {
        let mut state = self.lock();
        match state.phase {
            Phase::Open => self.evict_now(&mut state),
            // It has had its last word, and holds up the room.
            Phase::Closing => {
                self.transport.forget();
                self.end(&mut state);
            }
            Phase::Closed => {}
        }
    }

    /// Ends the connection at once, whatever waits.
    pub fn cut(&self) {
        self.end(&mut self.lock());
    }

    /// Closes the client for a `reason` that its session does not know, as [`Outbox::close`] does. Its
    /// session waits for it, so the flusher sees to its end.
    pub fn close_for(self: &Arc<Self>, reason: CloseReason) {
        self.lock().why.get_or_insert(reason.row().2);
        self.close(&reason.frame());
        let mut state = self.lock();
        if state.phase == Phase::Closing && !state.is_watched {
            state.is_watched = true;
            drop(state);
            T::watch(self);
        }
    }

    /// Why the client was closed, unless its session has done so.
    pub fn why(&self) -> Option<LeaveReason> {
        self.lock().why
    }

    /// Whether the client was closed because it read too slowly.
    pub fn is_evicted(&self) -> bool {
        self.why() == Some(LeaveReason::TooSlow)
    }

    /// How many bytes this client has taken late: if the number grows, it lives.
    pub fn late_bytes(&self) -> u64 {
        self.lock().late
    }

    /// Sends as much of the private queue as the socket takes. True if some still waits and
    /// the client is not leaving, so that the caller does well to wait with saying more.
    pub fn flush_queue(&self) -> bool {
        let mut state = self.lock();
        // Nearly always. What follows the queue is the flusher's.
        if state.queue.is_empty() {
            return false;
        }
        self.send_waiting(&mut state, None);
        state.phase == Phase::Open && !state.queue.is_empty()
    }

    /// Where the client goes on in the room's log; the beginning of none without a room.
    pub fn place(&self) -> Place {
        let state = self.lock();
        let log = state.log.as_ref().map_or(0, |log| log.ring.id());
        Place { log, entry: state.cursor.position.entry }
    }

    /// Sends to a client that is behind or leaving what the socket takes, of the room's log up to the end of a
    /// chunk, and holds it to its deadline.
    pub fn flush(&self, now: Instant, encoder: &mut Encoder) -> Next {
        let mut state = self.lock();
        let takes_more = self.send_waiting(&mut state, Some(encoder));
        if state.phase == Phase::Open && !state.is_behind() {
            state.lag = None;
            state.is_watched = false;
            return Next::Done;
        }
        if state.deadline.is_some_and(|deadline| now >= deadline) {
            match state.phase {
                // A reader of the room that is behind is judged by the room's flow control.
                Phase::Open if state.queue.is_empty() => state.deadline = None,
                Phase::Open => {
                    self.evict_now(&mut state);
                    self.send_waiting(&mut state, Some(encoder));
                }
                Phase::Closing | Phase::Closed => {
                    self.transport.forget();
                    self.end(&mut state);
                }
            }
        }
        match state.phase {
            Phase::Closed => Next::Done,
            Phase::Closing if !state.is_behind() => Next::Leaving(state.deadline),
            _ if takes_more => Next::More(state.deadline),
            _ => Next::Behind(state.deadline),
        }
    }

    /// Names this client among those that are behind in `log`, if it is.
    pub fn lags_in(&self, log: &Arc<Log>) -> Option<usize> {
        let state = self.lock();
        let lag = state.lag.as_ref()?;
        Arc::ptr_eq(state.log.as_ref()?, log).then(|| lag.id())
    }

    /// Sends what waits until the socket takes no more; what the room said only with an `encoder`, and up to the
    /// end of a chunk. True if the socket may take more.
    fn send_waiting(&self, state: &mut State, mut encoder: Option<&mut Encoder>) -> bool {
        // How much it takes, and whether that is all.
        let send = |bytes: &[u8]| match bytes {
            [] => Ok((0, true)),
            _ => self.transport.send(bytes).map(|sent| (sent, sent == bytes.len())),
        };
        loop {
            let mut is_chunk = false;
            let result = if state.cursor.torn == 0 && !state.queue.is_empty() {
                send(state.queue.next()).inspect(|(sent, _)| state.queue.advance(*sent))
            } else if state.lacks_entries() {
                let Some(encoder) = encoder.as_deref_mut() else { return false };
                if state.passes_over_lost() {
                    continue;
                }
                is_chunk = true;
                match state.news(encoder, self.encoding) {
                    Some((frames, news, end)) => send(news).inspect(|(sent, _)| {
                        state.cursor = frames.advance(state.cursor, *sent, end);
                        if let Some(lag) = &state.lag {
                            lag.advance(state.cursor.position, *sent);
                        }
                    }),
                    // It fell off the log's tail, which flow control is there to prevent.
                    None => Err(io::ErrorKind::NotFound.into()),
                }
            } else if let Some(last) = &mut state.last {
                // Nobody has to wait for it any more.
                state.lag = None;
                if last.is_empty() {
                    state.last = None;
                    self.transport.half_close();
                    return false;
                }
                send(last.next()).inspect(|(sent, _)| last.advance(*sent))
            } else {
                return true;
            };
            match result {
                Ok((sent, is_all)) => {
                    if state.phase == Phase::Closing && self.encoding.format().is_some() {
                        // A stream may end with a long replay.
                        state.deadline = Some(Instant::now() + self.bounds.close_timeout);
                    }
                    state.late += sent as u64;
                    if !is_all || is_chunk && state.lacks_entries() {
                        return is_all;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.end(state);
                    return false;
                }
            }
        }
    }

    /// Gives up a client that is too slow. Of what waits, only the rest of a frame is sent that it
    /// has a part of; so it lets go of the log.
    fn evict_now(&self, state: &mut State) {
        state.phase = Phase::Closing;
        state.why = Some(LeaveReason::TooSlow);
        self.transport.evicted();
        state.deadline = Some(Instant::now() + self.bounds.close_timeout);
        state.queue.keep_torn();
        state.until = state.cursor.position.entry;
        if state.cursor.torn > 0 {
            state.torn = state.log.as_ref().and_then(|log| log.ring.chunk(state.until));
            state.until += 1;
        }
        state.lag = None;
        state.last = Some(self.last_word(&CloseReason::TooSlow.frame()));
    }

    fn end(&self, state: &mut State) {
        state.phase = Phase::Closed;
        state.queue = Queue::default();
        state.last = None;
        (state.until, state.torn) = (0, None);
        (state.lag, state.log) = (None, None);
        self.transport.cut();
    }

    /// Has the outbox watched if something waits in it and nobody does yet, or would come too late
    /// for a deadline that is `nearer` now.
    fn have_watched(self: &Arc<Self>, mut state: MutexGuard<'_, State>, nearer: bool) {
        if state.phase != Phase::Closed && state.is_behind() && (nearer || !state.is_watched) {
            state.is_watched = true;
            drop(state);
            T::watch(self);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere in a send leaves a state that is whole: sends change it last.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether something waits.
    fn is_behind(&self) -> bool {
        !self.queue.is_empty() || self.last.is_some() || self.lacks_entries()
    }

    /// Whether something of the room's log is still to be sent.
    fn lacks_entries(&self) -> bool {
        self.cursor.position.entry < self.room_end()
    }

    /// Where the room's log ends for this client.
    fn room_end(&self) -> u64 {
        match (&self.log, self.phase) {
            (Some(log), Phase::Open) => log.ring.end().entry,
            (Some(_), Phase::Closing) => self.until,
            (None, _) | (_, Phase::Closed) => 0,
        }
    }

    /// Whether it goes on behind what was lost before it came, and not here.
    fn passes_over_lost(&mut self) -> bool {
        let Some(lost) = self.next_lost().filter(|lost| lost.start <= self.cursor.position) else {
            return false;
        };
        self.cursor = Cursor { position: lost.end, torn: 0 };
        if let Some(lag) = &self.lag {
            lag.advance(lost.end, 0);
        }
        true
    }

    /// The next of the entries before it came that it is not to hear.
    fn next_lost(&self) -> Option<Lost> {
        let entry = self.cursor.position.entry;
        let log = self.log.as_ref().filter(|_| entry < self.came)?;
        log.ring.next_lost(entry, self.came)
    }

    /// What is to be sent of the room's log next, up to which entry, and the frames that this is a part
    /// of; none if the log does not have it any more.
    fn news<'a>(
        &self,
        encoder: &'a mut Encoder,
        encoding: Encoding,
    ) -> Option<(&'a Frames, &'a [u8], u64)> {
        let (log, entry) = (self.log.as_ref()?, self.cursor.position.entry);
        let is_replay = entry < self.came;
        let frames =
            encoder.frames(log, entry, View { encoding, is_replay }, self.torn.as_ref())?;
        // What is in the queue goes as soon as no frame is torn.
        let end = if self.queue.is_empty() { self.room_end() } else { entry + 1 };
        let end = if is_replay { end.min(self.came) } else { end };
        let end = self.next_lost().map_or(end, |lost| end.min(lost.start.entry));
        Some((frames, frames.between(self.cursor, end)?, end))
    }
}

#[cfg(any(test, fuzzing))]
pub mod fuzz_target;
#[cfg(test)]
mod tests;
