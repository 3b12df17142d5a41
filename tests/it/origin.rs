use crate::support::{TestServer, UPGRADE, get};

/// The status that a handshake gets from a page of this origin under this host.
#[track_caller]
fn status(server: &TestServer, host: &str, origin: &str) -> u16 {
    let origin = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
    let mut peer = server.connect();
    let request = get("/ws/1", &format!("{UPGRADE}{origin}"));
    peer.send(request.replace("Host: localhost", &format!("Host: {host}")));
    peer.half_close();
    let response = peer.response();
    response.status
}

#[test]
fn a_page_elsewhere_is_403_and_the_flag_is_named() {
    let server = TestServer::start();
    for (host, origin) in [
        ("localhost:8000", "http://evil.example"),
        ("localhost:8000", "http://localhost:3000"),
        ("localhost:8000", "http://localhost"),
        ("localhost:8000", "http://localhost:8000.evil.example"),
        ("127.0.0.1:8000", "http://localhost:8000"),
        ("localhost:8000", "null"),
        ("10.0.0.5", "http://10.0.0.6"),
    ] {
        let response = server.ask(
            get("/ws/1", &format!("{UPGRADE}Origin: {origin}\r\n"))
                .replace("Host: localhost", &format!("Host: {host}")),
        );
        response.refuses(403, "--allow-origin");
    }
    // Two answers would be one too many.
    let twice = format!("{UPGRADE}Origin: http://localhost\r\nOrigin: http://evil.example\r\n");
    server.ask(get("/ws/1", &twice)).refuses(400, "two Origin");
}

#[test]
fn the_pages_own_origin_and_programs_are_welcome() {
    let server = TestServer::start();
    for (host, origin) in [
        ("localhost:8000", ""),
        ("localhost:8000", "http://localhost:8000"),
        ("LOCALHOST:8000", "http://localhost:8000"),
        ("localhost", "http://localhost:80"),
        ("localhost", "https://localhost"),
        ("10.0.0.5:8000", "http://10.0.0.5:8000"),
        ("[fd00::1]:8000", "http://[fd00::1]:8000"),
        ("raspberrypi.local:8000", "http://raspberrypi.local:8000"),
        // No browser sends these (RFC 6454): the first is the Arduino library's, then Go's and ws4py's.
        ("localhost:8000", "file://"),
        ("localhost:8000", "http://localhost/"),
        ("localhost:8000", "https://example.org/MyClient"),
        ("localhost:8000", "ws://localhost:8000"),
        ("localhost:8000", "wss://evil.example"),
        ("::1:8000", ""),
        ("::1", ""),
        ("[fe80::1%25eth0]:8000", ""),
    ] {
        assert_eq!(status(&server, host, origin), 101, "{origin} at {host}");
    }
}

/// A name that somebody pointed here (DNS rebinding) gets neither a WebSocket nor the page.
#[test]
fn a_foreign_host_is_403_and_the_flag_is_named() {
    let server = TestServer::start();
    for host in
        ["evil.example", "evil.example:8000", "localhost.evil.example", "10.0.0.5.evil.example"]
    {
        for (path, fields) in [("/", ""), ("/ws", UPGRADE), ("/ws/1", UPGRADE), ("/no.thing", "")] {
            let request = get(path, fields).replace("Host: localhost", &format!("Host: {host}"));
            server.ask(request).refuses(403, "--allow-host");
        }
        assert_eq!(status(&server, host, &format!("http://{host}")), 403, "{host}");
    }
}

#[test]
fn flags_let_more_origins_and_hosts_in() {
    let server = TestServer::with(|config| {
        config.allow_origin = vec!["https://chat.example".into(), "null".into()];
        config.allow_host = vec!["chat.lan".into()];
    });
    for (host, origin, expected) in [
        ("localhost:8000", "https://chat.example", 101),
        ("chat.example", "https://chat.example", 101),
        ("localhost:8000", "null", 101),
        ("chat.lan:8000", "http://chat.lan:8000", 101),
        ("chat.lan", "", 101),
        ("localhost:8000", "http://chat.example", 403),
        ("localhost:8000", "https://chat.example:444", 403),
        ("chat.lan:8000", "http://evil.example", 403),
        ("evil.example", "https://chat.example", 403),
    ] {
        assert_eq!(status(&server, host, origin), expected, "{origin} at {host}");
    }
    let open = TestServer::with(|config| config.allow_origin = vec!["*".into()]);
    assert_eq!(status(&open, "localhost:8000", "http://evil.example"), 101);
    assert_eq!(status(&open, "evil.example", "http://evil.example"), 403, "an origin is no host");
    let any_name = TestServer::with(|config| config.allow_host = vec!["*".into()]);
    assert_eq!(status(&any_name, "some.example", "http://some.example"), 101);
    assert_eq!(status(&any_name, "some.example", "http://evil.example"), 403);
}
