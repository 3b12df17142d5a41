//! Sends to a socket that takes as much as it likes, against the outbox's contract.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::config::budget::LogBounds;
use crate::history::chunk::{Author, Chunk, Entry, Kind};
use crate::testing::Choices;
use crate::wire::cursor::Epoch;
use crate::wire::{self, tutorial};

/// A socket that takes so many bytes until more are allowed.
#[derive(Debug, Default)]
pub struct Socket {
    pub taken: Mutex<Vec<u8>>,
    room: AtomicUsize,
    pub is_broken: Mutex<bool>,
    /// It breaks rather than take more than this.
    breaks_at: Option<usize>,
    pub half_closed: AtomicUsize,
    pub cut: AtomicUsize,
    watched: AtomicUsize,
    pub evicted: AtomicUsize,
}

impl Transport for Arc<Socket> {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!bytes.is_empty(), "nothing was sent");
        assert_eq!(self.half_closed.load(Ordering::Relaxed), 0, "sent after the last word");
        let mut taken = self.taken.lock().unwrap();
        let would_break = self.breaks_at.is_some_and(|most| taken.len() + bytes.len() > most);
        if would_break || *self.is_broken.lock().unwrap() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let room = self.room.load(Ordering::Relaxed);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let sent = room.min(bytes.len());
        self.room.fetch_sub(sent, Ordering::Relaxed);
        taken.extend_from_slice(&bytes[..sent]);
        Ok(sent)
    }

    fn half_close(&self) {
        assert_eq!(self.half_closed.fetch_add(1, Ordering::Relaxed), 0, "there are two last words");
    }

    fn cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    fn forget(&self) {}

    fn watch(outbox: &Arc<Outbox<Self>>) {
        outbox.transport().watched.fetch_add(1, Ordering::Relaxed);
    }

    fn evicted(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }
}

impl Socket {
    /// One that takes everything, up to so many bytes if there is a bound.
    pub fn generous(breaks_at: Option<usize>) -> Arc<Self> {
        let room = AtomicUsize::new(usize::MAX / 2);
        Arc::new(Socket { room, breaks_at, ..Socket::default() })
    }

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

/// A frame for one client alone.
pub fn answer(n: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    tutorial::echo(&mut frame, &format!("{n} {}", "a".repeat(n % 90)));
    frame
}

/// A room without a hub: what is said is appended to the log.
pub struct Talk {
    pub log: Arc<Log>,
    end: Position,
    /// The frames of all that was said.
    pub said: Vec<u8>,
}

impl Talk {
    /// A log of `size` bytes, in which nobody waits.
    pub fn new(size: usize) -> Self {
        let log = Log::alone(Epoch::from_random(1), LogBounds::new(size, 1000), || {});
        Talk { log, end: Position::default(), said: Vec::new() }
    }

    pub fn end(&self) -> Position {
        self.end
    }

    /// Says texts of these lengths at once.
    pub fn say(&mut self, lengths: &[usize]) -> Frames {
        let (mut entries, mut frames) = (Chunk::new(self.end), Frames::default());
        for len in lengths {
            let seq = entries.end().entry + 1;
            let text = "m".repeat(*len);
            let (kind, author) = (Kind::Message { seq, n: 0 }, Author::number(seq as i64));
            entries.push(Entry { kind, at: 1, author, text: &text });
        }
        frames.restart(self.end, 0);
        frames.extend(
            &entries,
            self.log.epoch(),
            View { encoding: Encoding::Tutorial, is_replay: false },
        );
        self.log.append(&entries, 0, None, Instant::now());
        self.end = entries.end();
        self.said.extend_from_slice(frames.bytes());
        frames
    }
}

/// How a run ended.
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
/// the response, and whole frames: of the room all that was said since the client joined, each once
/// and in order; and its own answers, in order. Nothing is lost but by an eviction or with the
/// connection; a last word is the last; never more waits than may; and while something waits, somebody
/// watches.
pub fn run(bytes: &[u8]) -> End {
    let mut choices = Choices::new(bytes);
    let socket = Arc::new(Socket::default());
    let outbox = Outbox::new(socket.clone(), Encoding::Tutorial, RESPONSE.to_vec(), BOUNDS);
    let (mut talk, mut encoder) = (Talk::new(1 << 20), Encoder::default());
    talk.say(&[3, 5]);
    let is_member = choices.roll(4) > 0;
    if is_member {
        outbox.enter(&talk.log, talk.end(), talk.end().entry);
        talk.said.clear();
    }
    let said_early = choices.roll(4);
    let generosity = 1 + choices.roll(300);
    let (mut answers, mut last_word, mut is_lost) = (Vec::new(), None, false);
    // What the room said before the client left it.
    let mut heard_to = None;
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
            0..5 => {
                let lengths: Vec<usize> =
                    (0..=choices.roll(3)).map(|k| (n * 31 + k) % 90).collect();
                let frames = talk.say(&lengths);
                if is_member {
                    let is_taken = outbox.deliver(&frames) == Sent::Taken;
                    let is_gone = last_word.is_some() || is_lost;
                    assert!(!(is_taken && is_gone), "taken after the last word");
                }
            }
            5..7 => {
                let frame = answer(n);
                if outbox.send(&frame) == Sent::Taken {
                    assert!(last_word.is_none() && !is_lost, "taken after the last word");
                    answers.push(frame);
                }
            }
            7..11 => {
                socket.allow(choices.roll(generosity));
                outbox.flush_queue();
            }
            11 | 12 => flush(&outbox, &mut encoder, &mut watched_before, Instant::now()),
            13 if choices.roll(8) == 0 => {
                let frame = CloseReason::Protocol("a fault").frame();
                outbox.close(&frame);
                if !outbox.is_evicted() && !is_lost && last_word.is_none() {
                    last_word = Some(frame);
                    heard_to = Some(talk.said.len());
                }
            }
            14 if choices.roll(32) == 0 => {
                let late = Instant::now() + BOUNDS.catch_up + BOUNDS.close_timeout;
                flush(&outbox, &mut encoder, &mut watched_before, late);
            }
            // The flusher does so, to those that it watches.
            14 if outbox.lags_in(&talk.log).is_some() && choices.roll(32) == 0 => outbox.evict(),
            15 if choices.roll(32) == 0 => {
                if choices.roll(2) == 0 {
                    outbox.cut();
                } else {
                    *socket.is_broken.lock().unwrap() = true;
                }
            }
            _ => {}
        }
        if outbox.is_evicted() {
            last_word.get_or_insert(CloseReason::TooSlow.frame());
        }
        is_lost |= socket.cut.load(Ordering::Relaxed) > 0;
        let state = outbox.lock();
        let waits = state.queue.len();
        assert!(waits <= BOUNDS.max_queue + RESPONSE.len() + 128, "{waits} bytes wait");
        let is_idle = state.phase == Phase::Closed || !state.is_behind();
        assert!(is_idle || !is_open || state.is_watched, "something waits and nobody watches");
        let is_told = socket.watched() > watched_before || state.phase == Phase::Closed;
        assert!(!is_open || !state.is_watched || is_told, "nobody was told");
        assert!(
            state.phase == Phase::Open || state.why.is_none() || state.lag.is_none(),
            "it lags"
        );
    }
    socket.allow(1 << 20);
    flush_all(&outbox, Instant::now());
    is_lost |= socket.cut.load(Ordering::Relaxed) > 0;
    let is_whole = !is_lost && !outbox.is_evicted();
    let expected = Expected {
        room: if is_member { &talk.said[..heard_to.unwrap_or(talk.said.len())] } else { &[] },
        answers: &answers,
        last_word: last_word.as_deref().unwrap_or_default(),
        is_whole,
        is_lost,
    };
    expected.check(&socket.taken());
    match last_word {
        _ if is_lost => End::Lost,
        None => End::Kept,
        Some(_) if outbox.is_evicted() => End::Evicted,
        Some(_) => End::Closed,
    }
}

fn flush(
    outbox: &Outbox<Arc<Socket>>,
    encoder: &mut Encoder,
    watched_before: &mut usize,
    now: Instant,
) {
    if outbox.flush(now, encoder) == Next::Done {
        *watched_before = outbox.transport().watched();
    }
}

/// Sends to a client that is behind all that the socket takes, as the flusher does.
pub fn flush_all<T: Transport>(outbox: &Outbox<T>, now: Instant) -> Next {
    loop {
        let next = outbox.flush(now, &mut Encoder::default());
        if !matches!(next, Next::More(_)) {
            return next;
        }
    }
}

struct Expected<'a> {
    room: &'a [u8],
    answers: &'a [Vec<u8>],
    last_word: &'a [u8],
    is_whole: bool,
    is_lost: bool,
}

impl Expected<'_> {
    fn check(&self, taken: &[u8]) {
        let Some(mut rest) = taken.strip_prefix(RESPONSE) else {
            assert!(self.is_lost && RESPONSE.starts_with(taken), "the response is not whole");
            return;
        };
        let (mut room, mut answers) = (self.room, self.answers);
        loop {
            // The room's frames and the answers never are the same.
            let of_room = room.split_at(wire::boundary(room, 1)).0;
            if !of_room.is_empty() && rest.starts_with(of_room) {
                (room, rest) = (&room[of_room.len()..], &rest[of_room.len()..]);
            } else if let Some(more) =
                answers.first().and_then(|frame| rest.strip_prefix(&frame[..]))
            {
                (answers, rest) = (&answers[1..], more);
            } else {
                break;
            }
        }
        if self.is_lost {
            let next = [room, answers.first().map_or(&[][..], |frame| frame), self.last_word];
            assert!(next.iter().any(|next| next.starts_with(rest)), "something else was sent");
            return;
        }
        assert_eq!(rest, self.last_word, "the last word is not the last");
        assert!(!self.is_whole || room.is_empty() && answers.is_empty(), "something was lost");
    }
}
