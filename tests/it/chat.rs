use std::thread;
use std::time::Duration;

use crate::support::{
    BINARY, Client, Frame, MAX_MESSAGE, PING, PONG, TEXT, TestServer, UNMASKED, close, frame,
    header, left, says,
};

/// A room with somebody who listens.
fn room() -> (TestServer, Client) {
    let server = TestServer::start();
    let watcher = server.join(1);
    (server, watcher)
}

#[test]
fn everybody_hears_a_message_and_its_sender_too() {
    let (server, mut first) = room();
    let mut second = server.join(2);
    second.say("hello");
    first.say("hello yourself");
    for client in [&mut first, &mut second] {
        let mut heard = [client.next("a message"), client.next("a message")];
        heard.sort_by(|a, b| a.payload.cmp(&b.payload));
        assert_eq!(
            heard,
            [Frame::text(&says(1, "hello yourself")), Frame::text(&says(2, "hello"))]
        );
    }
}

#[test]
fn the_bytes_of_each_frame() {
    let (server, mut watcher) = room();
    let mut other = server.join(2);
    other.say("hi");
    watcher.hears(&says(2, "hi"));
    other.send(close(1000, "bye"));
    watcher.hears(&left(2));
    let closing = {
        other.hears(&says(2, "hi"));
        other.next("the close reply")
    };
    assert_eq!(closing.payload, b"\x03\xe8bye");
    other.peer.ends();
}

#[test]
fn nothing_is_said_of_joining() {
    let (server, mut first) = room();
    let mut second = server.join(2);
    let mut third = server.join(3);
    third.say("first words");
    for client in [&mut first, &mut second, &mut third] {
        client.hears(&says(3, "first words"));
    }
}

/// Whoever has the response to its handshake is in the room already.
#[test]
fn a_client_hears_what_is_said_once_it_has_joined() {
    let (server, mut talker) = room();
    for n in 0..50 {
        let mut newcomer = server.join(2);
        talker.say(&n.to_string());
        newcomer.hears(&says(1, &n.to_string()));
        talker.hears(&says(1, &n.to_string()));
        newcomer.peer.reset();
        talker.hears(&left(2));
    }
}

#[test]
fn twins_have_one_id_and_are_two_clients() {
    let (server, mut watcher) = room();
    let (mut elder, mut younger) = (server.join(7), server.join(7));
    elder.say("we are two");
    for client in [&mut watcher, &mut elder, &mut younger] {
        client.hears(&says(7, "we are two"));
    }
    elder.leave();
    for client in [&mut watcher, &mut younger] {
        client.hears(&left(7));
    }
    younger.says_and_hears(7, "I am still here");
    watcher.hears(&says(7, "I am still here"));
    younger.leave();
    watcher.hears(&left(7));
    watcher.says_and_hears(1, "both are gone");
}

#[test]
fn ids_are_signed_integers_of_64_bits() {
    let (server, mut watcher) = room();
    for id in [0, -1, i64::MAX, i64::MIN] {
        let mut client = server.join(id);
        client.says_and_hears(id, "me");
        watcher.hears(&says(id, "me"));
        client.leave();
        watcher.hears(&left(id));
    }
}

#[test]
fn texts_are_heard_as_they_were_said() {
    let (server, mut watcher) = room();
    let mut talker = server.join(-7);
    let long = |len: usize| "0123456789".chars().cycle().take(len).collect::<String>();
    let texts = [
        String::new(),
        " ".into(),
        "  not trimmed \t".into(),
        "two\r\nlines\n".into(),
        "\0\u{1}\u{7f}".into(),
        "<b>&amp;\"'</b>".into(),
        "\\n %s {} ${x} Client #1 says: no".into(),
        "你好 🦀 e\u{301} ñ \u{202e}right to left\u{2028}\u{feff}".into(),
        "\u{feff}with a byte order mark".into(),
        long(107),
        long(108),
        long(125),
        long(126),
        long(65_515),
        long(65_516),
        long(65_535),
        long(MAX_MESSAGE),
        "🦀".repeat(MAX_MESSAGE / 4),
    ];
    for text in &texts {
        talker.say(text);
        watcher.hears(&says(-7, text));
        talker.hears(&says(-7, text));
    }
}

#[test]
fn a_fragmented_message_is_one_message() {
    let (server, mut watcher) = room();
    let mut talker = server.join(2);
    let text = "één 🦀 krab";
    for size in 1..text.len() {
        let pieces: Vec<_> = text.as_bytes().chunks(size).collect();
        let (last, before) = pieces.split_last().expect("pieces");
        let mut opcode = TEXT & 0x0f;
        for (n, piece) in before.iter().enumerate() {
            talker.send(frame(opcode, piece));
            opcode = 0;
            // Control frames may come between fragments.
            talker.send(frame(PING, [n as u8]));
            let pong = talker.next("a pong");
            assert_eq!(pong, Frame { first: PONG, payload: vec![n as u8] });
        }
        // A last fragment that is empty, too.
        talker.send(frame(opcode, last));
        talker.send(frame(0x80, ""));
        watcher.hears(&says(2, text));
        talker.hears(&says(2, text));
    }
}

#[test]
fn frames_may_come_byte_by_byte_or_all_at_once() {
    let (server, mut watcher) = room();
    let mut talker = server.join(2);
    talker.peer.drip(frame(TEXT, "slowly now"));
    watcher.hears(&says(2, "slowly now"));
    let many: Vec<_> = (0..500).map(|n| n.to_string()).collect();
    talker.send(many.iter().flat_map(|text| frame(TEXT, text)).collect::<Vec<_>>());
    watcher.hears_all(many.iter().map(|text| says(2, text)));
}

/// What a client does to leave.
type Leave = fn(Client);

/// However a client leaves, those who stay hear it once, after its last message.
#[test]
fn the_room_is_told_once_however_a_client_leaves() {
    let ways: [(&str, Leave); 12] = [
        ("close handshake", |client| client.leave()),
        ("close frame, and gone", |mut client| client.send(close(1001, "away"))),
        ("close frame without a code", |mut client| client.send(frame(0x88, ""))),
        ("two close frames", |mut client| client.send([close(1000, ""), close(1000, "")].concat())),
        ("end of the stream", |client| drop(client)),
        ("end of the stream one way", |mut client| {
            client.peer.half_close();
            client.peer.ends();
        }),
        ("reset", |client| client.peer.reset()),
        ("reset within a frame", |mut client| {
            client.send(&frame(TEXT, "never to be heard")[..9]);
            client.peer.reset();
        }),
        ("reset within a message", |mut client| {
            client.send(frame(0x01, "never to be "));
            client.peer.reset();
        }),
        ("binary message", |mut client| client.send(frame(BINARY, "x"))),
        ("protocol error", |mut client| client.send(UNMASKED)),
        ("too long a message", |mut client| client.send(header(TEXT, MAX_MESSAGE + 1))),
    ];
    let (server, mut watcher) = room();
    for (id, (way, leave)) in (10..).zip(ways) {
        let mut client = server.join(id);
        client.say(way);
        client.hears(&says(id, way));
        leave(client);
        watcher.hears_all([says(id, way), left(id)]);
        watcher.says_and_hears(1, "no more of it");
    }
}

#[test]
fn a_client_that_vanishes_is_noticed_by_ping() {
    let server = TestServer::with(|config| {
        config.limits.ping_interval = Duration::from_millis(100);
        config.limits.ping_timeout = Duration::from_millis(200);
    });
    let mut watcher = server.join(1);
    let mut silent = server.join(2);
    // It stays connected and does not answer. The watcher does while it hears.
    watcher.hears(&left(2));
    watcher.says_and_hears(1, "once");
    let ping = silent.next("a ping");
    assert_eq!(ping, Frame { first: PING, payload: Vec::new() });
    silent.is_closed_with(1011);
}

/// A client that reads on, and answers with anything at all, stays.
#[test]
fn whoever_answers_pings_stays() {
    let server = TestServer::with(|config| {
        config.limits.ping_interval = Duration::from_millis(50);
        config.limits.ping_timeout = Duration::from_secs(10);
    });
    let mut client = server.join(1);
    for _ in 0..5 {
        assert_eq!(client.next("a ping").first, PING);
        client.send(frame(PONG, ""));
    }
    client.says_and_hears(1, "still here");
}

/// Many times, since it matters which of these events the room takes together.
#[test]
fn who_leaves_hears_its_own_last_words_before_the_close_reply() {
    let (server, mut watcher) = room();
    for round in 0..100 {
        let mut client = server.join(2);
        let last_words: Vec<_> = (0..round % 5).map(|n| format!("last word {n}")).collect();
        let mut bytes: Vec<u8> = last_words.iter().flat_map(|text| frame(TEXT, text)).collect();
        bytes.extend(close(1000, ""));
        client.send(bytes);
        let heard: Vec<_> = last_words.iter().map(|text| says(2, text)).collect();
        client.hears_all(&heard);
        client.is_closed_with(1000);
        watcher.hears_all(&heard);
        watcher.hears(&left(2));
    }
}

#[test]
fn what_is_said_after_a_close_frame_is_not_heard() {
    let (server, mut watcher) = room();
    let mut client = server.join(2);
    client.send([close(1000, ""), frame(TEXT, "one more thing")].concat());
    client.is_closed_with(1000);
    watcher.hears(&left(2));
    watcher.says_and_hears(1, "nothing of it");
}

/// Twenty clients of which four talk at once see the same messages in the same order, and each
/// talker's own order within it.
#[test]
fn everybody_hears_one_order() {
    const CLIENTS: i64 = 20;
    const TALKERS: i64 = 4;
    const EACH: usize = 250;
    let server = TestServer::start();
    let clients: Vec<_> = (0..CLIENTS).map(|id| server.join(id)).collect();
    let heard: Vec<Vec<Frame>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(clients)
            .map(|(id, mut client)| {
                let mut sending = Client { peer: client.peer.twin() };
                if id < TALKERS {
                    scope.spawn(move || (0..EACH).for_each(|n| sending.say(&format!("{id}.{n}"))));
                }
                scope.spawn(move || {
                    (0..TALKERS as usize * EACH).map(|_| client.next("a message")).collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a listener")).collect()
    });
    for other in &heard[1..] {
        assert!(heard[0] == *other, "two clients heard another order");
    }
    for id in 0..TALKERS {
        let own: Vec<_> = (0..EACH).map(|n| Frame::text(&says(id, &format!("{id}.{n}")))).collect();
        let prefix = says(id, "").into_bytes();
        let of_it: Vec<_> =
            heard[0].iter().filter(|frame| frame.payload.starts_with(&prefix)).cloned().collect();
        assert!(of_it == own, "the order of client {id} was not kept");
    }
}

/// Clients that go and come while others talk: nobody hears of anybody less or more.
#[test]
fn a_hundred_come_and_go_and_each_is_missed_once() {
    let (server, mut watcher) = room();
    thread::scope(|scope| {
        for first in [1000, 2000] {
            let server = &server;
            scope.spawn(move || {
                for id in first..first + 50 {
                    let mut client = server.join(id);
                    client.say("hi");
                    client.hears_at_last(&says(id, "hi"));
                    match id % 3 {
                        0 => client.peer.reset(),
                        1 => drop(client),
                        _ => client.send(close(1000, "")),
                    }
                }
            });
        }
    });
    let heard: Vec<_> = (0..200).map(|_| watcher.next("news")).collect();
    watcher.says_and_hears(1, "that was all");
    for id in (1000..1050).chain(2000..2050) {
        let at = |text: &str| {
            let found: Vec<_> =
                (0..heard.len()).filter(|n| heard[*n] == Frame::text(text)).collect();
            assert_eq!(found.len(), 1, "{text} was heard so often");
            found[0]
        };
        assert!(at(&says(id, "hi")) < at(&left(id)), "{id} left before it spoke");
    }
}
