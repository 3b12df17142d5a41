use std::io::{ErrorKind, Write};
use std::time::Duration;

use rustix::net::sockopt;
use serde_json::json;

use crate::support::{
    Client, Frame, MAX_MESSAGE, Member, OFFER, PATIENCE, Peer, TEXT, TestServer, UPGRADE,
    eventually, frame, get, left, me, numbered, says,
};

/// A client of the room that has little room for what it has not read.
fn narrow(server: &TestServer, id: i64) -> Client {
    Peer::narrow(server.address()).upgrade(&format!("/ws/{id}"))
}

/// A server whose log is small, so that it is soon full.
fn small(close_timeout: Duration) -> TestServer {
    TestServer::with(|config| {
        config.limits.max_memory = Some(8 << 20);
        config.limits.rate = 0;
        config.limits.close_timeout = close_timeout;
    })
}

/// A reader that stalls while the room waits for it is told, where a frame ends, that it was too
/// slow. The others hear everything, and that it left.
#[test]
fn a_stalled_reader_is_evicted_with_1013_at_a_frame_boundary() {
    let server = small(PATIENCE);
    let (mut talker, mut healthy) = (server.join(1), server.join(2));
    let mut stalled = narrow(&server, 3);
    let mut said = Vec::new();
    let mut has_left = false;
    while !has_left {
        assert!(said.len() < 1000, "nobody minds a client that reads nothing");
        let text = numbered(said.len(), MAX_MESSAGE - said.len() * 7);
        talker.say(&text);
        said.push(Frame::text(&says(1, &text)));
        // The notice comes when the hub finds it gone, before a message or after it.
        loop {
            let next = talker.message("its own message");
            healthy.hears(&String::from_utf8(next.payload.clone()).expect("text"));
            if next == Frame::text(&left(3)) {
                assert!(!has_left, "it left twice");
                has_left = true;
                continue;
            }
            assert_eq!(next, *said.last().expect("a message"));
            break;
        }
    }
    // It wakes up: a beginning of what was said, and why there is no more.
    let mut said = said.into_iter();
    let last = loop {
        let next = stalled.message("a close frame with 1013");
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
        config.limits.max_memory = Some(4 << 20);
        config.limits.close_timeout = Duration::from_millis(50);
    });
    let mut talker = server.join(1);
    let _stalled = narrow(&server, 2);
    eventually("the eviction", || {
        talker.say(&"x".repeat(MAX_MESSAGE));
        let next = talker.message("news");
        (next == Frame::text(&left(2))).then_some(())
    });
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

/// A reader that holds nobody up has no deadline: however long it stalls, it hears everything.
#[test]
fn a_stalled_reader_that_nobody_waits_for_stays() {
    let server = TestServer::with(|config| {
        config.limits.catch_up = Duration::from_millis(50);
        config.limits.close_timeout = Duration::from_millis(50);
    });
    let mut talker = server.join(1);
    let mut stalled = narrow(&server, 2);
    let texts: Vec<_> = (0..20).map(|n| numbered(n, MAX_MESSAGE)).collect();
    for text in &texts {
        talker.says_and_hears(1, text);
    }
    // An echo client has a deadline for what is its own. When that has passed, the reader's would have.
    let mut deaf = Peer::narrow(server.address()).upgrade("/ws");
    deaf.say(&numbered(0, MAX_MESSAGE));
    eventually("the eviction of one that does not take its echo", || {
        let metrics = server.ask(get("/metrics", ""));
        metrics.text().contains("\nroomd_evictions_total 1\n").then_some(())
    });
    stalled.hears_all(texts.iter().map(|text| says(1, text)));
    stalled.says_and_hears(2, "here I am");
    talker.hears(&says(2, "here I am"));
}

/// Who waits for the room's readers is told which message waits, also a page that has no other sign of it.
#[test]
fn a_sender_that_waits_for_readers_is_told() {
    let server = TestServer::with(|config| {
        config.limits.max_memory = Some(8 << 20);
        config.limits.rate = 0;
    });
    let mut talker = Member::join(server.address(), "lobby", json!({"me": me(1), "history": 0}));
    let stalled = narrow(&server, 9);
    let mut n = 0;
    loop {
        assert!(n < 1_000, "nobody waits for a client that reads nothing");
        n += 1;
        talker.publish(n, &numbered(0, 50_000));
        let next = talker.skip_any(&["msg", "wait"], "its own message");
        if next["t"] == "wait" {
            assert_eq!(next, json!({"t": "wait", "n": n}));
            break;
        }
    }
    // As long as that lasts.
    assert_eq!(talker.next("another"), json!({"t": "wait", "n": n}));
    drop(stalled);
    assert_eq!(talker.skip_to("msg", "its own message")["n"], n);
}

/// A reader that is always behind loses nothing.
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
        // Always behind by more than the sockets hold.
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

/// A sensor that only publishes and has little room for what it is told, and somebody who hears it.
fn sensor(server: &TestServer) -> (Member, Member) {
    let mut ana = Member::named(server.address(), "lobby", 1, "ana");
    let mut peer = Peer::narrow(server.address());
    peer.send(get("/lobby/ws", &format!("{UPGRADE}{OFFER}")));
    // Or the kernel would hold most of what it says.
    sockopt::set_socket_send_buffer_size(&peer.stream, 4096).expect("a small buffer");
    let client = peer.upgraded_to(Some("roomd.1"));
    let sensor = Member::greet(client, json!({"me": me(2), "hear": false}));
    ana.skip_to("join", "the sensor");
    (sensor, ana)
}

fn publication(n: usize) -> Vec<u8> {
    frame(TEXT, json!({"t": "msg", "text": "on", "n": n}).to_string())
}

const MANY: usize = 200_000;

/// One that does not take its acks is not read from any more. Once it reads again, nothing is lost.
#[test]
fn a_publisher_that_does_not_take_its_acks_is_slowed_and_loses_nothing() {
    let server = TestServer::start();
    let (mut sensor, mut ana) = sensor(&server);
    let stream = sensor.client.peer.stream.try_clone().expect("a descriptor");
    // As for the echo: a longer while would not make the test less sharp.
    stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let listener = std::thread::spawn(move || {
        let mut heard = 0;
        while ana.next("a message")["name"] != "bea" {
            heard += 1;
        }
        (ana, heard)
    });
    let (mut sent, mut rest) = (0, Vec::new());
    while rest.is_empty() {
        assert!(sent < MANY, "it is not slowed down");
        sent += 1;
        rest = publication(sent);
        while !rest.is_empty() {
            match (&stream).write(&rest) {
                Ok(more) => drop(rest.drain(..more)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("it was closed: {error}"),
            }
        }
    }
    let mut bea = Member::named(server.address(), "lobby", 3, "bea");
    bea.says_and_hears("the others notice nothing");
    // Her coming is the one thing that ana is told that the sensor did not say.
    let (mut ana, heard) = listener.join().expect("the listener");
    assert!((1..=sent).contains(&heard), "{heard} of {sent} were heard");
    bea.leave();
    let mut sending = sensor.client.peer.twin();
    std::thread::scope(|scope| {
        scope.spawn(move || sending.send(rest));
        scope.spawn(move || {
            for n in heard + 1..=sent {
                while ana.next("a message")["n"] != n {}
            }
        });
        for n in 1..=sent {
            assert_eq!(sensor.next("an ack")["n"], n);
        }
    });
}

/// If that lasts, it is closed.
#[test]
fn a_publisher_that_never_takes_its_acks_is_closed_with_1013() {
    let server = TestServer::with(|config| {
        config.limits.rate = 0;
        config.limits.catch_up = Duration::from_millis(300);
    });
    let (mut sensor, mut ana) = sensor(&server);
    let mut stream = sensor.client.peer.stream.try_clone().expect("a descriptor");
    let sender = std::thread::spawn(move || {
        (1..=MANY).take_while(|n| stream.write_all(&publication(*n)).is_ok()).count()
    });
    let listener = std::thread::spawn(move || {
        while ana.next("a message, or that it left")["t"] == "msg" {}
        ana.pings();
    });
    eventually("its eviction", || {
        let metrics = server.ask(get("/metrics", ""));
        metrics.text().contains("\nroomd_evictions_total 1\n").then_some(())
    });
    // It wakes up: a beginning of what it was told, and why there is no more.
    let last = loop {
        let next = sensor.client.next("a close frame");
        if next.first != 0x81 {
            break next;
        }
    };
    assert_eq!(last.close_code(), 1013);
    assert!(sender.join().expect("the sender") < MANY);
    listener.join().expect("the others notice nothing");
}
