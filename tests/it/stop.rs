use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::support::{
    Frame, MAX_MESSAGE, PATIENCE, Peer, TEXT, TestServer, UPGRADE, close, frame, get, says,
};

/// A server that cuts nobody off when it stops, as far as a test is concerned: if it ends, it is
/// because everybody has left.
fn unhurried() -> TestServer {
    TestServer::with(|config| {
        config.limits.stop_timeout = 3 * PATIENCE;
        config.limits.close_timeout = 3 * PATIENCE;
        config.limits.head_timeout = 3 * PATIENCE;
    })
}

#[test]
fn everybody_gets_1001_and_may_answer() {
    let server = unhurried();
    let mut clients: Vec<_> = (0..10).map(|id| server.join(id)).collect();
    clients.extend((0..10).map(|_| server.echo()));
    server.stop();
    for client in &mut clients {
        client.is_closed_with(1001);
        client.send(close(1001, ""));
    }
    drop(clients);
    server.ended();
}

#[test]
fn what_was_said_before_the_stop_is_heard_before_1001() {
    let server = unhurried();
    let (mut talker, mut late) = (server.join(1), server.join(2));
    let mut echo = server.echo();
    let texts: Vec<_> = (0..300).map(|n| n.to_string()).collect();
    for text in &texts {
        talker.say(text);
        echo.say(text);
    }
    for text in &texts {
        talker.hears(&says(1, text));
        echo.hears(&format!("Message text was: {text}"));
    }
    server.stop();
    late.hears_all(texts.iter().map(|text| says(1, text)));
    // Nobody hears of the others' leaving: everybody leaves.
    for mut client in [talker, late, echo] {
        client.is_closed_with(1001);
    }
    server.ended();
}

/// What waits for a client that is behind goes out as well.
#[test]
fn a_queue_goes_out_before_1001() {
    let server = unhurried();
    let mut talker = server.join(1);
    let mut slow = Peer::narrow(server.address()).upgrade("/ws/2");
    let text = "q".repeat(MAX_MESSAGE);
    for _ in 0..4 {
        talker.says_and_hears(1, &text);
    }
    server.stop();
    talker.is_closed_with(1001);
    drop(talker);
    for _ in 0..4 {
        slow.hears(&says(1, &text));
    }
    slow.is_closed_with(1001);
    drop(slow);
    server.ended();
}

#[test]
fn half_open_connections_do_not_hold_up_a_stop() {
    let server = unhurried();
    let mut silent = server.connect();
    let mut half = server.connect();
    half.send(&get("/ws/1", UPGRADE)[..40]);
    // They have been accepted when somebody after them has been.
    let mut client = server.join(1);
    client.says_and_hears(1, "hello");
    server.stop();
    silent.ends();
    half.ends();
    client.is_closed_with(1001);
    drop((silent, half, client));
    server.ended();
}

#[test]
fn nobody_is_let_in_during_a_stop() {
    let server = unhurried();
    let mut client = server.join(1);
    server.stop();
    client.is_closed_with(1001);
    // It has not left yet, so the server is still there, but not for others.
    let error = TcpStream::connect(server.address()).expect_err("no connection");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    drop(client);
    server.ended();
}

/// Connections become clients while the server stops. Each is refused, or let in and told why it has to go.
#[test]
fn whoever_has_asked_before_the_stop_is_answered() {
    let mut let_in = 0;
    for _ in 0..20 {
        let server = TestServer::start();
        let mut peers: Vec<_> = (0..30).map(|_| server.connect()).collect();
        peers.iter_mut().for_each(|peer| peer.send(get("/ws", UPGRADE)));
        server.stop();
        for mut client in peers.into_iter().filter_map(Peer::upgraded_unless_full) {
            client.is_closed_with(1001);
            let_in += 1;
        }
        server.ended();
    }
    assert!(let_in > 0);
}

/// Clients that do nothing, that talk without end, and that read nothing, all of which ignore
/// the close frame: the server ends all the same.
#[test]
fn idle_flooding_and_stuck_clients_do_not_hold_up_a_stop() {
    let server = TestServer::with(|config| config.limits.stop_timeout = Duration::from_millis(300));
    let idle: Vec<_> = (0..20).map(|id| server.join(id)).collect();
    let mut flooder = server.join(101);
    let mut stuck = Peer::narrow(server.address()).upgrade("/ws/100");
    let mut stuck_echo = Peer::narrow(server.address()).upgrade("/ws");
    stuck_echo.send(frame(TEXT, "e".repeat(MAX_MESSAGE)).repeat(2));
    stuck.send(frame(TEXT, "s".repeat(MAX_MESSAGE)).repeat(2));
    flooder.hears_at_last(&says(100, &"s".repeat(MAX_MESSAGE)));
    let mut flood = flooder.peer.twin();
    let bytes = frame(TEXT, "f").repeat(100);
    thread::scope(|scope| {
        scope.spawn(move || while flood.stream.write_all(&bytes).is_ok() {});
        flooder.hears_at_last(&says(101, "f"));
        server.stop();
        server.ended();
        // The kernel might go on with it for a minute.
        flooder.peer.hang_up();
    });
    drop((idle, stuck, stuck_echo));
}

/// A flooder that reads hears of the stop behind a part of what it said, and nothing after it.
#[test]
fn a_flooder_that_reads_hears_1001_as_the_last_word() {
    let server = TestServer::start();
    let mut flooder = server.join(1);
    let mut flood = flooder.peer.twin();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut said = |n: usize| flood.stream.write_all(&frame(TEXT, n.to_string())).is_ok();
            assert!((0..10_000_000).any(|n| !said(n)), "the flood was not ended");
        });
        flooder.hears_all((0..100).map(|n| says(1, &n.to_string())));
        server.stop();
        let mut n = 100;
        let last = loop {
            let next = flooder.next("1001");
            if next != Frame::text(&says(1, &n.to_string())) {
                break next;
            }
            n += 1;
        };
        assert_eq!(last.close_code(), 1001);
        flooder.peer.ends();
        flooder.peer.hang_up();
    });
    server.ended();
}

#[test]
fn a_stop_may_come_twice_or_before_anybody() {
    let server = TestServer::start();
    server.stop();
    server.stop();
    server.ended();
}

#[test]
fn the_address_is_free_at_once() {
    let server = TestServer::start();
    let address = server.address();
    let client = server.join(1);
    server.stop();
    drop(client);
    server.ended();
    drop(server);
    let again = TestServer::with(|config| config.listen = address);
    assert_eq!(again.ask(get("/", "")).status, 200);
}
