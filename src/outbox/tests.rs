use std::sync::atomic::Ordering;

use super::fuzz_target::{self, BOUNDS, End, RESPONSE, Socket, Talk, answer, flush_all};
use super::*;
use crate::testing::Rng;
use crate::wire;

/// An open outbox of a client of the room, whose socket takes `room` bytes.
fn open(room: usize) -> (Arc<Outbox<Arc<Socket>>>, Arc<Socket>, Talk) {
    let (socket, talk) = (Arc::new(Socket::default()), Talk::new(1 << 20));
    let outbox = Outbox::new(socket.clone(), Encoding::Tutorial, RESPONSE.to_vec(), BOUNDS);
    outbox.enter(&talk.log, talk.end(), talk.end().entry);
    socket.allow(RESPONSE.len());
    outbox.open();
    assert_eq!(std::mem::take(&mut *socket.taken.lock().unwrap()), RESPONSE);
    socket.allow(room);
    (outbox, socket, talk)
}

fn flush(outbox: &Outbox<Arc<Socket>>) -> Next {
    flush_all(outbox, Instant::now())
}

#[test]
fn what_is_said_before_the_response_goes_out_behind_it() {
    let (socket, mut talk) = (Arc::new(Socket::default()), Talk::new(1 << 20));
    socket.allow(10_000);
    let outbox = Outbox::new(socket.clone(), Encoding::Tutorial, RESPONSE.to_vec(), BOUNDS);
    outbox.enter(&talk.log, talk.end(), talk.end().entry);
    assert_eq!(outbox.deliver(&talk.say(&[5, 6])), Sent::Taken);
    assert!(socket.taken().is_empty(), "nothing may come before the response");
    outbox.open();
    assert_eq!(socket.taken(), RESPONSE);
    assert_eq!(socket.watched(), 1);
    assert_eq!(flush(&outbox), Next::Done);
    assert_eq!(socket.taken(), [RESPONSE, &talk.said].concat());
}

#[test]
fn one_who_keeps_up_is_nobodys_concern() {
    let (outbox, socket, mut talk) = open(10_000);
    for n in 0..20 {
        assert_eq!(outbox.deliver(&talk.say(&[n, n])), Sent::Taken);
    }
    assert_eq!(socket.taken(), talk.said);
    assert_eq!(socket.watched(), 0);
    assert_eq!(outbox.lags_in(&talk.log), None);
}

#[test]
fn one_who_falls_behind_is_sent_the_rest_from_the_log() {
    let (outbox, socket, mut talk) = open(30);
    outbox.deliver(&talk.say(&[50]));
    outbox.deliver(&talk.say(&[51, 52]));
    assert_eq!(socket.watched(), 1, "once is enough");
    assert!(outbox.lags_in(&talk.log).is_some());
    assert!(matches!(flush(&outbox), Next::Behind(_)));
    socket.allow(1000);
    // The log has this before the hub delivers it, and the flusher may be first.
    let next = talk.say(&[40]);
    assert_eq!(flush(&outbox), Next::Done);
    assert_eq!(socket.taken(), talk.said);
    assert_eq!(outbox.deliver(&next), Sent::Taken);
    assert_eq!(socket.taken(), talk.said, "it was sent twice");
    assert_eq!(outbox.lags_in(&talk.log), None);
    outbox.deliver(&talk.say(&[52]));
    assert_eq!(socket.taken(), talk.said);
    assert_eq!(socket.watched(), 1);
    outbox.deliver(&talk.say(&[900]));
    assert_eq!(socket.watched(), 2, "it is behind again");
}

#[test]
fn answers_go_before_what_the_room_said_at_a_frame_boundary() {
    let (outbox, socket, mut talk) = open(30);
    outbox.deliver(&talk.say(&[50]));
    outbox.deliver(&talk.say(&[60]));
    assert_eq!(outbox.send(&answer(1)), Sent::Taken);
    assert!(outbox.flush_queue(), "a frame is torn");
    socket.allow(1000);
    assert_eq!(flush(&outbox), Next::Done);
    let first = wire::boundary(&talk.said, 1);
    let (first, second) = talk.said.split_at(first);
    assert_eq!(socket.taken(), [first, &answer(1), second].concat());
}

#[test]
fn one_who_is_evicted_gets_whole_frames_and_1013() {
    for sent in [0, 1, 20, 27, 28, 40] {
        let (outbox, socket, mut talk) = open(sent);
        outbox.deliver(&talk.say(&[7, 8]));
        outbox.deliver(&talk.say(&[80]));
        outbox.evict();
        assert!(outbox.is_evicted());
        assert_eq!(outbox.lags_in(&talk.log), None, "it lets go of the log");
        assert_eq!(outbox.deliver(&talk.say(&[81])), Sent::Refused);
        outbox.close(b"another last word");
        socket.allow(10_000);
        assert!(matches!(flush(&outbox), Next::Leaving(Some(_))));
        let whole = &talk.said[..wire::boundary(&talk.said, sent)];
        assert_eq!(socket.taken(), [whole, &CloseReason::TooSlow.frame()].concat(), "after {sent}");
        assert_eq!(socket.half_closed.load(Ordering::Relaxed), 1);
        assert_eq!(socket.evicted.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_queue_that_gets_too_long_closes_its_client() {
    let (outbox, socket, mut talk) = open(0);
    outbox.deliver(&talk.say(&[7]));
    while outbox.send(&answer(80)) == Sent::Taken {}
    assert!(outbox.is_evicted());
    socket.allow(10_000);
    flush(&outbox);
    assert_eq!(socket.taken(), CloseReason::TooSlow.frame());
}

#[test]
fn answers_that_are_not_taken_in_time_close_their_client() {
    let (outbox, socket, _) = open(0);
    outbox.send(&answer(5));
    let later = Instant::now() + BOUNDS.catch_up * 2;
    let next = flush_all(&outbox, later);
    assert!(outbox.is_evicted() && matches!(next, Next::Behind(Some(_))));
    assert_eq!(flush_all(&outbox, later), Next::Done);
    assert_eq!(socket.cut.load(Ordering::Relaxed), 1);
}

/// A reader of the room is judged by the room, and not by a clock.
#[test]
fn one_who_lags_in_the_room_has_no_deadline() {
    let (outbox, _, mut talk) = open(0);
    outbox.deliver(&talk.say(&[7]));
    let later = Instant::now() + BOUNDS.catch_up * 2;
    assert_eq!(flush_all(&outbox, later), Next::Behind(None));
    assert!(!outbox.is_evicted());
}

#[test]
fn a_last_word_comes_behind_what_was_said_before_and_has_its_time() {
    let (outbox, socket, mut talk) = open(3);
    outbox.deliver(&talk.say(&[5, 6]));
    let said = talk.said.clone();
    outbox.close(b"bye");
    assert_eq!(socket.watched(), 2, "the nearer deadline is told");
    assert_eq!(outbox.send(&answer(6)), Sent::Refused);
    assert_eq!(outbox.deliver(&talk.say(&[7])), Sent::Refused);
    assert!(!outbox.flush_queue(), "one who leaves need not be waited for");
    assert!(matches!(flush(&outbox), Next::Behind(Some(_))));
    socket.allow(1000);
    let now = Instant::now();
    let Next::Leaving(Some(deadline)) = flush(&outbox) else { panic!("it is leaving") };
    assert!(deadline <= now + BOUNDS.close_timeout);
    assert_eq!(socket.taken(), [said, b"bye".to_vec()].concat());
    assert_eq!(flush_all(&outbox, deadline), Next::Done);
    assert_eq!(socket.cut.load(Ordering::Relaxed), 1);
    assert!(!outbox.is_evicted());
}

#[test]
fn one_who_is_gone_is_noticed_at_the_next_send() {
    let (outbox, socket, mut talk) = open(100);
    *socket.is_broken.lock().unwrap() = true;
    assert_eq!(outbox.deliver(&talk.say(&[5])), Sent::Refused);
    assert_eq!(outbox.send(&answer(5)), Sent::Refused);
    assert_eq!(socket.cut.load(Ordering::Relaxed), 1);
    assert!(!outbox.is_evicted());
}

/// What flow control prevents would end the connection, and never skip an entry.
#[test]
fn one_who_falls_off_the_log_is_cut() {
    let (socket, mut talk) = (Arc::new(Socket::default()), Talk::new(8000));
    let outbox = Outbox::new(socket.clone(), Encoding::Tutorial, RESPONSE.to_vec(), BOUNDS);
    outbox.enter(&talk.log, talk.end(), talk.end().entry);
    socket.allow(RESPONSE.len() + 5);
    outbox.open();
    for _ in 0..20 {
        outbox.deliver(&talk.say(&[1000]));
    }
    socket.allow(100_000);
    assert_eq!(flush(&outbox), Next::Done);
    assert_eq!(socket.taken().len(), RESPONSE.len() + 5);
    assert_eq!(socket.cut.load(Ordering::Relaxed), 1);
}

/// Random sends to a socket that takes random amounts: see [`fuzz_target::run`].
#[test]
fn random_sends_come_out_whole_and_in_order() {
    let (mut evicted, mut kept, mut closed) = (0, 0, 0);
    for seed in 0..3000 {
        match fuzz_target::run(&Rng::new(seed).bytes(seed as usize / 10)) {
            End::Evicted => evicted += 1,
            End::Kept => kept += 1,
            End::Closed => closed += 1,
            End::Lost => {}
        }
    }
    assert!(evicted > 100 && kept > 100 && closed > 50, "{evicted}, {kept}, {closed} show little");
}
