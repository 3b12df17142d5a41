use std::time::Duration;

use roomd::AdminListen;
use rustix::system::uname;

use crate::support::{Peer, Response, TestServer, UPGRADE, get};

/// The refusal has this status and no body, though it has the length of one (RFC 9110 section 9.3.2).
#[track_caller]
fn is_bare(response: &Response, status: u16) {
    assert_eq!((response.status, &*response.body), (status, &b""[..]), "{}", response.head);
    assert!(response.field("Content-Length").is_some_and(|len| len != "0"), "{}", response.head);
}

/// Beside the refusals of a whole request: a slow one, one too many, and all at the admin address.
#[test]
fn no_refusal_of_head_has_a_body() {
    let server = TestServer::with(|config| {
        config.admin = AdminListen::At(([127, 0, 0, 1], 0).into());
        config.limits.head_timeout = Duration::from_millis(300);
        config.limits.max_clients = Some(1);
    });
    let admin = server.admin_address().expect("an address of its own");
    let long = "x".repeat(9000);
    for address in [server.address(), admin] {
        is_bare(&Peer::ask(address, "HEAD / HTTP/1.1\r\nHost: local"), 408);
        is_bare(&Peer::ask(address, "HEAD /no.thing HTTP/1.1\r\nHost: localhost\r\n\r\n"), 404);
        is_bare(&Peer::ask(address, "HEAD / HTTP/1.1\r\n\r\n"), 400);
        is_bare(&Peer::ask(address, "HEAD nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"), 400);
        is_bare(&Peer::ask(address, "HEAD / HTTP/9.9\r\nHost: localhost\r\n\r\n"), 400);
        is_bare(&Peer::ask(address, "HEAD / HTTP/1.1\nHost: localhost\n\n"), 400);
        is_bare(&Peer::ask(address, format!("HEAD / HTTP/1.1\r\nX: {long}\r\n")), 431);
        // A method of its own that only begins like this one has a body.
        Peer::ask(address, "HEADER /no.thing HTTP/1.1\r\nHost: localhost\r\n\r\n").refuses(404, "");
        Peer::ask(address, "HEA").refuses(408, "");
    }
    let other = UPGRADE.replace("13", "8");
    // Where there is one place, the request before may still have it.
    let roomy = TestServer::start();
    for fields in ["", UPGRADE, &other] {
        is_bare(&roomy.ask(get("/ws/1", fields).replacen("GET", "HEAD", 1)), 405);
    }
    let _only = server.join(1);
    for path in ["/ws", "/ws/2"] {
        is_bare(&server.ask(get(path, "").replacen("GET", "HEAD", 1)), 503);
        server.ask(get(path, "")).refuses(503, "all places are taken");
    }
    let health = Peer::ask(admin, "HEAD /healthz HTTP/1.0\r\n\r\n");
    assert_eq!((health.status, &*health.body), (200, &b""[..]));
}

/// Names that nobody else can point here, as clients write them.
#[test]
fn a_host_may_be_written_in_many_ways() {
    let server = TestServer::start();
    let node = uname().nodename().to_string_lossy().into_owned();
    let short = node.split('.').next().unwrap_or_default();
    for host in [
        "localhost",
        "LocalHost:8000",
        "localhost.:8000",
        "localhost:",
        "127.0.0.1",
        "192.168.1.5:8000",
        // npm's websocket leaves the brackets out.
        "::1:8000",
        "::1",
        "fd00::1:2:8000",
        "::ffff:192.168.1.5",
        "fe80::1%eth0",
        "fe80::1%eth0:8000",
        "[::1]",
        "[::1]:8000",
        "[FE80::1%25wlan0]:8000",
        "[fe80::1%wlan0]",
        "[::ffff:192.168.1.5]:8000",
        "boat.local:8000",
        &node,
        &node.to_uppercase(),
        short,
        &format!("{short}:8000"),
        &format!("{short}.local"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(server.ask(request).status, 200, "{host}");
    }
    for host in [
        "evil.example",
        &format!("{short}.evil.example"),
        "[::1].evil.example",
        "[::1",
        "::1]",
        "[evil.example]",
        "::1.evil.example",
        "::1/evil.example",
        "fe80::g",
        "1.2.3.4.evil.example",
        "localhost,evil.example",
        "evil.example%25.local.evil.example",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        server.ask(request).refuses(403, "--allow-host");
    }
}

/// A serialized origin and `null` are a page's, everything else is a program's.
#[test]
fn only_an_origin_that_a_browser_sends_is_a_pages() {
    let server = TestServer::start();
    let status = |origin: &str| {
        let mut peer = server.connect();
        peer.send(get("/ws/1", &format!("{UPGRADE}Origin: {origin}\r\n")));
        peer.half_close();
        peer.response().status
    };
    for origin in [
        "",
        "file://",
        "FILE://",
        "file:///home/me/page.html",
        "ws://evil.example",
        "wss://evil.example:8000",
        "http://localhost/",
        "https://evil.example/",
        "https://evil.example/MyClient",
        "evil.example",
        "localhost:8000",
        "http://",
        "http:evil.example",
        "http://user@evil.example",
        "http://evil.example?x",
        "http://evil.example#x",
        "http://evil.example http://other.example",
    ] {
        assert_eq!(status(origin), 101, "{origin}");
    }
    for origin in [
        "null",
        "NULL",
        "http://evil.example",
        "HTTP://evil.example",
        "https://evil.example:444",
        "http://[fd00::1]",
        "http://localhost.evil.example",
        "chrome-extension://abcdefghijklmnop",
        "moz-extension://0123",
        "app://localhost",
        "capacitor://localhost",
        "http://xn--bcher-kva.example",
    ] {
        assert_eq!(status(origin), 403, "{origin}");
    }
}

/// `--allow-origin` takes whatever can appear there, literally.
#[test]
fn any_origin_can_be_allowed() {
    let listed = ["null", "app://localhost", "moz-extension://0123", "http://a.example:81"];
    let server = TestServer::with(|config| config.allow_origin = listed.map(Into::into).into());
    for origin in listed {
        let mut peer = server.connect();
        peer.send(get("/ws/1", &format!("{UPGRADE}Origin: {origin}\r\n")));
        peer.upgraded().leave();
    }
    let other = get("/ws/1", &format!("{UPGRADE}Origin: http://a.example\r\n"));
    server.ask(other).refuses(403, "--allow-origin");
}

#[test]
fn options_is_for_the_server_and_its_page() {
    let server =
        TestServer::with(|config| config.admin = AdminListen::At(([127, 0, 0, 1], 0).into()));
    let admin = server.admin_address().expect("an address of its own");
    for (address, target) in [
        (server.address(), "*"),
        (server.address(), "/"),
        (server.address(), "/?health"),
        (server.address(), "http://localhost/"),
        (admin, "*"),
        (admin, "/"),
    ] {
        // Load balancers send little more than this, also with HTTP/1.0.
        for version in ["1.1\r\nHost: localhost", "1.0"] {
            let response = Peer::ask(address, format!("OPTIONS {target} HTTP/{version}\r\n\r\n"));
            assert_eq!((response.status, &*response.body), (204, &b""[..]), "{target}");
            assert_eq!(response.field("Allow"), Some("GET, HEAD, OPTIONS"));
            assert_eq!(response.field("Connection"), Some("close"));
        }
    }
    for (target, status, allowed) in [
        ("/echo", 405, Some("GET, HEAD")),
        ("/ws", 405, Some("GET")),
        ("/ws/1", 405, Some("GET")),
        ("/no.room", 404, None),
    ] {
        let response = server.ask(get(target, "").replacen("GET", "OPTIONS", 1));
        response.refuses(status, "");
        assert_eq!(response.field("Allow"), allowed, "{target}");
    }
}
