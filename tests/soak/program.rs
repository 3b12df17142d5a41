//! The program as a process of its own, what it says and what it uses.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::guest::Guest;
use crate::kit::proc::{self, Holding};
use crate::kit::program::{self, roomd};
use crate::life;

/// Short times and short messages, so that everything happens within a short run too.
const FLAGS: &[&str] = &[
    "--listen=127.0.0.1:0",
    "--log-level=warn",
    "--max-message=8192",
    // Whoever comes back is given all that the log has.
    "--history=100000",
    "--ping-interval=2",
    "--ping-timeout=2",
    "--head-timeout=1",
];

pub const MAX_MESSAGE: usize = 8192;

/// For what takes a moment, on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Program {
    program: program::Program,
    /// Those whom it has closed for reading too slowly, as its log says.
    evicted: HashSet<i64>,
    pub address: SocketAddr,
}

impl Program {
    pub fn start() -> Self {
        let program = program::Program::of(&mut roomd(FLAGS));
        Program { address: program.address, program, evicted: HashSet::new() }
    }

    /// Lets everything happen once, and says what is used at rest.
    pub fn warm_up(&self) -> Holding {
        life::load_page(self.address);
        let mut guest = Guest::join(self.address).expect("somebody joins");
        guest.leave_politely();
        drop(guest);
        thread::sleep(Duration::from_secs(1));
        self.usage()
    }

    /// Waits until no more threads and descriptors are used than `at_rest`.
    pub fn comes_to_rest(&self, at_rest: &Holding) -> Holding {
        let mut used = self.usage();
        let deadline = Instant::now() + PATIENCE;
        while used.threads > at_rest.threads || used.descriptors > at_rest.descriptors {
            assert!(Instant::now() < deadline, "{used:?} after all have left, {at_rest:?} before");
            thread::sleep(Duration::from_millis(50));
            used = self.usage();
        }
        used
    }

    /// Whether it has closed this client for reading too slowly.
    pub fn evicted(&mut self, id: i64) -> bool {
        self.read_log();
        self.evicted.contains(&id)
    }

    /// Takes in what the log says of evictions, and shows the rest of it.
    fn read_log(&mut self) {
        for line in self.program.lines() {
            match line.split_once("client #").filter(|_| line.contains("(1013)")) {
                Some((_, rest)) => {
                    let id = rest.split(' ').next().and_then(|id| id.parse().ok());
                    self.evicted.insert(id.expect("a client id"));
                }
                None => eprintln!("{line}"),
            }
        }
    }

    pub fn usage(&self) -> Holding {
        proc::holding(self.program.process.0.id()).expect("the program runs")
    }

    pub fn peak_kb(&self) -> f64 {
        proc::peak_resident_kb(self.program.process.0.id()).expect("the program runs")
    }

    pub fn stops_when_asked(mut self) {
        self.program.signal(Signal::TERM);
        assert!(self.program.ends().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.read_log();
    }
}

pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
