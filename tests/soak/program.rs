//! The program as a process of its own, and what it uses.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::guest::Guest;
use crate::life;

/// Short times and short messages, so that everything happens within a short run too.
const FLAGS: &[&str] = &[
    "--listen=127.0.0.1:0",
    "--log-level=warn",
    "--max-message=8192",
    "--ping-interval=2",
    "--ping-timeout=2",
    "--head-timeout=1",
];

/// The longest message that it takes.
pub const MAX_MESSAGE: usize = 8192;

/// For what takes a moment, on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Program {
    child: Child,
    /// Those whom it has closed for reading too slowly, as its log says.
    evicted: Arc<Mutex<HashSet<i64>>>,
    pub address: SocketAddr,
}

/// What a process uses.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub threads: usize,
    pub descriptors: usize,
    pub memory_kb: usize,
    pub peak_kb: usize,
}

impl Program {
    pub fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_roomd"))
            .args(FLAGS)
            .stderr(Stdio::piped())
            .spawn()
            .expect("roomd starts");
        let mut said = BufReader::new(child.stderr.take().expect("standard error"));
        let mut greeting = String::new();
        said.read_line(&mut greeting).expect("a greeting");
        let address = greeting.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.and_then(|address| address.parse().ok()).expect("an address");
        let evicted = Arc::new(Mutex::new(HashSet::new()));
        let heard = evicted.clone();
        thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                match line.split_once("client #").filter(|_| line.contains("(1013)")) {
                    Some((_, rest)) => {
                        let id = rest.split(' ').next().and_then(|id| id.parse().ok());
                        heard.lock().unwrap().insert(id.expect("a client id"));
                    }
                    None => eprintln!("{line}"),
                }
            }
        });
        Program { child, evicted, address }
    }

    /// Lets everything happen once, and says what is used at rest.
    pub fn warm_up(&self) -> Usage {
        life::load_page(self.address);
        let mut guest = Guest::join(self.address).expect("somebody joins");
        guest.leave_politely();
        drop(guest);
        thread::sleep(Duration::from_secs(1));
        self.usage()
    }

    /// Waits until no more threads and descriptors are used than `at_rest`.
    pub fn comes_to_rest(&self, at_rest: &Usage) -> Usage {
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
    pub fn evicted(&self, id: i64) -> bool {
        self.evicted.lock().unwrap().contains(&id)
    }

    pub fn usage(&self) -> Usage {
        let proc = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{proc}/status")).expect("the program runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
            line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
        };
        Usage {
            threads: field("Threads:"),
            descriptors: fs::read_dir(format!("{proc}/fd")).expect("its descriptors").count(),
            memory_kb: field("VmRSS:"),
            peak_kb: field("VmHWM:"),
        }
    }

    pub fn stops_when_asked(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it can be told to stop");
        eventually("it stops", || self.child.try_wait().unwrap().is_some());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A program that has ended explains what its clients complain about.
        if let Ok(Some(status)) = self.child.try_wait() {
            eprintln!("roomd has ended: {status}");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
