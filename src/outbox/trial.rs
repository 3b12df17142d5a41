//! Sends to a socket that takes as much as it likes, against the outbox's contract.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::testing::Choices;

/// A socket that takes so many bytes until more are allowed.
#[derive(Debug, Default)]
pub struct Socket {
    pub taken: Mutex<Vec<u8>>,
    room: AtomicUsize,
    pub is_broken: Mutex<bool>,
    pub half_closed: AtomicUsize,
    pub cut: AtomicUsize,
    watched: AtomicUsize,
    held: AtomicUsize,
    relieved: AtomicUsize,
}

impl Transport for Arc<Socket> {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        assert_eq!(self.half_closed.load(Ordering::Relaxed), 0, "sent after the last word");
        if *self.is_broken.lock().unwrap() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let room = self.room.load(Ordering::Relaxed);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let sent = room.min(bytes.len());
        self.room.fetch_sub(sent, Ordering::Relaxed);
        self.taken.lock().unwrap().extend_from_slice(&bytes[..sent]);
        Ok(sent)
    }

    fn half_close(&self) {
        self.half_closed.fetch_add(1, Ordering::Relaxed);
    }

    fn cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    fn forget(&self) {}

    fn watch(outbox: &Arc<Outbox<Self>>) {
        outbox.link().watched.fetch_add(1, Ordering::Relaxed);
    }

    fn queue_changed(&self, before: usize, after: usize) {
        assert_eq!(self.held.swap(after, Ordering::Relaxed), before);
    }

    fn relieve(&self) {
        self.relieved.fetch_add(1, Ordering::Relaxed);
    }
}

impl Socket {
    pub fn taken(&self) -> Vec<u8> {
        self.taken.lock().unwrap().clone()
    }

    pub fn allow(&self, bytes: usize) {
        self.room.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn watched(&self) -> usize {
        self.watched.load(Ordering::Relaxed)
    }
}

pub const BOUNDS: Bounds = Bounds {
    max_queue: 1000,
    catch_up: Duration::from_secs(30),
    close_timeout: Duration::from_secs(3),
};

pub const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

pub fn message(n: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::says(&mut frame, n as i64, &"m".repeat(n % 90));
    frame
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client is there and has everything.
    Kept,
    /// It was given a close frame.
    Closed,
    /// It was too slow.
    Evicted,
    /// The connection broke, or was cut.
    Lost,
}

/// Calls that `bytes` choose, and a socket that takes amounts that they choose. What comes out is
/// the response and whole frames in order; nothing is lost but by an eviction or with the
/// connection; a last word is the last; never more waits than may; and while something waits,
/// somebody watches.
pub fn run(bytes: &[u8]) -> End {
    let mut choices = Choices::new(bytes);
    let socket = Arc::new(Socket::default());
    let outbox = Outbox::new(socket.clone(), RESPONSE.to_vec(), BOUNDS);
    let said_early = choices.roll(4);
    let generosity = 1 + choices.roll(300);
    let (mut said, mut last_word, mut is_lost) = (RESPONSE.to_vec(), None, false);
    // Before it is opened, the one who opens it watches.
    let mut watched_before = 0;
    for n in 0.. {
        if n == said_early {
            outbox.open();
        }
        let is_open = n >= said_early;
        if is_open && choices.are_over() {
            break;
        }
        match if is_open { choices.roll(16) } else { 0 } {
            0..7 => {
                let frames: Vec<u8> =
                    (0..=choices.roll(3)).flat_map(|k| message(n % 90 + k)).collect();
                let result = outbox.send(&frames);
                // Of what is refused it may have begun with the first.
                if last_word.is_none() && !is_lost {
                    said.extend(frames);
                }
                assert!(
                    result == Sent::Refused || last_word.is_none() && !is_lost,
                    "taken after the last word"
                );
            }
            7..11 => {
                socket.allow(choices.roll(generosity));
                outbox.push_on();
            }
            11 | 12 => tend(&outbox, &mut watched_before, Instant::now()),
            13 if choices.roll(8) == 0 => {
                outbox.close(b"\x88\x03bye");
                if !outbox.evicted() && !is_lost {
                    last_word.get_or_insert(b"\x88\x03bye".to_vec());
                }
            }
            14 if choices.roll(32) == 0 => {
                let late = Instant::now() + BOUNDS.catch_up + BOUNDS.close_timeout;
                tend(&outbox, &mut watched_before, late);
            }
            14 if choices.roll(32) == 0 => outbox.give_up(),
            15 if choices.roll(32) == 0 => {
                if choices.roll(2) == 0 {
                    outbox.cut();
                } else {
                    *socket.is_broken.lock().unwrap() = true;
                }
            }
            _ => {}
        }
        if outbox.evicted() {
            last_word.get_or_insert(CloseReason::TooSlow.frame());
        }
        is_lost |= socket.cut.load(Ordering::Relaxed) > 0;
        let state = outbox.lock();
        let waits = state.backlog.len();
        assert!(waits <= BOUNDS.max_queue + RESPONSE.len() + 64, "{waits} bytes wait");
        assert!(waits == 0 || !is_open || state.watched, "something waits and nobody watches");
        let is_told = socket.watched() > watched_before || state.phase == Phase::Closed;
        assert!(!is_open || !state.watched || is_told, "nobody was told");
        let memory = state.backlog.memory();
        drop(state);
        assert_eq!(socket.held.load(Ordering::Relaxed), memory, "the memory is not known");
    }
    socket.allow(1 << 20);
    outbox.tend(Instant::now());
    is_lost |= socket.cut.load(Ordering::Relaxed) > 0;
    check(&socket.taken(), &said, last_word.as_deref().unwrap_or_default(), is_lost);
    match last_word {
        _ if is_lost => End::Lost,
        None => {
            assert_eq!(socket.taken().len(), said.len(), "something was lost");
            End::Kept
        }
        Some(_) if outbox.evicted() => End::Evicted,
        Some(word) => {
            assert_eq!(socket.taken().len(), said.len() + word.len(), "something was lost");
            End::Closed
        }
    }
}

fn tend(outbox: &Outbox<Arc<Socket>>, watched_before: &mut usize, now: Instant) {
    if outbox.tend(now) == Next::Done {
        *watched_before = outbox.link().watched();
    }
}

/// What was taken is the beginning of what was said, and behind a whole frame of that the last
/// word; or, if the connection is lost, the beginning of this.
fn check(taken: &[u8], said: &[u8], last_word: &[u8], is_lost: bool) {
    let heard = taken.iter().zip(said).take_while(|(taken, said)| taken == said).count();
    let rest = &taken[heard..];
    if is_lost && rest.is_empty() {
        return;
    }
    assert!(heard >= RESPONSE.len(), "the response is not whole");
    let (frames, heard) = (&said[RESPONSE.len()..], heard - RESPONSE.len());
    assert_eq!(wire::boundary(frames, heard), heard, "a torn frame");
    assert!(last_word.starts_with(rest), "something else than the last word");
    assert!(is_lost || rest == last_word, "the last word is not whole");
}
