use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::testing::Dice;

/// A socket that takes so many bytes until more are allowed.
#[derive(Debug, Default)]
struct Socket {
    taken: Mutex<Vec<u8>>,
    room: AtomicUsize,
    is_broken: Mutex<bool>,
    half_closed: AtomicUsize,
    cut: AtomicUsize,
    watched: AtomicUsize,
}

impl Link for Arc<Socket> {
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

    fn watch(outbox: &Arc<Outbox<Self>>) {
        outbox.link().watched.fetch_add(1, Ordering::Relaxed);
    }
}

impl Socket {
    fn taken(&self) -> Vec<u8> {
        self.taken.lock().unwrap().clone()
    }

    fn allow(&self, bytes: usize) {
        self.room.fetch_add(bytes, Ordering::Relaxed);
    }

    fn watched(&self) -> usize {
        self.watched.load(Ordering::Relaxed)
    }
}

const BOUNDS: Bounds = Bounds {
    max_queue: 1000,
    catch_up: Duration::from_secs(30),
    close_timeout: Duration::from_secs(3),
};

const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

/// An open outbox whose socket takes `room` bytes.
fn open(room: usize) -> (Arc<Outbox<Arc<Socket>>>, Arc<Socket>) {
    let socket = Arc::new(Socket::default());
    let outbox = Outbox::new(socket.clone(), RESPONSE.to_vec(), BOUNDS);
    socket.allow(RESPONSE.len());
    outbox.open();
    assert_eq!(std::mem::take(&mut *socket.taken.lock().unwrap()), RESPONSE);
    socket.allow(room);
    (outbox, socket)
}

fn message(n: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    wire::says(&mut frame, n as i64, &"m".repeat(n % 90));
    frame
}

#[test]
fn what_is_sent_before_the_response_goes_out_behind_it() {
    let socket = Arc::new(Socket::default());
    socket.allow(10_000);
    let outbox = Outbox::new(socket.clone(), RESPONSE.to_vec(), BOUNDS);
    assert_eq!(outbox.send(&message(1)), Sent::Taken);
    assert!(socket.taken().is_empty(), "nothing may come before the response");
    outbox.open();
    assert_eq!(socket.taken(), [RESPONSE, &message(1)].concat());
    assert_eq!(socket.watched(), 0);
}

#[test]
fn one_who_keeps_up_is_nobodys_concern() {
    let (outbox, socket) = open(10_000);
    for n in 0..20 {
        assert_eq!(outbox.send(&message(n)), Sent::Taken);
    }
    assert_eq!(socket.taken(), (0..20).flat_map(message).collect::<Vec<_>>());
    assert_eq!(socket.watched(), 0);
    assert_eq!(outbox.caught_up(), RESPONSE.len() as u64);
}

#[test]
fn one_who_falls_behind_is_watched_until_it_has_caught_up() {
    let (outbox, socket) = open(30);
    let now = Instant::now();
    outbox.send(&message(50));
    outbox.send(&message(51));
    assert_eq!(socket.watched(), 1, "once is enough");
    let Tended::Behind(deadline) = outbox.tend(now) else { panic!("it is behind") };
    assert!(deadline > now + BOUNDS.catch_up / 2);
    assert!(outbox.push_on());
    socket.allow(1000);
    assert_eq!(outbox.tend(now), Tended::Done);
    assert_eq!(socket.taken(), [message(50), message(51)].concat());
    assert!(!outbox.push_on());
    outbox.send(&message(52));
    assert_eq!(socket.watched(), 1);
    outbox.send(&vec![0; 900]);
    outbox.send(&message(53));
    assert_eq!(socket.watched(), 2, "it is behind again");
}

/// So much may have been said before the response that the socket does not take it all.
#[test]
fn one_who_is_behind_from_the_start_has_its_time_to_catch_up() {
    let socket = Arc::new(Socket::default());
    socket.allow(RESPONSE.len() + 10);
    let outbox = Outbox::new(socket.clone(), RESPONSE.to_vec(), BOUNDS);
    outbox.send(&message(40));
    outbox.open();
    assert_eq!(socket.watched(), 1);
    let now = Instant::now();
    let Tended::Behind(deadline) = outbox.tend(now) else { panic!("it is behind") };
    assert!(!outbox.evicted() && deadline > now + BOUNDS.catch_up / 2);
}

#[test]
fn one_who_is_too_slow_is_cut_short_at_a_frame_boundary() {
    for sent in [0, 1, 20, message(7).len(), message(7).len() + 3] {
        let (outbox, socket) = open(sent);
        let batch = [message(7), message(8)].concat();
        assert_eq!(outbox.send(&batch), Sent::Taken);
        let mut result = Sent::Taken;
        while result == Sent::Taken {
            result = outbox.send(&message(80));
        }
        assert!(outbox.evicted());
        assert_eq!(outbox.send(&message(81)), Sent::Refused);
        outbox.close(b"another last word");
        socket.allow(10_000);
        assert!(matches!(outbox.tend(Instant::now()), Tended::Leaving(_)));
        let whole = &batch[..wire::boundary(&batch, sent)];
        assert_eq!(socket.taken(), [whole, &Farewell::TooSlow.frame()].concat(), "after {sent}");
        assert_eq!(socket.half_closed.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_batch_that_is_larger_than_the_queue_leaves_no_torn_frame() {
    let (outbox, socket) = open(5);
    let batch: Vec<u8> = (0..40).flat_map(message).collect();
    assert!(batch.len() > BOUNDS.max_queue);
    assert_eq!(outbox.send(&batch), Sent::Refused);
    socket.allow(10_000);
    outbox.tend(Instant::now());
    assert_eq!(socket.taken(), [message(0), Farewell::TooSlow.frame()].concat());
}

#[test]
fn one_who_does_not_catch_up_in_time_is_closed_and_then_cut() {
    let (outbox, socket) = open(10);
    let now = Instant::now();
    outbox.send(&message(5));
    let later = now + BOUNDS.catch_up * 2;
    let Tended::Behind(deadline) = outbox.tend(later) else { panic!("it gets a last word") };
    assert!(outbox.evicted() && deadline < now + BOUNDS.close_timeout * 2);
    assert_eq!(outbox.tend(later), Tended::Done);
    assert_eq!(socket.cut.load(Ordering::Relaxed), 1);
}

#[test]
fn a_last_word_comes_last_and_has_its_time() {
    let (outbox, socket) = open(3);
    outbox.send(&message(5));
    outbox.close(b"bye");
    assert_eq!(outbox.send(&message(6)), Sent::Refused);
    assert!(!outbox.push_on(), "one who leaves need not be waited for");
    let now = Instant::now();
    assert!(matches!(outbox.tend(now), Tended::Behind(_)));
    socket.allow(1000);
    let Tended::Leaving(deadline) = outbox.tend(now) else { panic!("it is leaving") };
    assert!(deadline <= now + BOUNDS.close_timeout);
    assert_eq!(socket.taken(), [message(5), b"bye".to_vec()].concat());
    assert_eq!(outbox.tend(deadline), Tended::Done);
    assert_eq!(socket.cut.load(Ordering::Relaxed), 1);
    assert!(!outbox.evicted());
}

/// Whoever watches waits for the deadline that it was told, so it has to hear of a nearer one.
#[test]
fn the_deadline_of_a_last_word_is_told_to_whoever_watches_already() {
    for is_evicted in [false, true] {
        let (outbox, socket) = open(3);
        outbox.send(&message(5));
        assert_eq!(socket.watched(), 1);
        if is_evicted {
            while outbox.send(&message(80)) == Sent::Taken {}
        } else {
            outbox.close(b"bye");
        }
        assert_eq!(socket.watched(), 2);
        let now = Instant::now();
        let Tended::Behind(deadline) = outbox.tend(now) else { panic!("it is behind") };
        assert!(deadline <= now + BOUNDS.close_timeout);
    }
}

#[test]
fn one_who_is_gone_is_noticed_at_the_next_send() {
    let (outbox, socket) = open(100);
    *socket.is_broken.lock().unwrap() = true;
    assert_eq!(outbox.send(&message(5)), Sent::Refused);
    assert_eq!(outbox.send(&message(5)), Sent::Refused);
    assert_eq!(socket.cut.load(Ordering::Relaxed), 1);
    assert!(!outbox.evicted());
}

/// Random sends to a socket that takes random amounts: what comes out is whole frames in order,
/// nothing is lost but by an eviction, which is the last word, and never more waits than may.
#[test]
fn random_sends_come_out_whole_and_in_order() {
    let evicted = Cell::new(0);
    for seed in 0..2000 {
        let mut dice = Dice::new(seed);
        let (outbox, socket) = open(0);
        let (mut said, mut last_word) = (Vec::new(), None);
        let generosity = 1 + dice.roll(300);
        for n in 0..60 {
            match dice.roll(8) {
                0..4 => {
                    let frames: Vec<u8> = (0..=dice.roll(3)).flat_map(|k| message(n + k)).collect();
                    if outbox.send(&frames) == Sent::Taken {
                        assert_eq!(last_word, None, "seed {seed}: taken after the last word");
                        said.extend(frames);
                    } else if last_word.is_none() {
                        // It may have begun with the first of these.
                        said.extend(frames);
                        last_word = Some(Farewell::TooSlow.frame());
                        evicted.set(evicted.get() + 1);
                    }
                    let waits = outbox.lock().backlog.len();
                    assert!(waits <= BOUNDS.max_queue + 64, "seed {seed}: {waits} bytes wait");
                }
                4..7 => {
                    socket.allow(dice.roll(generosity));
                    outbox.tend(Instant::now());
                }
                _ if n > 40 && dice.roll(10) == 0 && last_word.is_none() => {
                    outbox.close(b"\x88\x03bye");
                    last_word = Some(b"\x88\x03bye".to_vec());
                }
                _ => {}
            }
        }
        socket.allow(1 << 20);
        outbox.tend(Instant::now());
        let taken = socket.taken();
        let heard = match &last_word {
            None => &taken[..],
            Some(word) => taken.strip_suffix(&word[..]).expect("a last word that is the last"),
        };
        assert!(said.starts_with(heard), "seed {seed}: another order");
        assert_eq!(wire::boundary(&said, heard.len()), heard.len(), "seed {seed}: a torn frame");
        if !outbox.evicted() {
            assert_eq!(heard.len(), said.len(), "seed {seed}: something was lost");
        }
    }
    assert!((100..1900).contains(&evicted.get()), "{} evictions show little", evicted.get());
}
