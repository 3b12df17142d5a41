use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::json;

use crate::kit::eventually;
use crate::kit::folder::Folder;
use crate::kit::peer::{Peer, get};
use crate::kit::roomd1::{Member, knock, me, position};
use crate::kit::server::TestServer;
use crate::pair::{Pair, and_on};
use crate::redis::{KEEPS, PASSWORD, Redis};

/// What a node says that it has counted.
#[track_caller]
fn metric(node: &TestServer, name: &str) -> f64 {
    let text = node.ask(get("/metrics", "")).text().to_owned();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// The time, in milliseconds since 1970.
fn millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_millis() as u64
}

#[test]
fn an_engine_that_forgets_everything_begins_a_new_epoch() {
    let Pair { mut redis, a: _a, b, mut ana, mut bob } = Pair::start();
    ana.publish(1, "one");
    assert_eq!(bob.message("one")["text"], "one");
    ana.message("her own");
    redis.kill();
    ana.publish(2, "while it is away");
    redis.start_again();
    for member in [&mut ana, &mut bob] {
        let epoch = member.skip_to("epoch", "a new epoch");
        assert_eq!(epoch["missed"], json!(null), "{epoch}");
        let said = member.message("what waited");
        assert_eq!(said["text"], "while it is away");
    }
    // Nothing is said twice, and everybody is still here.
    let again = Member::named(b.address(), "lobby", 1, "Ana");
    assert_eq!((&again.hello["n"], &again.hello["count"]), (&json!(2), &json!(2)));
    assert_eq!(again.name(), "Ana");
    ana.is_closed_with(4409);
}

#[test]
fn an_engine_that_keeps_its_log_goes_on_with_it() {
    let Pair { mut redis, a: _a, b, mut ana, mut bob } = Pair::on(Redis::with(KEEPS));
    ana.publish(1, "one");
    bob.message("one");
    let cursor = bob.cursor();
    redis.kill();
    ana.publish(2, "two");
    redis.start_again();
    let epoch = bob.skip_to("epoch", "a new epoch");
    assert_eq!(epoch["missed"], 0, "{epoch}");
    assert_eq!(bob.message("two")["seq"], 2);
    // Cursors of the old epoch are good.
    let mut late = Member::join(b.address(), "lobby", json!({"me": me(3), "since": cursor}));
    assert_eq!(late.hello["missed"], 0, "{}", late.hello);
    assert_eq!(late.replay(), ["two"]);
    let c = redis.node();
    let mut late = Member::join(c.address(), "lobby", json!({"me": me(4), "since": cursor}));
    assert_eq!(late.hello["missed"], 0, "{}", late.hello);
    assert_eq!(late.replay(), ["two"]);
}

#[test]
fn an_engine_that_lost_what_was_said_last_is_found_out() {
    let Pair { mut redis, a, b, mut ana, mut bob } = Pair::start();
    ana.publish(1, "kept");
    ana.skip_to("msg", "her own");
    bob.message("kept");
    let kept = bob.cursor();
    assert!(redis.cli(&["save"]).contains("OK"));
    for n in 2..=4 {
        ana.publish(n, "lost");
        ana.message("her own");
        bob.message("lost");
    }
    let lost = bob.cursor();
    redis.kill();
    let killed = millis();
    redis.start_again();
    let epoch = bob.skip_to("epoch", "a new epoch");
    assert_eq!(epoch["missed"], json!(null), "{epoch}");
    // The epoch is the time at which it began.
    let (began, seq) = position(&epoch["cursor"]);
    let began = u64::from_str_radix(&began, 36).expect("a number");
    assert!((killed..=millis()).contains(&began), "{epoch}, which began at {began}");
    assert_eq!(seq, 1, "{epoch}");
    assert_eq!(metric(&b, "roomd_engine_epochs_total"), 1.0);
    assert_eq!(metric(&b, "roomd_engine_lost_total"), 3.0);
    ana.publish(5, "after");
    let after = bob.message("after");
    assert_eq!((&after["seq"], &after["text"]), (&json!(2), &json!("after")));
    // Who had heard what is lost is told so, and who had not misses nothing.
    for (cursor, missed) in [(lost, json!(null)), (kept, json!(0))] {
        for node in [&a, &b] {
            let fields = json!({"me": me(3), "since": cursor});
            let mut late = Member::join(node.address(), "lobby", fields);
            assert_eq!(late.hello["missed"], missed, "{}", late.hello);
            assert_eq!(late.replay(), ["after"]);
        }
    }
}

#[test]
fn messages_wait_for_an_engine_that_is_stopped() {
    let Pair { redis, a, b, mut ana, mut bob } = Pair::start();
    redis.signal(Signal::STOP);
    for n in 1..=20 {
        ana.publish(n, &format!("text {n}"));
    }
    eventually("an engine that is away", || (metric(&a, "roomd_engine_up") == 0.0).then_some(()));
    assert!(metric(&a, "roomd_engine_waiting_bytes") > 20.0 * 100.0);
    let away = metric(&a, "roomd_engine_down_seconds_total");
    assert!(metric(&a, "roomd_engine_down_seconds_total") > away);
    redis.signal(Signal::CONT);
    for n in 1..=20 {
        assert_eq!(bob.message("a text")["text"], format!("text {n}"));
    }
    for _ in 1..=20 {
        ana.message("her own");
    }
    assert_eq!(metric(&a, "roomd_engine_waiting_bytes"), 0.0);
    // Nobody was told that she came, so twenty texts and her join.
    assert_eq!(metric(&a, "roomd_engine_heard_seconds_count"), 21.0);
    assert!(metric(&a, "roomd_engine_publish_seconds_count") >= 1.0);
    assert!(metric(&a, "roomd_engine_publish_seconds_sum") > 0.0);
    let again = Member::named(b.address(), "lobby", 1, "Ana");
    assert_eq!(again.hello["n"], 20);
}

/// What waits is bounded, whoever says it; who waits for too long is closed, and comes again with what was not said.
#[test]
fn nobody_waits_for_ever_and_nothing_is_lost_or_doubled() {
    const SENDERS: u64 = 20;
    const MOST: f64 = 150_000.0;
    let mut redis = Redis::with(KEEPS);
    let node = TestServer::with(|config| {
        config.engine = Some(redis.url());
        config.limits.engine_patience = Duration::from_secs(3);
        config.limits.room_patience = Duration::from_millis(200);
        // They are looked at one after the other.
        config.limits.close_timeout = Duration::from_secs(20);
    });
    let other = redis.node();
    let mut bob = Member::named(other.address(), "lobby", 100, "Bob");
    let name = |n| format!("sender {n}");
    let text = |n| format!("{n} {}", "x".repeat(64 * 1024 - 3));
    let join = |n| Member::named(node.address(), "lobby", n, &name(n));
    let mut senders: Vec<Member> = (1..=SENDERS).map(join).collect();
    // One who only writes is closed as others are.
    let mut number = node.join(7);
    bob.say("everybody is here");
    bob.message("his own");
    assert!(number.message("what he says").payload.ends_with(b"everybody is here"));
    redis.kill();
    for (n, sender) in (1..).zip(&mut senders) {
        sender.publish(n, &text(n));
    }
    let post = "POST /lobby HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";
    eventually("a room that is full", || {
        let answer = node.ask(post);
        answer.refuses(503, "");
        assert!(answer.field("Retry-After").is_some(), "{answer:?}");
        answer.text().contains("nothing was published").then_some(())
    });
    let waits = metric(&node, "roomd_engine_waiting_bytes");
    assert!(waits > 64.0 * 1024.0 && waits < MOST, "{waits} bytes wait");
    eventually("an engine that is away for too long", || {
        (metric(&node, "roomd_engine_down_seconds_total") > 4.0).then_some(())
    });
    // Those whose messages wait are closed when they say more.
    for (n, sender) in (1..).zip(&mut senders) {
        sender.publish(100 + n, "more");
        sender.is_closed_at_last_with(1013);
    }
    number.say("hi");
    number.is_closed_with(1013);
    node.ask(post).refuses(503, "cannot be reached");
    assert!(metric(&node, "roomd_engine_waiting_bytes") < MOST);
    let leaves = "roomd_leaves_total{endpoint=\"room\",reason=\"unreachable\"}";
    assert_eq!(metric(&node, leaves), (SENDERS + 1) as f64);
    redis.start_again();
    eventually("an open room", || {
        (node.ask(get("/lobby/text?poll=1", "")).status == 200).then_some(())
    });
    for n in 1..=SENDERS {
        let mut again = join(n);
        if again.hello["n"] == 0 {
            again.publish(n, &text(n));
        }
        again.leave();
    }
    // Each is heard once, by one who was here all the time.
    bob.publish(1, "the end");
    let mut heard = Vec::new();
    loop {
        let said = bob.message("what they say")["text"].as_str().expect("a text").to_owned();
        if said == "the end" {
            break;
        }
        heard.extend(said.split_once(' ').map(|(n, _)| n.parse::<u64>().expect("a number")));
    }
    heard.sort_unstable();
    assert_eq!(heard, (1..=SENDERS).collect::<Vec<_>>());
}

/// Once its handshake is done, nobody waits for an answer to its hello that only an engine can give.
#[test]
fn whoever_is_about_to_join_when_the_engine_goes_is_told() {
    let mut redis = Redis::with(KEEPS);
    let node = redis.node();
    let mut ana = Member::named(node.address(), "lobby", 1, "Ana");
    let mut client = knock(node.address(), "lobby");
    redis.kill();
    client.say(&json!({"t": "hello", "me": me(2), "name": "Bob"}).to_string());
    client.is_closed_with(1013);
    ana.skip_to("away", "an engine that is away");
    redis.start_again();
    ana.skip_to("back", "an engine that is back");
    let bob = Member::named(node.address(), "lobby", 2, "Bob");
    // Nobody has heard of him before.
    assert_eq!((&bob.hello["count"], &bob.hello["n"]), (&json!(2), &json!(null)));
    ana.hears(json!({"t": "join", "by": bob.you, "name": "Bob", "count": 2}));
    ana.say("together");
    assert_eq!(ana.message("her own")["text"], "together");
}

#[test]
fn without_an_engine_nobody_is_let_in_until_it_is_there() {
    let mut redis = Redis::absent();
    let node = redis.node();
    let response = node.ask(get("/lobby/text?poll=1", ""));
    response.refuses(503, "cannot be reached");
    assert!(response.field("Retry-After").is_some());
    let health = node.ask(get("/healthz", ""));
    assert_eq!(health.status, 200);
    assert!(health.text().starts_with("ok\nthe engine cannot be reached for "), "{health:?}");
    assert!(node.ask(get("/metrics", "")).text().contains("\nroomd_engine_up 0\n"));
    redis.start_again();
    eventually("an open room", || {
        (node.ask(get("/lobby/text?poll=1", "")).status == 200).then_some(())
    });
    node.join(1).says_and_hears(1, "hello");
    assert_eq!(node.ask(get("/healthz", "")).text(), "ok\n");
    assert_eq!(metric(&node, "roomd_engine_up"), 1.0);
    assert!(metric(&node, "roomd_engine_down_seconds_total") > 0.0);
}

#[test]
fn the_members_of_a_node_that_was_killed_leave_once() {
    let Pair { redis, a, b, mut ana, mut bob } = Pair::start();
    let program = redis.program();
    ana.skip_to("join", "Bob");
    let cleo = Member::named(program.address, "lobby", 3, "Cleo");
    let dora = Member::named(program.address, "lobby", 4, "Dora");
    for member in [&mut ana, &mut bob] {
        member.skip_to("join", "Cleo");
        member.skip_to("join", "Dora");
    }
    program.signal(Signal::KILL);
    for member in [&mut ana, &mut bob] {
        member.hears(json!({"t": "leave", "by": cleo.you, "count": 3, "lost": true}));
        member.hears(json!({"t": "leave", "by": dora.you, "count": 2, "lost": true}));
    }
    assert_eq!(
        [&a, &b].map(|node| metric(node, "roomd_engine_reaped_total")).iter().sum::<f64>(),
        1.0
    );
    // What was said before is theirs still.
    let again = Member::named(a.address(), "lobby", 3, "Cleo");
    assert_eq!((&again.hello["n"], &again.hello["count"]), (&json!(0), &json!(3)));
    for member in [&mut ana, &mut bob] {
        member.hears(json!({"t": "join", "by": again.you, "name": "Cleo", "count": 3}));
    }
}

#[test]
fn a_node_that_comes_back_from_the_dead_sends_its_clients_away() {
    let redis = Redis::start();
    let (node, program) = (redis.node(), redis.program());
    let (mut ana, mut bob) = and_on(&node, &program);
    program.signal(Signal::STOP);
    bob.publish(1, "said into the void");
    ana.hears(json!({"t": "leave", "by": bob.you, "count": 1, "lost": true}));
    program.signal(Signal::CONT);
    bob.is_closed_with(1012);
    drop(bob);
    // It goes on as another node, and nothing was said in Bob's name. Whether its hub or its writer has heard of it
    // first, he is not sent away again.
    let mut again = Member::named(program.address, "lobby", 2, "Bob");
    assert_eq!(again.hello["n"], 0);
    ana.hears(json!({"t": "join", "by": again.you, "name": "Bob", "count": 2}));
    again.publish(1, "said again");
    assert_eq!(ana.message("once")["text"], "said again");
    ana.says_and_hears("and nothing else");
    again.message("his own");
    assert_eq!(again.message("hers")["text"], "and nothing else");
    let is_counted = |sample: &str| {
        let text = Peer::ask(program.address, get("/metrics", ""));
        text.text().contains(&format!("\n{sample}\n"))
    };
    eventually("a client that has moved", || {
        is_counted("roomd_leaves_total{endpoint=\"room\",reason=\"moved\"} 1").then_some(())
    });
    assert!(is_counted("roomd_engine_fenced_total 1"));
}

#[test]
fn a_node_that_is_too_slow_tells_what_it_missed() {
    const ALL: u64 = 15_000;
    let text = "text ".repeat(50);
    let redis = Redis::start();
    let node = TestServer::with(|config| {
        config.engine = Some(redis.url());
        config.limits.engine_memory = Some(1 << 20);
    });
    let program = redis.program();
    let (mut ana, mut bob) = and_on(&node, &program);
    program.signal(Signal::STOP);
    for n in 1..=ALL {
        ana.publish(n, &text);
        if n % 50 == 0 {
            while ana.seq() < n {
                ana.next("her own");
            }
        }
    }
    program.signal(Signal::CONT);
    let (mut heard, mut missed) = (0, 0);
    while bob.seq() < ALL {
        let next = bob.next("a message or a gap");
        match next["t"].as_str() {
            Some("msg") => heard += 1,
            Some("epoch") => missed += next["missed"].as_u64().expect("a number"),
            _ => {}
        }
    }
    assert_eq!(heard + missed, ALL);
    assert!(missed > 0, "the log was long enough for all of it");
    let text = Peer::ask(program.address, get("/metrics", ""));
    assert!(text.text().contains(&format!("\nroomd_engine_missed_total {missed}\n")));
    // It is all right again.
    ana.publish(ALL + 1, "on");
    assert_eq!(bob.message("on")["text"], "on");
}

#[test]
fn a_password_comes_from_a_file() {
    let redis = Redis::with(&["--requirepass", PASSWORD]);
    let folder = Folder::new();
    let path = folder.path().join("password");
    std::fs::write(&path, format!("{PASSWORD}\n")).expect("a file");
    let node = TestServer::with(|config| {
        config.engine = Some(redis.url());
        config.engine_password_file = Some(path);
    });
    node.join(1).says_and_hears(1, "hello");
    let without = redis.node();
    without.ask(get("/lobby/text?poll=1", "")).refuses(503, "cannot be reached");
}

#[test]
fn an_engine_that_is_emptied_while_it_runs_begins_a_new_epoch() {
    let Pair { redis, a: _a, b: _b, mut ana, mut bob } = Pair::start();
    ana.publish(1, "one");
    bob.message("one");
    assert!(redis.cli(&["flushall"]).contains("OK"));
    ana.publish(2, "two");
    bob.skip_to("epoch", "a new epoch");
    assert_eq!(bob.message("two")["text"], "two");
    // His node, which had said nothing itself, goes on as well.
    bob.publish(1, "three");
    for text in ["one", "two", "three"] {
        assert_eq!(ana.message(text)["text"], text);
    }
    // A server that comes later knows everybody by the same tags.
    let c = redis.node();
    let again = Member::named(c.address(), "lobby", 1, "Ana");
    assert_eq!((&again.you, &again.hello["n"]), (&ana.you, &json!(2)));
}
