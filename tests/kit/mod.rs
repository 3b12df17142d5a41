//! What the tests work with, and the benchmarks in part: a server, a program, clients as bytes, their
//! frames, dice, and what the system says about a process.
#![allow(dead_code)] // Each test crate uses a part of it.

use std::thread;
use std::time::{Duration, Instant};

pub mod cutting;
pub mod dice;
pub mod folder;
pub mod frame;
pub mod link;
pub mod peer;
pub mod proc;
pub mod program;
pub mod proxy;
pub mod roomd1;
pub mod server;

/// How long anything may take that is expected. Far more than it needs, since the machine may be
/// busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Tries until `attempt` gives something: for what follows soon, but of which no message tells.
#[track_caller]
pub fn eventually<T>(awaited: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(Instant::now() < deadline, "waited for {awaited}");
        thread::yield_now();
    }
}
