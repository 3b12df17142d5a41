//! A link between a node and the engine with faults of its own; see `tests/engine/link.py`.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::kit::program::Process;
use crate::redis::Redis;

pub struct Link {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Whoever connects to `there` reaches what listens on `here`.
    here: String,
    there: String,
    _process: Process,
}

impl Link {
    pub fn start() -> Self {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let n = LAST.fetch_add(1, Ordering::Relaxed);
        let (here, there) = (format!("10.98.{n}.1"), format!("10.98.{n}.2"));
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/link.py");
        let child = Command::new("python3")
            .args([program, &format!("roomd{n}"), &here, &there])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("this test needs python3");
        let orders = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut link = Link { orders, answers, here, there, _process: Process(child) };
        link.expects("up");
        link
    }

    /// Arguments of an engine that it reaches.
    pub fn reaches(&self) -> [&str; 5] {
        ["--bind", "127.0.0.1", &self.here, "--protected-mode", "no"]
    }

    /// Where whatever listens on this machine is reached, over it.
    pub fn there(&self) -> &str {
        &self.there
    }

    /// Where it has to listen for that, beside loopback.
    pub fn here(&self) -> &str {
        &self.here
    }

    /// Where a node finds the engine, over it.
    pub fn url(&self, engine: &Redis) -> String {
        format!("redis://{}:{}/0", self.there, engine.port())
    }

    /// Holds each packet for so many seconds, and drops this part of them.
    pub fn is(&mut self, delay: f64, loss: f64) {
        writeln!(self.orders, "{delay} {loss}").expect("it runs");
        self.expects("set");
    }

    fn expects(&mut self, word: &str) {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        assert_eq!(
            line.trim(),
            word,
            "the link (see tests/engine/link.py, which needs /dev/net/tun)"
        );
    }
}
