//! Answers the connections for which there is no slot or no thread: 503.
//!
//! One thread holds all of them, at most [`REFUSALS`], and never waits for one: it sleeps in `poll`
//! until one sends something, closes, or has had its time. A connection gets its answer once enough of
//! its request has come to tell what that has to be like, or when its time is over. It is kept
//! until the peer closes, because closing before the request has arrived resets the connection, and
//! a reset can take the answer away. When all are taken, the next one replaces the oldest of those
//! that sent nothing, of the address that has most of them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::config::{REFUSAL_TIMEOUT, REFUSALS};
use crate::http::accept;
use crate::http::follow;
use crate::http::refusal::Refusal;
use crate::metrics::Metrics;
use crate::net::deadline;
use crate::wire::stream::Format;

/// Hands connections over to the thread that refuses them.
#[derive(Clone, Debug)]
pub struct Overload {
    refused: Sender<Refused>,
    waker: Arc<UnixStream>,
    /// Counts what becomes of connections.
    pub metrics: Arc<Metrics>,
}

/// Of [`REFUSALS`], so many may be on their way to the thread.
const HANDED_OVER: usize = 4;

/// The beginning of a request whose answer has no body (RFC 9110 section 9.3.2).
const HEAD: &[u8] = b"HEAD ";

/// The beginning of a request that may be an EventSource's, which never comes again after a 503.
const GET: &[u8] = b"GET ";

/// Of a request for which there is no place, so many bytes are looked at. What an EventSource accepts is
/// among the first fields that browsers send.
const START: usize = 2 * 1024;

/// Reads from one connection before the others have their turn.
const READS: usize = 8;

impl Overload {
    /// The handle, and the code for a thread of its own, which ends when the last handle is dropped.
    ///
    /// # Errors
    /// When the system has no socket pair to give.
    pub fn new(metrics: Arc<Metrics>) -> io::Result<(Overload, impl FnOnce() + Send)> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (sender, refused) = bounded(HANDED_OVER);
        let overload = Overload { refused: sender, waker: waker.into(), metrics };
        Ok((overload, move || run(&refused, &woken)))
    }

    /// Answers with `refusal` and closes.
    pub fn refuse(&self, stream: TcpStream, peer: SocketAddr, refusal: Refusal) {
        self.metrics.refused(refusal.reason());
        refusal.log(peer);
        let until = Instant::now() + REFUSAL_TIMEOUT;
        let refused = Refused { stream, peer, refusal, start: Vec::new(), answered: false, until };
        // It waits no longer than for one round of a thread that never waits.
        let _ = self.refused.send(refused);
        // A full pipe wakes the thread just as well.
        let _ = (&*self.waker).write(&[1]);
    }
}

/// A connection that is refused.
struct Refused {
    stream: TcpStream,
    peer: SocketAddr,
    refusal: Refusal,
    /// The beginning of the request, until the answer is clear.
    start: Vec<u8>,
    answered: bool,
    /// When it is answered at the latest, and then closed.
    until: Instant,
}

fn run(refused: &Receiver<Refused>, woken: &UnixStream) {
    let mut open: Vec<Refused> = Vec::new();
    loop {
        let mut ready = sleep(&open, woken).into_iter();
        // Before the channel is emptied, or a connection that comes between the two is overlooked.
        while (&mut &*woken).read(&mut [0; 64]).is_ok_and(|len| len > 0) {}
        let now = Instant::now();
        open.retain_mut(|conn| match ready.next() {
            Some(false) if now < conn.until => true,
            _ => conn.proceed(now),
        });
        loop {
            match refused.try_recv() {
                Ok(mut conn) => {
                    if conn.proceed(now) {
                        if open.len() >= REFUSALS - HANDED_OVER {
                            replace(&mut open);
                        }
                        open.push(conn);
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }
}

/// Sleeps until a connection is ready, the first deadline or a wake. Says which are ready; nothing if
/// that cannot be said.
fn sleep(open: &[Refused], woken: &UnixStream) -> Vec<bool> {
    let mut fds = vec![PollFd::new(woken, PollFlags::IN)];
    fds.extend(open.iter().map(|conn| PollFd::new(&conn.stream, PollFlags::IN)));
    let timeout =
        open.iter().map(|conn| conn.until).min().and_then(|until| {
            Timespec::try_from(until.saturating_duration_since(Instant::now())).ok()
        });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => fds[1..].iter().map(|fd| !fd.revents().is_empty()).collect(),
        // Interrupted, or no memory: all are looked at.
        Err(_) => Vec::new(),
    }
}

/// Closes the connection that makes room for another.
fn replace(open: &mut Vec<Refused>) {
    let silent = |conn: &Refused| conn.start.is_empty();
    let of_address = |conn: &Refused| {
        let same = |other: &&Refused| silent(other) && other.peer.ip() == conn.peer.ip();
        open.iter().filter(same).count()
    };
    let rank = |conn: &Refused| if silent(conn) { of_address(conn) } else { 0 };
    // The oldest is first, and `max_by_key` prefers the last.
    let victim = (0..open.len()).rev().max_by_key(|index| rank(&open[*index]));
    if let Some(index) = victim {
        open.remove(index).abort();
    }
}

impl Refused {
    /// Reads the bytes that have arrived and answers when it is time to. False if the connection is done with.
    fn proceed(&mut self, now: Instant) -> bool {
        let mut bytes = [0; 1024];
        // A peer that sends without end must not keep the thread from the others.
        for _ in 0..READS {
            match recv(&self.stream, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    self.answer(now);
                    deadline::bound_close(&self.stream);
                    return false;
                }
                Ok((len, _)) => {
                    let missing = if self.answered { 0 } else { START - self.start.len() };
                    self.start.extend_from_slice(&bytes[..len.min(missing)]);
                    if is_clear(&self.start) {
                        self.answer(now);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return false,
            }
        }
        if now >= self.until {
            if self.answered {
                deadline::abort_on_close(&self.stream);
                return false;
            }
            self.answer(now);
        }
        true
    }

    /// Sends the answer, unless that is done. The buffer of a fresh socket has room for it.
    fn answer(&mut self, now: Instant) {
        if self.answered {
            return;
        }
        let response = match is_event_source(&self.start) {
            true => follow::full(),
            false => self.refusal.response(self.start.starts_with(HEAD)),
        };
        let _ = send(&self.stream, &response, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        let _ = self.stream.shutdown(Shutdown::Write);
        (self.answered, self.until) = (true, now + REFUSAL_TIMEOUT);
        // One byte tells that it was not silent.
        self.start.truncate(1);
        self.start.shrink_to_fit();
    }

    /// Answers and closes at once.
    fn abort(mut self) {
        self.answer(self.until);
        deadline::abort_on_close(&self.stream);
    }
}

/// Whether a request that begins in this way can be answered.
fn is_clear(start: &[u8]) -> bool {
    if start.starts_with(GET) {
        start.len() >= START || start.windows(4).any(|bytes| bytes == b"\r\n\r\n")
    } else {
        start.starts_with(HEAD) || !HEAD.starts_with(start) && !GET.starts_with(start)
    }
}

/// Whether a request that begins in this way is an EventSource's, by what it accepts.
fn is_event_source(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(start);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    start.starts_with(GET)
        && head.split("\r\n").skip(1).filter_map(|line| line.split_once(':')).any(
            |(name, value)| {
                name.eq_ignore_ascii_case("accept") && accept::format(value) == Format::Sse
            },
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_once_it_is_clear() {
        for start in ["", "H", "HEAD", "G", "GET", "GET ", "GET /lab HTTP/1.1\r\nHost: x\r\n"] {
            assert!(!is_clear(start.as_bytes()), "{start}");
        }
        let long = format!("GET /{}", "x".repeat(START));
        for start in ["HEAD /", "HEX", "X", "POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n\r\n", &long]
        {
            assert!(is_clear(start.as_bytes()), "{start}");
        }
    }

    #[test]
    fn an_event_source_says_what_it_accepts() {
        for (request, expected) in [
            ("GET /lab/sse HTTP/1.1\r\nHost: x\r\naccept: Text/Event-Stream\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nAccept: text/event-stream", true),
            ("POST /lab/sse HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n", false),
            ("GET /lab/sse HTTP/1.1\r\nAccept: */*\r\n\r\n", false),
            ("GET /text/event-stream HTTP/1.1\r\n\r\nAccept: text/event-stream\r\n", false),
            ("GET ", false),
            ("", false),
        ] {
            assert_eq!(is_event_source(request.as_bytes()), expected, "{request}");
        }
    }
}
