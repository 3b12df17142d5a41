use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use roomd::AdminListen;

use crate::support::{PATIENCE, Peer, Program, TestServer, UPGRADE, close, eventually, get};

/// So many characters of a client's are in an answer or a log line, and a line around them.
const LONGEST: usize = 100 + 250;

/// What a client sends, however long and odd, is in no answer and in no line of the log at length.
#[test]
fn answers_and_log_lines_hold_little_of_what_a_client_sends() {
    let program = Program::start(&[]);
    for odd in ["é", "\u{10fffe}", "\"", "水", "\u{ad}", "'\\"] {
        let [longest, long] = [8100, 7900].map(|bytes| odd.repeat(bytes / odd.len()));
        let whole = &long.as_bytes()[..2600 / odd.len() * odd.len()];
        let escaped = whole.iter().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let long_host = format!("GET / HTTP/1.1\r\nHost: {longest}\r\n\r\n");
        for (request, status) in [
            (long_host.clone(), 403),
            (long_host.replace("GET", "OPTIONS").replace(" / ", " /x "), 403),
            (get("/ws/1", &format!("Origin: http://{long}\r\n")), 403),
            (get(&format!("/ws/{escaped}"), ""), 400),
            (get(&format!("/{escaped}"), ""), 404),
            (get(&format!("/invite?{escaped}"), ""), 400),
            (get("/ws/1", &UPGRADE.replace("13", &long)), 426),
            (get("/ws/1", &UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", &long)), 400),
            (
                get("/ws/1", &UPGRADE.replace("Upgrade: websocket", &format!("Upgrade: {long}"))),
                400,
            ),
            (get("/ws/1", &UPGRADE.replace(": Upgrade", &format!(": {long}"))), 400),
            (get("/", &format!("Content-Length: {long}\r\n")), 400),
            (format!("{} / HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(4050)), 405),
        ] {
            let mut peer = program.connect();
            peer.send(&request);
            let response = peer.response();
            assert_eq!(response.status, status, "{odd:?}: {}", response.text());
            let len = response.text().chars().count();
            assert!(len <= LONGEST, "{len} characters: {}", response.text());
        }
    }
    let mut client = program.join(1);
    // The longest reason that a close frame has room for.
    client.send(close(4000, &"\u{1}".repeat(123)));
    client.is_closed_with(4000);
    let line = program.line("client #1 at 127.0.0.1");
    assert!(line.contains("(4000, '\\u{1}"), "{line}");
    drop(client);
    program.signal(rustix::process::Signal::TERM);
    let lines = program.lines_to_the_end();
    assert!(!lines.is_empty());
    for line in lines.iter().chain([&line]) {
        let len = line.chars().count();
        assert!(len <= LONGEST, "{len} characters: {line}");
    }
}

/// Threads, descriptors and memory (in KiB) of a process.
fn held(program: &Program) -> (usize, usize, usize) {
    let process = format!("/proc/{}", program.pid().as_raw_nonzero());
    let entries = |name| fs::read_dir(format!("{process}/{name}")).expect("a process").count();
    let status = fs::read_to_string(format!("{process}/status")).expect("a process");
    let memory =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split(' ').rev().nth(1));
    (entries("task"), entries("fd"), memory.and_then(|kib| kib.parse().ok()).expect("a size"))
}

/// Any bytes in any field, many thousand times, cost nothing that stays.
#[test]
fn odd_fields_leave_nothing_behind() {
    const CONNECTIONS: usize = 32;
    const ROUNDS: usize = 200;
    let program = Program::start(&["--log-level", "error"]);
    let fields: Vec<&[u8]> = vec![
        b"If-None-Match: \"\xc3\xa9\"",
        b"If-None-Match: \"\xe9\"",
        b"If-None-Match: *, \"\", W/",
        b"Accept-Encoding: gzip;q=\xff, *;;;q=",
        b"Connection: \xff",
        b"Upgrade: \x80, websocket",
        b"Origin: http://\xc3\xa9",
        b"Content-Length: \xb2",
        b"Transfer-Encoding: \xc3\xa9",
        b"Sec-WebSocket-Key: \xff\xfe",
        b"X-\xe9: y",
        b"Cookie: \x80\xff\t\"",
        b"Expect: 100-continue",
        b"Range: bytes=\xe9-",
    ];
    let round = |rounds: usize| {
        thread::scope(|scope| {
            for number in 0..CONNECTIONS {
                let (program, fields) = (&program, &fields);
                scope.spawn(move || {
                    for round in 0..rounds {
                        let field = fields[(number + round) % fields.len()];
                        let path = ["/", "/ws/1", "/echo", "/metrics"][round % 4];
                        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
                        let mut peer = program.connect();
                        peer.send([head.as_bytes(), field, b"\r\n\r\n"].concat());
                        let status = peer.response().status;
                        assert!([200, 304, 400, 403, 426].contains(&status), "{status}");
                    }
                });
            }
        });
    };
    // With an answer there are all threads, that of the answer included.
    assert_eq!(program.ask(get("/", "")).status, 200);
    let fresh = held(&program);
    // What the allocator needs once.
    round(ROUNDS);
    let (_, _, memory) = held(&program);
    round(ROUNDS);
    eventually("the end of all threads and connections", || {
        let (threads, descriptors, _) = held(&program);
        (threads <= fresh.0 && descriptors <= fresh.1).then_some(())
    });
    let (_, _, after) = held(&program);
    assert!(after <= memory + 1024, "{after} KiB after {memory} KiB");
    assert_eq!(program.ask(get("/", "")).status, 200);
}

/// States of a socket in /proc/net/tcp that hold nothing: it listens, or has come to its end.
const DONE: [&str; 2] = ["0A", "06"];

/// Sockets of a server that are not done: their states, and how many bytes wait to be sent.
fn sockets(server: SocketAddr) -> Vec<(String, usize)> {
    let table = fs::read_to_string("/proc/net/tcp").expect("the sockets of this network");
    let port = format!(":{:04X}", server.port());
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1].ends_with(&port) && !DONE.contains(&row[3]))
        .map(|row| {
            let waiting =
                row[4].split(':').next().and_then(|hex| usize::from_str_radix(hex, 16).ok());
            (row[3].to_string(), waiting.expect("a number"))
        })
        .collect()
}

/// The kernel keeps nothing of what the peer does not take: clients that ask and never read, with
/// their connection open or half closed, are gone in their time with all that waited for them.
#[test]
fn what_is_not_taken_is_dropped() {
    for is_half_closed in [false, true] {
        let server = TestServer::with(|config| {
            config.admin = AdminListen::At(([127, 0, 0, 1], 0).into());
            config.limits.close_timeout = Duration::from_secs(2);
            config.limits.ping_interval = Duration::from_millis(200);
            config.limits.ping_timeout = Duration::from_millis(200);
        });
        let admin = server.admin_address().expect("an address of its own");
        let page = server.ask(get("/", ""));
        let script = page.text().split("src=\"").nth(1).and_then(|rest| rest.split('"').next());
        let script = format!("/{}", script.expect("a script").replace("main.js", "log.js"));
        let mut clients = Vec::new();
        // The first two are longer than what such a client's kernel takes unread.
        for (address, path, fields, is_long) in [
            (server.address(), &*script, "", true),
            (admin, "/metrics", "", true),
            (admin, "/no.thing", "", false),
            (server.address(), "/no.thing", "", false),
            (server.address(), "/ws", UPGRADE, false),
            (server.address(), "/ws/7", UPGRADE, false),
        ] {
            // Six at the admin address, which has eight slots.
            for _ in 0..3 {
                let mut peer = Peer::narrow(address);
                peer.send(get(path, fields));
                if is_half_closed {
                    peer.half_close();
                }
                clients.push(peer);
                let waits = || sockets(address).iter().any(|(_, waiting)| *waiting > 1000);
                if is_long {
                    eventually("bytes that are not taken", || waits().then_some(()));
                }
            }
        }
        for address in [server.address(), admin] {
            eventually("the end of the kernel's patience", || {
                sockets(address).is_empty().then_some(())
            });
        }
        drop(clients);
    }
}

/// The same for those for whom there is no slot.
#[test]
fn a_refused_connection_that_stays_is_dropped() {
    let server = TestServer::with(|config| {
        config.limits.max_memory = Some(8 << 20);
        config.limits.head_timeout = 2 * PATIENCE;
    });
    let mut crowd = Vec::new();
    let refused = eventually("a connection too many", || {
        let mut peer = server.connect();
        peer.send("GET");
        crowd.push(peer);
        // Those that are served wait for the rest of the request.
        crowd.iter().position(Peer::is_answered)
    });
    let slots = refused;
    let mut refused = crowd.split_off(slots);
    for path in ["/", "/ws"] {
        for is_half_closed in [false, true] {
            let mut peer = Peer::narrow(server.address());
            peer.send(get(path, ""));
            if is_half_closed {
                peer.half_close();
            }
            refused.push(peer);
        }
    }
    eventually("the end of those that are refused", || {
        (sockets(server.address()).len() <= slots).then_some(())
    });
}
