//! Connections to the engine in memory, which break before, while or after a call is done, or with one under way
//! that is done later.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::memory::Memory;
use crate::engine::calls::{Batch, Beats, Engine, News, Opening, Place, Reading, Secret, Taken};
use crate::engine::command::Present;
use crate::engine::connection::Fault;
use crate::engine::link::Snapshot;
use crate::testing::Rng;

/// The engine and the way to it.
pub struct Network {
    pub engine: Memory,
    pub is_up: bool,
    /// Counts the runs of the engine.
    pub run: u64,
    /// One call in so many goes wrong; 0: none.
    pub faults: usize,
    /// Calls that are still under way, though nobody waits for their answers.
    late: Vec<Call>,
    pub dice: Rng,
    /// How old messages may be, as all nodes say.
    pub age: Duration,
}

type Call = Box<dyn FnOnce(&mut Memory)>;

/// A connection.
#[derive(Clone)]
pub struct Wire {
    network: Rc<RefCell<Network>>,
    run: u64,
    is_cut: bool,
    /// The writer has begun on it.
    pub has_begun: bool,
}

impl Network {
    pub fn new(engine: Memory, seed: u64) -> Rc<RefCell<Network>> {
        let dice = Rng::new(seed);
        let (late, faults, age) = (Vec::new(), 0, Duration::from_secs(3600));
        Rc::new(RefCell::new(Network { engine, is_up: true, run: 1, faults, late, dice, age }))
    }

    /// Does a call that was under way, if there is one.
    pub fn do_late(&mut self) {
        if !self.late.is_empty() {
            let call = self.late.remove(0);
            call(&mut self.engine);
        }
    }

    /// The engine is killed, and what was under way to it is gone.
    pub fn kill(&mut self) {
        (self.is_up, self.run) = (false, self.run + 1);
        self.late.clear();
    }

    /// It starts as another run of itself.
    pub fn start(&mut self) {
        self.is_up = true;
        self.engine.server = format!("server {}", self.run);
    }

    pub fn is_idle(&self) -> bool {
        self.late.is_empty()
    }
}

fn lost() -> Fault {
    Fault::Lost("the model cut it".into())
}

impl Wire {
    /// A connection, if the engine is there.
    pub fn open(network: &Rc<RefCell<Network>>) -> Option<Wire> {
        let Network { is_up, run, .. } = *network.borrow();
        is_up.then(|| Wire { network: network.clone(), run, is_cut: false, has_begun: false })
    }

    fn call<R: 'static>(
        &mut self,
        call: impl FnOnce(&mut Memory) -> R + 'static,
    ) -> Result<R, Fault> {
        let network = &mut *self.network.borrow_mut();
        if self.is_cut || !network.is_up || self.run != network.run {
            return Err(lost());
        }
        if network.faults == 0 || network.dice.roll(network.faults) > 0 {
            return Ok(call(&mut network.engine));
        }
        self.is_cut = true;
        match network.dice.roll(3) {
            0 => {}
            1 => drop(call(&mut network.engine)),
            _ => network.late.push(Box::new(move |engine| drop(call(engine)))),
        }
        Err(lost())
    }
}

impl Engine for Wire {
    fn share_secret(&mut self, secret: &Secret) -> Result<Secret, Fault> {
        let secret = *secret;
        self.call(move |engine| engine.share_secret(&secret))
    }

    fn open(&mut self, opening: &Opening<'_>) -> Result<(Snapshot, u64), Fault> {
        let Opening { room, node, epoch, salt, is_all, history, age } = *opening;
        let (room, node) = (room.to_owned(), node.to_owned());
        self.call(move |engine| {
            engine.open(&Opening { room: &room, node: &node, epoch, salt, is_all, history, age })
        })?
    }

    fn sync(&mut self, place: &Place<'_>, sent: u64, present: &[Present]) -> Result<(), Fault> {
        let (mine, present) = (Mine::of(place), present.to_vec());
        self.call(move |engine| engine.sync(&mine.place(), sent, &present))?
    }

    fn publish(&mut self, batches: &[Batch<'_>]) -> Result<Vec<Result<Taken, Fault>>, Fault> {
        let mut answers = Vec::new();
        for Batch { place, commands } in batches {
            let (mine, commands) = (Mine::of(place), commands.clone());
            answers.push(self.call(move |engine| engine.publish(&mine.place(), &commands))?);
        }
        Ok(answers)
    }

    fn beat(&mut self, node: &str) -> Result<Beats, Fault> {
        let node = node.to_owned();
        self.call(move |engine| engine.beat(&node))?
    }

    fn fence(
        &mut self,
        node: &str,
        beat: &str,
        rooms: &[String],
    ) -> Result<Option<Vec<String>>, Fault> {
        let (node, beat, rooms) = (node.to_owned(), beat.to_owned(), rooms.to_vec());
        self.call(move |engine| engine.fence(&node, &beat, &rooms))
    }

    fn rooms(&mut self, node: &str) -> Result<Vec<String>, Fault> {
        let node = node.to_owned();
        self.call(move |engine| engine.rooms(&node))
    }

    fn reap(&mut self, room: &str, node: &str, keep: usize, by_itself: bool) -> Result<(), Fault> {
        let (room, node) = (room.to_owned(), node.to_owned());
        self.call(move |engine| engine.reap(&room, &node, keep, by_itself))
    }

    fn forget(&mut self, node: &str) -> Result<(), Fault> {
        let node = node.to_owned();
        self.call(move |engine| engine.forget(&node))
    }

    fn wake(&mut self, node: &str) -> Result<(), Fault> {
        let node = node.to_owned();
        self.call(move |engine| engine.wake(&node))
    }

    fn read(&mut self, reading: &Reading<'_>) -> Result<News, Fault> {
        let rooms: Vec<_> =
            reading.rooms.iter().map(|(room, at)| (room.to_string(), *at)).collect();
        let (node, woken) = (reading.node.to_owned(), reading.woken.to_owned());
        let (count, block) = (reading.count, reading.block);
        self.call(move |engine| {
            let rooms = rooms.iter().map(|(room, at)| (&**room, *at)).collect();
            engine.read(&Reading { node: &node, woken: &woken, rooms, count, block })
        })
    }
}

/// A [`Place`] that lasts.
struct Mine {
    room: String,
    node: String,
    epoch: u64,
    keep: usize,
}

impl Mine {
    fn of(place: &Place<'_>) -> Mine {
        let Place { room, node, epoch, keep } = *place;
        Mine { room: room.into(), node: node.into(), epoch, keep }
    }

    fn place(&self) -> Place<'_> {
        Place { room: &self.room, node: &self.node, epoch: self.epoch, keep: self.keep }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("run", &self.run).finish_non_exhaustive()
    }
}
