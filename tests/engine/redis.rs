//! A Redis or Valkey of the test's own, on a free port.

use std::env;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::kit::folder::Folder;
use crate::kit::program::{Process, Program, free_address};
use crate::kit::server::TestServer;
use crate::kit::{PATIENCE, eventually};

/// Of an engine that wants one.
pub const PASSWORD: &str = "hush";

/// Arguments of an engine that keeps whatever it has answered.
pub const KEEPS: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// Names the server that tests have, unless they say themselves.
const CHOSEN: &str = "ROOMD_TEST_ENGINE";

/// The servers that are tried, in this order.
pub const SERVERS: [&str; 2] = ["redis-server", "valkey-server"];

/// Where a server is on this system, and what it says of its version.
pub fn find(server: &str) -> Option<(PathBuf, String)> {
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/usr/bin");
    [PathBuf::from(server), Path::new(unpacked).join(server)].into_iter().find_map(|path| {
        let output = Command::new(&path).arg("--version").output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some((path, version))
    })
}

/// An engine. Dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    server: PathBuf,
    port: u16,
    folder: Folder,
    more: Vec<String>,
    tls: Option<Tls>,
    /// Whom it knows redis-cli as, if not as its default user.
    user: Option<String>,
    process: Option<Process>,
}

/// What it takes that all connections are encrypted: arguments of the server, and of redis-cli.
#[derive(Clone, Debug)]
pub struct Tls {
    pub server: Vec<String>,
    pub cli: Vec<String>,
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
        let mut redis = Self::absent();
        redis.more = more.iter().map(|arg| (*arg).to_owned()).collect();
        redis.start_again();
        redis
    }

    /// The same, with TLS and nothing else.
    #[track_caller]
    pub fn with_tls(tls: Tls, more: &[&str]) -> Self {
        let mut redis = Self::absent();
        redis.encrypts(tls);
        redis.add(more);
        redis.start_again();
        redis
    }

    /// One that is not started yet.
    #[track_caller]
    pub fn absent() -> Self {
        let chosen = env::var(CHOSEN).ok().filter(|chosen| !chosen.is_empty());
        let server = match &chosen {
            Some(chosen) => find(chosen),
            None => SERVERS.iter().find_map(|server| find(server)),
        };
        let server = server.unwrap_or_else(|| {
            panic!("this test needs {}; see make test", chosen.unwrap_or(SERVERS.join(" or ")))
        });
        Self::of(&server.0)
    }

    /// One that this program will be.
    pub fn of(server: &Path) -> Self {
        let (port, folder) = (free_address().port(), Folder::new());
        let (server, more) = (server.to_owned(), Vec::new());
        Redis { server, port, folder, more, tls: None, user: None, process: None }
    }

    /// A replica of it, which has all of it.
    #[track_caller]
    pub fn replica(&self, more: &[&str]) -> Self {
        let mut replica = Self::of(&self.server);
        replica.tls.clone_from(&self.tls);
        replica.user.clone_from(&self.user);
        replica.add(more);
        replica.start_again();
        // As Sentinels change it, so that it is what they made of it when it is started again.
        replica.cli(&["replicaof", "127.0.0.1", &self.port.to_string()]);
        assert!(replica.cli(&["config", "rewrite"]).contains("OK"));
        eventually("a replica", || replica.is_good_replica().then_some(()));
        replica
    }

    /// Whether it has what its master has.
    pub fn is_good_replica(&self) -> bool {
        self.cli(&["info", "replication"]).contains("master_link_status:up")
    }

    /// The program that it is.
    pub fn server(&self) -> &Path {
        &self.server
    }

    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}/0", self.port)
    }

    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// From its next start on it is this program.
    pub fn becomes(&mut self, server: &Path) {
        self.server = server.to_owned();
    }

    /// From its next start on it is given these arguments, too.
    pub fn add(&mut self, more: &[&str]) {
        self.more.extend(more.iter().map(|arg| (*arg).to_owned()));
    }

    /// From its next start on it takes TLS and nothing else.
    pub fn encrypts(&mut self, tls: Tls) {
        self.tls = Some(tls);
    }

    /// From its next start on redis-cli is this user.
    pub fn knows_redis_cli_as(&mut self, user: &str) {
        self.user = Some(user.to_owned());
    }

    /// Starts it, after [`Redis::kill`] with what is on its disk.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.start_loading();
        eventually("an engine that has loaded", || {
            self.cli(&["ping"]).contains("PONG").then_some(())
        });
    }

    /// The same, without waiting until it has loaded what is on its disk.
    #[track_caller]
    pub fn start_loading(&mut self) {
        let mut command = Command::new(&self.server);
        // Where it writes whose replica it is.
        let settings = self.folder.path().join("settings");
        OpenOptions::new().append(true).create(true).open(&settings).expect("a file");
        command.arg(settings);
        let port = self.port.to_string();
        match &self.tls {
            Some(tls) => command.args(["--port", "0", "--tls-port", &port]).args(&tls.server),
            None => command.args(["--port", &port]),
        };
        command.args(["--bind", "127.0.0.1", "--save", ""]);
        command.args(["--dir", self.folder.arg(), "--maxmemory-policy", "noeviction"]);
        command.args(["--repl-diskless-sync-delay", "0"]);
        command.args(&self.more).stdout(Stdio::null());
        let mut process = Process(command.spawn().expect("it starts"));
        process.listens(([127, 0, 0, 1], self.port).into(), PATIENCE).expect("it listens");
        self.process = Some(process);
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// What redis-cli says to these words.
    pub fn cli(&self, words: &[&str]) -> String {
        let user = self.user.iter().flat_map(|user| ["--user", user]);
        let words: Vec<&str> = user.chain(words.iter().copied()).collect();
        cli(self.port, self.tls(), PASSWORD, &words)
    }

    /// A server that shares its rooms through this.
    #[track_caller]
    pub fn node(&self) -> TestServer {
        TestServer::with(|config| config.engine = Some(self.url()))
    }

    /// The same, as a process of its own.
    #[track_caller]
    pub fn program(&self) -> Program {
        Program::start(&["--engine", &self.url(), "--log-level=warn"])
    }
}

/// What redis-cli says to these words, to whoever listens there and may want this password.
pub fn cli(port: u16, tls: Option<&Tls>, password: &str, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &port.to_string()]).args(tls.iter().flat_map(|tls| &tls.cli)).args(words);
    let output = command.env("REDISCLI_AUTH", password).stderr(Stdio::null()).output();
    let output = output.expect("this test needs redis-cli; see make test");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
