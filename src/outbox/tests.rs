use std::sync::atomic::Ordering;

use super::trial::{self, BOUNDS, End, RESPONSE, Socket, message};
use super::*;
use crate::testing::Rng;

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
    let Next::Behind(deadline) = outbox.tend(now) else { panic!("it is behind") };
    assert!(deadline > now + BOUNDS.catch_up / 2);
    assert!(outbox.push_on());
    socket.allow(1000);
    assert_eq!(outbox.tend(now), Next::Done);
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
    let Next::Behind(deadline) = outbox.tend(now) else { panic!("it is behind") };
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
        assert!(matches!(outbox.tend(Instant::now()), Next::Leaving(_)));
        let whole = &batch[..wire::boundary(&batch, sent)];
        assert_eq!(socket.taken(), [whole, &CloseReason::TooSlow.frame()].concat(), "after {sent}");
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
    assert_eq!(socket.taken(), [message(0), CloseReason::TooSlow.frame()].concat());
}

#[test]
fn one_who_does_not_catch_up_in_time_is_closed_and_then_cut() {
    let (outbox, socket) = open(10);
    let now = Instant::now();
    outbox.send(&message(5));
    let later = now + BOUNDS.catch_up * 2;
    let Next::Behind(deadline) = outbox.tend(later) else { panic!("it gets a last word") };
    assert!(outbox.evicted() && deadline < now + BOUNDS.close_timeout * 2);
    assert_eq!(outbox.tend(later), Next::Done);
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
    assert!(matches!(outbox.tend(now), Next::Behind(_)));
    socket.allow(1000);
    let Next::Leaving(deadline) = outbox.tend(now) else { panic!("it is leaving") };
    assert!(deadline <= now + BOUNDS.close_timeout);
    assert_eq!(socket.taken(), [message(5), b"bye".to_vec()].concat());
    assert_eq!(outbox.tend(deadline), Next::Done);
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
        let Next::Behind(deadline) = outbox.tend(now) else { panic!("it is behind") };
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

/// Random sends to a socket that takes random amounts: see [`trial::run`].
#[test]
fn random_sends_come_out_whole_and_in_order() {
    let (mut evicted, mut kept) = (0, 0);
    for seed in 0..2000 {
        match trial::run(&Rng::new(seed).bytes(seed as usize / 10)) {
            End::Evicted => evicted += 1,
            End::Kept => kept += 1,
            End::Closed | End::Lost => {}
        }
    }
    assert!(evicted > 100 && kept > 100, "{evicted} evicted and {kept} kept show little");
}
