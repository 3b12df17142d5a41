//! Cursors: where a client that joins or comes back goes on, and how many messages it has missed.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::{Member, Program, me, position};

fn start(args: &[&str]) -> Program {
    Program::start(&[&["--rate=0"], args].concat())
}

fn join(program: &Program, fields: Value) -> Member {
    Member::join(program.address, "lobby", fields)
}

/// A room in which messages `1` to `n` were said, and the one who said them.
fn said(program: &Program, n: u64) -> Member {
    let mut talker = Member::named(program.address, "lobby", 1, "talker");
    for n in talker.seq() + 1..=talker.seq() + n {
        talker.say(&n.to_string());
    }
    (0..n).for_each(|_| drop(talker.message("its own")));
    talker
}

fn numbers(from: u64, to: u64) -> Vec<String> {
    (from..=to).map(|n| n.to_string()).collect()
}

/// Where somebody starts, how many are missed, and what is replayed.
#[track_caller]
fn starts(member: &mut Member, start: u64, missed: impl Into<Value>, head: u64) {
    assert_eq!(member.seq() + 1, start, "{}", member.hello);
    assert_eq!(member.hello["missed"], missed.into(), "{}", member.hello);
    assert_eq!(member.hello["head"], head, "{}", member.hello);
    assert_eq!(member.replay(), numbers(start, head));
}

#[test]
fn a_newcomer_is_told_the_last_messages() {
    let program = start(&[]);
    let mut nobody = join(&program, json!({}));
    starts(&mut nobody, 1, 0, 0);
    let mut talker = said(&program, 120);
    for (history, from) in
        [(json!(null), 71), (json!(0), 121), (json!(1), 120), (json!(120), 1), (json!(1000), 1)]
    {
        let mut fields = json!({});
        if !history.is_null() {
            fields["history"] = history;
        }
        starts(&mut join(&program, fields), from, 0, 120);
    }
    // What is said meanwhile comes behind, without a gap.
    let mut late = join(&program, json!({"history": 10}));
    talker.say("121");
    assert_eq!(late.texts(11), numbers(111, 121));
}

#[test]
fn a_client_goes_on_where_it_stopped() {
    let program = start(&[]);
    let mut talker = said(&program, 100);
    let epoch = talker.epoch().to_owned();
    for since in [0, 1, 37, 99, 100] {
        let since_cursor = format!("{epoch}.{since}");
        let mut member = join(&program, json!({"since": since_cursor, "history": 3}));
        assert_eq!(member.hello["cursor"], since_cursor);
        starts(&mut member, since + 1, 0, 100);
    }
    // Away for a moment, and nothing is missed.
    let mut bo = Member::named(program.address, "lobby", 2, "bo");
    talker.say("101");
    bo.message("101");
    let cursor = bo.cursor();
    bo.reset();
    for n in 102..=150 {
        talker.say(&n.to_string());
    }
    talker.skip_to("leave", "bo");
    let mut bo = join(&program, json!({"me": me(2), "since": cursor}));
    let missing = bo.hello["head"].as_u64().expect("a number") - 101;
    assert_eq!(bo.hello["missed"], 0);
    assert_eq!(bo.texts(49), numbers(102, 150));
    assert!(missing <= 49, "{}", bo.hello);
}

/// Losing the connection in the middle of the replay loses nothing: the cursor is before it.
#[test]
fn a_replay_that_is_cut_goes_on() {
    let program = start(&["--history=1000"]);
    let _talker = said(&program, 300);
    let mut heard = Vec::new();
    let mut fields = json!({"me": me(2), "history": 1000});
    while heard.len() < 300 {
        let mut member = join(&program, fields);
        assert_eq!(member.hello["missed"], 0);
        assert_eq!(member.seq(), heard.len() as u64);
        heard.extend(member.texts(7.min(300 - heard.len())));
        fields = json!({"me": me(2), "since": member.cursor()});
        member.reset();
    }
    assert_eq!(heard, numbers(1, 300));
}

/// The present is in `who`, so a replay has messages alone. A connected reader has heard the rest.
#[test]
fn a_replay_has_no_notices() {
    let program = start(&[]);
    let mut talker = said(&program, 1);
    for n in 2..=30 {
        let mut guest = Member::named(program.address, "lobby", n + 100, &format!("guest {n}"));
        if n % 5 == 0 {
            guest.send("name", json!({"name": format!("renamed {n}")}));
        }
        let tutorial = program.join(7);
        guest.say(&n.to_string());
        guest.leave();
        tutorial.peer.hang_up();
    }
    (2..=30).for_each(|_| drop(talker.message("a guest's")));
    let mut late = join(&program, json!({}));
    starts(&mut late, 1, 0, 30);
    let mut back = join(&program, json!({"since": format!("{}.5", late.epoch())}));
    starts(&mut back, 6, 0, 30);
    late.skip_to("join", "the last one");
    late.pings();
}

#[test]
fn what_was_trimmed_is_counted() {
    let program = start(&["--history=10"]);
    let talker = said(&program, 30);
    let epoch = talker.epoch().to_owned();
    for (since, start, missed) in
        [(0, 21, 20), (1, 21, 19), (19, 21, 1), (20, 21, 0), (25, 26, 0), (30, 31, 0)]
    {
        let mut member = join(&program, json!({"since": format!("{epoch}.{since}")}));
        starts(&mut member, start, missed, 30);
    }
    starts(&mut join(&program, json!({"history": 1000})), 21, 0, 30);
}

/// A cursor of another room, of another start, or of nobody's: everything there is, and `null`.
#[test]
fn an_unknown_cursor_gets_all_there_is() {
    let program = start(&["--history=10"]);
    let talker = said(&program, 30);
    let mut elsewhere = Member::named(program.address, "lab", 1, "ana");
    elsewhere.says_and_hears("elsewhere");
    let other = elsewhere.cursor();
    let epoch = talker.epoch();
    for since in [
        other.as_str(),
        "zzzzzz.5",
        "a.0",
        "000000000000.9007199254740991",
        // Numbers that were never assigned.
        &format!("{epoch}.31"),
        &format!("{epoch}.9007199254740991"),
    ] {
        let mut member = join(&program, json!({"since": since, "history": 0}));
        starts(&mut member, 21, Value::Null, 30);
    }
}

/// With the history in memory a new start has another epoch, and knows nobody.
#[test]
fn a_restart_forgets() {
    let first = start(&[]);
    let mut talker = said(&first, 5);
    talker.publish(7, "6");
    talker.message("its own");
    let cursor = talker.cursor();
    drop(talker);
    drop(first);
    let second = start(&[]);
    let mut other = Member::named(second.address, "lobby", 9, "other");
    for n in 1..=8 {
        other.says_and_hears(&n.to_string());
    }
    // Its number is less than the new head: it must not pass for one of this epoch.
    let mut back = join(&second, json!({"me": me(1), "since": cursor}));
    assert_ne!(back.epoch(), position(&json!(cursor)).0);
    assert_eq!(back.hello["n"], Value::Null);
    starts(&mut back, 1, Value::Null, 8);
}

/// A room that was dropped and is made again is another one.
#[test]
fn a_reborn_room_has_another_epoch() {
    let program = start(&["--history=0"]);
    let mut ana = Member::named(program.address, "lab", 1, "ana");
    ana.says_and_hears("1");
    ana.says_and_hears("2");
    let cursor = ana.cursor();
    ana.leave();
    let mut back = Member::join(program.address, "lab", json!({"me": me(1), "since": cursor}));
    // Whether it was dropped in between is up to the server; a number twice in one epoch is not.
    if back.cursor() == cursor {
        assert_eq!(back.hello["missed"], 0);
    } else {
        assert_ne!(back.epoch(), position(&json!(cursor)).0);
        assert_eq!(back.hello["missed"], Value::Null);
    }
    back.says_and_hears("3");
}

/// The greatest `n`: null for one that the server does not remember, 0 for one that never published.
#[test]
fn hello_tells_the_greatest_number_that_was_accepted() {
    let program = start(&[]);
    let n = |member: &Member| member.hello["n"].clone();
    let ana = join(&program, json!({"me": me(1)}));
    assert_eq!(n(&ana), Value::Null);
    ana.leave();
    let mut ana = join(&program, json!({"me": me(1)}));
    assert_eq!(n(&ana), 0);
    ana.says_and_hears("without a number");
    ana.reset();
    let mut ana = join(&program, json!({"me": me(1)}));
    ana.replay();
    assert_eq!(n(&ana), 0);
    ana.publish(3, "third");
    ana.message("its own");
    ana.leave();
    let mut ana = join(&program, json!({"me": me(1), "history": 0}));
    assert_eq!(n(&ana), 3);
    ana.publish(2, "an older one");
    assert_eq!(ana.next("an ack")["t"], "ack");
    ana.publish(4, "fourth");
    assert_eq!(ana.message("its own")["n"], 4);
    // Per room.
    assert_eq!(n(&Member::join(program.address, "lab", json!({"me": me(1)}))), Value::Null);
}

/// 16 KiB of those who are absent, longest absent out; never one that is connected.
#[test]
fn the_longest_absent_are_forgotten() {
    const MANY: u64 = 1500;
    let program = start(&[]);
    let publish_one = |n: u64| {
        let mut member = join(&program, json!({"me": me(n), "history": 0}));
        member.publish(1, "1");
        member.skip_to("msg", "its own");
        member
    };
    let stays = publish_one(MANY);
    for n in 0..MANY {
        publish_one(n).leave();
    }
    // Kept open, so that what is asked does not change the answers that follow.
    let mut asked = Vec::new();
    let mut is_remembered = |n| {
        let member = join(&program, json!({"me": me(n), "history": 0, "who": false}));
        let is_remembered = member.hello["n"] == 1;
        asked.push(member);
        (n, is_remembered)
    };
    let remembered: HashMap<u64, bool> =
        (0..10).chain(MANY - 50..=MANY).map(&mut is_remembered).collect();
    drop(stays);
    assert!(remembered[&MANY], "a connected one was forgotten");
    assert!(!remembered[&0], "16 KiB is more than 1,500 are");
    assert!((MANY - 50..MANY).all(|n| remembered[&n]), "the last fifty were forgotten");
}
