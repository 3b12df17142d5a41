//! Event sequences against what a room is: whatever happens, everybody has the same order.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Instant;

use tungstenite::Utf8Bytes;

use super::*;
use crate::testing::Choices;

/// An outbox that keeps what it is given, and is full at some point.
#[derive(Debug, Default)]
pub struct Recorder {
    got: Mutex<Vec<u8>>,
    last_word: Mutex<Option<Vec<u8>>>,
    pub is_cut: Mutex<bool>,
    room: Option<usize>,
}

impl Recorder {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn with_room(bytes: usize) -> Arc<Self> {
        Arc::new(Recorder { room: Some(bytes), ..Recorder::default() })
    }

    pub fn got(&self) -> Vec<u8> {
        self.got.lock().unwrap().clone()
    }

    pub fn closed_with(&self) -> Option<Vec<u8>> {
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

pub fn join(key: Key, id: i64, outbox: &Arc<Recorder>) -> Event<Recorder> {
    Event::Join { key, id, outbox: outbox.clone() }
}

pub fn say(key: Key, text: &str) -> Event<Recorder> {
    Event::Broadcast { key, text: Utf8Bytes::from(text), heard: Instant::now() }
}

pub fn go(key: Key, farewell: Option<&[u8]>) -> Event<Recorder> {
    Event::Leave { key, farewell: farewell.map(<[u8]>::to_vec) }
}

/// One client of a trial.
struct Guest {
    id: i64,
    outbox: Arc<Recorder>,
    joined_at: usize,
    /// Where it left, if the hub was told.
    left_at: Option<usize>,
}

/// Events that `bytes` choose, with flushes between them. A witness who is there from the first to
/// the stop has the one order; everybody else has a piece of it, from joining on, with nothing
/// missing, and nothing after leaving; each who is gone left once; a stop closes those who are there.
///
/// Gives how many messages were said, and how many guests joined.
pub fn run(bytes: &[u8]) -> (usize, usize) {
    let mut choices = Choices::new(bytes);
    let (mut hub, witness) = (Hub::new(), Recorder::new());
    hub.handle(join(0, 0, &witness));
    let mut guests: Vec<Guest> = Vec::new();
    let (mut said, mut stopped) = (0, false);
    while !choices.are_over() {
        let at = witness.got.lock().unwrap().len() + hub.batch.len();
        match choices.roll(11) {
            0 | 1 => {
                let outbox = match choices.roll(4) {
                    0 => Recorder::with_room(choices.roll(3000)),
                    _ => Recorder::new(),
                };
                let id = guests.len() as i64 + 1;
                hub.handle(join(id as Key, id, &outbox));
                guests.push(Guest { id, outbox, joined_at: at, left_at: None });
            }
            2 => {
                let key = choices.roll(guests.len().max(1)) + 1;
                let farewell = (choices.roll(2) == 0).then_some(&b"close"[..]);
                hub.handle(go(key as Key, farewell));
                if let Some(guest) = guests.get_mut(key - 1).filter(|_| !stopped) {
                    guest.left_at.get_or_insert(at);
                }
            }
            3 => hub.flush(),
            4 if choices.roll(256) == 0 => {
                let (done, is_done) = crossbeam_channel::bounded(0);
                hub.handle(Event::Shutdown { done });
                assert_eq!(is_done.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected));
                stopped = true;
            }
            _ => {
                let key = choices.roll(guests.len().max(1)) + 1;
                said += 1;
                hub.handle(say(key as Key, &"m".repeat(choices.roll(200))));
            }
        }
    }
    hub.flush();
    check(&witness.got(), &guests, stopped);
    check_counts(&hub.tally, guests.iter().map(|guest| &guest.outbox).chain([&witness]));
    (said, guests.len())
}

fn check(order: &[u8], guests: &[Guest], stopped: bool) {
    let mut gone = HashSet::new();
    for (id, text) in parse(order) {
        if text.is_none() {
            assert!(gone.insert(id), "{id} left twice");
        } else {
            assert!(!gone.contains(&id), "{id} spoke after it had left");
        }
    }
    for Guest { id, outbox, joined_at, left_at } in guests {
        let got = outbox.got();
        let heard_to = joined_at + got.len();
        let last_word = outbox.closed_with();
        assert!(order[*joined_at..].starts_with(&got), "{id} has another order");
        if !gone.contains(id) {
            assert_eq!(heard_to, order.len(), "{id} misses the end");
            assert_eq!(*left_at, None, "{id} left and nobody was told");
            assert!(!stopped || last_word == Some(CloseReason::Stopping.frame()), "{id} stays");
        } else if last_word.is_some() && outbox.room.is_none() {
            assert_eq!(Some(heard_to), *left_at, "{id} heard too much or too little");
        } else if outbox.room.is_none() {
            assert!(left_at.is_some(), "{id} is gone without a reason");
        }
    }
}

/// What was counted is what everybody got.
fn check_counts<'a>(tally: &HubCounters, outboxes: impl Iterator<Item = &'a Arc<Recorder>>) {
    let got: Vec<_> = outboxes.map(|outbox| outbox.got()).collect();
    assert_eq!(tally.bytes, got.iter().map(Vec::len).sum::<usize>() as u64);
    assert_eq!(tally.deliveries, got.iter().map(|got| parse(got).len()).sum::<usize>() as u64);
    assert_eq!(tally.messages, tally.heard.len() as u64);
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
