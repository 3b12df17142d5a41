use std::io::{ErrorKind, Write};
use std::time::Duration;

use crate::support::{
    Client, Frame, MAX_MESSAGE, PATIENCE, Peer, TEXT, TestServer, eventually, frame, left,
    numbered, says,
};

/// A client of the room that has little room for what it has not read.
fn narrow(server: &TestServer, id: i64) -> Client {
    Peer::narrow(server.address()).upgrade(&format!("/ws/{id}"))
}

/// A reader that stalls is told, where a frame ends, that it was too slow. The others hear
/// everything, and that it left.
#[test]
fn a_stalled_reader_is_evicted_with_1013_at_a_frame_boundary() {
    let server = TestServer::with(|config| config.limits.close_timeout = PATIENCE);
    let (mut talker, mut healthy) = (server.join(1), server.join(2));
    let mut stalled = narrow(&server, 3);
    let mut said = Vec::new();
    let mut evicted = false;
    while !evicted {
        assert!(said.len() < 100, "nobody minds a client that reads nothing");
        let text = numbered(said.len(), MAX_MESSAGE - said.len() * 7);
        talker.say(&text);
        said.push(Frame::text(&says(1, &text)));
        let heard = talker.next("its own message");
        assert_eq!(heard, *said.last().expect("a message"));
        healthy.hears(&says(1, &text));
        // A message after the one that was too much tells whether that was so.
        let marker = says(1, "?");
        talker.say("?");
        let next = talker.next("the marker");
        said.push(Frame::text(&marker));
        evicted = next == Frame::text(&left(3));
        if evicted {
            assert_eq!(talker.next("the marker"), Frame::text(&marker));
            healthy.hears(&left(3));
        } else {
            assert_eq!(next, Frame::text(&marker));
        }
        healthy.hears(&marker);
    }
    // It wakes up: a beginning of what was said, and why there is no more.
    let mut said = said.into_iter();
    let last = loop {
        let next = stalled.next("a close frame with 1013");
        if Some(&next) != said.next().as_ref() {
            break next;
        }
    };
    assert_eq!(last.close_code(), 1013);
    stalled.peer.ends();
    talker.says_and_hears(1, "and on it goes");
    healthy.hears(&says(1, "and on it goes"));
}

/// One that never reads again is gone after the deadlines, and its place is free.
#[test]
fn a_reader_that_stalls_for_good_frees_its_place() {
    let server = TestServer::with(|config| {
        config.limits.max_clients = Some(2);
        config.limits.close_timeout = Duration::from_millis(50);
    });
    let mut talker = server.join(1);
    let _stalled = narrow(&server, 2);
    eventually("the eviction", || {
        talker.say(&"x".repeat(MAX_MESSAGE));
        talker.hears(&says(1, &"x".repeat(MAX_MESSAGE)));
        talker.say("?");
        let next = talker.next("news");
        (next != Frame::text(&says(1, "?"))).then(|| assert_eq!(next, Frame::text(&left(2))))
    });
    talker.hears(&says(1, "?"));
    eventually("its place", || server.tries_to_join(3));
    // Nor does the kernel go on trying to send what it had taken for it.
    let server_port = format!(":{:04X}", server.address().port());
    let is_trying = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(&server_port))
            && words.nth(1) == Some(FIN_WAIT_1)
    };
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("the sockets of this system");
    assert!(!sockets.lines().any(is_trying), "{sockets}");
}

/// A socket that is closed and has not sent everything, as `/proc/net/tcp` has it.
const FIN_WAIT_1: &str = "04";

/// The queue may be large enough for what was said: who doesn't catch up in time goes as well.
#[test]
fn a_client_that_stays_behind_for_too_long_is_evicted() {
    let server = TestServer::with(|config| {
        config.limits.max_queue = 1 << 24;
        config.limits.catch_up = Duration::from_millis(50);
        config.limits.close_timeout = Duration::from_millis(50);
    });
    let mut talker = server.join(1);
    let _stalled = narrow(&server, 2);
    let texts: Vec<_> = (0..10).map(|n| numbered(n, MAX_MESSAGE)).collect();
    for text in &texts {
        talker.say(text);
        let next = talker.next("its own message");
        if next == Frame::text(&left(2)) {
            return;
        }
        assert_eq!(next, Frame::text(&says(1, text)));
    }
    // Nobody says anything more, and the room is told all the same.
    talker.hears(&left(2));
}

/// Who reads slowly, but fast enough for its queue, loses nothing.
#[test]
fn a_slow_reader_loses_nothing() {
    const SIZE: usize = 16 * 1024;
    let server = TestServer::start();
    let mut talker = server.join(1);
    let mut slow = narrow(&server, 2);
    let mut unread = std::collections::VecDeque::new();
    for n in 0..200 {
        let text = numbered(n, SIZE);
        talker.says_and_hears(1, &text);
        unread.push_back(says(1, &text));
        // Always behind by more than the sockets hold, never by more than the queue does.
        if unread.len() * SIZE > 240 * 1024 {
            slow.hears(&unread.pop_front().expect("a message"));
        }
    }
    slow.hears_all(unread);
    slow.says_and_hears(2, "here I am");
}

/// An echo client that does not read its answers is not read from. When it reads, it gets them.
#[test]
fn an_echo_client_that_does_not_read_is_slowed_and_loses_nothing() {
    const SIZE: usize = 10_000;
    let server = TestServer::start();
    let mut client = Peer::narrow(server.address()).upgrade("/ws");
    let bytes: Vec<u8> = (0..).flat_map(|n| frame(TEXT, numbered(n, SIZE))).take(1 << 25).collect();
    // Whether it is stalled shows in that it takes nothing for a while; a longer while than that
    // would not make the test less sharp.
    let stream = client.peer.stream.try_clone().expect("a descriptor");
    stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let mut sent = 0;
    loop {
        match (&stream).write(&bytes[sent..]) {
            Ok(more) => sent += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("it was closed: {error}"),
        }
        assert!(sent < bytes.len(), "it is not slowed down");
    }
    // The others notice nothing.
    let mut other = server.echo();
    other.say("hello");
    other.hears("Message text was: hello");
    let frame_len = frame(TEXT, numbered(0, SIZE)).len();
    let messages = sent.div_ceil(frame_len);
    let rest = bytes[sent..messages * frame_len].to_vec();
    let mut sending = client.peer.twin();
    std::thread::scope(|scope| {
        scope.spawn(move || sending.send(rest));
        for n in 0..messages {
            client.hears(&format!("Message text was: {}", numbered(n, SIZE)));
        }
    });
    client.say("");
    client.hears("Message text was: ");
}
