//! Three Sentinels that watch a Redis and its replica.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::kit::folder::Folder;
use crate::kit::program::{Process, free_address};
use crate::kit::server::TestServer;
use crate::kit::{PATIENCE, eventually};
use crate::redis::{Redis, Tls, cli};

/// How many there are. Two have to agree.
const COUNT: usize = 3;

/// A server that does not answer for so long is away, in milliseconds.
const AWAY: u64 = 700;

/// Sentinels. Dropping them ends them.
#[derive(Debug)]
pub struct Sentinels {
    ports: Vec<u16>,
    tls: Option<Tls>,
    password: String,
    processes: Vec<Process>,
    _folder: Folder,
}

impl Sentinels {
    /// Has three watch a master with one replica, and waits until they know that and each other.
    #[track_caller]
    pub fn watching(master: &Redis) -> Self {
        Self::at(master, "127.0.0.1", "", AWAY)
    }

    /// The same, at this host, with these lines of their configuration before, and another time of patience.
    #[track_caller]
    pub fn at(master: &Redis, host: &str, lines: &str, away: u64) -> Self {
        let port = master.port();
        let lines = format!(
            "{lines}\nsentinel monitor room {host} {port} 2\n\
             sentinel down-after-milliseconds room {away}\nsentinel failover-timeout room 3000"
        );
        Self::with(master, &lines, "")
    }

    /// With these lines of their configuration, and this password; with TLS if the master has it.
    #[track_caller]
    pub fn with(master: &Redis, lines: &str, password: &str) -> Self {
        let folder = Folder::new();
        let ports: Vec<u16> = (0..COUNT).map(|_| free_address().port()).collect();
        let processes = ports.iter().map(|port| {
            let path = folder.path().join(format!("{port}.conf"));
            let mut text = match master.tls() {
                Some(tls) => {
                    let of_tls =
                        tls.server.chunks(2).map(|pair| pair.join(" ").replacen("--", "", 1));
                    format!("port 0\ntls-port {port}\n{}", of_tls.collect::<Vec<_>>().join("\n"))
                }
                None => format!("port {port}"),
            };
            let _ = write!(text, "\nbind 127.0.0.1\ndir {}\n{lines}\n", folder.arg());
            if !password.is_empty() {
                let _ = writeln!(text, "requirepass {password}");
            }
            fs::write(&path, text).expect("a file");
            let mut command = Command::new(master.server());
            command.arg(&path).arg("--sentinel").stdout(std::process::Stdio::null());
            let mut process = Process(command.spawn().expect("it starts"));
            process.listens(([127, 0, 0, 1], *port).into(), PATIENCE).expect("it listens");
            process
        });
        let (processes, tls) = (processes.collect(), master.tls().cloned());
        let sentinels =
            Sentinels { ports, tls, password: password.into(), processes, _folder: folder };
        eventually("Sentinels that know each other and the replica", || {
            let know = |port| {
                let lines = sentinels.cli(port, &["sentinel", "master", "room"]);
                let lines: Vec<_> = lines.lines().collect();
                let has =
                    |key: &str, value: &str| lines.windows(2).any(|pair| pair == [key, value]);
                has("num-slaves", "1") && has("num-other-sentinels", "2") && has("flags", "master")
            };
            sentinels.ports.iter().all(|port| know(*port)).then_some(())
        });
        sentinels
    }

    fn cli(&self, port: u16, words: &[&str]) -> String {
        cli(port, self.tls.as_ref(), &self.password, words)
    }

    /// What `--engine` takes.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}+sentinel://{}/room/0", hosts.join(","))
    }

    /// A server that asks them for the engine.
    #[track_caller]
    pub fn node(&self) -> TestServer {
        TestServer::with(|config| config.engine = Some(self.url()))
    }

    /// Has the replica take over, though the master works.
    #[track_caller]
    pub fn fail_over(&self) {
        eventually("a failover", || self.may_fail_over().then_some(()));
    }

    /// The same, unless there is no replica that could.
    pub fn may_fail_over(&self) -> bool {
        let last = self.ports[COUNT - 1];
        self.cli(last, &["sentinel", "failover", "room"]).contains("OK")
    }

    pub fn signal(&self, n: usize, signal: Signal) {
        self.processes[n].signal(signal);
    }

    /// The port of the master.
    pub fn master(&self) -> u16 {
        let last = self.ports[COUNT - 1];
        let answer = self.cli(last, &["sentinel", "get-master-addr-by-name", "room"]);
        answer.lines().nth(1).and_then(|port| port.parse().ok()).expect("a port")
    }
}
