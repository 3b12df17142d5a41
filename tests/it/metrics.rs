use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use roomd::AdminListen;

use crate::support::{
    BINARY, Client, MAX_MESSAGE, PATIENCE, Peer, TEXT, TestServer, UNMASKED, UPGRADE, close,
    eventually, frame, get, header, left, numbered, says,
};

/// The samples of a scrape: `name{label="value",…}` and the number.
type Samples = BTreeMap<String, f64>;

/// Asks for the metrics, which are well-formed.
#[track_caller]
fn scrape(address: SocketAddr) -> Samples {
    let mut peer = Peer::connect(address);
    peer.send(get("/metrics", ""));
    let response = peer.response();
    assert_eq!(response.status, 200, "{}", response.head);
    let content_type = response.field("Content-Type");
    assert_eq!(content_type, Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(response.field("Cache-Control"), Some("no-store"));
    response.is_complete();
    match check(response.text()) {
        Ok(samples) => samples,
        Err(error) => panic!("{error} in:\n{}", response.text()),
    }
}

/// Waits until the metrics say this.
#[track_caller]
fn comes_to_say_at(address: SocketAddr, expected: &[(&str, f64)]) -> Samples {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let samples = scrape(address);
        let others: Vec<_> = expected
            .iter()
            .map(|(name, value)| (name, value, samples.get(*name)))
            .filter(|(_, value, now)| Some(*value) != *now)
            .collect();
        if others.is_empty() {
            return samples;
        }
        assert!(Instant::now() < deadline, "name, awaited, seen: {others:?}");
    }
}

#[track_caller]
fn comes_to_say(server: &TestServer, expected: &[(&str, f64)]) -> Samples {
    comes_to_say_at(server.address(), expected)
}

/// The samples of a family that are not 0.
fn moved<'a>(samples: &'a Samples, family: &str) -> Vec<(&'a str, f64)> {
    let start = format!("{family}{{");
    samples
        .iter()
        .filter(|(name, value)| name.starts_with(&start) && **value != 0.0)
        .map(|(name, value)| (name.as_str(), *value))
        .collect()
}

fn leaves(endpoint: &str, reason: &str) -> String {
    format!("roomd_leaves_total{{endpoint=\"{endpoint}\",reason=\"{reason}\"}}")
}

/// A way to leave, and the reason that is counted.
type Way = (&'static str, fn(Client));

const WAYS: [Way; 6] = [
    ("closed", Client::leave),
    ("lost", |client| client.peer.reset()),
    ("binary", |mut client| {
        client.send(frame(BINARY, "x"));
        client.is_closed_with(1003);
    }),
    ("not_utf8", |mut client| {
        client.send(frame(TEXT, b"\xff"));
        client.is_closed_with(1007);
    }),
    ("protocol", |mut client| {
        client.send(UNMASKED);
        client.is_closed_with(1002);
    }),
    ("too_long", |mut client| {
        client.send(header(TEXT, MAX_MESSAGE + 1));
        client.send([0; 4]);
        client.is_closed_with(1009);
    }),
];

/// Whoever has heard that somebody left sees it in the metrics, too.
#[test]
fn clients_are_counted_and_so_is_why_they_leave() {
    let server = TestServer::start();
    let mut watcher = server.join(0);
    for (n, (reason, leave)) in WAYS.iter().enumerate() {
        let n = n as f64 + 1.0;
        let client = server.join(1);
        let samples = scrape(server.address());
        assert_eq!(samples[r#"roomd_clients{endpoint="room"}"#], 2.0);
        assert_eq!(samples[r#"roomd_joins_total{endpoint="room"}"#], 1.0 + n);
        leave(client);
        watcher.hears(&left(1));
        let samples = scrape(server.address());
        assert_eq!(samples[&leaves("room", reason)], 1.0, "{reason}");
        assert_eq!(samples[r#"roomd_clients{endpoint="room"}"#], 1.0, "{reason}");

        leave(server.echo());
        comes_to_say(
            &server,
            &[
                (&leaves("echo", reason), 1.0),
                (r#"roomd_clients{endpoint="echo"}"#, 0.0),
                (r#"roomd_joins_total{endpoint="echo"}"#, n),
            ],
        );
        let samples = scrape(server.address());
        assert_eq!(moved(&samples, "roomd_leaves_total").len(), 2 * n as usize, "{samples:?}");
    }
}

#[test]
fn a_client_that_answers_no_ping_is_counted_as_silent() {
    let server = TestServer::with(|config| {
        config.limits.ping_interval = Duration::from_millis(10);
        config.limits.ping_timeout = Duration::from_millis(10);
    });
    let (_room, _echo) = (server.join(1), server.echo());
    comes_to_say(&server, &[(&leaves("room", "silent"), 1.0), (&leaves("echo", "silent"), 1.0)]);
}

#[test]
fn messages_are_counted_as_they_come_and_as_they_go() {
    const CLIENTS: usize = 3;
    const MESSAGES: usize = 20;
    let server = TestServer::start();
    let mut members: Vec<_> = (0..CLIENTS as i64).map(|id| server.join(id)).collect();
    // What comes right behind a handshake counts as well.
    let mut echo = server.connect();
    echo.send([get("/ws", UPGRADE).as_bytes(), &frame(TEXT, "early")].concat());
    let mut echo = echo.upgraded();
    echo.hears("Message text was: early");
    let mut received = frame(TEXT, "early").len();
    let mut sent = frame(TEXT, "Message text was: early").len() - 4;
    for n in 0..MESSAGES {
        let text = numbered(n, 10 + 40 * n);
        received += frame(TEXT, &text).len();
        members[0].say(&text);
        for member in &mut members {
            let said = says(0, &text);
            member.hears(&said);
            // The server's frames are as ours without the mask.
            sent += frame(TEXT, said).len() - 4;
        }
    }
    for text in ["", "one", "another"] {
        received += frame(TEXT, text).len();
        sent += frame(TEXT, format!("Message text was: {text}")).len() - 4;
        echo.say(text);
        echo.hears(&format!("Message text was: {text}"));
    }
    let samples = comes_to_say(
        &server,
        &[
            (r#"roomd_messages_received_total{endpoint="room"}"#, MESSAGES as f64),
            (r#"roomd_messages_received_total{endpoint="echo"}"#, 4.0),
            ("roomd_deliveries_total", (CLIENTS * MESSAGES) as f64),
            ("roomd_received_bytes_total", received as f64),
            ("roomd_sent_bytes_total", sent as f64),
            // Each was heard before the next was said.
            ("roomd_batches_total", MESSAGES as f64),
            ("roomd_message_seconds_count", MESSAGES as f64),
            ("roomd_clients_behind", 0.0),
            ("roomd_hub_queue_depth", 0.0),
            ("roomd_evictions_total", 0.0),
        ],
    );
    let seconds = samples["roomd_message_seconds_sum"];
    assert!(seconds > 0.0 && seconds < PATIENCE.as_secs_f64(), "{seconds}");
    // A notice is no message, but is delivered.
    members.pop().expect("a member").leave();
    members.iter_mut().for_each(|member| member.hears(&left(2)));
    let delivered = (CLIENTS * MESSAGES + CLIENTS - 1) as f64;
    let same = ("roomd_message_seconds_count", MESSAGES as f64);
    comes_to_say(&server, &[("roomd_deliveries_total", delivered), same]);
    // What comes together goes together.
    let many = frame(TEXT, "x").repeat(1000);
    members[0].send(many);
    members.iter_mut().for_each(|member| (0..1000).for_each(|_| member.hears(&says(0, "x"))));
    let said = (MESSAGES + 1000) as f64;
    let samples = comes_to_say(&server, &[("roomd_message_seconds_count", said)]);
    assert!(samples["roomd_batches_total"] < said, "no two went together");
}

/// One that is behind is counted until it has caught up.
#[test]
fn who_is_behind_is_counted_until_it_has_caught_up() {
    let server = TestServer::with(|config| config.limits.max_queue = 1 << 24);
    let mut talker = server.join(1);
    let mut slow = Peer::narrow(server.address()).upgrade("/ws/2");
    let texts: Vec<_> = (0..20).map(|n| numbered(n, MAX_MESSAGE)).collect();
    for text in &texts {
        talker.says_and_hears(1, text);
    }
    comes_to_say(&server, &[("roomd_clients_behind", 1.0)]);
    texts.iter().for_each(|text| slow.hears(&says(1, text)));
    let nobody_left = [("roomd_clients_behind", 0.0), ("roomd_evictions_total", 0.0)];
    comes_to_say(&server, &nobody_left);
}

/// Nor is one counted that has been sent everything and just does not go.
#[test]
fn who_is_evicted_is_behind_until_it_has_taken_its_last_word() {
    let server = TestServer::with(|config| config.limits.close_timeout = 3 * PATIENCE);
    let mut talker = server.join(1);
    let mut slow = Peer::narrow(server.address()).upgrade("/ws/2");
    eventually("the eviction", || {
        talker.say(&"x".repeat(MAX_MESSAGE));
        talker.next("a message").payload.ends_with(left(2).as_bytes()).then_some(())
    });
    comes_to_say(&server, &[("roomd_clients_behind", 1.0)]);
    while slow.next("a close frame").first == TEXT {}
    slow.peer.ends();
    comes_to_say(&server, &[("roomd_clients_behind", 0.0), ("roomd_evictions_total", 1.0)]);
    assert_eq!(scrape(server.address())[r#"roomd_clients{endpoint="room"}"#], 2.0);
}

#[test]
fn evictions_are_counted_in_the_room_and_at_the_echo() {
    let server = TestServer::with(|config| {
        config.limits.catch_up = Duration::from_millis(50);
        config.limits.close_timeout = Duration::from_millis(50);
    });
    let mut talker = server.join(1);
    let _stalled = Peer::narrow(server.address()).upgrade("/ws/2");
    eventually("the eviction", || {
        talker.say(&"x".repeat(MAX_MESSAGE));
        talker.next("a message").payload.ends_with(left(2).as_bytes()).then_some(())
    });
    // Whoever has heard of it sees it.
    assert_eq!(scrape(server.address())["roomd_evictions_total"], 1.0);
    comes_to_say(&server, &[(&leaves("room", "too_slow"), 1.0), ("roomd_clients_behind", 0.0)]);

    let echo = Peer::narrow(server.address()).upgrade("/ws");
    let answers = frame(TEXT, "x".repeat(MAX_MESSAGE)).repeat(30);
    let mut sending = echo.peer.twin();
    std::thread::scope(|scope| {
        // The end of the connection may come before all is sent.
        scope.spawn(move || drop(sending.stream.write_all(&answers)));
        comes_to_say(
            &server,
            &[("roomd_evictions_total", 2.0), (&leaves("echo", "too_slow"), 1.0)],
        );
        echo.peer.hang_up();
    });
    echo.peer.hang_up();
}

/// The request is refused, and that is counted, once and as nothing else.
#[track_caller]
fn counts(server: &TestServer, status: u16, reason: &str, request: &str) {
    let sum = |samples: &Samples| -> f64 {
        moved(samples, "roomd_refusals_total").iter().map(|(_, count)| count).sum()
    };
    let before = sum(&scrape(server.address()));
    assert_eq!(server.ask(request).status, status, "{request}");
    let after = scrape(server.address());
    let name = format!("roomd_refusals_total{{status=\"{status}\",reason=\"{reason}\"}}");
    assert_eq!(after.get(&name), Some(&1.0), "{name}");
    assert_eq!(sum(&after), before + 1.0, "{reason}");
}

#[test]
fn refusals_are_counted_by_reason() {
    let server = TestServer::start();
    let foreign = format!("Origin: http://evil.example\r\n{UPGRADE}");
    let old = UPGRADE.replace("Version: 13", "Version: 8");
    for (status, reason, request) in [
        (400, "bad_request", get("/ws/x", UPGRADE)),
        (403, "origin", get("/ws/1", &foreign)),
        (403, "host", "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".into()),
        (404, "not_found", get("/no.where", "")),
        (405, "method", "PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n".into()),
        (426, "no_upgrade", get("/ws/1", "")),
        (426, "version", get("/ws/1", &old)),
        (431, "head_too_large", get("/", &format!("X: {}\r\n", "x".repeat(9000)))),
    ] {
        counts(&server, status, reason, &request);
    }
    assert_eq!(moved(&scrape(server.address()), "roomd_joins_total"), []);

    let full = TestServer::with(|config| config.limits.max_clients = Some(1));
    let _member = full.join(1);
    counts(&full, 503, "full", &get("/ws/2", UPGRADE));

    let hasty = TestServer::with(|config| config.limits.head_timeout = Duration::from_secs(1));
    counts(&hasty, 408, "head_timeout", "GET / HT");
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_is_described() {
    let server = TestServer::start();
    let samples = scrape(server.address());
    let value = |name: &str| samples[&format!("process_{name}")];
    assert!(value("resident_memory_bytes") > 1e6);
    assert!(value("virtual_memory_bytes") > value("resident_memory_bytes"));
    assert!(value("threads") >= 5.0, "accept, hub, flusher, overload and log");
    assert!(value("open_fds") >= 5.0 && value("open_fds") < value("max_fds"));
    assert!(value("cpu_seconds_total") > 0.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age = now.expect("a time after 1970").as_secs_f64() - value("start_time_seconds");
    assert!((0.0..3600.0).contains(&age), "{age}");
    let version = format!("roomd_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(samples[&version], 1.0);
}

#[test]
fn health_is_one_line_and_both_paths_take_get_and_head_only() {
    let server = TestServer::start();
    let healthy = server.ask(get("/healthz", ""));
    assert_eq!((healthy.status, healthy.text()), (200, "ok\n"));
    assert_eq!(healthy.field("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(healthy.field("Cache-Control"), Some("no-store"));
    healthy.is_complete();
    for path in ["/healthz", "/metrics", "/metrics?name=x"] {
        let ask = |method: &str| {
            server.ask(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        };
        let head = ask("HEAD");
        assert_eq!((head.status, head.text()), (200, ""), "{path}");
        assert!(head.field("Content-Length").is_some_and(|len| len != "0"), "{}", head.head);
        let other = ask("POST");
        other.refuses(405, "Allow");
        assert_eq!(other.field("Allow"), Some("GET, HEAD"));
    }
    server.ask("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n").refuses(403, "evil.example");
    server.ask("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n").refuses(403, "evil.example");
}

#[test]
fn at_an_address_of_their_own_there_is_nothing_else() {
    let server = TestServer::with(|config| {
        config.admin = AdminListen::At(([127, 0, 0, 1], 0).into());
        config.limits.max_clients = Some(1);
    });
    let admin = server.admin_address().expect("an address");
    let ask = |request: &str| {
        let mut peer = Peer::connect(admin);
        peer.send(request);
        peer.response()
    };
    let mut member = server.join(1);
    server.ask(get("/ws/2", UPGRADE)).refuses(503, "all places are taken");
    assert_eq!(ask(&get("/healthz", "")).text(), "ok\n");
    assert_eq!(scrape(admin)[r#"roomd_clients{endpoint="room"}"#], 1.0);
    // A monitor may know this machine by any name.
    let foreign = ask("GET /metrics HTTP/1.1\r\nHost: metrics.example:9000\r\n\r\n");
    assert_eq!(foreign.status, 200);
    for path in ["/", "/echo", "/ws", "/ws/1", "/healthz/", "/metrics/x"] {
        ask(&get(path, UPGRADE)).refuses(404, "/healthz and /metrics");
    }
    ask("DELETE /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").refuses(405, "Allow");
    ask("what?\r\n\r\n").refuses(400, "");
    for path in ["/healthz", "/metrics"] {
        server.ask(get(path, "")).refuses(404, "nothing here");
    }
    member.says_and_hears(1, "as ever");
}

#[test]
fn off_means_nowhere() {
    let server = TestServer::with(|config| config.admin = AdminListen::Off);
    assert_eq!(server.admin_address(), None);
    for path in ["/healthz", "/metrics"] {
        server.ask(get(path, "")).refuses(404, "nothing here");
    }
    assert_eq!(server.ask(get("/", "")).status, 200);
}

/// Whoever watches at the other address sees the end coming.
#[test]
fn a_stop_can_be_watched() {
    let server = TestServer::with(|config| {
        config.admin = AdminListen::At(([127, 0, 0, 1], 0).into());
        config.limits.stop_timeout = PATIENCE;
        config.limits.close_timeout = PATIENCE;
    });
    let admin = server.admin_address().expect("an address");
    let (mut leaver, mut stayer) = (server.join(1), server.join(2));
    server.stop();
    leaver.is_closed_with(1001);
    leaver.send(close(1001, ""));
    drop(leaver);
    comes_to_say_at(
        admin,
        &[(&leaves("room", "stopping"), 1.0), (r#"roomd_clients{endpoint="room"}"#, 1.0)],
    );
    let mut peer = Peer::connect(admin);
    peer.send(get("/healthz", ""));
    let response = peer.response();
    assert_eq!((response.status, response.text()), (503, "the server stops\n"));
    stayer.is_closed_with(1001);
    drop(stayer);
    server.ended();
}

/// Prometheus' own tool has nothing to say against the metrics.
#[test]
fn promtool_is_content() {
    let server = TestServer::start();
    let mut member = server.join(1);
    member.says_and_hears(1, "hello");
    let text = server.ask(get("/metrics", "")).body;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/usr/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([folder]);
    let promtool = folders.map(|folder| folder.join("promtool")).find(|file| file.is_file());
    let promtool =
        promtool.expect("promtool, which `make test` fetches and `make check` can spare");
    let mut process = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    process.stdin.take().expect("a pipe").write_all(&text).expect("it reads");
    let output = process.wait_with_output().expect("its verdict");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    assert_eq!(String::from_utf8_lossy(&said), "");
}

/// Holds a text to Prometheus' format and to what promtool asks of names.
fn check(text: &str) -> Result<Samples, String> {
    let mut samples = Samples::new();
    let mut families = HashSet::new();
    let mut family: Option<(&str, &str)> = None;
    let mut lines = text.lines();
    if !text.ends_with('\n') {
        return Err("no newline at the end".into());
    }
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            if let Some((name, "histogram")) = family {
                check_histogram(name, &samples)?;
            }
            let (name, words) = help.split_once(' ').ok_or(format!("no help: {line}"))?;
            let typed = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
            let (typed, kind) = typed.and_then(|typed| typed.split_once(' ')).unwrap_or_default();
            if typed != name || !["counter", "gauge", "histogram"].contains(&kind) {
                return Err(format!("no type behind {line}"));
            }
            if words.trim().is_empty() || words.contains('\\') || !is_name(name) {
                return Err(format!("bad name or help: {line}"));
            }
            if name.ends_with("_total") != (kind == "counter") {
                return Err(format!("_total is for counters, and for all of them: {name}"));
            }
            let other_units = ["milliseconds", "microseconds", "minutes", "kilobytes", "percent"];
            if name.split('_').any(|word| other_units.contains(&word)) {
                return Err(format!("not a base unit: {name}"));
            }
            if !families.insert(name) {
                return Err(format!("twice: {name}"));
            }
            family = Some((name, kind));
            continue;
        }
        let (family, kind) = family.ok_or(format!("no family: {line}"))?;
        let (name, labels, value) = read_sample(line).ok_or(format!("no sample: {line}"))?;
        let belongs = match kind {
            "histogram" => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|end| name.strip_suffix(end) == Some(family)),
            _ => name == family,
        };
        if !belongs || (kind != "gauge" && value < 0.0) {
            return Err(format!("not of {family}: {line}"));
        }
        let names: HashSet<_> = labels.iter().collect();
        let is_reserved = |name: &str| name.starts_with("__") || name.contains(':');
        if names.len() < labels.len()
            || names.iter().any(|name| !is_name(name) || is_reserved(name))
        {
            return Err(format!("bad labels: {line}"));
        }
        let key = line.rsplit_once(' ').map(|(key, _)| key.to_string()).unwrap_or_default();
        if samples.insert(key, value).is_some() {
            return Err(format!("twice: {line}"));
        }
    }
    if let Some((name, "histogram")) = family {
        check_histogram(name, &samples)?;
    }
    Ok(samples)
}

fn check_histogram(name: &str, samples: &Samples) -> Result<(), String> {
    let start = format!("{name}_bucket{{le=\"");
    let mut buckets: Vec<(f64, f64)> = samples
        .iter()
        .filter_map(|(key, count)| Some((key.strip_prefix(&start)?.strip_suffix("\"}")?, count)))
        .map(|(bound, count)| (bound.parse().unwrap_or(f64::NAN), *count))
        .collect();
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    let is_cumulative =
        buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
    let all = buckets.last().filter(|last| last.0 == f64::INFINITY).map(|last| last.1);
    let count = samples.get(&format!("{name}_count"));
    if !is_cumulative || all.is_none() || all.as_ref() != count {
        return Err(format!("the buckets of {name} do not add up: {buckets:?}, {count:?}"));
    }
    samples.get(&format!("{name}_sum")).map(drop).ok_or(format!("no sum of {name}"))
}

/// Name, names of the labels, and value of a sample, whose labels are escaped as they should.
fn read_sample(line: &str) -> Option<(&str, Vec<&str>, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, behind) = rest.split_once("=\"")?;
            let mut chars = behind.char_indices();
            let end = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    (_, '\\') if !['\\', '"', 'n'].contains(&chars.next()?.1) => return None,
                    _ => {}
                }
            };
            labels.push(label);
            rest = &behind[end + 1..];
            if let Some(behind) = rest.strip_prefix('}') {
                rest = behind;
                break;
            }
            rest = rest.strip_prefix(',')?;
        }
    }
    let value: f64 = rest.strip_prefix(' ')?.parse().ok()?;
    (is_name(name) && value.is_finite()).then_some((name, labels, value))
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// The checker finds what is wrong.
#[test]
fn what_is_not_the_format_is_found() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{l=\"\\\\\\\"\\n\"} 1\n";
    assert!(check(good).is_ok(), "{:?}", check(good));
    let histogram = "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\n\
                     h_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";
    assert!(check(histogram).is_ok(), "{:?}", check(histogram));
    for bad in [
        "a 1\n",
        "# HELP a A.\na 1\n",
        "# TYPE a gauge\na 1\n",
        "# HELP a A.\n# TYPE a gauge\nb 1\n",
        "# HELP a A.\n# TYPE a gauge\na x\n",
        "# HELP a A.\n# TYPE a gauge\na 1",
        "# HELP a A.\n# TYPE a gauge\na 1\na 2\n",
        "# HELP a A.\n# TYPE a gauge\na 1\n# HELP a A.\n# TYPE a gauge\na 2\n",
        "# HELP a A.\n# TYPE a counter\na 1\n",
        "# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n",
        "# HELP a_milliseconds A.\n# TYPE a_milliseconds gauge\na_milliseconds 1\n",
        "# HELP 1a A.\n# TYPE 1a gauge\n1a 1\n",
        "# HELP a A.\n# TYPE a gauge\na{l=\"\"\"} 1\n",
        "# HELP a A.\n# TYPE a gauge\na{l=\"\\x\"} 1\n",
        "# HELP a A.\n# TYPE a gauge\na{l=\"1\",l=\"2\"} 1\n",
        "# HELP a A.\n# TYPE a gauge\na{0=\"1\"} 1\n",
        "# HELP a_total A.\n# TYPE a_total counter\na_total -1\n",
    ] {
        assert!(check(bad).is_err(), "{bad}");
    }
    for (from, to) in [
        ("h_bucket{le=\"+Inf\"} 2\n", ""),
        ("{le=\"1\"} 1", "{le=\"1\"} 3"),
        ("h_sum 3\n", ""),
        ("h_count 2", "h_count 1"),
    ] {
        assert!(check(&histogram.replace(from, to)).is_err(), "without {from}");
    }
}
