use std::time::Duration;

use crate::support::{
    BINARY, CLOSE, Client, MAX_MESSAGE, PING, PONG, TEXT, TestServer, UNMASKED, close, frame,
    huge_header, left, says,
};

/// FIN and an opcode of which RFC 6455 says nothing.
const RESERVED_DATA: u8 = 0x83;
const RESERVED_CONTROL: u8 = 0x8b;
/// A bit that belongs to an extension.
const RSV1: u8 = 0x40;
const FIRST_FRAGMENT: u8 = 0x01;
const FRAGMENT: u8 = 0x00;
const LAST_FRAGMENT: u8 = 0x80;

/// Whoever sends `bytes` is closed with `code` at both endpoints: the close frame comes before
/// the end, and there is no reset although the client goes on sending. The room is told once.
#[track_caller]
fn closes(code: u16, bytes: impl AsRef<[u8]>) -> String {
    let server = TestServer::start();
    let mut watcher = server.join(1);
    let ends = |client: &mut Client| {
        client.send(&bytes);
        // It is not told of the fault yet, and talks on.
        client.send(frame(TEXT, "z".repeat(1000)));
        let why = client.is_closed_with(code);
        // The server goes on reading until the client has closed its side too. Closing before that
        // would make the kernel reset the connection, and the close frame might be lost in that.
        client.send(vec![b'z'; 1 << 20]);
        why
    };
    let why = ends(&mut server.echo());
    let mut member = server.join(2);
    member.say("before");
    member.hears(&says(2, "before"));
    assert_eq!(ends(&mut member), why);
    watcher.hears_all([says(2, "before"), left(2)]);
    watcher.says_and_hears(1, "nothing else");
    why
}

#[test]
fn a_binary_message_is_1003() {
    closes(1003, frame(BINARY, [0, 1, 2]));
    closes(1003, frame(BINARY, ""));
    closes(1003, [frame(0x02, "in "), frame(LAST_FRAGMENT, "pieces")].concat());
}

#[test]
fn text_that_is_not_utf_8_is_1007() {
    for bytes in [
        &b"\xff"[..],
        b"abc\xc3",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf0\x9f\xa6",
        b"before \x80 after",
    ] {
        closes(1007, frame(TEXT, bytes));
    }
    closes(1007, [frame(FIRST_FRAGMENT, b"\xf0\x9f"), frame(LAST_FRAGMENT, "x")].concat());
}

#[test]
fn breaking_the_protocol_is_1002_and_told() {
    for (bytes, told) in [
        (UNMASKED.to_vec(), "masks"),
        (frame(RESERVED_DATA, "x"), "opcode"),
        (frame(RESERVED_CONTROL, "x"), "opcode"),
        (frame(TEXT | RSV1, "x"), "reserved bit"),
        (frame(PING & 0x0f, "x"), "no fragments"),
        (frame(PING, [7; 126]), "125 bytes"),
        (frame(PONG, [7; 126]), "125 bytes"),
        (close(1000, &"r".repeat(124)), "125 bytes"),
        (frame(LAST_FRAGMENT, "x"), "nothing to continue"),
        ([frame(FIRST_FRAGMENT, "a"), frame(TEXT, "b")].concat(), "before the last one has ended"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), "opcode"),
    ] {
        let why = closes(1002, bytes);
        assert!(why.starts_with("RFC 6455: ") && why.contains(told), "{why}, not {told}");
    }
    // That is just too long.
    let length = [&[TEXT, 0xff, 0x80][..], &[0; 7], &[0; 4]].concat();
    assert_eq!(closes(1009, length), "a message has at most 65536 bytes");
}

#[test]
fn a_close_frame_that_makes_no_sense_is_1002() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        let why = closes(1002, close(code, ""));
        assert!(why.contains("no close frame has this code"), "{code}: {why}");
    }
    assert!(closes(1002, frame(CLOSE, "x")).contains("a code of two bytes"));
    closes(1007, frame(CLOSE, b"\x03\xe8\xff"));
}

#[test]
fn a_good_close_frame_is_given_back() {
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999] {
        closes(code, close(code, "good bye"));
    }
    let server = TestServer::start();
    let mut client = server.join(1);
    client.send(frame(CLOSE, ""));
    let reply = client.next("the close reply");
    assert_eq!((reply.first, reply.payload.len()), (CLOSE, 0));
    client.peer.ends();
}

#[test]
fn one_byte_too_long_is_1009() {
    closes(1009, frame(TEXT, "x".repeat(MAX_MESSAGE + 1)));
    closes(1009, frame(BINARY, "x".repeat(MAX_MESSAGE + 1)));
    let half = "x".repeat(MAX_MESSAGE / 2);
    let fragments =
        [frame(FIRST_FRAGMENT, &half), frame(FRAGMENT, &half), frame(LAST_FRAGMENT, "x")].concat();
    closes(1009, fragments);
}

/// The length is enough: the server neither waits for such a message nor makes room for it.
#[test]
fn what_is_announced_as_too_long_is_1009_at_once() {
    for len in [MAX_MESSAGE as u64 + 1, 1 << 32, (1 << 63) - 1] {
        let server = TestServer::start();
        let mut client = server.join(1);
        client.send(huge_header(TEXT, len));
        client.send([0; 4]);
        client.is_closed_with(1009);
    }
}

#[test]
fn fragments_without_end_are_1009() {
    let server = TestServer::with(|config| config.limits.max_message = 1000);
    let mut client = server.join(1);
    client.send(frame(FIRST_FRAGMENT, ""));
    for _ in 0..=1000 {
        client.send(frame(FRAGMENT, "x"));
    }
    client.is_closed_with(1009);
}

#[test]
fn the_limit_is_the_one_that_was_set() {
    let server = TestServer::with(|config| config.limits.max_message = 5);
    let mut client = server.join(1);
    client.says_and_hears(1, "12345");
    client.say("123456");
    client.is_closed_with(1009);
}

#[test]
fn silence_is_1011() {
    let server = TestServer::with(|config| {
        config.limits.ping_interval = Duration::from_millis(50);
        config.limits.ping_timeout = Duration::from_millis(50);
    });
    let started: [fn(&mut Client); 3] = [
        |_| {},
        // Half a frame, and then silence.
        |client| client.send(&frame(TEXT, "half")[..7]),
        |client| client.send(frame(FIRST_FRAGMENT, "half a message")),
    ];
    for begin in started {
        for mut client in [server.echo(), server.join(1)] {
            begin(&mut client);
            assert_eq!(client.next("a ping").first, PING);
            client.is_closed_with(1011);
        }
    }
}

/// A client that never closes its side is let go after a while; what it sends is not kept.
#[test]
fn a_close_handshake_that_is_never_answered_ends() {
    let server = TestServer::with(|config| {
        config.limits.max_clients = Some(1);
        config.limits.close_timeout = Duration::from_millis(50);
    });
    let mut stubborn = server.join(1);
    stubborn.send(frame(BINARY, ""));
    stubborn.is_closed_with(1003);
    crate::support::eventually("its place", || server.tries_to_join(2));
}
