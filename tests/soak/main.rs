//! Soak: a crowd that joins, talks, floods, stalls and leaves in every way, for as long as one
//! likes, and witnesses who see that nobody who stayed missed anything.
//!
//!     make soak SOAK_SECONDS=3600 SEED=7
//!
//! The server is the program itself, so that its threads, descriptors and memory can be counted.

#[path = "../kit/mod.rs"]
mod kit;

mod guest;
mod life;
mod named;
mod order;
mod program;

use std::env;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use guest::Guest;
use kit::dice::Dice;
use life::{Kind, Life};
use named::Named;
use order::Order;
use program::Program;

/// Those who come and go, at any time.
const CROWD: u64 = 120;
/// Those with names, who lose their connections and resume.
const NAMED: u64 = 8;
/// Those who hear everything.
const WITNESSES: usize = 4;
/// A round ends with everybody gone, so that what is left behind shows.
const ROUND: Duration = Duration::from_secs(30);
/// The last part of a round, in which nobody comes any more: the longest life.
const CURTAIN: Duration = Duration::from_secs(5);
/// Memory that may stay with the allocator after the first round, and after all the others: each
/// of its arenas, of which there are eight for each processor, keeps some of what it had when it
/// was busiest.
const FIRST_KB: f64 = 16.0 * 1024.0;
const SLACK_KB: f64 = 8.0 * 1024.0;

#[test]
fn nobody_who_stays_misses_anything() {
    let seconds = number("SOAK_SECONDS").unwrap_or(10);
    let seed = number("SEED").unwrap_or(1);
    let total = Duration::from_secs(seconds);
    let rounds = (seconds / ROUND.as_secs()).max(1);
    let play = (total / rounds as u32).saturating_sub(CURTAIN).max(Duration::from_secs(1));

    let mut program = Program::start();
    let at_rest = program.warm_up();
    let mut sum = Sum::default();
    let mut may_stay = at_rest.resident_kb + FIRST_KB;
    for round in 0..rounds {
        let order = play_round(&program, seed.wrapping_add(round << 32), play, &mut sum);
        sum.messages += order.said();
        let used = program.comes_to_rest(&at_rest);
        for id in sum.cut_short.drain(..) {
            assert!(program.evicted(id), "client {id} lost its connection, and did keep up");
        }
        assert!(used.resident_kb <= may_stay, "memory grows: {used:?} after {at_rest:?}");
        if round == 0 {
            may_stay = used.resident_kb + SLACK_KB;
        }
    }
    // One who has no time to read has not heard the last word; most have, or it is torn.
    let Sum { evicted, told, .. } = sum;
    assert!(told * 2 >= evicted, "of {evicted} who were evicted only {told} were told");
    let used = program.usage();
    let line = format!(
        "soak: seed {seed}, {rounds} rounds of {play:?}: {} clients said {} messages, {} lines \
         were heard; {}; {} named connections heard {} and missed {}; {} threads, {} descriptors, {} kB (at first {}, at most {})\n",
        sum.lives.iter().map(|life| life.1).sum::<usize>(),
        sum.messages,
        sum.heard,
        sum.lives.iter().map(|(kind, n)| format!("{n} {kind}")).collect::<Vec<_>>().join(", "),
        sum.resumed,
        sum.numbered,
        sum.missed,
        used.threads,
        used.descriptors,
        used.resident_kb,
        at_rest.resident_kb,
        program.peak_kb(),
    );
    // Not captured: whoever soaks wants to see it.
    let _ = std::io::stderr().write_all(line.as_bytes());
    program.stops_when_asked();
}

#[derive(Default)]
struct Sum {
    messages: usize,
    heard: usize,
    /// Those whose connection ended too early.
    cut_short: Vec<i64>,
    /// How many of those had stalled, and how many of these were told why.
    evicted: usize,
    told: usize,
    lives: std::collections::BTreeMap<&'static str, usize>,
    /// Connections of those with names, what they heard, and what was gone when they came back.
    resumed: usize,
    numbered: usize,
    missed: u64,
}

fn play_round(program: &Program, seed: u64, play: Duration, sum: &mut Sum) -> Order {
    let address = program.address;
    let gone = Arc::new(AtomicUsize::new(0));
    let witnesses: Vec<_> = (0..WITNESSES)
        .map(|_| {
            let mut witness = Guest::join(address).expect("a witness joins");
            let gone = gone.clone();
            thread::spawn(move || {
                let patience = play + program::PATIENCE * 3;
                witness.hear(patience, |witness| {
                    gone.fetch_max(witness.departures, Ordering::Relaxed);
                    witness.heard_curtain
                });
                witness
            })
        })
        .collect();

    let until = Instant::now() + play;
    let crowd: Vec<_> = (0..CROWD)
        .map(|n| {
            let mut dice = Dice::new(seed ^ n);
            thread::spawn(move || {
                let mut lives = Vec::new();
                while Instant::now() < until {
                    lives.push(Life::live(address, &mut dice));
                }
                lives
            })
        })
        .collect();
    let named: Vec<_> = (0..NAMED)
        .map(|n| {
            let mut dice = Dice::new(seed ^ (CROWD + n));
            // Nobody of another round.
            let person = Named::new((seed >> 32) * NAMED + n);
            thread::spawn(move || person.live(address, &mut dice, until))
        })
        .collect();
    let lives: Vec<Life> =
        crowd.into_iter().flat_map(|one| one.join().expect("it behaves as it should")).collect();

    let named: Vec<Named> = named.into_iter().map(|one| one.join().expect("a person")).collect();
    named::agree(&named);
    for person in named {
        sum.resumed += person.connections;
        sum.numbered += person.heard.len();
        sum.missed += person.missed;
    }

    // All who were in the room have left it; then the curtain falls.
    let joined = lives.iter().filter(|life| life.guest.is_some()).count();
    program::eventually("everybody has left", || gone.load(Ordering::Relaxed) >= joined);
    let mut last = Guest::join(address).expect("the last one joins");
    last.say_curtain();
    last.hear(program::PATIENCE, |last| last.heard_curtain);

    let witnesses: Vec<Guest> = witnesses.into_iter().map(|one| one.join().unwrap()).collect();
    let (stayed, evicted): (Vec<_>, Vec<_>) =
        witnesses.into_iter().partition(|witness| witness.heard_curtain);
    assert!(!stayed.is_empty(), "no witness kept up: the machine is too busy to tell anything");
    let order = Order::of(&stayed[0]);
    for witness in &stayed {
        assert_eq!(witness.lines, stayed[0].lines, "two witnesses heard different things");
        sum.heard += witness.lines.len();
    }
    for witness in evicted {
        order.check(&witness, false);
    }
    for life in &lives {
        *sum.lives.entry(life.outcome()).or_default() += 1;
        if let Some(guest) = &life.guest {
            sum.heard += guest.lines.len();
            sum.cut_short.extend(guest.was_cut_short.then_some(guest.id));
            if guest.was_cut_short && life.kind == Kind::Stall {
                sum.evicted += 1;
                sum.told += usize::from(guest.closed == Some(1013));
            }
            order.check(guest, life.kind != Kind::Vanish && !guest.was_cut_short);
        }
    }
    order
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}
