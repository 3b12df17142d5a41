//! A server of the model: the hub, the writer and the reader, each of which does a step when it is told.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::wire::{Network, Wire};
use crate::config::budget::{LogBounds, longest_entry};
use crate::engine::SharedLink;
use crate::engine::address::{Address, Given};
use crate::engine::link::Link;
use crate::engine::master::Master;
use crate::engine::node::{Node, Settings};
use crate::engine::reader::{PIECE, Reader, UNDELIVERED};
use crate::engine::writer::Writer;
use crate::history::Log;
use crate::net::slots::ConnId;
use crate::outbox::fuzz_target::Socket;
use crate::room::event::Event;
use crate::room::hub::Hub;
use crate::room::identity::{Identity, Secret};
use crate::room::info::RoomInfo;
use crate::room::name::RoomName;
use crate::testing::Rng;
use crate::wire::cursor::Epoch;

/// The rooms, of which each server has all.
pub const ROOMS: [&str; 2] = ["lobby", "tea"];

/// Entries of the greatest length for which a reader has memory.
const ENTRIES: usize = 128;

/// Bytes of a message, at most.
pub const MAX_MESSAGE: usize = 1000;

/// The last chunk of a log may be a little more than is kept.
const CHUNK: usize = 16 * 1024;

/// A time that passes when it is told.
#[derive(Clone, Debug)]
pub struct Clock(Instant, Arc<AtomicU64>);

impl Clock {
    pub fn new() -> Clock {
        Clock(Instant::now(), Arc::default())
    }

    pub fn now(&self) -> Instant {
        self.0 + Duration::from_millis(self.millis())
    }

    pub fn millis(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }

    pub fn pass(&self, millis: u64) {
        self.1.fetch_add(millis, Ordering::Relaxed);
    }
}

pub struct Machine {
    pub node: Arc<Node>,
    pub rooms: Vec<Arc<RoomInfo>>,
    /// It does nothing until then.
    pub stopped_until: u64,
    network: Rc<RefCell<Network>>,
    writer: Writer,
    reader: Reader,
    out: Option<Wire>,
    back: Option<Wire>,
    hub: Hub<Arc<Socket>>,
    inbox: Receiver<Event<Arc<Socket>>>,
    pub events: Sender<Event<Arc<Socket>>>,
    secret: Secret,
    last_conn: ConnId,
}

impl Machine {
    pub fn start(network: &Rc<RefCell<Network>>, clock: &Clock, dice: &mut Rng) -> Machine {
        let (events, inbox) = unbounded();
        let bytes: [u8; 32] = dice.bytes(32).try_into().expect("32 bytes");
        let secret = Secret::of(bytes);
        let share = {
            let secret = secret.clone();
            move |bytes| secret.share(bytes)
        };
        let name = dice.bytes(8).try_into().expect("8 bytes");
        let now = clock.clone();
        let (node, woken) = Node::new(name, share, Arc::default(), move || now.now());
        let given = Given { url: "redis://localhost", ..Given::default() };
        let address = Address::parse(given).expect("an address");
        let settings = Settings {
            to: Arc::new(Master::new(address)),
            memory: 1 << 20,
            history: 1000,
            age: network.borrow().age,
            entries: ENTRIES,
            // As often as not.
            fast: 20,
            beat: Duration::from_millis(300),
            lease: Duration::from_secs(3),
        };
        let writer = Writer::new(node.clone(), settings.clone(), woken, bytes);
        let reader = Reader::new(node.clone(), settings);
        let rooms = ROOMS.iter().zip(1..).map(|(name, id)| room(name, id, &node)).collect();
        let machine = Machine {
            node,
            rooms,
            stopped_until: 0,
            network: network.clone(),
            writer,
            reader,
            out: None,
            back: None,
            hub: Hub::new(),
            inbox,
            events,
            secret,
            last_conn: 0,
        };
        machine.rooms.iter().for_each(|room| machine.add(room));
        machine
    }

    fn add(&self, room: &Arc<RoomInfo>) {
        let (info, events) = (Arc::downgrade(room), self.events.clone());
        self.node.add(link(room).clone(), room.log.clone(), move |news| {
            if let Some(room) = info.upgrade() {
                let _ = events.send(Event::News { room, news });
            }
        });
    }

    pub fn write(&mut self) {
        let Some(mut engine) = self.out.take().or_else(|| Wire::open(&self.network)) else {
            return self.node.is_down(&"in memory", "it is away", false);
        };
        let done = match engine.has_begun {
            true => self.writer.step(&mut engine),
            false => self.writer.begin(&mut engine).map(|()| true),
        };
        match done {
            Ok(_) => {
                engine.has_begun = true;
                self.out = Some(engine);
            }
            Err(fault) => self.node.is_down(&"in memory", &format!("{fault:?}"), false),
        }
    }

    pub fn read(&mut self) {
        let engine = self.back.take().or_else(|| Wire::open(&self.network));
        match engine.map(|mut engine| (self.reader.read(&mut engine), engine)) {
            Some((Ok(()), engine)) => self.back = Some(engine),
            _ => self.node.suspect(),
        }
    }

    pub fn serve(&mut self, most: usize) {
        self.inbox.try_iter().take(most).for_each(|event| self.hub.handle(event));
        self.hub.flush();
    }

    /// Takes all that has come: whether it pays to wait for more before the writer is told.
    pub fn gathers(&mut self) -> bool {
        self.inbox.try_iter().for_each(|event| self.hub.handle(event));
        let gathers = self.rooms.iter().any(|room| link(room).gathers());
        self.hub.flush();
        gathers
    }

    pub fn looks_around(&mut self) {
        self.hub.look_around();
    }

    pub fn is_idle(&self) -> bool {
        self.inbox.is_empty()
    }

    pub fn identify(&self, room: &str, me: &[u8; 16]) -> Identity {
        self.secret.identify(room, Some(me)).expect("no random bytes are needed")
    }

    /// As whom somebody publishes in a room.
    pub fn identify_address(&self, room: &str) -> Identity {
        self.secret.identify_address(room, [192, 0, 2, 1].into())
    }

    pub fn next_conn(&mut self) -> ConnId {
        self.last_conn += 1;
        self.last_conn
    }

    /// Entries that were read and not given to the hub yet.
    pub fn held(&self) -> usize {
        self.reader.held()
    }

    /// What it keeps in memory is bounded in bytes: of each room what its clients have said and the hub has not
    /// heard, what was read and the hub has not taken, and the log. The most of each, in parts of what it may be.
    pub fn is_bounded(&self) -> [f64; 4] {
        let longest = longest_entry(MAX_MESSAGE);
        let mut most = [0.0; 4];
        let mut check = |which: usize, bytes: usize, bound: usize| {
            assert!(bytes <= bound, "{bytes} bytes of {which}, where there may be {bound}");
            most[which] = f64::max(most[which], bytes as f64 / bound as f64);
        };
        check(0, self.reader.held_bytes(), ENTRIES * longest);
        for room in &self.rooms {
            let bounds = room.log.ring.bounds();
            check(1, link(room).text_bytes(), bounds.in_flight);
            let undelivered = link(room).undelivered.load(Ordering::Relaxed) as usize;
            check(2, undelivered, UNDELIVERED as usize + PIECE + longest);
            let chunks = room.log.ring.chunks();
            check(3, chunks.iter().map(|chunk| chunk.memory()).sum(), bounds.size + CHUNK);
        }
        most
    }
}

pub fn link(room: &RoomInfo) -> &SharedLink {
    room.link.as_ref().expect("a shared room")
}

fn room(name: &str, id: u64, node: &Arc<Node>) -> Arc<RoomInfo> {
    let mut bounds = LogBounds::new(1 << 18, MAX_MESSAGE);
    bounds.history.messages = 1000;
    Arc::new(RoomInfo {
        id,
        name: RoomName::parse(name).expect("a name"),
        title: None,
        log: Log::alone(Epoch::from_random(1), bounds, || {}),
        max_message: MAX_MESSAGE,
        keys: 1000,
        presence: 1000,
        patience: Duration::from_secs(30),
        link: Some(Link::new(name, node.clone())),
        members: AtomicU64::new(0),
    })
}
