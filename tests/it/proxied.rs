//! Clients of a proxy that is trusted to say for whom it asks: each has limits of its own.

use std::time::Duration;

use crate::support::{Client, Peer, Program, TestServer, UPGRADE, get};

/// A server that trusts loopback, as where a proxy is on the same machine.
fn behind_proxy(clients_per_ip: usize) -> TestServer {
    TestServer::with(|config| {
        config.trust_proxy = vec!["127.0.0.1".parse().expect("a network")];
        config.limits.max_clients_per_ip = Some(clients_per_ip);
    })
}

fn field_for(client: &str) -> String {
    format!("X-Forwarded-For: {client}\r\n")
}

/// Joins through the proxy, which sends these `fields` (whole lines).
#[track_caller]
fn join(server: &TestServer, id: i64, fields: &str) -> Client {
    knock(server, id, fields).upgraded()
}

#[track_caller]
fn is_refused(server: &TestServer, fields: &str) {
    knock(server, 99, fields).response().refuses(503, "your address has all the places");
}

fn knock(server: &TestServer, id: i64, fields: &str) -> Peer {
    let mut peer = server.connect();
    peer.send(get(&format!("/ws/{id}"), &format!("{UPGRADE}{fields}")));
    peer
}

#[test]
fn clients_of_a_proxy_count_for_their_own_addresses() {
    let server = behind_proxy(2);
    let [a, b] = ["192.0.2.1", "192.0.2.2"].map(field_for);
    let mut first = join(&server, 1, &a);
    let second = join(&server, 2, &a);
    is_refused(&server, &a);
    is_refused(&server, "Forwarded: for=192.0.2.1;proto=https\r\n");
    is_refused(&server, "Forwarded: for=\"192.0.2.1:4711\"\r\nX-Forwarded-For: 192.0.2.1\r\n");
    let _other = join(&server, 3, &b);
    let _ipv6 = join(&server, 4, "Forwarded: for=\"[2001:db8::1]:4711\"\r\n");
    let _same = join(&server, 5, &field_for("2001:db8::2"));
    is_refused(&server, &field_for("2001:db8::3"));
    first.says_and_hears(1, "each has its places");
    // The place of one that leaves is its address's again.
    drop(second);
    let mut first_again =
        crate::support::eventually("its place", || knock(&server, 6, &a).upgraded_unless_full());
    first_again.says_and_hears(6, "here");
}

#[test]
fn a_client_that_makes_up_a_field_gains_nothing() {
    let server = behind_proxy(1);
    let _first = join(&server, 1, &field_for("192.0.2.1"));
    // The proxy adds the address behind it, in the same line or another one.
    is_refused(&server, &field_for("192.0.2.66, 192.0.2.1"));
    is_refused(&server, &format!("{}{}", field_for("192.0.2.66"), field_for("192.0.2.1")));
    is_refused(&server, &field_for("127.0.0.1, 192.0.2.1, 127.0.0.1"));
    is_refused(&server, "Forwarded: for=\"192.0.2.66\r\nForwarded: for=192.0.2.1\r\n");
}

/// Without an address that is believed the proxy itself is meant, which has limits even on loopback.
#[test]
fn what_is_malformed_or_missing_counts_for_the_proxy() {
    let server = behind_proxy(1);
    let _first = join(&server, 1, "");
    for fields in [
        String::new(),
        field_for(""),
        field_for("unknown"),
        field_for("192.0.2.1, unknown"),
        field_for("192.0.2.1 192.0.2.2"),
        field_for(&format!("192.0.2.1{}", ", 127.0.0.1".repeat(16))),
        "Forwarded: for=_hidden\r\n".into(),
        format!("Forwarded: for=192.0.2.1\r\n{}", field_for("192.0.2.2")),
        field_for("127.0.0.1"),
    ] {
        is_refused(&server, &fields);
    }
    // The page has places beside those for clients.
    assert_eq!(server.ask(get("/", "")).status, 200);
    let _other = join(&server, 2, &field_for("192.0.2.1"));
}

#[test]
fn whoever_is_not_trusted_is_not_believed() {
    let server = TestServer::with(|config| {
        config.trust_proxy = vec!["10.0.0.0/8".parse().expect("a network")];
        config.limits.max_clients_per_ip = Some(1);
    });
    let of_one = field_for("192.0.2.1");
    let _exempt: Vec<_> = (0..5).map(|id| join(&server, id, &of_one)).collect();
}

/// Requests and clients of one address have its slots, and leave those of others.
#[test]
fn requests_count_for_the_client_as_soon_as_their_head_is_there() {
    let server = behind_proxy(2);
    // Answered late: each waits for its body.
    let wait = |client| {
        let mut peer = server.connect();
        let fields = format!("Content-Length: 5\r\n{}", field_for(client));
        peer.send(format!("POST /lobby HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"));
        peer.send("1");
        peer
    };
    let waiting: Vec<_> = (0..2 + 32).map(|_| wait("192.0.2.1")).collect();
    crate::support::eventually("the last place", || {
        let response = server.ask(get("/", &field_for("192.0.2.1")));
        (response.status == 503).then(|| response.refuses(503, "your address has all the places"))
    });
    assert_eq!(server.ask(get("/", &field_for("192.0.2.2"))).status, 200);
    assert_eq!(server.ask(get("/", "")).status, 200);
    let refused = server.ask(format!("\0{}", get("/", "")));
    refused.refuses(400, "not HTTP");
    drop(waiting);
}

/// The rates of messages and of new rooms are the client's, and publishers have tags of their own.
#[test]
fn rates_and_tags_are_the_clients() {
    let server = TestServer::with(|config| {
        config.trust_proxy = vec!["127.0.0.0/8".parse().expect("a network")];
        config.limits.rate = 1;
        config.limits.max_clients_per_ip = Some(1000);
        config.limits.close_timeout = Duration::from_millis(100);
    });
    let post = |room: usize, client: &str| {
        server.ask(format!(
            "POST /room{room} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\
             Content-Length: 2\r\n{}\r\nhi",
            field_for(client)
        ))
    };
    let by = |response: &crate::support::Response| {
        assert_eq!(response.status, 201, "{}{}", response.head, response.text());
        let (_, tag) = response.text().split_once("\"by\":\"").expect("whose it is");
        tag[..8].to_string()
    };
    let tags = ["192.0.2.1", "192.0.2.2", "192.0.2.1"].map(|client| by(&post(0, client)));
    assert!(tags[0] == tags[2] && tags[0] != tags[1], "{tags:?}");
    let made = (1..20).take_while(|room| post(*room, "192.0.2.1").status == 201).count();
    assert_eq!(made, 7, "with the first one it has made eight rooms");
    assert_eq!(post(20, "192.0.2.2").status, 201);

    // Twenty are a burst, and ten more have their turn within a second.
    let say = |client: &str| {
        let mut peer = server.connect();
        let fields = format!("Content-Length: 2\r\n{}", field_for(client));
        peer.send(format!("POST /lobby HTTP/1.1\r\nHost: localhost\r\n{fields}\r\nhi"));
        peer
    };
    let crowd: Vec<_> = (0..200).map(|_| say("192.0.2.1")).collect();
    assert_eq!(say("192.0.2.2").response().status, 201, "others publish at once");
    let refused = crowd.into_iter().map(Peer::response);
    let refused = refused.filter(|response| response.status == 429).count();
    assert!((1..200).contains(&refused), "{refused} of 200 were too many");
}

#[test]
fn the_log_names_client_and_proxy() {
    let program =
        Program::start(&["--trust-proxy", "10.0.0.0/8,127.0.0.1", "--max-clients-per-ip=1"]);
    // A check of the proxy's own is no reason to warn.
    program.ask(get("/healthz", "")).is_complete();
    let mut peer = program.connect();
    peer.send(get("/ws/7", &format!("{UPGRADE}{}", field_for("192.0.2.66, 192.0.2.1, 10.0.0.9"))));
    let client = peer.upgraded();
    program.line("client #7 joins from 192.0.2.1 through 127.0.0.1:");
    let mut second = program.connect();
    second.send(get("/ws/8", &format!("{UPGRADE}{}", field_for("192.0.2.1"))));
    second.response().refuses(503, "your address");
    program.line("refused 192.0.2.1 through 127.0.0.1:");
    client.leave();
    program.line("client #7 at 192.0.2.1 through 127.0.0.1:");
    // Told once.
    program.ask(get("/", "")).is_complete();
    program.line("the trusted proxy 127.0.0.1 does not say for whom it asks");
}
