//! A Redis of the test's own, on a free port.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::kit::folder::Folder;
use crate::kit::program::{Process, free_address};
use crate::kit::server::TestServer;
use crate::kit::{PATIENCE, eventually};

/// Of an engine that wants one.
pub const PASSWORD: &str = "hush";

/// An engine. Dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    folder: Folder,
    more: Vec<String>,
    process: Option<Process>,
}

impl Redis {
    /// One that writes nothing to the disk.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// One that is started with these arguments, too.
    #[track_caller]
    pub fn with(more: &[&str]) -> Self {
        let (port, folder) = (free_address().port(), Folder::new());
        let more = more.iter().map(|arg| (*arg).to_owned()).collect();
        let mut redis = Redis { port, folder, more, process: None };
        redis.start_again();
        redis
    }

    /// One that is not started yet.
    pub fn absent() -> Self {
        let (port, folder) = (free_address().port(), Folder::new());
        Redis { port, folder, more: Vec::new(), process: None }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it, after [`Redis::kill`] with what is on its disk.
    #[track_caller]
    pub fn start_again(&mut self) {
        let mut command = Command::new(server());
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--dir", self.folder.arg(), "--maxmemory-policy", "noeviction"]);
        command.args(&self.more).stdout(Stdio::null());
        let mut process = Process(command.spawn().expect("it starts"));
        process.listens(([127, 0, 0, 1], self.port).into(), PATIENCE).expect("it listens");
        self.process = Some(process);
        eventually("an engine that has loaded", || {
            self.cli(&["ping"]).contains("PONG").then_some(())
        });
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// What redis-cli says to these words.
    pub fn cli(&self, words: &[&str]) -> String {
        cli(self.port, words)
    }

    /// A server that shares its rooms through this.
    #[track_caller]
    pub fn node(&self) -> TestServer {
        TestServer::with(|config| config.engine = Some(self.url()))
    }
}

/// What redis-cli says to these words, to whoever listens there.
pub fn cli(port: u16, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &port.to_string()]).args(words);
    let output = command.env("REDISCLI_AUTH", PASSWORD).stderr(Stdio::null()).output();
    let output = output.expect("this test needs redis-cli; see make test");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The program.
#[track_caller]
pub fn server() -> &'static str {
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/usr/bin/redis-server");
    let names = ["redis-server", "valkey-server", unpacked];
    let starts =
        |name: &&str| Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
    names
        .into_iter()
        .find(starts)
        .expect("this test needs redis-server or valkey-server; see make test")
}
