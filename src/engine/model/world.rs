//! The nodes, the people and the faults.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::machine::{Clock, Machine, ROOMS, link};
use super::memory::{Lack, Memory, State};
use super::person::{Gone, Person};
use super::wire::Network;
use crate::testing::Rng;

const MACHINES: usize = 3;
const PEOPLE: usize = 10;

/// So many steps with faults; and as many are enough for all to be well again.
const STEPS: usize = 3000;

pub struct World {
    network: Rc<RefCell<Network>>,
    clock: Clock,
    dice: Rng,
    machines: Vec<(u64, Machine)>,
    people: Vec<Person>,
    /// Connections that are over, of which their hubs have not heard.
    gone: Vec<Gone>,
    /// What the engine had at some time.
    backup: State,
    /// When it comes back.
    away_until: u64,
    /// It forgets nothing because there is too much.
    keeps_all: bool,
    /// It never forgets what it was told.
    is_loyal: bool,
    /// One call in so many goes wrong.
    faults: usize,
    tally: Tally,
}

/// What has happened.
#[derive(Debug, Default)]
pub struct Tally {
    epochs: u64,
    heard: u64,
    missed: u64,
    losses: u64,
    moved: u64,
    /// How full a reader's memory, a queue of commands, what a hub has to take, and a log were, at most.
    full: [f64; 4],
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.epochs += other.epochs;
        self.heard += other.heard;
        self.missed += other.missed;
        self.losses += other.losses;
        self.moved += other.moved;
        self.fills(other.full);
    }

    fn fills(&mut self, full: [f64; 4]) {
        self.full.iter_mut().zip(full).for_each(|(most, full)| *most = most.max(full));
    }

    pub fn check(&self) {
        let Tally { epochs, heard, missed, losses, moved, .. } = *self;
        assert!([epochs, heard, missed, losses, moved].iter().all(|it| *it > 100), "{self:?}");
    }
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut dice = Rng::new(seed);
        let keeps_all = seed % 2 == 1;
        let most = if keeps_all { 1_000_000 } else { 40 };
        let network = Network::new(Memory::new(most), seed + 1);
        if keeps_all {
            network.borrow_mut().age = Duration::from_secs(1 << 30);
        }
        let clock = Clock::new();
        let machines = (0..MACHINES).map(|_| (0, Machine::start(&network, &clock, &mut dice)));
        World {
            machines: machines.collect(),
            network,
            clock,
            dice,
            people: (0..PEOPLE).map(|index| Person::new(index, seed % 5 == 0)).collect(),
            gone: Vec::new(),
            backup: State::default(),
            away_until: 0,
            keeps_all,
            is_loyal: seed % 4 < 2,
            faults: if seed % 3 == 0 { 8 } else { 30 },
            tally: Tally::default(),
        }
    }

    /// Where much goes wrong, with an engine that lacks this.
    pub fn lacking(mut self, lack: Option<Lack>) -> World {
        self.network.borrow_mut().engine.lack = lack;
        (self.faults, self.is_loyal) = (4, false);
        self
    }

    pub fn run(mut self) -> Tally {
        self.network.borrow_mut().faults = self.faults;
        for step in 0..STEPS {
            self.step();
            if step % 8 == 0 {
                let (_, machine) = &self.machines[step / 8 % MACHINES];
                self.tally.fills(machine.is_bounded());
            }
            if self.dice.roll(60) == 0 {
                self.harm();
            }
        }
        self.be_well();
        self.tally.epochs = self.network.borrow().engine.truth.len() as u64;
        for person in &self.people {
            self.tally.heard += person.view.len() as u64;
            self.tally.missed += person.missed;
            self.tally.losses += person.losses;
        }
        self.tally
    }

    /// Somebody does something.
    fn step(&mut self) {
        let passed = self.dice.roll(20) as u64;
        self.clock.pass(passed);
        {
            let network = &mut *self.network.borrow_mut();
            network.engine.now += passed;
            if !network.is_up && self.clock.millis() >= self.away_until {
                network.start();
            }
        }
        let index = self.dice.roll(MACHINES);
        let is_stopped = self.machines[index].1.stopped_until > self.clock.millis();
        match self.dice.roll(8) {
            0 if !is_stopped => self.machines[index].1.write(),
            1 if !is_stopped => self.machines[index].1.read(),
            2 if !is_stopped => {
                let most = 1 + self.dice.roll(20);
                self.machines[index].1.serve(most);
            }
            3 if self.dice.roll(8) == 0 => self.network.borrow_mut().do_late(),
            4 => self.bury(),
            _ => {
                let person = self.dice.roll(PEOPLE);
                self.act(person);
            }
        }
    }

    /// A session notices that its client is gone.
    fn bury(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        let index = self.dice.roll(self.gone.len());
        // A connection's events are in order; others are not.
        let Gone { machine, life, event } = self.gone.swap_remove(index);
        if self.machines[machine].0 == life {
            let _ = self.machines[machine].1.events.send(event);
        }
    }

    fn act(&mut self, index: usize) {
        let person = &mut self.people[index];
        let Some(conn) = &person.conn else {
            let at = self.dice.roll(MACHINES);
            let (life, machine) = &mut self.machines[at];
            let away = Duration::from_secs(10);
            let room = link(&machine.rooms[person.room]).clone();
            let is_stopped = machine.stopped_until > self.clock.millis();
            if !is_stopped && room.wait_until_open(Duration::ZERO, away) {
                person.joins(machine, at, *life);
            }
            return;
        };
        let at = conn.machine;
        let (life, machine) = &self.machines[at];
        if *life != conn.life {
            person.conn = None;
            return;
        }
        let room = machine.rooms[person.room].id;
        let is_there = person.hears(&self.network.borrow().engine);
        if !is_there {
            self.tally.moved += 1;
            self.gone.extend(person.goes(room, true));
            return;
        }
        match self.dice.roll(40) {
            0 => self.gone.extend(person.goes(room, true)),
            1 => {
                // It says goodbye, which its session hands on at once.
                let Some(Gone { event, .. }) = person.goes(room, false) else { return };
                let _ = machine.events.send(event);
            }
            2 => person.renames(machine, self.dice.roll(3)),
            3..20 => person.says(machine, true),
            _ => person.says(machine, false),
        }
    }

    fn harm(&mut self) {
        // Nothing of this takes no time at all.
        self.clock.pass(1);
        self.network.borrow_mut().engine.now += 1;
        let now = self.clock.millis();
        match self.dice.roll(10) {
            0 | 1 => {
                self.away_until = now + self.dice.roll(3000) as u64;
                let network = &mut *self.network.borrow_mut();
                network.kill();
                match self.dice.roll(4) {
                    _ if self.is_loyal => {}
                    0 => network.engine.state = State::default(),
                    1 => network.engine.state = self.backup.clone(),
                    _ => {}
                }
            }
            2 => self.backup = self.network.borrow().engine.state.clone(),
            3 if !self.is_loyal && self.dice.roll(2) == 0 => {
                self.network.borrow_mut().engine.state = State::default();
            }
            3 => {
                let room = ROOMS[self.dice.roll(ROOMS.len())];
                self.network.borrow_mut().engine.remove_log(room);
            }
            4 => {
                let jump = self.dice.roll(7_200_000) as u64;
                let engine = &mut self.network.borrow_mut().engine;
                let is_forward = self.dice.roll(2) == 0;
                engine.now = if is_forward { engine.now + jump } else { engine.now - jump };
            }
            5 | 6 => {
                let index = self.dice.roll(MACHINES);
                self.machines[index].1.stopped_until = now + self.dice.roll(6000) as u64;
            }
            7 if self.dice.roll(2) == 0 => {
                let index = self.dice.roll(MACHINES);
                let life = self.machines[index].0 + 1;
                let machine = Machine::start(&self.network, &self.clock, &mut self.dice);
                self.machines[index] = (life, machine);
            }
            _ => {
                // It is busy for a while.
                self.clock.pass(1000);
                self.network.borrow_mut().engine.now += 1000;
            }
        }
    }

    /// Nothing goes wrong any more, and all is well in the end.
    fn be_well(&mut self) {
        {
            let network = &mut *self.network.borrow_mut();
            network.faults = 0;
            while !network.is_idle() {
                network.do_late();
            }
            if !network.is_up {
                network.start();
            }
        }
        self.machines.iter_mut().for_each(|(_, machine)| machine.stopped_until = 0);
        let mut quiet = 0;
        for _ in 0..2000 {
            self.clock.pass(50);
            self.network.borrow_mut().engine.now += 50;
            while !self.gone.is_empty() {
                self.bury();
            }
            for index in 0..PEOPLE {
                let person = &mut self.people[index];
                match person.conn.as_ref().map(|conn| (conn.machine, conn.life)) {
                    Some((at, life)) if self.machines[at].0 == life => {
                        let room = self.machines[at].1.rooms[person.room].id;
                        if person.hears(&self.network.borrow().engine) {
                            person.says(&self.machines[at].1, false);
                        } else {
                            self.gone.extend(person.goes(room, true));
                        }
                    }
                    _ => {
                        person.conn = None;
                        self.act(index);
                    }
                }
            }
            for (_, machine) in &mut self.machines {
                machine.write();
                machine.read();
                machine.serve(100);
            }
            // Those who were killed are only found out after a while.
            quiet = if self.is_quiet() { quiet + 1 } else { 0 };
            if quiet > 300 {
                break;
            }
        }
        assert!(quiet > 300, "it does not come to rest: {}", self.state());
        self.check();
        for (room, at) in (0..ROOMS.len()).flat_map(|room| (0..MACHINES).map(move |at| (room, at)))
        {
            self.welcome(room, at);
        }
    }

    /// Whoever comes is given what the engine has, whatever its server has gone through.
    fn welcome(&mut self, room: usize, at: usize) {
        // One of the protocol in which it hears what was said before.
        let index = (PEOPLE..).find(|n| n % ROOMS.len() == room && n % 5 != 4);
        let mut person = Person::new(index.expect("there is one"), false);
        let (life, machine) = &mut self.machines[at];
        person.joins(machine, at, *life);
        for _ in 0..4 {
            machine.serve(100);
            machine.write();
            machine.read();
        }
        assert!(person.hears(&self.network.borrow().engine));
        let (epoch, mut said) = self.network.borrow().engine.said(ROOMS[room]);
        let head = said.last_key_value().map_or(0, |(seq, _)| *seq);
        assert_eq!(person.at(), Some((epoch, head)), "{}", person.tell());
        let removed = self.network.borrow().engine.removed(ROOMS[room]);
        said.retain(|seq, _| *seq > removed);
        if !self.keeps_all {
            said.retain(|seq, _| {
                person.view.first_key_value().is_some_and(|(first, _)| first <= seq)
            });
        }
        assert_eq!(person.view, said, "{}", person.tell());
        // It is of use there from now on.
        for _ in 0..20 {
            self.clock.pass(50);
            self.network.borrow_mut().engine.now += 50;
            self.turn();
        }
        assert!(person.hears(&self.network.borrow().engine), "sent away: {}", person.tell());
        let (_, machine) = &self.machines[at];
        let gone = person.goes(machine.rooms[room].id, true);
        gone.into_iter().for_each(|gone| drop(machine.events.send(gone.event)));
        (0..4).for_each(|_| self.turn());
    }

    /// Each machine does what there is to do.
    fn turn(&mut self) {
        for (_, machine) in &mut self.machines {
            machine.serve(100);
            machine.write();
            machine.read();
        }
    }

    fn is_quiet(&self) -> bool {
        let is_idle = |(_, machine): &(u64, Machine)| {
            machine.is_idle()
                && machine.held() == 0
                && machine.rooms.iter().all(|room| link(room).waiting() == 0)
        };
        let is_settled = |person: &Person| person.conn.is_some() && person.waiting.is_empty();
        self.gone.is_empty()
            && self.machines.iter().all(is_idle)
            && self.people.iter().all(is_settled)
    }

    fn state(&self) -> String {
        let mut state = String::new();
        for (_, machine) in &self.machines {
            for room in &machine.rooms {
                state += &format!(
                    "\n{}, {}: {}",
                    machine.node.name(),
                    room.name.as_str(),
                    link(room).tell()
                );
            }
        }
        for room in ROOMS {
            let (epoch, said) = self.network.borrow().engine.said(room);
            state += &format!("\n{room}: {epoch} {:?}", said.last_key_value());
        }
        let waiting = self.people.iter().map(|person| (person.conn.is_some(), &person.waiting));
        state + &format!("{:?}", waiting.collect::<Vec<_>>())
    }

    /// Everybody is here, knows of everybody, and has heard the same.
    fn check(&self) {
        let engine = &self.network.borrow().engine;
        assert_eq!(engine.twice, 0, "two logs of one epoch");
        for (index, room) in ROOMS.iter().enumerate() {
            let people: Vec<&Person> = self.people.iter().filter(|it| it.room == index).collect();
            let conns = people.iter().filter_map(|person| person.conn.as_ref());
            let here: BTreeSet<(String, u64)> = conns
                .map(|conn| (self.machines[conn.machine].1.node.name().to_string(), conn.id))
                .collect();
            assert_eq!(engine.members(room), here, "members of {room}");
            let (epoch, said) = engine.said(room);
            let mut times: BTreeMap<&str, u64> = BTreeMap::new();
            for text in said.values() {
                *times.entry(text).or_default() += 1;
            }
            for (text, times) in &times {
                assert!(*times == 1 || engine.secrets.len() > 1, "{room}: {text}, {times} times");
            }
            for person in people {
                for text in &person.kept {
                    assert!(times.contains_key(&**text), "{room}: {text} is lost");
                }
                for text in person.accepted.iter().filter(|_| self.is_loyal) {
                    assert!(
                        times.contains_key(&**text),
                        "{room}: {text} was accepted, and is lost"
                    );
                }
                let Some(conn) = person.conn.as_ref().filter(|_| !person.is_number) else {
                    continue;
                };
                assert_eq!(conn.here.len(), here.len(), "{room}: {:?}", conn.here);
                let head = said.last_key_value().map_or(0, |(seq, _)| *seq);
                assert_eq!(person.at(), Some((epoch, head)), "{room}: {}", person.tell());
            }
            for (_, machine) in &self.machines {
                let info = &machine.rooms[index];
                assert_eq!(info.count(), here.len() as u64, "{room}");
                assert_eq!(info.log.flow.in_flight(), 0, "{room}: credit that nobody gives back");
            }
        }
    }
}
