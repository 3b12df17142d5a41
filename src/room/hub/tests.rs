use super::fuzz_target::{self, Guest, go, join, room, room_within, say};
use super::*;
use crate::config::budget::LogBounds;
use crate::metrics::Metrics;
use crate::net::slots::ConnId;
use crate::testing::Rng;
use crate::wire::tutorial;

/// A close frame.
const BYE: &[u8] = &[0x88, 2, 3, 232];

/// The frames of these lines: `7: text` is said by client 7, `7 left` is its leaving.
fn frames(lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        match (line.strip_suffix(" left"), line.split_once(": ")) {
            (Some(id), _) => tutorial::left(&mut out, id.parse().unwrap()),
            (_, Some((id, text))) => tutorial::says(&mut out, id.parse().unwrap(), text),
            _ => panic!("{line}"),
        }
    }
    out
}

#[test]
fn everybody_hears_what_is_said_the_sender_too() {
    let (room, a, b) = (room(), Guest::new(), Guest::new());
    let mut hub = Hub::new();
    for event in
        [join(&room, 1, 7, &a), join(&room, 2, 8, &b), say(&room, 1, "hello"), say(&room, 2, "")]
    {
        hub.handle(event);
    }
    assert!(a.got().is_empty(), "a batch goes out with the flush");
    hub.flush();
    assert_eq!(a.got(), frames(&["7: hello", "8: "]));
    assert_eq!(b.got(), a.got());
}

#[test]
fn who_joins_within_a_batch_hears_the_rest_of_it() {
    let (room, a, b) = (room(), Guest::new(), Guest::new());
    let mut hub = Hub::new();
    for event in [
        join(&room, 1, 1, &a),
        say(&room, 1, "before"),
        join(&room, 2, 2, &b),
        say(&room, 1, "after"),
    ] {
        hub.handle(event);
    }
    hub.flush();
    assert_eq!(b.got(), frames(&["1: after"]));
}

#[test]
fn who_leaves_hears_its_own_last_words_and_then_the_farewell() {
    let (room, a, b) = (room(), Guest::new(), Guest::new());
    let mut hub = Hub::new();
    for event in [
        join(&room, 1, 1, &a),
        join(&room, 2, 2, &b),
        say(&room, 2, "bye"),
        go(2, Some(BYE)),
        say(&room, 1, "so"),
    ] {
        hub.handle(event);
    }
    hub.flush();
    assert_eq!(b.got(), [&frames(&["2: bye"]), BYE].concat());
    assert!(b.is_closed());
    assert_eq!(a.got(), frames(&["2: bye", "2 left", "1: so"]));
}

#[test]
fn who_vanishes_is_cut_and_its_twin_stays() {
    let (room, a, b) = (room(), Guest::new(), Guest::new());
    let mut hub = Hub::new();
    for event in [
        join(&room, 1, 5, &a),
        join(&room, 2, 5, &b),
        go(1, None),
        go(1, None),
        say(&room, 2, "still here"),
    ] {
        hub.handle(event);
    }
    hub.flush();
    assert!(a.is_cut());
    assert!(a.got().is_empty());
    assert_eq!(b.got(), frames(&["5 left", "5: still here"]));
}

#[test]
fn one_that_is_gone_has_left_once_whatever_it_does_after() {
    let (room, a, slow) = (room(), Guest::new(), Guest::with_room(0));
    let mut hub = Hub::new();
    for event in [join(&room, 1, 1, &a), join(&room, 2, 2, &slow), say(&room, 1, "x")] {
        hub.handle(event);
    }
    hub.flush();
    for event in [say(&room, 2, "not heard"), go(2, Some(BYE)), say(&room, 1, "y")] {
        hub.handle(event);
    }
    hub.flush();
    assert_eq!(a.got(), frames(&["1: x", "2 left", "1: y"]));
    assert!(slow.is_cut() && slow.got().is_empty());
}

/// Those who are told that somebody left may turn out to be gone themselves.
#[test]
fn those_that_are_gone_fall_like_dominoes() {
    let (room, a) = (room(), Guest::new());
    let mut hub = Hub::new();
    hub.handle(join(&room, 0, 0, &a));
    let message = frames(&["0: x"]).len();
    let notice = frames(&["1 left"]).len();
    for n in 1..9 {
        let most = if n == 1 { 0 } else { message + notice * (n - 2) };
        hub.handle(join(&room, n as ConnId, n as i64, &Guest::with_room(most)));
    }
    hub.handle(say(&room, 0, "x"));
    hub.flush();
    let expected: Vec<_> = (1..9).map(|n| format!("{n} left")).collect();
    let mut lines = vec!["0: x"];
    lines.extend(expected.iter().map(String::as_str));
    assert_eq!(a.got(), frames(&lines));
}

#[test]
fn a_stop_closes_everybody_behind_what_was_said() {
    let (room, a, late) = (room(), Guest::new(), Guest::new());
    let mut hub = Hub::new();
    let (done, is_done) = crossbeam_channel::bounded(0);
    let shutdown = Event::Shutdown { done };
    for event in [
        join(&room, 1, 1, &a),
        say(&room, 1, "last"),
        shutdown,
        say(&room, 1, "x"),
        join(&room, 2, 2, &late),
    ] {
        hub.handle(event);
    }
    hub.handle(go(1, None));
    hub.flush();
    let farewell = CloseReason::Stopping.frame();
    let expected = [frames(&["1: last"]), farewell.clone()].concat();
    assert_eq!(a.got(), expected, "and no notices of who leaves");
    assert_eq!(late.got(), farewell);
    assert_eq!(is_done.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected));
}

#[test]
fn the_hub_ends_when_nobody_can_speak_to_it() {
    let (sender, inbox) = crossbeam_channel::bounded(8);
    let (room, a) = (room(), Guest::new());
    sender.send(join(&room, 1, 1, &a)).unwrap();
    sender.send(say(&room, 1, "x")).unwrap();
    drop(sender);
    Hub::new().run(&inbox, &Metrics::new(1).hubs()[0]);
    assert_eq!(a.got(), frames(&["1: x"]));
}

/// Random events: see [`fuzz_target::run`].
#[test]
fn random_events_keep_one_order_for_everybody() {
    for seed in 0..300 {
        let (said, joined) = fuzz_target::run(&Rng::new(seed).bytes(1500));
        assert!(said > 100 && joined > 20, "seed {seed}: a run too dull to show anything");
    }
}

/// While a batch is made, a part of it may be appended for one that leaves. Those who are sent the batch
/// later may fall behind at its first entry.
#[test]
fn nothing_of_a_batch_is_forgotten_before_everybody_was_sent_it() {
    let (bounds, size) = (LogBounds::new(64 << 10, 1000), 64 << 10);
    let room = room_within(LogBounds { size, keep: 8 << 10, lag: 48 << 10, ..bounds });
    let mut hub = Hub::new();
    let (slow, leaver) = (Guest::slow(), Guest::new());
    hub.handle(join(&room, 1, 1, &slow));
    hub.handle(join(&room, 2, 2, &leaver));
    // Each has a chunk to itself.
    let texts = [1, 2, 3].map(|n| n.to_string().repeat(3000));
    hub.handle(say(&room, 2, &texts[0]));
    hub.handle(say(&room, 1, &texts[1]));
    hub.handle(go(2, Some(BYE)));
    hub.handle(say(&room, 1, &texts[2]));
    hub.flush();
    assert!(slow.got().is_empty());
    slow.takes_all();
    let [first, second, third] = texts;
    let lines =
        [format!("2: {first}"), format!("1: {second}"), "2 left".into(), format!("1: {third}")];
    let expected = frames(&lines.each_ref().map(String::as_str));
    assert!(slow.got() == expected, "something was lost");
}
