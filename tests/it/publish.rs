//! Messages that are published with POST.

use std::io::Read as _;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use roomd::Config;
use serde_json::{Value, json};

use crate::support::{Member, PATIENCE, Peer, Response, TestServer, get, me, says};

/// A request that publishes `body`, with these `fields` (whole lines).
fn post(path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{fields}\r\n{body}"
    )
}

/// The number of the message that was published.
#[track_caller]
fn published(response: &Response) -> u64 {
    assert_eq!(response.status, 201, "{}{}", response.head, response.text());
    let id = response.text().strip_suffix('\n').expect("a line");
    let (epoch, seq) = id.split_once('.').expect("EPOCH.SEQ");
    assert!((1..=12).contains(&epoch.len()), "{id}");
    assert_eq!(response.field("Vary"), Some("Accept, Origin"));
    assert_eq!(response.field("Cache-Control"), Some("no-store"));
    response.is_complete();
    seq.parse().expect("a number")
}

#[track_caller]
fn msg(response: &Response) -> Value {
    let msg: Value = serde_json::from_str(response.text()).expect("an object");
    assert_eq!(msg["t"], "msg", "{msg}");
    msg
}

#[test]
fn what_is_published_is_heard_and_has_a_number() {
    let server = TestServer::start();
    let mut client = server.join(7);
    assert_eq!(published(&server.ask(post("/lobby", "", "hello"))), 1);
    client.hears(&says(0, "hello"));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(published(&server.ask(post("/LOBBY/", form, "a=b+c%20"))), 2);
    client.hears(&says(0, "a=b+c%20"));
    assert_eq!(published(&server.ask(post("/lobby", "", "\n\n").replacen("POST", "PUT", 1))), 3);
    client.hears(&says(0, "\n"));
    assert_eq!(published(&server.ask(post("/lab", "", "elsewhere"))), 1, "another room");
}

#[test]
fn json_is_answered_where_it_is_accepted() {
    let server = TestServer::start();
    let json = "Accept: application/json\r\n";
    let response = server.ask(post("/lab?name=Pump+3", json, "stopped"));
    assert_eq!((response.status, response.field("Content-Type")), (201, Some("application/json")));
    let first = msg(&response);
    assert_eq!(
        (&first["seq"], &first["name"], &first["text"]),
        (&1.into(), &"Pump 3".into(), &"stopped".into())
    );
    let by = first["by"].as_str().expect("a tag");
    assert!(by.len() == 8 && by.starts_with('~'), "{by}");
    let second = msg(&server.ask(post("/lab", json, "on")));
    assert_eq!(
        (&second["by"], &second["name"]),
        (&first["by"], &first["by"]),
        "no name is the tag"
    );
    let elsewhere = msg(&server.ask(post("/other", json, "on")));
    assert_ne!(elsewhere["by"], first["by"], "in each room another tag");
}

#[test]
fn what_cannot_be_a_message_is_refused() {
    let server = TestServer::with(|config| config.limits.max_message = 1000);
    for (request, status, part) in [
        (post("/lab", "", ""), 400, "empty"),
        (post("/lab", "", "\n"), 400, "empty"),
        (post("/lab?name=", "", "x"), 400, "name"),
        (post("/lab?name=%7eana", "", "x"), 400, "name"),
        (post("/lab?name=%zz", "", "x"), 400, "escape"),
        (post("/lab", "Idempotency-Key: \r\n", "x"), 400, "Idempotency-Key"),
        (post("/lab", "Idempotency-Key: a b\r\n", "x"), 400, "Idempotency-Key"),
        (post("/lab", &format!("Idempotency-Key: {}\r\n", "k".repeat(65)), "x"), 400, "64"),
        (post("/lab", "Expect: tea\r\n", "x"), 417, "100-continue"),
        (post("/a.b", "", "x"), 404, "nothing"),
        (post("/_lab", "", "x"), 404, "nothing"),
        (post("/lab/x", "", "x"), 404, "nothing"),
        (post("/lab", "", &"x".repeat(1001)), 413, "1000"),
        (post("/lab", "", &"x".repeat(100_000)), 413, "1000"),
        (get("/lab", "").replacen("GET", "POST", 1), 411, "Content-Length"),
        (
            get("/lab", "Transfer-Encoding: chunked\r\n").replacen("GET", "POST", 1)
                + "1\r\nx\r\n0\r\n\r\n",
            411,
            "Content-Length",
        ),
    ] {
        server.ask(&request).refuses(status, part);
    }
    let mut bytes = post("/lab", "", "é").into_bytes();
    bytes.truncate(bytes.len() - 1);
    bytes.push(b'x');
    server.ask(bytes).refuses(400, "UTF-8");
    for (request, allow) in [
        (post("/", "", "x"), "GET, HEAD"),
        (post("/lab", "", "x").replacen("POST", "DELETE", 1), "GET, HEAD, POST, PUT, OPTIONS"),
        (post("/lab/json", "", "x"), "GET, HEAD"),
    ] {
        let response = server.ask(&request);
        assert_eq!((response.status, response.field("Allow")), (405, Some(allow)), "{request}");
    }
    assert!(server.ask(post("/", "", "x")).text().contains("/lobby"));
    assert_eq!(published(&server.ask(post("/lab", "", &"x".repeat(1000)))), 1, "nothing before");
    assert_eq!(published(&server.ask(post("/lab", "", &("é".repeat(500) + "\n")))), 2);
}

#[test]
fn closed_rooms_take_nothing() {
    let server = TestServer::with(|config| config.rooms_open = false);
    server.ask(post("/lab", "", "x")).refuses(404, "lab");
    assert_eq!(published(&server.ask(post("/lobby", "", "x"))), 1);
}

#[test]
fn a_body_is_asked_for_where_that_is_waited_for() {
    let server = TestServer::start();
    let mut peer = server.connect();
    let request = post("/lab", "Expect: 100-continue\r\n", "hello");
    let (head, body) = request.split_at(request.len() - 5);
    peer.send(head);
    assert!(peer.head_begins_with("HTTP/1.1 100 Continue"));
    peer.send(body);
    let mut both = peer.response();
    assert_eq!(both.status, 100);
    both.head = String::new();
    assert!(both.text().starts_with("HTTP/1.1 201 "), "{}", both.text());
    let too_long = post("/lab", "Expect: 100-continue\r\n", &"x".repeat(70_000));
    let head = too_long.split_inclusive("\r\n\r\n").next().expect("a head");
    server.ask(head).refuses(413, "65536");
}

#[test]
fn a_body_that_drips_has_a_deadline() {
    let server = TestServer::with(|config| config.limits.body_timeout = Duration::from_millis(300));
    let request = post("/lab", "", "hello");
    server.ask(&request[..request.len() - 1]).refuses(408, "body");
    let server = TestServer::start();
    let mut peer = server.connect();
    peer.drip(&request);
    assert_eq!(published(&peer.response()), 1);
}

#[test]
fn a_request_with_a_key_publishes_once() {
    let server = TestServer::start();
    let key = "Idempotency-Key: 7f3a\r\n";
    let first = server.ask(post("/lab", key, "on"));
    assert_eq!(published(&first), 1);
    let again = server.ask(post("/lab", key, "on"));
    assert_eq!((again.status, again.text()), (200, first.text()));
    server.ask(post("/lab", key, "off")).refuses(422, "Idempotency-Key");
    assert_eq!(published(&server.ask(post("/lab", "Idempotency-Key: 7f3b\r\n", "on"))), 2);
    assert_eq!(published(&server.ask(post("/other", key, "on"))), 1, "another room");
    let json = server.ask(post("/lab", &format!("{key}Accept: application/json\r\n"), "on"));
    assert_eq!((json.status, &msg(&json)["seq"]), (200, &1.into()));
}

/// The answer to a request that comes from another address.
#[track_caller]
fn ask_elsewhere(server: &TestServer, request: &str) -> Response {
    let mut peer = Peer::from_address(([127, 0, 0, 2], 0).into(), server.address());
    peer.send(request);
    peer.response()
}

/// Names belong to their owners: a publisher cannot take that of a member or of another publisher, who keep
/// theirs for a while after they have gone.
#[test]
fn a_taken_name_is_numbered() {
    let server = TestServer::start();
    let json = "Accept: application/json\r\n";
    let mut bea = Member::named(server.address(), "lab", 1, "bea");
    let said_by = |response: Response| msg(&response)["name"].as_str().expect("a name").to_owned();
    for (wish, here, elsewhere) in [
        ("ana", "ana", "ana·2"),
        ("ana", "ana", "ana·2"),
        ("Bea", "Bea·2", "Bea·3"),
        ("carl", "carl", "carl·2"),
    ] {
        let request = post(&format!("/lab?name={wish}"), json, "x");
        assert_eq!(said_by(server.ask(&request)), here);
        bea.message("the first");
        assert_eq!(said_by(ask_elsewhere(&server, &request)), elsewhere);
        assert_eq!(bea.message("the second")["name"], elsewhere);
    }
    let carl = Member::join(server.address(), "lab", json!({"me": me(2), "name": "carl"}));
    assert_eq!(carl.name(), "carl·3");
    assert_eq!(said_by(server.ask(post("/other?name=carl", json, "x"))), "carl", "another room");
}

#[test]
fn a_key_is_its_senders() {
    let server = TestServer::start();
    let request = post("/lab", "Idempotency-Key: 7f3a\r\n", "on");
    assert_eq!(published(&server.ask(&request)), 1);
    assert_eq!(published(&ask_elsewhere(&server, &request)), 2);
    assert_eq!(server.ask(&request).status, 200);
    assert_eq!(ask_elsewhere(&server, &request).status, 200);
}

/// Whatever a GET brings along, it is a GET.
#[test]
fn get_publishes_nothing() {
    let server = TestServer::start();
    for path in ["/lab?poll=1&name=ana&text=x&message=x", "/lab/json?poll=1&name=ana"] {
        let request = post(path, "Idempotency-Key: 1\r\n", "x").replacen("POST", "GET", 1);
        assert_eq!(server.ask(request).status, 200);
    }
    assert_eq!(published(&server.ask(post("/lab", "", "first"))), 1);
}

#[test]
fn pages_of_others_publish_nothing() {
    let server = TestServer::with(|config| config.allow_origin = vec!["https://ok.example".into()]);
    for fields in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Referer: http://evil.example/page\r\n",
        "Accept: image/avif,image/webp,*/*;q=0.8\r\n",
        "Origin: http://evil.example\r\nSec-Fetch-Site: same-origin\r\n",
    ] {
        server.ask(post("/lab", fields, "x")).refuses(403, "--allow-origin");
        server.ask(get("/lab/json?poll=1", fields)).refuses(403, "--allow-origin");
        server.ask(get("/lab", fields)).refuses(403, "--allow-origin");
    }
    for (n, fields) in [
        "Origin: http://localhost\r\n",
        "Sec-Fetch-Site: same-origin\r\n",
        "Sec-Fetch-Site: none\r\n",
        "Referer: http://localhost/lab\r\n",
        "Accept: */*\r\n",
        "",
    ]
    .iter()
    .enumerate()
    {
        let response = server.ask(post("/lab", fields, "x"));
        assert_eq!(published(&response), n as u64 + 1, "{fields}");
        assert_eq!(response.field("Access-Control-Allow-Origin"), None, "{fields}");
    }
    let allowed = "Origin: https://ok.example\r\n";
    let response = server.ask(post("/lab", allowed, "x"));
    assert_eq!(response.field("Access-Control-Allow-Origin"), Some("https://ok.example"));
    assert_eq!(response.field("Access-Control-Allow-Credentials"), None);
    let refused = server.ask(post("/lab", allowed, ""));
    assert_eq!(refused.field("Access-Control-Allow-Origin"), Some("https://ok.example"));
    let options = |fields| server.ask(get("/lab", fields).replacen("GET", "OPTIONS", 1));
    let preflight = options(allowed);
    assert_eq!(preflight.status, 204);
    assert!(preflight.field("Access-Control-Allow-Methods").expect("methods").contains("PUT"));
    assert_eq!(options("").field("Allow"), Some("GET, HEAD, POST, PUT, OPTIONS"));
    options("Origin: http://evil.example\r\n").refuses(403, "--allow-origin");
}

#[test]
fn an_address_publishes_at_a_pace() {
    let server = TestServer::with(|config| config.limits.rate = 1);
    let until = Instant::now() + Duration::from_secs(20);
    // Loopback has a hundred times the rate of a client, and two seconds of it at once.
    let refused = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                while refused.lock().expect("no panic").is_none() {
                    assert!(Instant::now() < until, "never too many");
                    let response = server.ask(post("/lab", "", "x"));
                    if response.status != 201 {
                        *refused.lock().expect("no panic") = Some(response);
                    }
                }
            });
        }
    });
    let refused = refused.into_inner().expect("no panic").expect("a response");
    refused.refuses(429, "too often");
    assert_eq!(refused.field("Retry-After"), Some("1"));
}

/// A reader that takes nothing is given up after some seconds. Until then publishers wait, and none fails.
#[test]
fn a_publisher_waits_with_the_room() {
    let server = TestServer::with(small);
    let text = "x".repeat(60_000);
    let _slow = stalled(&server);
    let mut count = 0;
    for _ in 0..100 {
        count += 1;
        assert_eq!(published(&server.ask(post("/lab", "", &text))), count);
    }
}

/// A server whose rooms have small logs.
fn small(config: &mut Config) {
    config.limits.max_memory = Some(16 << 20);
}

/// A reader that takes nothing for now.
fn stalled(server: &TestServer) -> Peer {
    let mut slow = Peer::narrow(server.address());
    slow.send(get("/lab/json", ""));
    assert!(slow.head_begins_with("HTTP/1.1 200"));
    slow
}

/// Reads until it has heard this.
fn hears(mut peer: Peer, text: &str) -> Peer {
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(text) {
        let mut bytes = [0; 16 * 1024];
        let len = peer.stream.read(&mut bytes).expect("more of the stream");
        assert!(len > 0, "the stream ended");
        // What it looks for may be cut in two.
        heard.drain(..heard.len().saturating_sub(text.len()));
        heard.extend_from_slice(&bytes[..len]);
    }
    peer
}

/// Two readers that take nothing may be behind a link that is down, so neither is given up. Whoever publishes
/// meanwhile waits, is told after a while, and may come again when they read on.
#[test]
fn a_room_that_waits_for_too_long_publishes_nothing() {
    let server = TestServer::with(|config| {
        small(config);
        config.limits.room_patience = Duration::from_millis(200);
    });
    let text = "x".repeat(60_000);
    let readers = [stalled(&server), stalled(&server)];
    // Sooner or later it waits, and the first that waits for too long is refused. Each one has a key of its own.
    let mut count = 0;
    let (key, never) = loop {
        let (key, mine) = (format!("Idempotency-Key: {count}\r\n"), format!("number {count}. "));
        let response = server.ask(post("/lab", &key, &(mine.clone() + &text)));
        if response.status != 201 {
            response.refuses(503, "waits for its readers, and the message was not published");
            assert_eq!(response.field("Retry-After"), Some("5"));
            break (key, mine);
        }
        count += 1;
        assert!(count < 100, "nobody waits");
    };
    let metrics = server.ask(get("/metrics", ""));
    assert!(metrics.text().contains("roomd_refusals_total{status=\"503\",reason=\"room_waits\"}"));
    thread::scope(|scope| {
        for reader in readers {
            scope.spawn(|| hears(reader, "the end"));
        }
        // Its number is the next one: nothing was published in between.
        let until = Instant::now() + PATIENCE;
        let end = loop {
            let response = server.ask(post("/lab", &key, "the end"));
            if response.status == 201 {
                break response;
            }
            response.refuses(503, "was not published");
            assert!(Instant::now() < until, "the room goes on");
        };
        assert_eq!(published(&end), count + 1, "and the key is free");
    });
    let all = server.ask(get("/lab/text?poll=1", ""));
    assert!(!all.text().contains(&never), "it was published all the same");
}

#[test]
fn a_publisher_that_waits_is_published_when_the_room_goes_on() {
    let server = TestServer::with(|config| {
        small(config);
        config.limits.room_patience = 2 * PATIENCE;
    });
    let text = "x".repeat(60_000);
    let readers = [stalled(&server), stalled(&server)];
    let mut count = 0;
    let waiting = loop {
        let mut peer = server.connect();
        peer.send(post("/lab", "", &text));
        // Longer than the room needs, and no longer than it waits because a crowd is behind.
        peer.stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
        if peer.stream.peek(&mut [0]).is_err() {
            break peer;
        }
        count += 1;
        assert_eq!(published(&peer.response()), count);
        assert!(count < 100, "nobody waits");
    };
    thread::scope(|scope| {
        for reader in readers {
            scope.spawn(|| hears(reader, "the end"));
        }
        assert_eq!(published(&waiting.response()), count + 1);
        assert_eq!(published(&server.ask(post("/lab", "", "the end"))), count + 2);
    });
}
