//! Somebody says as much as may be said, while a node takes nothing of it: what both keep is bounded.

use super::machine::{Clock, MAX_MESSAGE, Machine, ROOMS};
use super::memory::Memory;
use super::person::Person;
use super::wire::Network;
use crate::config::budget::longest_entry;
use crate::testing::Rng;

#[test]
fn what_a_flood_leaves_in_memory_is_bounded() {
    let network = Network::new(Memory::new(1_000_000), 1);
    let (clock, mut dice) = (Clock::new(), Rng::new(1));
    let mut talks = Machine::start(&network, &clock, &mut dice);
    let mut sleeps = Machine::start(&network, &clock, &mut dice);
    let goes_on = |machine: &mut Machine| {
        for _ in 0..4 {
            machine.write();
            machine.read();
            machine.serve(1000);
        }
    };
    goes_on(&mut talks);
    goes_on(&mut sleeps);
    // Whoever has a number may say more before the last is heard.
    let mut person = Person::new(4, true);
    person.joins(&mut talks, 0, 0);
    goes_on(&mut talks);
    let mut full = [0.0_f64; 4];
    for _ in 0..20 {
        // One more, and it would have to wait.
        let log = &talks.rooms[0].log;
        let most = log.ring.bounds().in_flight - longest_entry(MAX_MESSAGE);
        while log.flow.in_flight() <= most as u64 {
            person.says(&talks, true);
        }
        talks.serve(1000);
        check(&mut full, &talks);
        goes_on(&mut talks);
        for _ in 0..4 {
            sleeps.read();
            check(&mut full, &sleeps);
        }
        assert!(person.hears(&network.borrow().engine));
    }
    let [held, waiting, undelivered, _] = full;
    assert!(waiting > 0.5 && undelivered > 0.8 && held > 0.0, "it is no flood: {full:?}");
    // Once it wakes, it has all of it, and keeps a part.
    for _ in 0..200 {
        sleeps.read();
        sleeps.serve(1000);
        check(&mut full, &sleeps);
    }
    let (_, said) = network.borrow().engine.said(ROOMS[0]);
    assert!(said.len() > 1000, "{} messages", said.len());
    assert_eq!(sleeps.rooms[0].log.ring.head(), said.len() as u64);
    assert_eq!(sleeps.held(), 0);
    assert!(full[3] > 0.3, "the log is short: {full:?}");
}

/// The most of each.
fn check(full: &mut [f64; 4], machine: &Machine) {
    full.iter_mut().zip(machine.is_bounded()).for_each(|(most, it)| *most = most.max(it));
}
