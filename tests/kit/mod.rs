//! What the tests work with, and the benchmarks in part: a server, a program, clients as bytes.
#![allow(dead_code)] // Each test crate uses a part of it.

use std::thread;
use std::time::{Duration, Instant};

/// The server, in the process of the test.
pub mod server;

/// The server as a process of its own, and other programs.
pub mod program;

/// Clients that send what no library would.
pub mod peer;

pub mod frame;

pub mod dice;

/// What the system says about processes.
pub mod proc;

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
