//! Event sequences against what a room is: whatever happens, everybody has the same order.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;
#[cfg(test)]
use crate::config::budget::History;
use crate::config::budget::LogBounds;
use crate::history::Log;
use crate::history::chunk;
use crate::net::slots::ConnId;
use crate::outbox::Outbox;
use crate::outbox::encoding::Encoding;
#[cfg(test)]
use crate::outbox::fuzz_target::flush_all;
use crate::outbox::fuzz_target::{BOUNDS, RESPONSE, Socket};
use crate::room::event::{Farewell, Moment};
use crate::room::name::RoomName;
use crate::testing::Choices;
use crate::wire;
use crate::wire::cursor::Epoch;

/// A client whose socket takes everything, or breaks rather than take more than some bytes.
#[derive(Clone, Debug)]
pub struct Guest {
    pub outbox: Arc<Outbox<Arc<Socket>>>,
    socket: Arc<Socket>,
}

impl Guest {
    pub fn new() -> Self {
        Self::over(Socket::generous(None))
    }

    pub fn with_room(bytes: usize) -> Self {
        Self::over(Socket::generous(Some(RESPONSE.len() + bytes)))
    }

    /// One that takes nothing behind the response for now.
    #[cfg(test)]
    pub fn slow() -> Self {
        let socket = Arc::new(Socket::default());
        socket.allow(RESPONSE.len());
        Self::over(socket)
    }

    /// It takes everything at last.
    #[cfg(test)]
    pub fn takes_all(&self) {
        self.socket.allow(1 << 30);
        flush_all(&self.outbox, Instant::now());
    }

    /// One that hears the room by this protocol.
    #[cfg(all(test, shuttle))]
    pub fn speaking(encoding: Encoding) -> Self {
        Self::with(Socket::generous(None), encoding)
    }

    fn over(socket: Arc<Socket>) -> Self {
        Self::with(socket, Encoding::Tutorial)
    }

    fn with(socket: Arc<Socket>, encoding: Encoding) -> Self {
        let outbox = Outbox::new(socket.clone(), encoding, RESPONSE.to_vec(), BOUNDS);
        outbox.open();
        Guest { outbox, socket }
    }

    /// What it was sent behind the response.
    pub fn got(&self) -> Vec<u8> {
        self.socket.taken()[RESPONSE.len()..].to_vec()
    }

    /// How many bytes these are.
    fn taken(&self) -> usize {
        self.socket.taken.lock().unwrap().len() - RESPONSE.len()
    }

    /// Whether it was sent a last word.
    pub fn is_closed(&self) -> bool {
        self.socket.half_closed.load(Ordering::Relaxed) > 0
    }

    pub fn is_cut(&self) -> bool {
        self.socket.cut.load(Ordering::Relaxed) > 0
    }
}

/// When everything happens.
pub fn moment() -> Moment {
    Moment { at: 1, received: Instant::now() }
}

/// A room in which nobody waits.
pub fn room() -> Arc<RoomInfo> {
    room_within(LogBounds::new(1 << 20, 1000))
}

/// A room with a log within these bounds.
pub fn room_within(bounds: LogBounds) -> Arc<RoomInfo> {
    room_like(1, RoomName::lobby(), None, bounds)
}

/// A room with this name and title.
#[cfg(test)]
pub fn room_named(id: RoomId, name: RoomName, title: Option<&str>) -> Arc<RoomInfo> {
    let bounds = LogBounds::new(1 << 20, 1000);
    let history = History { messages: 1000, ..bounds.history };
    room_like(id, name, title, LogBounds { history, ..bounds })
}

/// Puts a message into the log of a room.
#[cfg(test)]
pub fn note(room: &RoomInfo) {
    let mut entries = chunk::Chunk::new(room.log.ring.end());
    let (kind, author) = (chunk::Kind::Message { seq: 1, n: 0 }, chunk::Author::number(1));
    entries.push(chunk::Entry { kind, at: 1, author, text: "x" });
    room.log.append(&entries, 0, None, Instant::now());
}

fn room_like(id: RoomId, name: RoomName, title: Option<&str>, bounds: LogBounds) -> Arc<RoomInfo> {
    Arc::new(RoomInfo {
        id,
        name,
        title: title.map(Into::into),
        log: Log::alone(Epoch::from_random(1), bounds, || {}),
        max_message: 1000,
        keys: 1000,
        presence: 4,
        patience: Duration::ZERO,
        link: None,
        members: AtomicU64::new(0),
    })
}

pub fn join(room: &Arc<RoomInfo>, conn: ConnId, id: i64, guest: &Guest) -> Event<Arc<Socket>> {
    let (room, outbox) = (room.clone(), guest.outbox.clone());
    Event::Join { room, conn, who: Newcomer::Number(id), outbox, at: moment() }
}

pub fn say(room: &RoomInfo, conn: ConnId, text: &str) -> Event<Arc<Socket>> {
    let turn = &mut Default::default();
    let credit = room.log.credit(chunk::cost(text.len()), turn, || true).expect("credit");
    Event::Broadcast { room: room.id, conn, text: text.into(), n: 0, at: moment(), credit }
}

pub fn go(conn: ConnId, farewell: Option<&[u8]>) -> Event<Arc<Socket>> {
    let farewell = Farewell { frames: farewell.map(<[u8]>::to_vec), is_lost: false };
    Event::Leave { room: 1, conn, farewell }
}

/// One client of a run.
struct Visitor {
    id: i64,
    guest: Guest,
    has_bound: bool,
    joined_at: usize,
    /// Where it left, if the hub was told.
    left_at: Option<usize>,
}

/// Events that `bytes` choose, with flushes between them. A witness who is there from the first to
/// the stop has the one order, which is the log's; everybody else has a piece of it, from joining on,
/// with nothing missing, and nothing after leaving; each who is gone left once; a stop closes those who
/// are there; and all credit has come back.
///
/// Gives how many messages were said, and how many guests joined.
pub fn run(bytes: &[u8]) -> (usize, usize) {
    let mut choices = Choices::new(bytes);
    let (room, witness) = (room(), Guest::new());
    let mut hub = Hub::new();
    hub.handle(join(&room, 0, 0, &witness));
    let mut visitors: Vec<Visitor> = Vec::new();
    let (mut said, mut stopped, mut end) = (0, false, 0);
    while !choices.are_over() {
        // A stop is the last thing that is said.
        let at = if stopped { end } else { witness.taken() + hub.rooms[0].pending() };
        match choices.roll(11) {
            0 | 1 => {
                let has_bound = choices.roll(4) == 0;
                let guest =
                    if has_bound { Guest::with_room(choices.roll(3000)) } else { Guest::new() };
                let id = visitors.len() as i64 + 1;
                hub.handle(join(&room, id as ConnId, id, &guest));
                visitors.push(Visitor { id, guest, has_bound, joined_at: at, left_at: None });
            }
            2 => {
                let conn = choices.roll(visitors.len().max(1)) + 1;
                let farewell =
                    (choices.roll(2) == 0).then(|| CloseReason::Protocol("a fault").frame());
                hub.handle(go(conn as ConnId, farewell.as_deref()));
                if let Some(visitor) = visitors.get_mut(conn - 1).filter(|_| !stopped) {
                    visitor.left_at.get_or_insert(at);
                }
            }
            3 => hub.flush(),
            4 if choices.roll(256) == 0 => {
                let (done, is_done) = crossbeam_channel::bounded(0);
                hub.handle(Event::Shutdown { done });
                assert_eq!(is_done.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected));
                (stopped, end) = (true, told(&witness).len());
            }
            _ => {
                let conn = choices.roll(visitors.len().max(1)) + 1;
                said += 1;
                hub.handle(say(&room, conn as ConnId, &"m".repeat(choices.roll(200))));
            }
        }
    }
    hub.flush();
    let order = told(&witness);
    check(&order, &visitors, stopped);
    check_counts(&hub.tally, visitors.iter().map(|visitor| &visitor.guest).chain([&witness]));
    assert_eq!(room.log.flow.in_flight(), 0, "credit is lost");
    (said, visitors.len())
}

/// What a guest was told, without the last word.
fn told(guest: &Guest) -> Vec<u8> {
    let mut got = guest.got();
    let mut end = 0;
    while end < got.len() && got[end] != CLOSE {
        end += wire::boundary(&got[end..], 1);
    }
    got.truncate(end);
    got
}

/// The first byte of a close frame.
const CLOSE: u8 = 0x88;

fn check(order: &[u8], visitors: &[Visitor], stopped: bool) {
    let mut gone = HashSet::new();
    for (id, text) in parse(order) {
        if text.is_none() {
            assert!(gone.insert(id), "{id} left twice");
        } else {
            assert!(!gone.contains(&id), "{id} spoke after it had left");
        }
    }
    for Visitor { id, guest, has_bound, joined_at, left_at } in visitors {
        let got = told(guest);
        let heard_to = joined_at + got.len();
        assert!(order[*joined_at..].starts_with(&got), "{id} has another order");
        if !gone.contains(id) {
            assert_eq!(*left_at, None, "{id} left and nobody was told");
            assert_eq!(heard_to, order.len(), "{id} misses the end");
            assert!(!stopped || guest.is_closed() || guest.is_cut(), "{id} stays");
        } else if guest.is_closed() {
            assert_eq!(Some(heard_to), *left_at, "{id} heard too much or too little");
        } else {
            assert!(guest.is_cut(), "{id} is gone and connected");
            assert!(*has_bound || left_at.is_some(), "{id} is gone without a reason");
        }
    }
}

/// What was counted is what everybody got.
fn check_counts<'a>(tally: &HubCounters, guests: impl Iterator<Item = &'a Guest>) {
    let got: Vec<_> = guests.map(told).collect();
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
