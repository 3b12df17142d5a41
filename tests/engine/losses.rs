use serde_json::{Value, json};

use crate::kit::eventually;
use crate::kit::peer::{Peer, get};
use crate::kit::roomd1::{Member, me};
use crate::kit::server::TestServer;
use crate::pair::Pair;
use crate::redis::Redis;

/// The engine comes back with what it had when it was told to save it, and Ana has heard of that.
#[track_caller]
fn comes_back(pair: &mut Pair) {
    pair.redis.kill();
    pair.redis.start_again();
    pair.ana.skip_to("epoch", "a new epoch");
}

/// Ana says it, and both hear it.
#[track_caller]
fn says(pair: &mut Pair, n: u64, text: &str) {
    pair.ana.publish(n, text);
    pair.ana.message("her own");
    pair.bob.message(text);
}

/// Client 10 + `n` joins on a node with these fields: what it is told that it missed, and what was said.
#[track_caller]
fn joins(pair: &Pair, node: &TestServer, n: usize, mut fields: Value) -> (Value, String) {
    fields["me"] = json!(me(10 + n as u64));
    let mut member = Member::join(node.address(), "lab", fields);
    assert_eq!(member.epoch(), pair.bob.epoch(), "{}", member.hello);
    (member.hello["missed"].clone(), member.replay().join(" "))
}

/// What there is at this path, as text.
#[track_caller]
fn poll(node: &TestServer, path: &str) -> String {
    let response = node.ask(get(path, ""));
    assert_eq!(response.status, 200, "{response:?}");
    response.text().to_owned()
}

/// The messages in a stream of events: the id and the text of each.
fn messages(stream: &str) -> Vec<(String, String)> {
    let events = stream.split("\n\n").filter_map(|event| {
        let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
        let object: Value = serde_json::from_str(field("data: ")?).expect("JSON");
        let is_message = object["t"] == "msg";
        let text = object["text"].as_str().filter(|_| is_message)?;
        Some((field("id: ").expect("an id").to_owned(), text.to_owned()))
    });
    events.collect()
}

/// Nodes that lived through a loss give what one gives that came after it.
#[test]
fn what_survived_is_there_on_every_node_and_what_was_lost_on_none() {
    let mut pair = Pair::in_room(Redis::start(), "lab");
    for (n, text) in [(1, "one"), (2, "two")] {
        says(&mut pair, n, text);
    }
    let kept = pair.bob.cursor();
    assert!(pair.redis.cli(&["save"]).contains("OK"));
    for n in 3..=5 {
        says(&mut pair, n, "lost");
    }
    let lost = pair.bob.cursor();
    comes_back(&mut pair);
    for (n, text) in [(6, "three"), (7, "four")] {
        pair.ana.publish(n, text);
        assert_eq!(pair.ana.message("her own")["text"], text);
        while pair.bob.message(text)["text"] != text {}
    }
    let last = pair.bob.cursor();
    let first = kept.replace(".2", ".1");
    let c = pair.redis.node();
    for (n, node) in [&pair.a, &pair.b, &c].into_iter().enumerate() {
        let join = |fields| joins(&pair, node, n, fields);
        assert_eq!(join(json!({"history": 50})), (json!(0), "one two three four".into()));
        assert_eq!(join(json!({"history": 3})), (json!(0), "two three four".into()));
        assert_eq!(join(json!({"since": first})), (json!(0), "two three four".into()));
        assert_eq!(join(json!({"since": kept})), (json!(0), "three four".into()));
        assert_eq!(join(json!({"since": lost})), (json!(null), "three four".into()));
        let said = |texts: &str| -> String {
            texts.split(' ').map(|text| format!("Ana: {text}\n")).collect()
        };
        assert_eq!(poll(node, "/lab/text?poll=1"), said("one two three four"));
        assert_eq!(poll(node, "/lab/text?poll=1&since=1h"), said("one two three four"));
        assert_eq!(poll(node, &format!("/lab/text?poll=1&since={first}")), said("two three four"));
        assert_eq!(
            poll(node, &format!("/lab/text?poll=1&before={last}")),
            said("one two three four")
        );
        assert_eq!(poll(node, &format!("/lab/text?poll=1&before={kept}")), said("one two"));
        // With each id one goes on behind that message.
        let all = messages(&poll(node, "/lab/sse?poll=1&since=all"));
        let texts: Vec<&str> = all.iter().map(|(_, text)| &**text).collect();
        assert_eq!(texts, ["one", "two", "three", "four"]);
        for (at, (id, _)) in all.iter().enumerate() {
            let rest = messages(&poll(node, &format!("/lab/sse?poll=1&since={id}")));
            let rest: Vec<&str> = rest.iter().map(|(_, text)| &**text).collect();
            assert_eq!(rest, texts[at + 1..], "behind {id}");
        }
    }
}

/// Ana's connection breaks before she hears what she said, the engine loses it, and her server, which does not know
/// that she has gone, still has what she said next. She is told what is lost, and what she says again is there once.
#[test]
fn what_its_author_has_not_heard_and_was_lost_is_said_again() {
    let mut pair = Pair::in_room(Redis::start(), "lab");
    says(&mut pair, 1, "one");
    assert!(pair.redis.cli(&["save"]).contains("OK"));
    let at = pair.ana.cursor();
    pair.ana.publish(2, "two");
    pair.bob.message("two");
    // Her server has heard it, too.
    eventually("two", || poll(&pair.a, "/lab/text?poll=1").contains("two").then_some(()));
    pair.redis.kill();
    pair.redis.start_again();
    pair.bob.skip_to("epoch", "a new epoch");
    pair.ana.publish(3, "three");
    assert_eq!(pair.bob.message("the next")["text"], "three");
    let fields = json!({"me": me(1), "since": at});
    let mut again = Member::join(pair.b.address(), "lab", fields);
    assert_eq!((&again.hello["missed"], &again.hello["n"]), (&json!(0), &json!(1)));
    for (n, text) in [(2, "two"), (3, "three"), (4, "four")] {
        again.publish(n, text);
    }
    assert_eq!(pair.bob.message("what was lost")["text"], "two");
    assert_eq!(pair.bob.message("the next")["text"], "four");
    assert_eq!(poll(&pair.a, "/lab/text?poll=1"), "Ana: one\nAna: three\nAna: two\nAna: four\n");
    let last = Member::join(pair.a.address(), "lab", json!({"me": me(1)}));
    assert_eq!(last.hello["n"], 4);
}

/// Somebody removes what was said in a room, and not the rest of it. Nobody is given that any more, and whoever had
/// not heard it is told how much.
#[test]
fn a_log_that_somebody_removes_is_gone_for_all_and_told() {
    let mut pair = Pair::in_room(Redis::start(), "lab");
    for (n, text) in [(1, "one"), (2, "two"), (3, "three")] {
        says(&mut pair, n, text);
    }
    let (old, last) = (pair.bob.epoch().to_owned(), pair.bob.cursor());
    assert_eq!(pair.redis.cli(&["del", "roomd:{lab}:log"]).trim(), "1");
    pair.ana.publish(4, "four");
    for member in [&mut pair.ana, &mut pair.bob] {
        let epoch = member.skip_to("epoch", "a new epoch");
        assert_eq!((&epoch["missed"], member.seq()), (&json!(0), 3), "{epoch}");
        let four = member.message("four");
        assert_eq!((&four["text"], &four["seq"]), (&json!("four"), &json!(4)));
    }
    let c = pair.redis.node();
    for (n, node) in [&pair.a, &pair.b, &c].into_iter().enumerate() {
        let join = |fields| joins(&pair, node, n, fields);
        assert_eq!(join(json!({"history": 50})), (json!(0), "four".into()));
        assert_eq!(join(json!({"since": last})), (json!(0), "four".into()));
        assert_eq!(join(json!({"since": format!("{old}.1")})), (json!(2), "four".into()));
    }
}

/// Whoever is behind hears what was lost as well, by the ids that it had, and is not taken for one who has heard
/// what came in its place.
#[test]
fn what_is_heard_late_has_the_cursor_that_it_had() {
    const LOST: usize = 300;
    let mut pair = Pair::in_room(Redis::start(), "lab");
    pair.ana.publish(1, "kept");
    pair.ana.message("her own");
    assert!(pair.redis.cli(&["save"]).contains("OK"));
    let mut slow = Peer::narrow(pair.a.address());
    slow.send(get("/lab/sse", ""));
    assert!(slow.head_begins_with("HTTP/1.1 200 "));
    let old = pair.ana.epoch().to_owned();
    for n in 0..LOST {
        pair.ana.say(&format!("lost {n} {}", "x".repeat(4000)));
        pair.ana.message("her own");
    }
    comes_back(&mut pair);
    for text in ["after 0", "after 1", "after 2"] {
        pair.ana.says_and_hears(text);
    }
    let new = pair.ana.epoch().to_owned();
    slow.half_close();
    let heard = messages(slow.response().text());
    assert_eq!(heard.len(), LOST + 3);
    for (n, (id, text)) in heard.iter().enumerate() {
        let (epoch, said) = match n.checked_sub(LOST) {
            None => (&old, format!("lost {n} ")),
            Some(n) => (&new, format!("after {n}")),
        };
        assert!(text.starts_with(&said) && id.starts_with(&format!("{epoch}.")), "{id} {text:.20}");
    }
    let (id, _) = &heard[LOST - 1];
    let rest = poll(&pair.a, &format!("/lab/text?poll=1&since={id}"));
    assert_eq!(rest, "Ana: after 0\nAna: after 1\nAna: after 2\n");
}
