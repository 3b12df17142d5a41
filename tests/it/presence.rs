//! Who is there: joins and leaves, and what replaces them in a room with many.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Member, Program, left, me};

fn join(program: &Program, n: u64) -> Member {
    Member::named(program.address, "lobby", n, &format!("p{n}"))
}

/// A program with this threshold, and so many members of its lobby.
fn crowd(presence: usize, members: u64) -> (Program, Vec<Member>) {
    let program = Program::start(&["--rate=0", &format!("--presence={presence}")]);
    let members = (1..=members).map(|n| join(&program, n)).collect();
    (program, members)
}

#[test]
fn others_hear_of_a_join_and_of_how_somebody_left() {
    let (program, mut members) = crowd(100, 1);
    let mut watcher = members.remove(0);
    watcher.pings();
    type Leave = fn(Member);
    let ways: [(Leave, bool); 5] = [
        (|member| member.leave(), false),
        (|member| member.reset(), true),
        (drop, true),
        (|member| member.client.peer.half_close(), true),
        (|mut member| member.client.send(crate::support::close(1001, "")), false),
    ];
    for (n, (leave, is_lost)) in (2..).zip(ways) {
        let mut member = join(&program, n);
        let by = member.you.clone();
        watcher.hears(json!({"t": "join", "by": by, "name": format!("p{n}"), "count": 2}));
        // One's own join is not sent.
        member.pings();
        leave(member);
        let mut expected = json!({"t": "leave", "by": by, "count": 1});
        if is_lost {
            expected["lost"] = json!(true);
        }
        watcher.hears(expected);
    }
    let mut tutorial = program.join(42);
    watcher.hears(json!({"t": "join", "by": "#42", "name": "#42", "count": 2}));
    tutorial.says_and_hears(42, "hi");
    watcher.hears_message("#42", "#42", "hi");
    tutorial.leave();
    watcher.hears(json!({"t": "leave", "by": "#42", "count": 1}));
}

/// Presence has its place between the messages, the same for everybody.
#[test]
fn presence_is_in_the_rooms_order() {
    let (program, mut members) = crowd(100, 2);
    members[0].skip_to("join", "p2");
    for n in 3..40 {
        let mut guest = join(&program, n);
        guest.say("hi");
        guest.leave();
    }
    let [first, second] = &mut members[..] else { panic!("two members") };
    for n in 3..40 {
        for t in ["join", "msg", "leave"] {
            let next = first.next(t);
            assert_eq!(next["t"], t, "{n}: {next}");
            assert_eq!(second.next(t), next);
        }
    }
}

/// At the threshold there are joins; above it a count; and below nine tenths of it the whole list.
#[test]
fn a_crowd_is_counted_and_listed_again_when_it_is_small() {
    let (program, mut members) = crowd(10, 9);
    let mut watcher = members.remove(0);
    (2..=9).for_each(|_| drop(watcher.skip_to("join", "a member")));
    let tenth = join(&program, 10);
    watcher.hears(json!({"t": "join", "by": tenth.you, "name": "p10", "count": 10}));
    assert_eq!(tenth.hello["who"].as_array().map(Vec::len), Some(10));
    tenth.leave();
    let left = watcher.next("p10 leaves");
    assert_eq!((&left["t"], &left["count"]), (&json!("leave"), &json!(9)));

    members.push(join(&program, 10));
    watcher.skip_to("join", "p10");
    let eleventh = join(&program, 11);
    assert_eq!(eleventh.hello.get("who"), None);
    assert_eq!(eleventh.hello["count"], 11);
    watcher.hears(json!({"t": "count", "count": 11}));
    // Ten again: still counted, so that nobody's list lacks somebody.
    eleventh.leave();
    watcher.hears(json!({"t": "count", "count": 10}));
    // Nine: everybody is sent the list.
    members.remove(2).leave();
    let list = watcher.next("who");
    assert_eq!((&list["t"], &list["count"]), (&json!("who"), &json!(9)), "{list}");
    let mut here: Vec<Value> =
        members.iter().chain([&watcher]).map(|member| json!([member.you, member.name()])).collect();
    let mut listed = list["who"].as_array().expect("a list").clone();
    for list in [&mut here, &mut listed] {
        list.sort_by_key(Value::to_string);
    }
    assert_eq!(listed, here);
    for member in &mut members {
        assert_eq!(member.skip_to("who", "who")["count"], 9);
    }
    // From here on join and leave again.
    let back = join(&program, 4);
    watcher.hears(json!({"t": "join", "by": back.you, "name": "p4", "count": 10}));
    let by = back.you.clone();
    back.leave();
    watcher.hears(json!({"t": "leave", "by": by, "count": 9}));
}

/// However many come and go, a `count` is sent once a second, and the last one is right.
#[test]
fn counts_are_at_most_one_a_second_and_the_last_is_right() {
    let (program, mut members) = crowd(3, 4);
    let mut watcher = members.remove(0);
    let begin = Instant::now();
    for _ in 0..10 {
        let guests: Vec<_> = (100..110).map(|n| join(&program, n)).collect();
        guests.into_iter().for_each(Member::leave);
    }
    let mut stays: Vec<_> = (200..203).map(|n| join(&program, n)).collect();
    let mut counts = 0;
    loop {
        let next = watcher.next("the last count");
        match next["t"].as_str() {
            Some("count") => counts += 1,
            Some("join") => continue,
            _ => panic!("{next}"),
        }
        if next["count"] == 7 && watcher_is_current(&mut watcher, &mut counts) {
            break;
        }
    }
    let seconds = begin.elapsed().as_secs();
    assert!(counts <= seconds + 2, "{counts} counts in {seconds} s");
    for member in &mut stays {
        member.send("ping", json!({}));
        member.skip_to("pong", "pong");
    }
}

/// Whether nothing but the answer to a ping comes next, and what counts come before it.
#[track_caller]
fn watcher_is_current(watcher: &mut Member, counts: &mut u64) -> bool {
    watcher.send("ping", json!({}));
    let mut is_current = true;
    loop {
        let next = watcher.next("pong");
        match next["t"].as_str() {
            Some("pong") => return is_current,
            Some("count") => {
                *counts += 1;
                is_current = next["count"] == 7;
            }
            _ => panic!("{next}"),
        }
    }
}

/// Tutorial clients hear everybody leave, in a crowd, too.
#[test]
fn tutorial_clients_hear_each_leave_of_a_crowd() {
    let (program, mut members) = crowd(2, 5);
    let mut tutorial = program.join(7);
    let mut nums = Vec::new();
    for member in &mut members {
        member.say("me");
        let heard = String::from_utf8(tutorial.message("me").payload).expect("text");
        let num = heard.strip_prefix("Client #").and_then(|rest| rest.strip_suffix(" says: me"));
        nums.push(num.and_then(|num| num.parse::<i64>().ok()).unwrap_or_else(|| panic!("{heard}")));
    }
    for (member, num) in members.into_iter().zip(nums) {
        member.leave();
        tutorial.hears(&left(num));
    }
    tutorial.says_and_hears(7, "alone");
}

/// A threshold of 100 unless a flag says otherwise.
#[test]
fn a_hundred_are_listed_and_one_more_is_not() {
    let program = Program::start(&["--rate=0"]);
    let members: Vec<_> = (1..=101)
        .map(|n| Member::join(program.address, "lobby", json!({"me": me(n), "history": 0})))
        .collect();
    assert_eq!(members[99].hello["who"].as_array().map(Vec::len), Some(100));
    assert_eq!(members[100].hello.get("who"), None);
    assert_eq!(members[100].hello["count"], 101);
}

/// A connection that only publishes is a member like others: it is counted and listed.
#[test]
fn clients_that_do_not_hear_are_counted() {
    let (program, mut members) = crowd(100, 1);
    let sensor = Member::join(
        program.address,
        "lobby",
        json!({"me": me(9), "name": "sensor", "hear": false}),
    );
    members[0].hears(json!({"t": "join", "by": sensor.you, "name": "sensor", "count": 2}));
    let by = sensor.you.clone();
    sensor.leave();
    members[0].hears(json!({"t": "leave", "by": by, "count": 1}));
}
