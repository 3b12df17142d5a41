//! Hubs, writers and readers of several nodes, and an engine in memory, under a scheduler that a seed drives: calls
//! are cut before or after they are done, or are done late; the engine is away, forgets the last of what it was
//! told, or all, and its clock jumps; nodes stop, come back, or are killed.
//!
//! Whatever happens, in each epoch there is one sequence of messages; each that was accepted is in it once; what
//! somebody hears is a piece of that, but for gaps of which it is told how large they are, or that nobody knows;
//! everybody leaves once; and when all is well again, everything goes on and nothing is left over.

use std::ops::Range;
use std::panic::RefUnwindSafe;
use std::sync::Mutex;

mod cases;
mod flood;
mod http;
mod machine;
mod memory;
mod parity;
mod person;
mod real;
mod wire;
mod world;

/// The seeds that are tried: those of `SEED=7` or `SEED=200..5000`, or else so many.
fn seeds(count: u64) -> Range<u64> {
    let Ok(seeds) = std::env::var("SEED") else { return 0..count };
    let number = |text: &str| text.parse().expect("SEED is a number, or two with .. between");
    match seeds.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&seeds)..number(&seeds) + 1,
    }
}

/// Runs what each seed makes, and names those that fail.
fn try_all(seeds: Range<u64>, run: impl Fn(u64) + RefUnwindSafe) {
    let failed: Vec<u64> =
        seeds.filter(|seed| std::panic::catch_unwind(|| run(*seed)).is_err()).collect();
    assert!(failed.is_empty(), "one again with SEED=, of {failed:?}");
}

#[test]
fn whatever_happens_there_is_one_order_and_nothing_is_lost_or_doubled() {
    let sum = Mutex::new(world::Tally::default());
    try_all(seeds(200), |seed| {
        let tally = world::World::new(seed).run();
        sum.lock().expect("no panic").add(&tally);
    });
    let sum = sum.into_inner().expect("no panic");
    println!("{sum:?}");
    // The model is not one in which nothing happens.
    if seeds(200).count() > 100 {
        sum.check();
    }
}

/// A model that finds no fault in an engine that does not do what it should would find none in one that does.
#[test]
fn whatever_the_scripts_would_not_do_is_found_out() {
    use memory::Lack::*;
    for lack in [Fence, Deduplication, Counter, Epoch, Reaping] {
        let run = |seed: u64, lack| {
            std::panic::catch_unwind(|| world::World::new(seed).lacking(lack).run()).is_ok()
        };
        let found = (0..200).find(|seed| !run(*seed, Some(lack)));
        println!("{lack:?}: {found:?}");
        let seed = found.unwrap_or_else(|| panic!("whatever the model looks at needs no {lack:?}"));
        assert!(run(seed, None), "seed {seed} has a fault that is not {lack:?}");
    }
}
