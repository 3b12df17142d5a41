//! Subscribers over HTTP: streams and polls.

use std::io::Read as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{PATIENCE, Peer, Response, TestServer, UPGRADE, eventually, get, lossy};

fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The cursor of a message that is published now.
#[track_caller]
fn publish(server: &TestServer, path: &str, text: &str) -> String {
    let response = server.ask(post(path, text));
    assert_eq!(response.status, 201, "{}", response.text());
    response.text().trim().into()
}

/// A stream that is read as it comes.
pub struct Stream {
    peer: Peer,
    head: String,
    rest: String,
}

impl Stream {
    #[track_caller]
    fn open(server: &TestServer, path: &str, fields: &str) -> Self {
        Stream::over(server.connect(), path, fields)
    }

    /// Opens it over a connection of its own.
    #[track_caller]
    pub fn over(mut peer: Peer, path: &str, fields: &str) -> Self {
        peer.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        peer.send(get(path, fields));
        let mut stream = Stream { peer, head: String::new(), rest: String::new() };
        stream.head = stream.until("\r\n\r\n");
        assert!(stream.head.starts_with("HTTP/1.1 200 "), "{}", stream.head);
        stream
    }

    /// What comes up to the next `end`, with it.
    #[track_caller]
    pub fn until(&mut self, end: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            if let Some(at) = self.rest.find(end) {
                let rest = self.rest.split_off(at + end.len());
                return std::mem::replace(&mut self.rest, rest);
            }
            let len = self.peer.stream.read(&mut bytes).expect("more of the stream");
            assert!(len > 0, "the stream ended after {:?}", self.rest);
            self.rest.push_str(std::str::from_utf8(&bytes[..len]).expect("whole characters"));
        }
    }

    #[track_caller]
    fn object(&mut self) -> Value {
        serde_json::from_str(&self.until("\n")).expect("an object")
    }

    #[track_caller]
    fn hears(&mut self, text: &str) {
        let object = self.object();
        assert_eq!((&object["t"], &object["text"]), (&"msg".into(), &text.into()), "{object}");
    }

    #[track_caller]
    fn ends(mut self) {
        let mut rest = Vec::new();
        self.peer.stream.read_to_end(&mut rest).expect("an end without a reset");
        assert_eq!((&*self.rest, &*lossy(&rest)), ("", ""));
    }
}

#[track_caller]
fn objects(response: &Response) -> Vec<Value> {
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(response.text().ends_with('\n'));
    response.text().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn texts(objects: &[Value]) -> Vec<&str> {
    objects[1..].iter().map(|object| object["text"].as_str().expect("a text")).collect()
}

#[test]
fn the_three_formats() {
    let server = TestServer::start();
    let mut json = Stream::open(&server, "/lab/json", "");
    let mut sse = Stream::open(&server, "/lab/sse", "");
    let mut text = Stream::open(&server, "/lab/text", "");
    let hello = json.object();
    let cursor = hello["cursor"].as_str().expect("a cursor").to_owned();
    assert_eq!(
        (&hello["t"], &hello["room"], &hello["count"]),
        (&"hello".into(), &"lab".into(), &0.into())
    );
    assert_eq!(hello.get("who"), None);
    for (stream, content_type) in [
        (&json, "application/x-ndjson"),
        (&sse, "text/event-stream"),
        (&text, "text/plain; charset=utf-8"),
    ] {
        for line in [
            &*format!("Content-Type: {content_type}"),
            &format!("Roomd-Cursor: {cursor}"),
            "Cache-Control: no-store",
            "X-Accel-Buffering: no",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
            "Vary: Accept, Origin",
        ] {
            assert!(stream.head.lines().any(|is| is == line), "{} lacks {line}", stream.head);
        }
        for field in ["Transfer-Encoding", "Content-Length"] {
            assert!(!stream.head.contains(field), "{}", stream.head);
        }
    }
    assert!(sse.until("\n\n").starts_with(&format!(
        "retry: 2000\nevent: hello\nid: {cursor}\ndata: {{\"t\":\"hello\","
    )));
    let id = publish(&server, "/lab?name=a:b", "one\ntwo\u{1b}");
    let said = json.object();
    assert_eq!((&said["text"], &said["name"]), (&"one\ntwo\u{fffd}".into(), &"a:b".into()));
    assert_eq!(sse.until("\n\n"), format!("id: {id}\ndata: {said}\n\n").replace(&said.to_string(), &{
        // The members as they come, in their order.
        let by = said["by"].as_str().expect("a tag");
        format!("{{\"t\":\"msg\",\"seq\":1,\"at\":{},\"by\":\"{by}\",\"name\":\"a:b\",\"text\":\"one\\ntwo\u{fffd}\"}}", said["at"])
    }));
    assert_eq!(text.until("\n"), "a·b: one two\u{fffd}\n");
    // Presence is for the first two.
    let client = {
        let mut peer = server.connect();
        peer.send(get("/lab/ws/42", UPGRADE));
        peer.upgraded()
    };
    let join = json.object();
    assert_eq!(
        (&join["t"], &join["by"], &join["count"]),
        (&"join".into(), &"#42".into(), &1.into())
    );
    assert!(sse.until("\n\n").starts_with("event: join\ndata: {\"t\":\"join\","));
    drop(client);
    assert_eq!(json.object()["t"], "leave");
    assert!(sse.until("\n\n").starts_with("event: leave\ndata: {"));
    publish(&server, "/lab?name=c", "end");
    assert_eq!(text.until("\n"), "c: end\n");
    // They are not counted, and nobody hears of them.
    assert_eq!(objects(&server.ask(get("/lab/json?poll=1", "")))[0]["count"], 0);
    json.hears("end");
    // A stop ends a stream at the end of an object.
    server.stop();
    json.ends();
    text.ends();
}

#[test]
fn the_room_itself_is_in_the_format_that_is_accepted() {
    let server = TestServer::start();
    publish(&server, "/lab?name=ana", "hi");
    for (accept, content_type, start) in [
        ("", "text/plain; charset=utf-8", "ana: hi\n"),
        ("Accept: */*\r\n", "text/plain; charset=utf-8", "ana: hi\n"),
        ("Accept: application/json\r\n", "application/x-ndjson", "{\"t\":\"hello\""),
        ("Accept: application/x-ndjson\r\n", "application/x-ndjson", "{\"t\":\"hello\""),
        ("Accept: text/event-stream\r\n", "text/event-stream", "retry: 2000\nevent: hello\n"),
        ("Accept: text/html,*/*;q=0.8\r\n", "text/html; charset=utf-8", "<!"),
        ("Accept: Text/HTML;q=0.1\r\n", "text/html; charset=utf-8", "<!"),
        ("Accept: text/html;q=0, */*\r\n", "text/plain; charset=utf-8", "ana: hi\n"),
    ] {
        for path in ["/lab?poll=1", "/LAB?poll=1"] {
            let response = server.ask(get(path, accept));
            let vary = response.field("Vary").expect("it depends on the wish");
            assert!(vary.split(", ").any(|field| field == "Accept"), "{}", response.head);
            if response.status == 308 {
                continue;
            }
            assert_eq!(response.field("Content-Type"), Some(content_type), "{accept}");
            assert!(response.text().starts_with(start), "{accept}: {}", response.text());
        }
    }
}

#[test]
fn since_says_from_where_on() {
    let server = TestServer::start();
    let first = publish(&server, "/lab", "1");
    let (epoch, _) = first.split_once('.').expect("a cursor");
    publish(&server, "/lab", "2");
    let last = publish(&server, "/lab", "3");
    let poll = |query: &str, fields: &str| {
        objects(&server.ask(get(&format!("/lab/json?poll=1{query}"), fields)))
    };
    for (query, fields, expected) in [
        ("", "", &["1", "2", "3"][..]),
        ("&since=all", "", &["1", "2", "3"]),
        ("&since=none", "", &[]),
        ("&since=10m", "", &["1", "2", "3"]),
        (&format!("&since={first}"), "", &["2", "3"]),
        (&format!("&since={last}"), "", &[]),
        ("&since=all", &format!("Last-Event-ID: {first}\r\n"), &["2", "3"]),
        ("&since=none", "Last-Event-ID: \r\n", &[]),
        (&format!("&before={last}"), "", &["1", "2", "3"]),
        (&format!("&before={epoch}.2"), "", &["1", "2"]),
        (&format!("&before={epoch}.0"), "", &[]),
        ("&before=other.2", "", &[]),
        (&format!("&since={epoch}.99"), "", &["1", "2", "3"]),
        ("&since=other.1", "", &["1", "2", "3"]),
    ] {
        let objects = poll(query, fields);
        assert_eq!(texts(&objects), expected, "{query} {fields}");
        assert_eq!((&objects[0]["t"], &objects[0]["head"]), (&"hello".into(), &3.into()));
        let is_known = !query.contains("other") && !query.contains(".99");
        assert_eq!(objects[0]["missed"].is_null(), !is_known, "{query}");
    }
    let mut stream = Stream::open(&server, &format!("/lab/json?since={first}"), "");
    assert_eq!(stream.object()["cursor"], *first);
    stream.hears("2");
    stream.hears("3");
    let mut news = Stream::open(&server, "/lab/json", "");
    assert_eq!(news.object()["cursor"], *last);
    publish(&server, "/lab", "4");
    stream.hears("4");
    news.hears("4");
    for query in [
        "since=x",
        "since=10",
        "poll=2",
        "wait=5",
        "poll=1&wait=61",
        "before=1",
        "since=all&since=all",
    ] {
        server.ask(get(&format!("/lab/json?{query}"), "")).refuses(400, "");
    }
    server.ask(get("/lab/json", "Last-Event-ID: x\r\n")).refuses(400, "Last-Event-ID");
}

#[test]
fn before_gives_a_page_of_two_hundred() {
    let server = TestServer::start();
    let mut last = String::new();
    for n in 1..=250 {
        last = publish(&server, "/lab", &n.to_string());
    }
    let page = objects(&server.ask(get(&format!("/lab/json?poll=1&before={last}"), "")));
    let expected: Vec<_> = (51..=250).map(|n| n.to_string()).collect();
    assert_eq!(texts(&page), expected);
    let cursor = page[0]["cursor"].as_str().expect("a cursor");
    let page = objects(&server.ask(get(&format!("/lab/json?poll=1&before={cursor}"), "")));
    let expected: Vec<_> = (1..=50).map(|n| n.to_string()).collect();
    assert_eq!(texts(&page), expected);
}

#[test]
fn a_poll_waits_for_one_message() {
    let server = TestServer::start();
    let start = Instant::now();
    let nothing = objects(&server.ask(get("/lab/json?poll=1&wait=1", "")));
    assert_eq!(nothing.len(), 1);
    assert!(start.elapsed() >= Duration::from_secs(1));
    let mut waiting = Stream::open(&server, "/lab/json?poll=1&wait=60&since=none", "");
    assert_eq!(waiting.object()["t"], "hello");
    publish(&server, "/lab", "1");
    waiting.hears("1");
    waiting.ends();
    let there = objects(&server.ask(get("/lab/json?poll=1&wait=60", "")));
    assert_eq!(texts(&there), ["1"]);
}

/// Polls and HEAD make no room that stays, and open no stream.
#[test]
fn head_is_the_head_alone() {
    let server = TestServer::start();
    for (path, content_type) in [
        ("/lab/json", "application/x-ndjson"),
        ("/lab/sse", "text/event-stream"),
        ("/lab/text?poll=1", "text/plain; charset=utf-8"),
    ] {
        let response = server.ask(get(path, "").replacen("GET", "HEAD", 1));
        assert_eq!((response.status, response.field("Content-Type")), (200, Some(content_type)));
        assert_eq!(response.text(), "");
    }
}

/// Pages of an allowed origin may read streams, polls and the place from which they hear; those of others nothing.
#[test]
fn pages_that_are_allowed_may_read() {
    let server = TestServer::with(|config| {
        config.allow_origin = vec!["https://ok.example".into()];
        config.limits.max_clients = Some(1);
    });
    let allowed = "Origin: https://ok.example\r\n";
    let may_read = |head: &str| {
        let lines: Vec<_> = head.lines().collect();
        let exposed = "Access-Control-Expose-Headers: Roomd-Cursor, Retry-After";
        for line in ["Access-Control-Allow-Origin: https://ok.example", exposed] {
            assert!(lines.contains(&line), "{head} lacks {line}");
        }
        assert!(lines.iter().any(|line| line.starts_with("Vary: ") && line.contains("Origin")));
        assert!(!head.contains("Allow-Credentials"), "{head}");
    };
    for path in ["/lab/json", "/lab/sse", "/lab/text", "/lab"] {
        eventually("a place", || {
            let response = server.ask(get(&format!("{path}?poll=1"), allowed));
            (response.status == 200 && response.text() != FULL).then(|| may_read(&response.head))
        });
        let head = get(path, allowed).replacen("GET", "HEAD", 1);
        may_read(&server.ask(head).head);
    }
    let stream = eventually("a place", || {
        let mut peer = server.connect();
        peer.send(get("/lab/json", allowed));
        peer.head_begins_with("HTTP/1.1 200 ").then_some(peer)
    });
    // Also why they get nothing.
    let full = server.ask(get("/lab/sse", allowed));
    assert_eq!(full.text(), FULL);
    may_read(&full.head);
    let full = server.ask(get("/lab/json", allowed));
    assert_eq!(full.status, 503);
    may_read(&full.head);
    drop(stream);
    for origin in ["https://other.example", "null", "https://ok.example.evil"] {
        let refused = server.ask(get("/lab/json?poll=1", &format!("Origin: {origin}\r\n")));
        refused.refuses(403, "--allow-origin");
        assert!(!refused.head.contains("Access-Control"), "{}", refused.head);
    }
}

/// What an EventSource is told for which there is no place.
const FULL: &str = "retry: 15000\nevent: full\ndata: {}\n\n";

#[test]
fn silence_is_broken() {
    let server =
        TestServer::with(|config| config.limits.ping_interval = Duration::from_millis(200));
    let mut json = Stream::open(&server, "/lab/json", "");
    let mut sse = Stream::open(&server, "/lab/sse", "");
    json.object();
    sse.until("\n\n");
    for _ in 0..3 {
        assert_eq!(json.until("\n"), "{\"t\":\"ping\"}\n");
        assert_eq!(sse.until("\n\n"), "event: ping\ndata: {}\n\n");
    }
    publish(&server, "/lab", "1");
    while !json.until("\n").contains("\"text\":\"1\"") {}
}

#[test]
fn a_full_server_tells_an_event_source_to_come_again() {
    let server = TestServer::with(|config| config.limits.max_clients = Some(1));
    let _stream = Stream::open(&server, "/lab/json", "");
    let full = server.ask(get("/lab/sse", ""));
    assert_eq!((full.status, full.field("Content-Type")), (200, Some("text/event-stream")));
    assert_eq!(full.text(), FULL);
    let refused = server.ask(get("/lab/json", ""));
    refused.refuses(503, "places");
    assert_eq!(refused.field("Retry-After"), Some("5"));
}

/// A reader that takes nothing is given up after a whole object, and what it lacks it gets when it resumes.
#[test]
fn a_slow_reader_is_cut_at_the_end_of_an_object_and_resumes() {
    let server = TestServer::with(|config| config.limits.max_memory = Some(16 << 20));
    let mut slow = Peer::narrow(server.address());
    slow.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    slow.send(get("/lab/json", ""));
    assert!(slow.head_begins_with("HTTP/1.1 200"));
    let text = "é".repeat(20_000);
    let mut numbers = 0;
    while numbers < 80 {
        publish(&server, "/lab", &text);
        numbers += 1;
    }
    let response = slow.response();
    let lines = response.text();
    assert!(lines.ends_with("}\n"), "{:?}", &lines[lines.len() - 20..]);
    let all = objects(&Response { status: 200, head: String::new(), body: lines.into() });
    assert!(all.len() < 80, "it was never cut");
    let seen = all.len() as u64 - 1;
    assert!(all[1..].iter().zip(1..).all(|(msg, n): (&Value, u64)| msg["seq"] == n));
    let (epoch, _) = all[0]["cursor"].as_str().and_then(|is| is.split_once('.')).expect("a cursor");
    let rest = objects(&server.ask(get(&format!("/lab/json?poll=1&since={epoch}.{seen}"), "")));
    let missed = rest[0]["missed"].as_u64().expect("a number");
    assert_eq!(seen + missed + rest.len() as u64 - 1, numbers);
}
