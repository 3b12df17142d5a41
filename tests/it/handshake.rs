use std::io::ErrorKind;
use std::time::Duration;

use crate::support::{ACCEPT, Client, PATIENCE, Peer, TEXT, TestServer, UPGRADE, frame, get, says};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
const TO_WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

/// A server that minds a slow head only after longer than any test takes, so that no answer is
/// due to that.
fn patient() -> TestServer {
    TestServer::with(|config| config.limits.head_timeout = 2 * PATIENCE)
}

#[test]
fn the_response_to_a_good_handshake() {
    let server = TestServer::start();
    for fields in [
        UPGRADE.to_string(),
        UPGRADE.to_lowercase().replace("dghlihnhbxbszsbub25jzq==", "dGhlIHNhbXBsZSBub25jZQ=="),
        format!("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n{VERSION}{KEY}"),
        format!("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n{VERSION}{KEY}"),
        format!(
            "Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{VERSION}{KEY}"
        ),
        format!(
            "{UPGRADE}Sec-WebSocket-Extensions: permessage-deflate\r\nCookie: a=\u{e9}; b=2\r\n"
        ),
    ] {
        let mut peer = server.connect();
        peer.send(get("/ws/1?token=x", &fields));
        peer.half_close();
        let response = peer.response();
        assert_eq!(response.status, 101, "{fields}{}", response.head);
        // To the letter as RFC 6455 writes them: the clients of small boards search for that.
        let fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
        assert!(response.head.contains(&format!("{fields}{ACCEPT}\r\n")), "{}", response.head);
        // Nothing is promised that is not kept.
        assert_eq!(response.field("Sec-WebSocket-Extensions"), None);
        assert_eq!(response.field("Sec-WebSocket-Protocol"), None);
        assert!(response.body.is_empty(), "{response:?}");
    }
}

#[test]
fn a_client_id_that_is_no_integer_is_400() {
    let server = TestServer::start();
    for id in [
        "",
        "x",
        "7x",
        "1.0",
        "1e3",
        "0x7",
        "--7",
        "7%20",
        "%2537",
        "9223372036854775808",
        "-9223372036854775809",
        "null",
    ] {
        for fields in [UPGRADE, ""] {
            let response = server.ask(get(&format!("/ws/{id}"), fields));
            response.refuses(400, "integer");
            let decoded = id.replace("%20", " ").replace("%25", "%");
            response.refuses(400, &format!("'{decoded}'"));
        }
    }
}

#[test]
fn a_path_that_does_not_exist_is_404() {
    let server = TestServer::start();
    for path in
        ["/no.thing", "/ws.2", "/WS", "/ws/1/", "/ws/1/2", "//", "/echo/", "/../Cargo.toml", "*"]
    {
        for fields in [UPGRADE, ""] {
            server.ask(get(path, fields)).refuses(404, "nothing here");
        }
        server.ask(get(path, "").replacen("GET", "POST", 1)).refuses(404, "nothing here");
    }
}

#[test]
fn a_known_path_with_another_method_is_405_with_allow() {
    let server = TestServer::start();
    for (path, allowed, others) in [
        ("/", "GET, HEAD", &["POST", "PUT", "DELETE", "get", "BREW"][..]),
        ("/echo", "GET, HEAD", &["POST"]),
        ("/ws", "GET", &["HEAD", "POST", "CONNECT"]),
        ("/ws/7", "GET", &["HEAD", "POST", "DELETE"]),
    ] {
        for method in others {
            let mut peer = server.connect();
            peer.send(get(path, UPGRADE).replacen("GET", method, 1));
            let response = peer.response();
            assert_eq!(response.field("Allow"), Some(allowed), "{method} {path}");
            if method == &"HEAD" {
                assert_eq!((response.status, &*response.body), (405, &b""[..]));
            } else {
                response.refuses(405, "Allow");
            }
        }
    }
}

#[test]
fn a_plain_request_to_a_websocket_path_is_426() {
    let server = TestServer::start();
    for (path, page) in [
        ("/ws", "/echo"),
        ("/ws/7", "/"),
        ("/ws?x", "/echo"),
        ("/lobby/ws", "/"),
        ("/Lab/ws", "/lab"),
        ("/lab/ws/7", "/lab"),
    ] {
        for fields in ["", "Connection: keep-alive\r\n", VERSION] {
            let response = server.ask(get(path, fields));
            assert_eq!(response.status, 426);
            assert_eq!(response.field("Upgrade"), Some("websocket"));
            let line = format!("this path speaks WebSocket; the page is at {page}\n");
            assert_eq!(response.text(), line);
            response.is_complete();
        }
    }
}

#[test]
fn a_broken_handshake_is_400_and_says_what_is_wrong() {
    let server = TestServer::start();
    for (fields, part) in [
        (format!("{TO_WEBSOCKET}{VERSION}"), "Sec-WebSocket-Key"),
        (format!("{TO_WEBSOCKET}{KEY}"), "Sec-WebSocket-Version"),
        (format!("Upgrade: websocket\r\n{VERSION}{KEY}"), "Connection"),
        (format!("Connection: close\r\nUpgrade: websocket\r\n{VERSION}{KEY}"), "Connection"),
        (format!("Connection: Upgrade\r\n{VERSION}{KEY}"), "Upgrade"),
        (format!("Connection: Upgrade\r\nUpgrade: h2c\r\n{VERSION}{KEY}"), "Upgrade"),
        (format!("{TO_WEBSOCKET}{VERSION}Sec-WebSocket-Key: short==\r\n"), "Sec-WebSocket-Key"),
        (format!("{TO_WEBSOCKET}{VERSION}Sec-WebSocket-Key:\r\n"), "Sec-WebSocket-Key"),
        (
            format!("{TO_WEBSOCKET}{VERSION}Sec-WebSocket-Key: !GhlIHNhbXBsZSBub25jZQ==\r\n"),
            "Sec-WebSocket-Key",
        ),
        (format!("{UPGRADE}{KEY}"), "two Sec-WebSocket-Key"),
        (format!("{UPGRADE}{VERSION}"), "two Sec-WebSocket-Version"),
        (format!("{UPGRADE}Upgrade: websocket\r\n"), "two Upgrade"),
        (format!("{UPGRADE}Content-Length: 3\r\n"), "no body"),
        (format!("{UPGRADE}Transfer-Encoding: chunked\r\n"), "no body"),
    ] {
        for path in ["/ws", "/ws/7"] {
            server.ask(get(path, &fields)).refuses(400, part);
        }
    }
    server.ask(get("/ws", UPGRADE).replace("HTTP/1.1", "HTTP/1.0")).refuses(400, "HTTP");
}

#[test]
fn another_version_of_websocket_is_426_and_names_the_one_spoken() {
    let server = TestServer::start();
    for version in ["8", "12", "14", "0", "", "13, 8", "x"] {
        let fields = format!("{TO_WEBSOCKET}{KEY}Sec-WebSocket-Version: {version}\r\n");
        let response = server.ask(get("/ws", &fields));
        assert_eq!(response.status, 426, "{version}");
        assert_eq!(response.field("Sec-WebSocket-Version"), Some("13"));
        assert_eq!(response.field("Upgrade"), Some("websocket"));
        assert!(response.text().contains("13"), "{}", response.text());
    }
}

/// A head of so many bytes.
fn head_of(len: usize) -> String {
    let frame = get("/ws", &format!("{UPGRADE}X: \r\n")).len();
    get("/ws", &format!("{UPGRADE}X: {}\r\n", "x".repeat(len - frame)))
}

#[test]
fn a_head_has_8192_bytes_and_not_one_more() {
    let server = patient();
    let mut largest = server.connect();
    largest.send(head_of(8192));
    let mut client = largest.upgraded();
    client.say("it fits");
    client.hears("Message text was: it fits");
    server.ask(head_of(8193)).refuses(431, "8192 bytes");
    server.ask(head_of(100_000)).refuses(431, "8192 bytes");
    // Without an end: it is clear that it cannot come in time.
    server.ask(&head_of(9000)[..8192]).refuses(431, "8192 bytes");
    server.ask(format!("GET /{} HTTP/1.1\r\n", "a".repeat(8192))).refuses(431, "8192 bytes");
}

#[test]
fn a_head_has_64_fields_and_not_one_more() {
    let server = patient();
    let head_of = |fields: usize| {
        // Host is one, UPGRADE four.
        get("/ws", &format!("{UPGRADE}{}", "X: y\r\n".repeat(fields - 5)))
    };
    let mut largest = server.connect();
    largest.send(head_of(64));
    largest.upgraded().leave();
    server.ask(head_of(65)).refuses(431, "64 fields");
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let server = patient();
    let mut peer = server.connect();
    peer.drip(get("/ws/1", UPGRADE));
    peer.upgraded().says_and_hears(1, "at last");
    let mut peer = server.connect();
    peer.drip(get("/", ""));
    assert_eq!(peer.response().status, 200);
}

#[test]
fn a_head_that_takes_too_long_is_408() {
    let server = TestServer::with(|config| config.limits.head_timeout = Duration::from_millis(200));
    for start in ["", "G", "GET /ws HTTP/1.1\r\nHost: local", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        server.ask(start).refuses(408, "too long");
    }
}

/// The deadline is one for the whole head: a byte now and then doesn't put it off.
#[test]
fn a_head_that_drips_in_is_408_all_the_same() {
    let server = TestServer::with(|config| config.limits.head_timeout = Duration::from_millis(300));
    let mut peer = server.connect();
    // A byte whenever no answer has come for a moment.
    peer.stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
    let mut head = get("/ws", UPGRADE).into_bytes().into_iter();
    while peer.stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
        peer.send([head.next().expect("an answer before the end of the head")]);
    }
    peer.response().refuses(408, "too long");
}

#[test]
fn what_is_not_http_is_400_at_once() {
    let server = patient();
    let hello: &[u8] = b"\x16\x03\x01\x00\x7f\x01\x00\x00\x7b\x03\x03\x0a\x0d\x0a\x0d\x0a";
    for bytes in [
        hello,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x00\x01\x02\x03",
        b"\xff\xfe\xfd",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.2\r\n\r\n",
        b"GET / HTTP/3.0\r\n\r\n",
        b"GET / http/1.1\r\nHost: localhost\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n",
        b"GET nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b" GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        server.ask(bytes).refuses(400, "");
    }
}

#[test]
fn a_malformed_head_is_400() {
    let server = patient();
    for head in [
        "GET / HTTP/1.1\nHost: localhost\n\n",
        "GET / HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX\0: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n X: folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n: no name\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nH\u{e9}: y\r\n\r\n",
    ] {
        eprintln!("{head:?}");
        server.ask(head).refuses(400, "");
    }
}

/// High bytes are data: allowed in a field, and no path of ours has any.
#[test]
fn high_bytes_are_data() {
    let server = TestServer::start();
    let mut head = get("/", "Cookie: ").into_bytes();
    head.truncate(head.len() - 2);
    head.extend(b"\xe4\xff\x80\r\n\r\n");
    assert_eq!(server.ask(head).status, 200);
    let status = server.ask(b"GET /\xe4\xff HTTP/1.1\r\nHost: localhost\r\n\r\n").status;
    assert!(matches!(status, 400 | 404), "{status}");
}

#[test]
fn an_absolute_uri_and_http_1_0_are_understood() {
    let server = TestServer::start();
    assert_eq!(server.ask(get("http://localhost/", "")).status, 200);
    assert_eq!(server.ask("GET / HTTP/1.0\r\n\r\n").status, 200);
    server.ask("GET /no.thing HTTP/1.0\r\n\r\n").refuses(404, "");
    server.ask(get("http://localhost/ws/x", UPGRADE)).refuses(400, "integer");
    // The URI's host counts, not the field's (RFC 9112 section 3.2.2).
    server.ask(get("http://evil.example/", "")).refuses(403, "evil.example");
    let client = server.connect().upgrade("http://localhost/ws/5");
    client.leave();
}

/// Both lengths at once, one twice, or one that is no number: nobody behind us could read the
/// request in another way than we do, since none of it is passed on, and it is refused as well.
#[test]
fn a_body_told_in_two_ways_is_400() {
    let server = TestServer::start();
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\ncontent-length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 5 5\r\n",
    ] {
        for method in ["GET", "POST"] {
            for path in ["/", "/ws", "/ws/7"] {
                let head = get(path, fields).replacen("GET", method, 1);
                let smuggled = get("/ws/666", UPGRADE);
                server.ask(head + "0\r\n\r\n" + &smuggled).refuses(400, "");
            }
        }
    }
    let chunked_1_0 = get("/", "Transfer-Encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0");
    server.ask(chunked_1_0).refuses(400, "");
}

/// A connection is for one request. What comes behind it, a body or another request, is not
/// answered, and does not spoil the answer by a reset.
#[test]
fn a_body_or_another_request_behind_it_changes_nothing() {
    let server = TestServer::start();
    let mut member = server.join(1);
    let page = server.ask(get("/", ""));
    for fields in [
        "Content-Length: 5\r\n",
        "Content-Length: 100000\r\n",
        "Transfer-Encoding: chunked\r\n",
        "",
    ] {
        let behind = get("/ws/666", UPGRADE) + &"x".repeat(50_000);
        let response = server.ask(get("/", fields) + &behind);
        assert_eq!((response.status, &response.body), (200, &page.body), "{fields}");
        let response = server.ask(get("/", fields).replacen("GET", "POST", 1) + &behind);
        response.refuses(405, "");
        server.ask(get("/no.thing", fields) + &behind).refuses(404, "");
    }
    member.says_and_hears(1, "nobody came");
}

/// A client need not wait for the response before it talks.
#[test]
fn frames_right_behind_the_request_are_heard() {
    let server = TestServer::start();
    let mut watcher = server.join(1);
    for len in [0, 1, 700, 1024, 1536, 5000, 60_000] {
        let text = "z".repeat(len);
        let bytes = [get("/ws/2", UPGRADE).as_bytes(), &frame(TEXT, &text)].concat();
        // Also in two pieces, of which the first ends anywhere.
        let request = get("/ws/2", UPGRADE).len();
        for cut in [bytes.len(), request - 1, request, request + 1, request + 5] {
            let mut peer = server.connect();
            peer.send(&bytes[..cut]);
            peer.send(&bytes[cut..]);
            let mut client = peer.upgraded();
            client.hears(&says(2, &text));
            watcher.hears(&says(2, &text));
            client.leave();
            watcher.hears("Client #2 left the chat");
        }
    }
}

#[test]
fn who_goes_away_while_it_shakes_hands_is_forgotten() {
    let server = TestServer::with(|config| config.limits.max_clients = Some(2));
    let mut watcher = server.join(1);
    let request = get("/ws/2", UPGRADE);
    for cut in (0..request.len()).step_by(5) {
        let ways: [fn(Peer); 2] = [drop, Peer::reset];
        for way in ways {
            let mut peer = server.connect();
            peer.send(&request[..cut]);
            way(peer);
        }
        let mut peer = server.connect();
        peer.send(&request[..cut]);
        peer.half_close();
        peer.ends();
    }
    let mut other = server.join(3);
    other.says_and_hears(3, "there was nobody");
    watcher.hears(&says(3, "there was nobody"));
}

/// A thousand connections that say half of a request: everybody else is served as ever.
#[test]
fn a_crowd_that_is_half_open_disturbs_nobody() {
    let server = patient();
    let (mut one, mut other) = (server.join(1), server.join(2));
    let talk = |one: &mut Client, other: &mut Client, text: &str| {
        one.says_and_hears(1, text);
        other.hears(&says(1, text));
    };
    let crowd: Vec<_> = (0..1000)
        .map(|n| {
            let mut peer = server.connect();
            peer.send(&get("/ws/666", UPGRADE)[..n % 90]);
            if n % 100 == 0 {
                talk(&mut one, &mut other, &n.to_string());
            }
            peer
        })
        .collect();
    talk(&mut one, &mut other, "hello");
    let mut newcomer = server.join(3);
    newcomer.says_and_hears(3, "let me in");
    assert_eq!(server.ask(get("/", "")).status, 200);
    drop(crowd);
    for client in [&mut one, &mut other] {
        client.hears(&says(3, "let me in"));
    }
    talk(&mut one, &mut other, "they are gone");
}
