use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use roomd::AdminListen;

use crate::support::{PATIENCE, Peer, Response, TestServer, UPGRADE, eventually, get};

/// A server with few slots, all of which silent connections have, and those. The server minds them
/// only after longer than any test takes.
fn full_server() -> (TestServer, Vec<Peer>) {
    let server = TestServer::with(|config| {
        config.admin = AdminListen::At(([127, 0, 0, 1], 0).into());
        config.limits.max_memory = Some(8 << 20);
        config.limits.head_timeout = 2 * PATIENCE;
    });
    let mut crowd = Vec::new();
    eventually("a connection too many", || {
        crowd.push(server.connect());
        (refusals(&server) > 0).then_some(())
    });
    (server, crowd)
}

fn admin(server: &TestServer) -> SocketAddr {
    server.admin_address().expect("an address of its own")
}

/// Connections that were refused because all slots were taken.
#[track_caller]
fn refusals(server: &TestServer) -> u64 {
    let metrics = Peer::ask(admin(server), get("/metrics", ""));
    let name = "roomd_refusals_total{status=\"503\",reason=\"full\"} ";
    let count = metrics.text().lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
    count.expect("a count of refusals")
}

#[test]
fn a_connection_too_many_gets_its_503() {
    let (server, _crowd) = full_server();
    for _ in 0..10 {
        thread::scope(|scope| {
            for n in 0..15 {
                let server = &server;
                scope.spawn(move || {
                    let (path, fields) = [("/", ""), ("/ws/1", UPGRADE), ("/no.thing", "")][n % 3];
                    let response = server.ask(get(path, fields));
                    response.refuses(503, "all places are taken");
                    assert!(response.field("Retry-After").is_some(), "{}", response.head);
                });
            }
        });
    }
}

/// Also a request that comes in pieces, or of which only a part comes.
#[test]
fn a_connection_too_many_gets_no_body_for_head() {
    let (server, _crowd) = full_server();
    let head = get("/", "").replacen("GET", "HEAD", 1);
    let is_bare = |peer: Peer| {
        let response = peer.response();
        assert_eq!((response.status, &*response.body), (503, &b""[..]));
        assert!(response.field("Content-Length").is_some_and(|len| len != "0"));
    };
    for _ in 0..20 {
        let mut peer = server.connect();
        peer.send(&head);
        is_bare(peer);
    }
    let mut peer = server.connect();
    peer.drip(&head);
    is_bare(peer);
    let mut peer = server.connect();
    peer.send("HEAD /");
    is_bare(peer);
    // Nothing at all, or the beginning of either method.
    for start in ["", "H", "HE", "G", "POST / HTTP/1.1\r\n"] {
        server.ask(start).refuses(503, "all places are taken");
    }
    let mut peer = server.connect();
    peer.send(&head);
    peer.half_close();
    is_bare(peer);
}

/// An EventSource would never come again after a 503.
#[test]
fn an_event_source_too_many_is_told_to_come_again() {
    let (server, _crowd) = full_server();
    let request = get("/lab/sse", "Accept: text/event-stream\r\nCookie: a=b\r\n");
    let comes_again = |response: Response| {
        assert_eq!(response.status, 200, "{}", response.head);
        assert_eq!(response.field("Content-Type"), Some("text/event-stream"));
        assert_eq!(response.text(), "retry: 15000\nevent: full\ndata: {}\n\n");
    };
    for _ in 0..20 {
        comes_again(server.ask(&request));
    }
    let mut peer = server.connect();
    peer.drip(&request);
    comes_again(peer.response());
    // What it accepts is behind more than is looked at.
    let fields = format!("Cookie: {}\r\nAccept: text/event-stream\r\n", "x".repeat(4000));
    server.ask(get("/lab/sse", &fields)).refuses(503, "all places are taken");
    server.ask(get("/lab/json", "")).refuses(503, "all places are taken");
}

/// What comes behind the request, however much, does not take the answer away.
#[test]
fn a_body_behind_it_does_not_spoil_the_503() {
    let (server, _crowd) = full_server();
    for _ in 0..10 {
        let post = get("/", "Content-Length: 60000\r\n").replacen("GET", "POST", 1);
        server.ask(post + &"x".repeat(60_000)).refuses(503, "all places are taken");
    }
}

/// Silent connections that keep coming, and are refused as well, do not starve a request.
#[test]
fn a_flood_that_is_refused_starves_nobody() {
    let (server, _crowd) = full_server();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut flood = std::collections::VecDeque::new();
                while !is_over.load(Ordering::Relaxed) {
                    // One that gives way at once may be reset before `connect` has looked at it.
                    flood.extend(TcpStream::connect(server.address()));
                    if flood.len() > 300 {
                        flood.pop_front();
                    }
                }
            });
        }
        // Also when an assertion fails, or the scope would wait for ever.
        let _end = OnDrop(|| is_over.store(true, Ordering::Relaxed));
        let before = refusals(&server);
        eventually("a flood", || (refusals(&server) > before + 1000).then_some(()));
        for _ in 0..200 {
            server.ask(get("/", "")).refuses(503, "all places are taken");
        }
    });
}

/// The admin address has few slots, and connections that send nothing do not keep a scraper out.
#[test]
fn idle_connections_give_way_at_the_admin_address() {
    let server = TestServer::with(|config| {
        config.admin = AdminListen::At(([127, 0, 0, 1], 0).into());
        config.limits.head_timeout = 2 * PATIENCE;
        config.limits.close_timeout = Duration::from_secs(1);
    });
    let address = admin(&server);
    let mut idle: Vec<_> = (0..8).map(|_| Peer::connect(address)).collect();
    // Half a request is not more.
    idle[3].send("GET /metrics HTTP/1.1\r\nHost: ");
    for _ in 0..20 {
        let response = Peer::ask(address, get("/metrics", ""));
        assert_eq!(response.status, 200, "{}", response.head);
        response.is_complete();
    }
    // The first of them had to go.
    idle.remove(0).ends();
    for round in 0..20 {
        idle.extend((0..8).map(|_| Peer::connect(address)));
        let response = Peer::ask(address, get("/healthz", ""));
        assert_eq!((response.status, response.text()), (200, "ok\n"), "round {round}");
    }
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Whoever goes away again leaves nothing behind: afterwards there are slots as before.
#[test]
fn the_slots_come_back() {
    let (server, crowd) = full_server();
    server.ask(get("/", "")).refuses(503, "all places are taken");
    drop(crowd);
    eventually("a slot", || (server.ask(get("/", "")).status == 200).then_some(()));
    let mut client = server.join(1);
    client.says_and_hears(1, "there is room");
}
