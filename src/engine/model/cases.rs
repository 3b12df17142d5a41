//! What hardly ever comes together by chance.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::machine::{Clock, Machine, ROOMS, link};
use super::memory::{Memory, State};
use super::person::Person;
use super::wire::Network;
use crate::config::ENGINE_NOTICE;
use crate::engine::calls::Opening;
use crate::engine::link::Snapshot;
use crate::testing::Rng;

/// Some machines, which do what they are told, and an engine.
struct Stage<const N: usize> {
    network: Rc<RefCell<Network>>,
    clock: Clock,
    machines: [Machine; N],
}

impl<const N: usize> Stage<N> {
    fn new() -> Stage<N> {
        let network = Network::new(Memory::new(1000), 1);
        let (clock, mut dice) = (Clock::new(), Rng::new(1));
        let machines = [(); N].map(|()| Machine::start(&network, &clock, &mut dice));
        let mut stage = Stage { network, clock, machines };
        (0..N).for_each(|at| stage.goes_on(at));
        stage
    }

    /// A machine does all that there is to do.
    fn goes_on(&mut self, at: usize) {
        for _ in 0..4 {
            self.machines[at].write();
            self.machines[at].read();
            self.machines[at].serve(100);
        }
    }

    fn joins(&mut self, person: &mut Person, at: usize) {
        person.joins(&mut self.machines[at], at, 0);
        self.goes_on(at);
        assert!(self.hears(person) && person.at().is_some());
    }

    fn hears(&self, person: &mut Person) -> bool {
        person.hears(&self.network.borrow().engine)
    }

    /// Its connection breaks, and its machine notices that.
    fn leaves(&mut self, person: &mut Person, at: usize) {
        let gone = person.goes(self.machines[at].rooms[0].id, true).expect("it was there");
        self.machines[at].events.send(gone.event).expect("a hub");
        self.goes_on(at);
    }

    fn texts(&self) -> Vec<String> {
        let (_, said) = self.network.borrow().engine.said(ROOMS[0]);
        said.into_values().collect()
    }
}

/// The log tells a node that it was declared dead, and so does the engine when it writes, whichever comes first.
#[test]
fn who_comes_back_to_a_node_that_was_dead_is_not_sent_away_again() {
    for writer_is_first in [false, true] {
        let mut stage = Stage::<1>::new();
        let mut person = Person::new(0, false);
        stage.joins(&mut person, 0);
        {
            let name = stage.machines[0].node.name();
            let engine = &mut stage.network.borrow_mut().engine;
            let beats = engine.beat("another.1").expect("it lives").beats;
            let beat = beats.into_iter().find(|(node, _)| **node == *name);
            engine.fence(&name, &beat.expect("a beat").1, &[]).expect("it has rooms");
            engine.reap(ROOMS[0], &name, 1000, false);
        }
        let machine = &mut stage.machines[0];
        // A beat is due.
        machine.node.suspect();
        if writer_is_first {
            machine.write()
        } else {
            machine.read()
        }
        machine.serve(100);
        assert!(!stage.hears(&mut person), "it was sent away");
        let machine = &mut stage.machines[0];
        let gone = person.goes(machine.rooms[0].id, true).expect("it was there");
        machine.events.send(gone.event).expect("a hub");
        person.joins(machine, 0, 0);
        machine.serve(100);
        stage.goes_on(0);
        assert!(stage.hears(&mut person), "it was sent away again");
        assert_eq!(stage.network.borrow().engine.members(ROOMS[0]).len(), 1);
        assert!(person.conn.is_some_and(|conn| conn.here.len() == 1), "it is here");
    }
}

/// The engine is emptied again and again, a millisecond after the last time at least, before anybody has heard of the
/// log that began. The epochs are its time; or if its clock went back, none that another log had, or else the cursors
/// of that would be taken for those of this.
#[test]
fn no_two_logs_have_the_same_epoch() {
    let stage = Stage::<2>::new();
    let (mut seen, mut known) = (BTreeSet::new(), 0);
    for back in [0, 1, 1000, 3_600_000] {
        stage.network.borrow_mut().engine.now -= back;
        let mut latest = 0;
        for n in 0..100 {
            for machine in &stage.machines {
                let (node, name) = (&machine.node, machine.node.name());
                let engine = &mut stage.network.borrow_mut().engine;
                engine.state = State::default();
                engine.now += 1 + n % 3;
                let (history, age) = (0, Duration::ZERO);
                let (room, salt, is_all) = (ROOMS[0], node.salt(), false);
                let opening =
                    Opening { room, node: &name, epoch: known, salt, is_all, history, age };
                let (Snapshot { epoch, .. }, _) = engine.open(&opening).expect("it is open");
                assert!(epoch > known, "{epoch} behind {known}");
                assert!(epoch == engine.now || engine.now <= known, "{epoch} at {}", engine.now);
                assert!(seen.insert(epoch), "{epoch} twice");
                latest = latest.max(epoch);
            }
        }
        known = latest;
    }
}

/// Somebody comes again elsewhere, and what its old connection still says is not taken. Then its old server misses
/// that in a gap before a new epoch, and says that it is here. What the old connection says next is not taken either:
/// else it would be told that all before was.
#[test]
fn who_has_come_again_elsewhere_is_not_brought_back() {
    let mut stage = Stage::<2>::new();
    let mut person = Person::new(0, false);
    stage.joins(&mut person, 0);
    person.says(&stage.machines[0], true);
    stage.goes_on(0);
    assert!(stage.hears(&mut person) && person.waiting.is_empty());
    // The second of these is still on its way to the hub.
    person.says(&stage.machines[0], true);
    stage.machines[0].serve(1);
    person.says(&stage.machines[0], true);
    let _gone = person.goes(stage.machines[0].rooms[0].id, false).expect("it was there");
    stage.joins(&mut person, 1);
    stage.leaves(&mut person, 1);
    stage.machines[0].write();
    {
        let network = &mut stage.network.borrow_mut();
        network.kill();
        network.engine.remove_log(ROOMS[0]);
        network.start();
    }
    stage.goes_on(1);
    (0..2).for_each(|_| stage.goes_on(0));
    stage.joins(&mut person, 1);
    for _ in 0..2 {
        person.says(&stage.machines[1], false);
    }
    stage.goes_on(1);
    assert!(stage.hears(&mut person) && person.waiting.is_empty());
    assert_eq!(stage.texts(), ["0 says 1", "0 says 2", "0 says 3"]);
}

/// A hub waits for more of what clients say before it tells the writer, while that comes fast and little of it waits.
#[test]
fn what_comes_fast_is_gathered() {
    let mut stage = Stage::<1>::new();
    // One that may say more before the last is heard.
    let mut person = Person::new(4, false);
    person.joins(&mut stage.machines[0], 0, 0);
    stage.goes_on(0);
    let mut gathers = |stage: &mut Stage<1>, times: usize| {
        (0..times).for_each(|_| person.says(&stage.machines[0], true));
        stage.machines[0].gathers()
    };
    assert!(!gathers(&mut stage, 1), "it is the first");
    for _ in 0..10 {
        gathers(&mut stage, 1);
        stage.goes_on(0);
        stage.clock.pass(20);
    }
    assert!(gathers(&mut stage, 1), "it comes fast");
    assert!(!gathers(&mut stage, 0), "the writer knows of it");
    assert!(!gathers(&mut stage, 200), "it is a flood");
    stage.goes_on(0);
    stage.clock.pass(1000);
    stage.goes_on(0);
    assert!(!gathers(&mut stage, 1), "it was silent");
}

/// While the engine is away, somebody comes, waits and is sent away, and another goes by itself before it is let in.
/// Nobody hears of them when the engine is back.
#[test]
fn who_was_not_let_in_has_not_come() {
    let mut stage = Stage::<2>::new();
    let mut people = [0, 2, 6].map(|index| Person::new(index, false));
    let [here, waits, goes] = &mut people;
    stage.joins(here, 1);
    stage.network.borrow_mut().kill();
    stage.goes_on(0);
    for person in [&mut *waits, &mut *goes] {
        person.joins(&mut stage.machines[0], 0, 0);
        stage.goes_on(0);
    }
    stage.leaves(goes, 0);
    assert_eq!(link(&stage.machines[0].rooms[0]).waiting(), 1, "it waits to be let in");
    stage.clock.pass(ENGINE_NOTICE.as_millis() as u64 + 1);
    stage.machines[0].looks_around();
    assert!(!stage.hears(waits), "it was sent away");
    stage.leaves(waits, 0);
    stage.network.borrow_mut().start();
    for at in [0, 1] {
        (0..2).for_each(|_| stage.goes_on(at));
    }
    assert!(stage.hears(here));
    let log = stage.network.borrow().engine.log(ROOMS[0], 100);
    let came = log.iter().filter(|raw| raw.heads.starts_with("j ")).count();
    assert_eq!(came, 1, "{log:?}");
    assert_eq!(link(&stage.machines[0].rooms[0]).waiting(), 0);
}
