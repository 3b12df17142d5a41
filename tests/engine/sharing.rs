use std::time::{Duration, Instant};

use serde_json::json;

use crate::kit::eventually;
use crate::kit::peer::{get, left, says};
use crate::kit::roomd1::{Member, me, position};
use crate::kit::server::TestServer;
use crate::pair::Pair;
use crate::redis::Redis;

fn nodes(redis: &Redis) -> [TestServer; 3] {
    [redis.node(), redis.node(), redis.node()]
}

#[test]
fn everybody_hears_one_order() {
    let redis = Redis::start();
    let nodes = nodes(&redis);
    const EACH: u64 = 200;
    let people: Vec<Member> = nodes
        .iter()
        .zip(1..)
        .map(|(node, n)| Member::named(node.address(), "lobby", n, &format!("p{n}")))
        .collect();
    let heard: Vec<Vec<String>> = std::thread::scope(|scope| {
        let talking: Vec<_> = people
            .into_iter()
            .map(|mut person| {
                scope.spawn(move || {
                    let name = person.name().to_owned();
                    for n in 1..=EACH {
                        person.publish(n, &format!("{name} {n}"));
                    }
                    let mut texts = Vec::new();
                    while texts.len() < 3 * EACH as usize {
                        let said = person.message("what everybody says");
                        texts.push(said["text"].as_str().expect("a text").to_owned());
                    }
                    texts
                })
            })
            .collect();
        talking.into_iter().map(|one| one.join().expect("a person")).collect()
    });
    assert!(heard[1..].iter().all(|other| *other == heard[0]), "there are several orders");
    for name in ["p1", "p2", "p3"] {
        let of_it = heard[0].iter().filter(|text| text.starts_with(name));
        let all: Vec<_> = (1..=EACH).map(|n| format!("{name} {n}")).collect();
        assert_eq!(of_it.cloned().collect::<Vec<_>>(), all);
    }
}

#[test]
fn clients_of_the_tutorial_hear_each_other_from_their_101_on() {
    let redis = Redis::start();
    let [a, b, _] = nodes(&redis);
    let (mut one, mut two) = (a.join(1), b.join(2));
    one.say("hello");
    two.hears(&says(1, "hello"));
    one.hears(&says(1, "hello"));
    two.says_and_hears(2, "bye");
    two.leave();
    one.hears(&says(2, "bye"));
    one.hears(&left(2));
}

#[test]
fn members_see_each_other_wherever_they_are() {
    let redis = Redis::start();
    let [a, b, c] = nodes(&redis);
    let mut ana = Member::named(a.address(), "lobby", 1, "Ana");
    let mut bob = Member::named(b.address(), "lobby", 2, "Bob");
    assert_eq!(bob.hello["count"], 2);
    let mut who = bob.hello["who"].as_array().expect("a list").clone();
    who.sort_by_key(|member| member[1].to_string());
    assert_eq!(who, [json!([ana.you, "Ana"]), json!([bob.you, "Bob"])]);
    ana.hears(json!({"t": "join", "by": bob.you, "name": "Bob", "count": 2}));
    let second = Member::named(c.address(), "lobby", 3, "ana");
    assert_eq!(second.name(), "ana·2");
    for member in [&mut ana, &mut bob] {
        member.hears(json!({"t": "join", "by": second.you, "name": "ana·2", "count": 3}));
    }
    bob.send("name", json!({"name": "Bo"}));
    for member in [&mut ana, &mut bob] {
        let by = member.hello["who"].clone();
        let next = member.next("a name");
        assert_eq!((next["t"].as_str(), next["name"].as_str()), (Some("name"), Some("Bo")), "{by}");
    }
    let you = second.you.clone();
    second.leave();
    for member in [&mut ana, &mut bob] {
        member.hears(json!({"t": "leave", "by": you, "count": 2}));
    }
}

#[test]
fn somebody_goes_on_at_another_node() {
    let Pair { redis, a, b: _b, mut ana, mut bob } = Pair::in_room(Redis::start(), "lab");
    ana.publish(1, "one");
    assert_eq!(bob.message("one")["seq"], 1);
    let (cursor, you) = (bob.cursor(), bob.you.clone());
    bob.leave();
    for n in 2..=5 {
        ana.publish(n, &format!("text {n}"));
    }
    while ana.seq() < 5 {
        ana.next("her own");
    }
    let fields = json!({"me": me(2), "name": "Bob", "since": cursor});
    let mut again = Member::join(a.address(), "lab", fields);
    assert_eq!((&again.you, &again.hello["missed"]), (&you, &json!(0)));
    assert_eq!(again.replay(), ["text 2", "text 3", "text 4", "text 5"]);
    // And a node that was not there yet has it from the engine.
    let c = redis.node();
    let fields = json!({"me": me(3), "since": cursor});
    let mut late = Member::join(c.address(), "lab", fields);
    assert_eq!(late.hello["missed"], 0);
    assert_eq!(late.replay(), ["text 2", "text 3", "text 4", "text 5"]);
}

/// Ids begin with the epoch, which may be much older than what was said in it.
#[test]
fn what_is_young_is_kept_and_what_is_old_is_not() {
    const AGE: Duration = Duration::from_secs(4);
    const ALL: usize = 300;
    let redis = Redis::start();
    let node = || {
        TestServer::with(|config| {
            config.engine = Some(redis.url());
            config.limits.history_age = AGE;
        })
    };
    let says_all = |node: &TestServer, n: u64| {
        let mut ana = Member::named(node.address(), "lab", n, "Ana");
        for text in 0..ALL {
            ana.say(&text.to_string());
        }
        assert_eq!(ana.texts(ALL)[ALL - 1], (ALL - 1).to_string());
        Instant::now()
    };
    let joins = |node: &TestServer| {
        let mut late = Member::join(node.address(), "lab", json!({"me": me(9), "history": 1000}));
        late.replay().len()
    };
    let first = node();
    let began = says_all(&first, 1);
    eventually("the first ones are old", || (began.elapsed() > AGE).then_some(()));
    says_all(&first, 2);
    assert_eq!(joins(&node()), ALL);
    let log = redis.cli(&["xrange", "roomd:{lab}:log", "-", "+"]);
    let kept = log.lines().filter(|line| line.starts_with("s ")).count();
    assert!((ALL..ALL + 20).contains(&kept), "{kept} messages are kept");
}

#[test]
fn a_message_is_published_once_whatever_node_it_is_sent_to() {
    let redis = Redis::start();
    let [a, b, _] = nodes(&redis);
    let mut ana = Member::named(a.address(), "lobby", 1, "Ana");
    ana.publish(1, "one");
    ana.publish(2, "two");
    assert_eq!(ana.texts(2), ["one", "two"]);
    // With the same secret elsewhere: this one is replaced, and nobody comes or goes.
    let mut again = Member::named(b.address(), "lobby", 1, "Ana");
    ana.is_closed_with(4409);
    assert_eq!((&again.hello["n"], &again.hello["count"]), (&json!(2), &json!(1)));
    again.publish(2, "two");
    again.publish(3, "three");
    again.hears(json!({"t": "ack", "n": 2}));
    let three = again.message("three");
    assert_eq!((&three["n"], &three["seq"]), (&json!(3), &json!(3)));
    // What came last was a duplicate, and is told without anything that follows.
    again.publish(3, "three");
    again.hears(json!({"t": "ack", "n": 3}));
}

#[test]
fn one_that_only_publishes_has_its_acks() {
    let redis = Redis::start();
    let [a, b, _] = nodes(&redis);
    let mut ana = Member::named(b.address(), "lobby", 1, "Ana");
    let mut pump =
        Member::join(a.address(), "lobby", json!({"me": me(2), "name": "pump", "hear": false}));
    pump.publish(1, "on");
    pump.publish(1, "on");
    pump.publish(2, "off");
    pump.hears(json!({"t": "ack", "n": 1, "seq": 1}));
    pump.hears(json!({"t": "ack", "n": 1}));
    pump.hears(json!({"t": "ack", "n": 2, "seq": 2}));
    assert_eq!(
        [ana.message("on")["text"].clone(), ana.message("off")["text"].clone()],
        ["on", "off"]
    );
}

#[test]
fn a_request_with_a_key_is_published_once() {
    let redis = Redis::start();
    let [a, b, _] = nodes(&redis);
    let mut ana = Member::named(a.address(), "lab", 1, "Ana");
    let post = |text: &str| {
        let fields = format!("Idempotency-Key: k1\r\nContent-Length: {}\r\n", text.len());
        get("/lab?name=pump", &fields).replacen("GET", "POST", 1) + text
    };
    let first = a.ask(post("on"));
    assert_eq!(first.status, 201, "{first:?}");
    let second = b.ask(post("on"));
    assert_eq!((second.status, second.text()), (200, first.text()));
    b.ask(post("off")).refuses(422, "");
    let said = ana.message("on");
    assert_eq!((&said["text"], &said["name"]), (&json!("on"), &json!("pump")));
    let (epoch, seq) = position(&json!(first.text().trim()));
    assert_eq!((epoch.as_str(), json!(seq)), (ana.epoch(), said["seq"].clone()));
    ana.says_and_hears("nothing else");
}

#[test]
fn a_stream_follows_what_is_said_on_another_node() {
    let redis = Redis::start();
    let [a, b, _] = nodes(&redis);
    let mut ana = Member::named(a.address(), "lab", 1, "Ana");
    ana.publish(1, "one");
    ana.message("one");
    let poll = b.ask(get("/lab/text?poll=1", ""));
    assert_eq!(poll.text(), "Ana: one\n");
}

#[test]
fn a_server_that_stops_takes_its_members_with_it() {
    let redis = Redis::start();
    let [a, b, _] = nodes(&redis);
    let mut ana = Member::named(a.address(), "lobby", 1, "Ana");
    let bob = Member::named(b.address(), "lobby", 2, "Bob");
    ana.skip_to("join", "Bob");
    let you = bob.you.clone();
    b.stop();
    ana.hears(json!({"t": "leave", "by": you, "count": 1, "lost": true}));
}
