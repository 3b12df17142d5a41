//! The hand-over of a client between those who send and the drain thread, checked by shuttle: one
//! order of their steps after another, each of which ends with all that was sent at the client.
//!
//! The outbox and the drain thread's loop are the real ones. The socket, the bell and the peer are
//! models; a wake-up that is lost is a deadlock, which shuttle reports.

use std::io;
use std::time::Duration;

use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use super::*;
use crate::outbox::{Bounds, Sent};
use crate::reasons::CloseReason;
use crate::wire;

/// What all threads of one run share: the socket and the bell. One lock, since shuttle looks at
/// what happens between two of its locks anyway.
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
    rings: usize,
    ringers_gone: bool,
}

#[derive(Debug)]
struct Socket {
    world: Arc<World>,
    drain: Flusher<Arc<Socket>, Arc<Ringer>>,
}

/// The end of the bell that is rung.
#[derive(Debug)]
struct Ringer(Arc<World>);

/// The end of the bell that is heard.
struct Sleeper(Arc<World>);

type Client = Arc<Outbox<Arc<Socket>>>;

impl World {
    /// Lets other threads go first. Shuttle does so once a lock is taken, which is too late for
    /// what follows something that it does not see: the queue of the drain thread.
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
        outbox.link().drain.watch(outbox.clone());
    }

    fn queue_changed(&self, _: usize, _: usize) {}

    fn relieve(&self) {}
}

impl Bell<Arc<Socket>> for Arc<Ringer> {
    fn ring(&self) {
        self.0.pause();
        self.0.change(|state| state.rings += 1);
    }

    fn hush(&self) -> bool {
        unreachable!("this end is rung");
    }

    fn sleep(&self, _: &[Behind<Arc<Socket>>]) -> Vec<bool> {
        unreachable!("this end is rung");
    }
}

impl Drop for Ringer {
    fn drop(&mut self) {
        self.0.change(|state| state.ringers_gone = true);
    }
}

impl Bell<Arc<Socket>> for Sleeper {
    fn ring(&self) {
        unreachable!("this end is heard");
    }

    fn hush(&self) -> bool {
        self.0.pause();
        self.0.change(|state| {
            state.rings = 0;
            state.ringers_gone
        })
    }

    fn sleep(&self, watched: &[Behind<Arc<Socket>>]) -> Vec<bool> {
        let mut state = self.0.state.lock().unwrap();
        loop {
            let is_ready = |client: &Behind<_>| {
                state.cut
                    || state.half_closed && state.peer_left
                    || !client.wants.is_empty() && state.room > 0
            };
            let ready: Vec<bool> = watched.iter().map(is_ready).collect();
            let is_due = watched.iter().any(|client| client.deadline <= Instant::now());
            if state.rings > 0 || state.ringers_gone || is_due || ready.contains(&true) {
                return ready;
            }
            state = self.0.news.wait(state).unwrap();
        }
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

/// One client with its drain thread. `talk` is what the threads that send do; then the peer, which
/// has taken `room` bytes at a time, has `last` more to give, and the drain thread must end.
fn run_client(bounds: Bounds, room: &'static [usize], talk: fn(&Client)) -> State {
    let world = Arc::new(World::default());
    let (drain, newly_behind) = Flusher::new(Arc::new(Ringer(world.clone())));
    let sleeper = Sleeper(world.clone());
    let drain_thread = thread::spawn(move || run(&newly_behind, &sleeper, &Metrics::new()));
    let outbox =
        Outbox::new(Arc::new(Socket { world: world.clone(), drain }), RESPONSE.to_vec(), bounds);
    let peer_world = world.clone();
    let peer = thread::spawn(move || {
        for bytes in room {
            peer_world.change(|state| state.room += bytes);
        }
    });
    talk(&outbox);
    drop(outbox);
    peer.join().unwrap();
    drain_thread.join().unwrap();
    let world = Arc::into_inner(world).expect("nobody holds on to the connection");
    world.state.into_inner().unwrap()
}

fn message(id: i64, n: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::says(&mut frame, id, &format!("{n}"));
    frame
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

/// The hub sends while the session opens the outbox and answers: each one's frames come out whole
/// and in order, all of them, however little the peer takes at a time.
#[test]
fn frames_of_several_senders_come_out_whole_and_in_order() {
    try_orders(|| {
        let state = run_client(PATIENT, &[7, 40, 1, 1000], |outbox| {
            let hub = outbox.clone();
            let hub = thread::spawn(move || {
                for n in 0..3 {
                    assert_eq!(hub.send(&message(1, n)), Sent::Taken);
                }
            });
            outbox.open();
            for n in 0..2 {
                assert_eq!(outbox.send(&message(2, n)), Sent::Taken);
                outbox.push_on();
            }
            hub.join().unwrap();
        });
        let frames = frames(&state.taken);
        for (id, count) in [(1, 3), (2, 2)] {
            let expected: Vec<_> = (0..count).map(|n| message(id, n)).collect();
            let heard: Vec<_> =
                frames.iter().filter(|frame| expected.contains(frame)).cloned().collect();
            assert_eq!(heard, expected, "client {id}");
        }
        assert_eq!(frames.len(), 5);
    });
}

/// The hub closes while the session answers: the close frame is the last, and all before it that
/// was taken is there.
#[test]
fn a_close_frame_is_the_last_word_and_comes_out() {
    try_orders(|| {
        let state = run_client(PATIENT, &[20, 30, 1000], |outbox| {
            let hub = outbox.clone();
            let hub = thread::spawn(move || {
                hub.send(&message(1, 0));
                hub.close(&CloseReason::Stopping.frame());
                hub.close(&CloseReason::Protocol.frame());
            });
            outbox.open();
            let taken = (0..2).filter(|n| outbox.send(&message(2, *n)) == Sent::Taken).count();
            hub.join().unwrap();
            let world = outbox.link().world.clone();
            // The peer answers the close and goes. Before that nobody may have cut it.
            let mut state = world.state.lock().unwrap();
            while !state.half_closed {
                assert!(!state.cut, "cut before its last word");
                state = world.news.wait(state).unwrap();
            }
            let heard = frames(&state.taken);
            assert_eq!(heard.len(), 1 + taken + 1, "something was lost");
            state.peer_left = true;
            drop(state);
            world.news.notify_all();
        });
        assert_eq!(frames(&state.taken).last(), Some(&CloseReason::Stopping.frame()));
    });
}

/// A peer that takes no more is evicted by the hub while the session answers and the drain thread
/// looks after it: it gets whole frames, then the close frame, and nothing more.
#[test]
fn one_who_is_too_slow_gets_whole_frames_and_1013() {
    const TIGHT: Bounds = Bounds { max_queue: 40, ..PATIENT };
    try_orders(|| {
        let state = run_client(TIGHT, &[30, 25], |outbox| {
            outbox.open();
            let hub = outbox.clone();
            let hub = thread::spawn(move || {
                for n in 0..4 {
                    hub.send(&message(1, n));
                }
            });
            outbox.send(&message(2, 0));
            outbox.push_on();
            hub.join().unwrap();
            assert!(outbox.evicted(), "so much does not fit");
            let world = outbox.link().world.clone();
            world.change(|state| state.room += 1000);
            let mut state = world.state.lock().unwrap();
            while !state.half_closed {
                state = world.news.wait(state).unwrap();
            }
            state.peer_left = true;
            drop(state);
            world.news.notify_all();
        });
        let frames = frames(&state.taken);
        assert_eq!(frames.last(), Some(&CloseReason::TooSlow.frame()));
        let from_hub: Vec<_> = (0..4).map(|n| message(1, n)).collect();
        let heard: Vec<_> = frames.iter().filter(|frame| from_hub.contains(frame)).collect();
        assert!(from_hub.iter().zip(heard).all(|(said, heard)| said == heard), "another order");
    });
}

/// One who takes nothing, and whose time is up at once: cut, by whoever comes first, and forgotten.
#[test]
fn one_whose_time_is_up_is_cut_and_forgotten() {
    const HASTY: Bounds =
        Bounds { catch_up: Duration::ZERO, close_timeout: Duration::ZERO, ..PATIENT };
    try_orders(|| {
        let state = run_client(HASTY, &[16], |outbox| {
            let hub = outbox.clone();
            let hub = thread::spawn(move || {
                hub.send(&message(1, 0));
                hub.close(&CloseReason::Stopping.frame());
            });
            outbox.open();
            outbox.send(&message(2, 0));
            hub.join().unwrap();
        });
        assert!(state.cut || state.half_closed);
    });
}

/// The session loses its connection, which cuts it, while the hub sends and the drain thread looks
/// after it.
#[test]
fn one_who_is_gone_is_forgotten() {
    try_orders(|| {
        let state = run_client(PATIENT, &[25], |outbox| {
            let hub = outbox.clone();
            let hub = thread::spawn(move || {
                for n in 0..3 {
                    hub.send(&message(1, n));
                }
            });
            outbox.open();
            outbox.cut();
            hub.join().unwrap();
        });
        assert!(state.cut);
    });
}
