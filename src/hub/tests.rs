use std::collections::HashSet;
use std::sync::Mutex;

use tungstenite::Utf8Bytes;

use super::*;
use crate::testing::Dice;

/// An outbox that keeps what it is given, and is full at some point.
#[derive(Debug, Default)]
struct Recorder {
    got: Mutex<Vec<u8>>,
    last_word: Mutex<Option<Vec<u8>>>,
    is_cut: Mutex<bool>,
    room: Option<usize>,
}

impl Recorder {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn with_room(bytes: usize) -> Arc<Self> {
        Arc::new(Recorder { room: Some(bytes), ..Recorder::default() })
    }

    fn got(&self) -> Vec<u8> {
        self.got.lock().unwrap().clone()
    }

    fn closed_with(&self) -> Option<Vec<u8>> {
        self.last_word.lock().unwrap().clone()
    }
}

impl Deliver for Recorder {
    fn deliver(self: &Arc<Self>, frames: &[u8]) -> Sent {
        assert!(!frames.is_empty(), "nothing was sent");
        assert_eq!(self.closed_with(), None, "something was sent after the last word");
        assert!(!*self.is_cut.lock().unwrap(), "something was sent to one who is gone");
        let mut got = self.got.lock().unwrap();
        if self.room.is_some_and(|room| got.len() + frames.len() > room) {
            return Sent::Refused;
        }
        got.extend_from_slice(frames);
        Sent::Taken
    }

    fn close(self: &Arc<Self>, frame: &[u8]) {
        let before = self.last_word.lock().unwrap().replace(frame.to_vec());
        assert_eq!(before, None, "closed twice");
    }

    fn cut(self: &Arc<Self>) {
        *self.is_cut.lock().unwrap() = true;
    }
}

fn join(key: Key, id: i64, outbox: &Arc<Recorder>) -> Event<Recorder> {
    Event::Join { key, id, outbox: outbox.clone() }
}

fn say(key: Key, text: &str) -> Event<Recorder> {
    Event::Broadcast { key, text: Utf8Bytes::from(text) }
}

fn go(key: Key, farewell: Option<&[u8]>) -> Event<Recorder> {
    Event::Leave { key, farewell: farewell.map(<[u8]>::to_vec) }
}

/// The frames of these lines: `7: text` is said by client 7, `7 left` is its leaving.
fn frames(lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        match (line.strip_suffix(" left"), line.split_once(": ")) {
            (Some(id), _) => wire::left(&mut out, id.parse().unwrap()),
            (_, Some((id, text))) => wire::says(&mut out, id.parse().unwrap(), text),
            _ => panic!("{line}"),
        }
    }
    out
}

#[test]
fn everybody_hears_what_is_said_the_sender_too() {
    let (mut hub, a, b) = (Hub::new(), Recorder::new(), Recorder::new());
    for event in [join(1, 7, &a), join(2, 8, &b), say(1, "hello"), say(2, "")] {
        hub.handle(event);
    }
    assert!(a.got().is_empty(), "a batch goes out with the flush");
    hub.flush();
    assert_eq!(a.got(), frames(&["7: hello", "8: "]));
    assert_eq!(b.got(), a.got());
}

#[test]
fn who_joins_within_a_batch_hears_the_rest_of_it() {
    let (mut hub, a, b) = (Hub::new(), Recorder::new(), Recorder::new());
    for event in [join(1, 1, &a), say(1, "before"), join(2, 2, &b), say(1, "after")] {
        hub.handle(event);
    }
    hub.flush();
    assert_eq!(b.got(), frames(&["1: after"]));
}

#[test]
fn who_leaves_hears_its_own_last_words_and_then_the_farewell() {
    let (mut hub, a, b) = (Hub::new(), Recorder::new(), Recorder::new());
    for event in
        [join(1, 1, &a), join(2, 2, &b), say(2, "bye"), go(2, Some(b"close")), say(1, "so")]
    {
        hub.handle(event);
    }
    hub.flush();
    assert_eq!(b.got(), frames(&["2: bye"]));
    assert_eq!(b.closed_with(), Some(b"close".to_vec()));
    assert_eq!(a.got(), frames(&["2: bye", "2 left", "1: so"]));
}

#[test]
fn who_vanishes_is_cut_and_its_twin_stays() {
    let (mut hub, a, b) = (Hub::new(), Recorder::new(), Recorder::new());
    for event in [join(1, 5, &a), join(2, 5, &b), go(1, None), go(1, None), say(2, "still here")] {
        hub.handle(event);
    }
    hub.flush();
    assert!(*a.is_cut.lock().unwrap());
    assert!(a.got().is_empty());
    assert_eq!(b.got(), frames(&["5 left", "5: still here"]));
}

#[test]
fn who_is_too_slow_has_left_once_whatever_it_does_after() {
    let (mut hub, a, slow) = (Hub::new(), Recorder::new(), Recorder::with_room(0));
    for event in [join(1, 1, &a), join(2, 2, &slow), say(1, "x")] {
        hub.handle(event);
    }
    hub.flush();
    for event in [say(2, "not heard"), go(2, Some(b"close")), say(1, "y")] {
        hub.handle(event);
    }
    hub.flush();
    assert_eq!(a.got(), frames(&["1: x", "2 left", "1: y"]));
    assert_eq!(slow.closed_with(), None, "its outbox has its own last word");
}

/// Those who are told that somebody left may turn out to be gone themselves.
#[test]
fn a_row_of_slow_clients_falls_like_dominoes() {
    let (mut hub, a) = (Hub::new(), Recorder::new());
    hub.handle(join(0, 0, &a));
    let message = frames(&["0: x"]).len();
    let notice = frames(&["1 left"]).len();
    for n in 1..9 {
        let room = if n == 1 { 0 } else { message + notice * (n - 2) };
        hub.handle(join(n as Key, n as i64, &Recorder::with_room(room)));
    }
    hub.handle(say(0, "x"));
    hub.flush();
    let expected: Vec<_> = (1..9).map(|n| format!("{n} left")).collect();
    let mut lines = vec!["0: x"];
    lines.extend(expected.iter().map(String::as_str));
    assert_eq!(a.got(), frames(&lines));
}

#[test]
fn a_stop_closes_everybody_behind_what_was_said() {
    let (mut hub, a, late) = (Hub::new(), Recorder::new(), Recorder::new());
    let (done, is_done) = crossbeam_channel::bounded(0);
    let shutdown = Event::Shutdown { done };
    for event in [join(1, 1, &a), say(1, "last"), shutdown, say(1, "x"), join(2, 2, &late)] {
        hub.handle(event);
    }
    hub.handle(go(1, None));
    hub.flush();
    assert_eq!(a.got(), frames(&["1: last"]), "and no notices of who leaves");
    assert_eq!(a.closed_with(), Some(Farewell::Stopping.frame()));
    assert_eq!(late.closed_with(), Some(Farewell::Stopping.frame()));
    assert_eq!(is_done.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected));
}

#[test]
fn the_hub_ends_when_nobody_can_speak_to_it() {
    let (sender, inbox) = crossbeam_channel::bounded(8);
    let a = Recorder::new();
    sender.send(join(1, 1, &a)).unwrap();
    sender.send(say(1, "x")).unwrap();
    drop(sender);
    Hub::new().run(&inbox);
    assert_eq!(a.got(), frames(&["1: x"]));
}

/// One client of a random run.
struct Guest {
    id: i64,
    outbox: Arc<Recorder>,
    joined_at: usize,
    /// Where it left, if the hub was told.
    left_at: Option<usize>,
}

/// Random events with random flushes between them. A witness who is there from first to last has
/// the one order; everybody else has a piece of it, from joining on, with nothing missing, and
/// nothing after leaving; each who is gone left once.
#[test]
fn random_events_keep_one_order_for_everybody() {
    for seed in 0..300 {
        run_random_events(seed);
    }
}

fn run_random_events(seed: u64) {
    let mut dice = Dice::new(seed);
    let (mut hub, witness) = (Hub::new(), Recorder::new());
    hub.handle(join(0, 0, &witness));
    let mut guests: Vec<Guest> = Vec::new();
    let mut said = 0;
    for _ in 0..400 {
        let at = witness.got().len() + hub.batch.len();
        let key = dice.roll(guests.len().max(1)) as Key + 1;
        match dice.roll(10) {
            0 | 1 => {
                let outbox = match dice.roll(4) {
                    0 => Recorder::with_room(dice.roll(3000)),
                    _ => Recorder::new(),
                };
                let id = guests.len() as i64 + 1;
                hub.handle(join(id as Key, id, &outbox));
                guests.push(Guest { id, outbox, joined_at: at, left_at: None });
            }
            2 => {
                let farewell = (dice.roll(2) == 0).then_some(&b"close"[..]);
                hub.handle(go(key, farewell));
                if let Some(guest) = guests.get_mut(key as usize - 1) {
                    guest.left_at.get_or_insert(at);
                }
            }
            3 => hub.flush(),
            _ => {
                said += 1;
                hub.handle(say(key, &"m".repeat(dice.roll(200))));
            }
        }
    }
    hub.flush();

    let order = witness.got();
    let mut gone = HashSet::new();
    for (id, text) in parse(&order) {
        if text.is_none() {
            assert!(gone.insert(id), "seed {seed}: {id} left twice");
        } else {
            assert!(!gone.contains(&id), "seed {seed}: {id} spoke after it had left");
        }
    }
    for Guest { id, outbox, joined_at, left_at } in &guests {
        let (id, got) = (*id, outbox.got());
        assert!(order[*joined_at..].starts_with(&got), "seed {seed}: {id} has another order");
        if !gone.contains(&id) {
            assert_eq!(joined_at + got.len(), order.len(), "seed {seed}: {id} misses the end");
            assert_eq!(*left_at, None, "seed {seed}: {id} left and nobody was told");
        } else if outbox.closed_with().is_some() && outbox.room.is_none() {
            let heard = joined_at + got.len();
            assert_eq!(Some(heard), *left_at, "seed {seed}: {id} heard too much or too little");
        } else if outbox.room.is_none() {
            assert!(left_at.is_some(), "seed {seed}: {id} is gone without a reason");
        }
    }
    assert!(said > 100 && guests.len() > 20, "seed {seed}: a run too dull to show anything");
}

/// Who speaks and what is said, or that somebody left, for each frame.
fn parse(frames: &[u8]) -> Vec<(i64, Option<String>)> {
    let mut lines = Vec::new();
    let mut at = 0;
    while at < frames.len() {
        let end = wire::boundary(frames, at + 1);
        let header = if frames[at + 1] < 126 { 2 } else { 4 };
        let line = std::str::from_utf8(&frames[at + header..end]).unwrap();
        let (id, rest) = line.strip_prefix("Client #").unwrap().split_once(' ').unwrap();
        let text = rest.strip_prefix("says: ").map(String::from);
        assert!(text.is_some() || rest == "left the chat", "{line}");
        lines.push((id.parse().unwrap(), text));
        at = end;
    }
    lines
}
