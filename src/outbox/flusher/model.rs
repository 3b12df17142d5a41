//! The hand-over of a client between the hub, its session and the flusher, and the credit of those
//! who speak, checked by shuttle: one order of their steps after another, each of which ends with all
//! that was said at the client.
//!
//! The outbox, the log, its flow control and the flusher's loop are the real ones. The socket, what the
//! flusher sleeps in and the peer are models; a wake-up that is lost is a deadlock, which shuttle
//! reports.

use std::io;
use std::time::Duration;

use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use super::*;
use crate::config::budget::LogBounds;
use crate::history::chunk::{self, Author, Chunk, Entry, Kind, Position};
use crate::history::flow::{Credit, Turn};
use crate::outbox::encoding::{Encoding, View};
use crate::outbox::frames::Frames;
use crate::outbox::{Bounds, Sent};
use crate::reasons::CloseReason;
use crate::wire::cursor::Epoch;
use crate::wire::{self, tutorial};

/// What all threads of one run share: the socket and what the flusher sleeps in. One lock, since
/// shuttle looks at what happens between two of its locks anyway.
#[derive(Debug, Default)]
struct World {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: Vec<u8>,
    /// So many more bytes fit into the socket.
    room: usize,
    half_closed: bool,
    cut: bool,
    /// The peer has closed its side.
    peer_left: bool,
    wakes: usize,
    wakers_gone: bool,
}

#[derive(Debug)]
struct Socket {
    world: Arc<World>,
    flusher: Flusher<Arc<Socket>, Arc<Alarm>>,
}

/// What wakes the flusher.
#[derive(Debug)]
struct Alarm(Arc<World>);

/// What it sleeps in.
struct Bed(Arc<World>);

type Client = Arc<Outbox<Arc<Socket>>>;

impl World {
    /// Lets other threads go first. Shuttle does so once a lock is taken, which is too late for
    /// what follows something that it does not see: the flusher's orders.
    fn pause(&self) {
        drop(self.state.lock());
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.news.notify_all();
        result
    }
}

impl Transport for Arc<Socket> {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.world.change(|state| {
            assert!(!state.half_closed, "something is sent after the last word");
            if state.cut {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let sent = state.room.min(bytes.len());
            if sent == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            state.room -= sent;
            state.taken.extend_from_slice(&bytes[..sent]);
            Ok(sent)
        })
    }

    fn half_close(&self) {
        self.world.change(|state| {
            assert!(!state.half_closed, "there are two last words");
            state.half_closed = true;
        });
    }

    fn cut(&self) {
        self.world.change(|state| state.cut = true);
    }

    fn forget(&self) {}

    fn watch(outbox: &Client) {
        outbox.transport().flusher.watch(outbox.clone());
    }

    fn evicted(&self) {}
}

impl Wake for Arc<Alarm> {
    fn wake(&self) {
        self.0.pause();
        self.0.change(|state| state.wakes += 1);
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.change(|state| state.wakers_gone = true);
    }
}

impl Sleep<Arc<Socket>> for Bed {
    fn sleep(&self, watched: &[Behind<Arc<Socket>>], _: Option<Instant>) -> Vec<bool> {
        let mut state = self.0.state.lock().unwrap();
        loop {
            let is_ready = |client: &Behind<_>| {
                state.cut
                    || state.half_closed && state.peer_left
                    || !client.wants.is_empty() && state.room > 0
            };
            let ready: Vec<bool> = watched.iter().map(is_ready).collect();
            let is_due =
                |client: &Behind<_>| client.deadline.is_some_and(|at| at <= Instant::now());
            let is_due = watched.iter().any(is_due);
            if state.wakes > 0 || state.wakers_gone || is_due || ready.contains(&true) {
                return ready;
            }
            state = self.0.news.wait(state).unwrap();
        }
    }

    fn is_over(&self) -> bool {
        self.0.pause();
        self.0.change(|state| {
            state.wakes = 0;
            state.wakers_gone
        })
    }
}

/// Time is out of the model: a deadline is never reached, or at once.
const PATIENT: Bounds = Bounds {
    max_queue: 1 << 20,
    catch_up: Duration::from_secs(1 << 20),
    close_timeout: Duration::from_secs(1 << 20),
};

const RESPONSE: &[u8] = b"HTTP/1.1 101\r\n\r\n";

/// Orders of steps that each scenario tries, by chance and by few preemptions (PCT).
const ORDERS: usize = 4_000;
const PREEMPTIONS: usize = 3;

fn try_orders(scenario: fn()) {
    shuttle::check_random(scenario, ORDERS);
    shuttle::check_pct(scenario, ORDERS, PREEMPTIONS);
}

/// What a hub does for one room with one client: appends, and delivers.
struct Room {
    log: Arc<Log>,
    end: Position,
    said: usize,
}

impl Room {
    /// Says something of `len` bytes, and sends it to the client.
    fn say(&mut self, client: &Client, len: usize, credit: Option<Credit>) -> Sent {
        self.said += 1;
        let (mut entries, mut frames) = (Chunk::new(self.end), Frames::default());
        let text = "m".repeat(len);
        let kind = Kind::Message { seq: self.said as u64, n: 0 };
        let entry = Entry { kind, at: 1, author: Author::number(self.said as i64), text: &text };
        entries.push(entry);
        frames.restart(self.end, 0);
        let view = View { encoding: Encoding::Tutorial, is_replay: false };
        frames.extend(&entries, self.log.epoch(), view);
        self.log.append(&entries, 0, credit, Instant::now());
        self.end = entries.end();
        client.deliver(&frames)
    }
}

/// The frame of the message with this number.
fn message(n: usize, len: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    tutorial::says(&mut frame, n as i64, &"m".repeat(len));
    frame
}

fn answer(n: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    tutorial::echo(&mut frame, &format!("{n}"));
    frame
}

/// One client with its flusher, in a room with a log of `size` bytes. `talk` is what the threads that
/// send do; the peer takes `room` bytes at a time; and the flusher must end.
fn run_client(
    bounds: Bounds,
    room: &'static [usize],
    size: usize,
    talk: fn(&Client, Room),
) -> State {
    let world = Arc::new(World::default());
    let (flusher, orders) = Flusher::woken_by(Arc::new(Alarm(world.clone())));
    let bed = Bed(world.clone());
    let flusher_thread = thread::spawn(move || run(&orders, &bed, &Metrics::new(1)));
    let waker = Arc::downgrade(flusher.waker());
    let wake = move || {
        if let Some(waker) = waker.upgrade() {
            waker.wake();
        }
    };
    let log = Log::alone(Epoch::from_random(1), LogBounds::new(size, 10), wake);
    log.flow.set_members(4);
    flusher.watch_room(&log);
    let socket = Arc::new(Socket { world: world.clone(), flusher });
    let outbox = Outbox::new(socket, Encoding::Tutorial, RESPONSE.to_vec(), bounds);
    outbox.enter(&log, Position::default(), 0);
    let peer_world = world.clone();
    let peer = thread::spawn(move || {
        for bytes in room {
            peer_world.change(|state| state.room += bytes);
        }
    });
    talk(&outbox, Room { log, end: Position::default(), said: 0 });
    drop(outbox);
    peer.join().unwrap();
    flusher_thread.join().unwrap();
    let world = Arc::into_inner(world).expect("nobody holds on to the connection");
    world.state.into_inner().unwrap()
}

/// The frames behind the response, which has to come first.
fn frames(taken: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = taken.strip_prefix(RESPONSE).expect("the response comes first");
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (frame, behind) = rest.split_at(wire::boundary(rest, 1));
        frames.push(frame.to_vec());
        rest = behind;
    }
    frames
}

/// Waits until the client has had its last word, and leaves.
fn hear_last_word(client: &Client) {
    let world = client.transport().world.clone();
    let mut state = world.state.lock().unwrap();
    while !state.half_closed {
        assert!(!state.cut, "cut before its last word");
        state = world.news.wait(state).unwrap();
    }
    state.peer_left = true;
    drop(state);
    world.news.notify_all();
}

/// The room speaks while the session opens the outbox and answers: all frames come out whole, each
/// once and in order, however little the peer takes at a time.
#[test]
fn frames_of_the_room_and_of_the_session_come_out_whole_and_in_order() {
    try_orders(|| {
        let state = run_client(PATIENT, &[7, 40, 1, 1000], 1 << 16, |outbox, mut room| {
            let client = outbox.clone();
            let hub = thread::spawn(move || {
                for _ in 0..3 {
                    assert_eq!(room.say(&client, 3, None), Sent::Taken);
                }
            });
            outbox.open();
            for n in 0..2 {
                assert_eq!(outbox.send(&answer(n)), Sent::Taken);
                outbox.flush_queue();
            }
            hub.join().unwrap();
        });
        let frames = frames(&state.taken);
        let of_room: Vec<_> = (1..=3).map(|n| message(n, 3)).collect();
        let of_session: Vec<_> = (0..2).map(answer).collect();
        for expected in [of_room, of_session] {
            let heard: Vec<_> =
                frames.iter().filter(|frame| expected.contains(frame)).cloned().collect();
            assert_eq!(heard, expected);
        }
        assert_eq!(frames.len(), 5);
    });
}

/// The hub closes a client behind what it said last, while the session answers: the close frame is the
/// last, and all before it that was taken is there.
#[test]
fn a_close_frame_is_the_last_word_and_comes_out() {
    try_orders(|| {
        let state = run_client(PATIENT, &[20, 30, 1000], 1 << 16, |outbox, mut room| {
            let client = outbox.clone();
            let hub = thread::spawn(move || {
                room.say(&client, 3, None);
                client.close(&CloseReason::Stopping.frame());
                client.close(&CloseReason::Protocol("a fault").frame());
                assert_eq!(room.say(&client, 3, None), Sent::Refused);
            });
            outbox.open();
            let taken = (0..2).filter(|n| outbox.send(&answer(*n)) == Sent::Taken).count();
            hub.join().unwrap();
            hear_last_word(outbox);
            let state = outbox.transport().world.state.lock().unwrap();
            assert_eq!(frames(&state.taken).len(), 1 + taken + 1, "something was lost");
        });
        assert_eq!(frames(&state.taken).last(), Some(&CloseReason::Stopping.frame()));
    });
}

/// A reader that holds up its room is evicted while the hub speaks and the session answers: it gets
/// whole frames, then the close frame, and nothing more.
#[test]
fn one_that_is_evicted_gets_whole_frames_and_1013() {
    try_orders(|| {
        let state = run_client(PATIENT, &[30, 25], 1 << 16, |outbox, mut room| {
            outbox.open();
            let client = outbox.clone();
            let hub = thread::spawn(move || {
                for _ in 0..4 {
                    room.say(&client, 3, None);
                }
            });
            let client = outbox.clone();
            let evicting = thread::spawn(move || {
                client.evict();
                Transport::watch(&client);
            });
            outbox.send(&answer(0));
            outbox.flush_queue();
            hub.join().unwrap();
            evicting.join().unwrap();
            assert!(outbox.is_evicted());
            outbox.transport().world.change(|state| state.room += 1000);
            hear_last_word(outbox);
        });
        let frames = frames(&state.taken);
        assert_eq!(frames.last(), Some(&CloseReason::TooSlow.frame()));
        let of_room: Vec<_> = (1..=4).map(|n| message(n, 3)).collect();
        let heard: Vec<_> = frames.iter().filter(|frame| of_room.contains(frame)).collect();
        assert!(of_room.iter().zip(heard).all(|(said, heard)| said == heard), "another order");
    });
}

/// More is said than the log holds, by two senders who wait for credit: the room goes on as its reader
/// does, and all comes out.
#[test]
fn a_room_that_is_held_up_goes_on() {
    const LEN: usize = 10;
    try_orders(|| {
        let size = 6 * chunk::cost(LEN);
        let state = run_client(PATIENT, &[50, 100, 1000], size, |outbox, room| {
            outbox.open();
            let log = room.log.clone();
            let room = Arc::new(Mutex::new(room));
            let senders: Vec<_> = (0..2)
                .map(|_| {
                    let (log, room, client) = (log.clone(), room.clone(), outbox.clone());
                    thread::spawn(move || {
                        let mut turn = Turn::default();
                        for _ in 0..4 {
                            let credit = log.credit(chunk::cost(LEN), &mut turn, || true);
                            let credit = credit.expect("its client is there");
                            room.lock().unwrap().say(&client, LEN, Some(credit));
                        }
                    })
                })
                .collect();
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            assert_eq!(log.flow.in_flight(), 0, "credit is lost");
        });
        let expected: Vec<_> = (1..=8).map(|n| message(n, LEN)).collect();
        assert_eq!(frames(&state.taken), expected);
    });
}

/// The reader for which senders wait is cut: they go on. So they do when the room ends.
#[test]
fn nobody_waits_for_one_that_is_gone_or_for_a_room_that_ends() {
    const LEN: usize = 10;
    try_orders(|| {
        let size = 6 * chunk::cost(LEN);
        run_client(PATIENT, &[], size, |outbox, mut room| {
            let (log, client) = (room.log.clone(), outbox.clone());
            let sender = thread::spawn(move || {
                for _ in 0..12 {
                    let turn = &mut Turn::default();
                    let credit = log.credit(chunk::cost(LEN), turn, || true);
                    room.say(&client, LEN, credit);
                }
                room.log.flow.open();
                room
            });
            outbox.open();
            outbox.cut();
            let room = sender.join().unwrap();
            assert!(room.log.credit(1 << 20, &mut Turn::default(), || true).is_some());
        });
    });
}

/// One that takes nothing, and whose time is up at once: cut, by whoever comes first, and forgotten.
#[test]
fn one_whose_time_is_up_is_cut_and_forgotten() {
    const HASTY: Bounds =
        Bounds { catch_up: Duration::ZERO, close_timeout: Duration::ZERO, ..PATIENT };
    try_orders(|| {
        let state = run_client(HASTY, &[16], 1 << 16, |outbox, mut room| {
            let client = outbox.clone();
            let hub = thread::spawn(move || {
                room.say(&client, 3, None);
                client.close(&CloseReason::Stopping.frame());
            });
            outbox.open();
            outbox.send(&answer(0));
            hub.join().unwrap();
        });
        assert!(state.cut || state.half_closed);
    });
}

/// The session loses its connection, which cuts it, while the hub speaks and the flusher looks after
/// it.
#[test]
fn one_that_is_gone_is_forgotten() {
    try_orders(|| {
        let state = run_client(PATIENT, &[25], 1 << 16, |outbox, mut room| {
            let client = outbox.clone();
            let hub = thread::spawn(move || {
                for _ in 0..3 {
                    room.say(&client, 3, None);
                }
            });
            outbox.open();
            outbox.cut();
            hub.join().unwrap();
        });
        assert!(state.cut);
    });
}
