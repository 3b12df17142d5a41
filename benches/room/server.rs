//! A server under test: how it is started, asked about and stopped.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::cpu::{self, Cpus};
use crate::engine::Engine;
use crate::kit::peer::{Peer, get};
use crate::kit::proc::{self, Holding};

pub use crate::kit::proc::ThreadUse;
use crate::kit::program::{Process, free_address};

/// An interpreter on a small machine takes its time.
const START: Duration = Duration::from_secs(30);
/// So that what a server still does at its start is not measured.
const SETTLE: Duration = Duration::from_millis(200);

/// A program that speaks the room's protocol.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    /// The program and its arguments, in which `{port}` and `{clients}` stand for numbers.
    pub command: Vec<String>,
    pub directory: PathBuf,
    /// So many of it share their rooms through an engine; 0: there is one, and no engine.
    pub nodes: usize,
}

impl Program {
    /// A command as one would type it, without quotes.
    pub fn new(name: &str, command: &str, directory: &Path) -> Program {
        Program {
            name: name.to_owned(),
            command: command.split_whitespace().map(str::to_owned).collect(),
            directory: directory.to_owned(),
            nodes: 0,
        }
    }
}

/// A running server. Each measurement gets a fresh one, and it ends with it.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    pub cpus: Cpus,
    process: Process,
    /// More nodes of the same rooms, or more servers, each with its address.
    others: Vec<(SocketAddr, Process)>,
    engine: Option<Engine>,
}

impl Server {
    /// Starts the program on the server's CPU, or on both, as often as it has nodes or `servers` says, and waits until it accepts connections.
    pub fn start(
        program: &Program,
        clients: usize,
        cpus: Cpus,
        on_both: bool,
        servers: usize,
    ) -> Result<Server, String> {
        // A process starts with the CPUs of the thread that starts it.
        match on_both {
            true => cpu::allow(&[cpus.server, cpus.load]),
            false => cpu::pin(cpus.server),
        }
        let started = Server::start_all(program, clients, cpus, servers);
        cpu::pin(cpus.load);
        let server = started?;
        thread::sleep(SETTLE);
        Ok(server)
    }

    fn start_all(
        program: &Program,
        clients: usize,
        cpus: Cpus,
        servers: usize,
    ) -> Result<Server, String> {
        let engine = if program.nodes > 0 { Some(Engine::start()?) } else { None };
        let (address, process) = start_one(program, clients, engine.as_ref(), 1)?;
        let others = (2..=program.nodes.max(servers))
            .map(|node| start_one(program, clients, engine.as_ref(), node))
            .collect::<Result<Vec<_>, String>>()?;
        Ok(Server { address, cpus, process, others, engine })
    }

    /// Whether its nodes share their rooms.
    pub fn is_shared(&self) -> bool {
        self.engine.is_some()
    }

    /// Where its nodes listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let others = self.others.iter().map(|(address, _)| *address);
        std::iter::once(self.address).chain(others).collect()
    }

    /// The CPU time that the server, or all of its nodes, has used so far.
    pub fn cpu(&self) -> Result<Duration, String> {
        let others = self.others.iter().map(|(_, process)| process);
        std::iter::once(&self.process)
            .chain(others)
            .map(|process| cpu::of_process(process.0.id()))
            .sum()
    }

    /// The CPU time that the engine has used so far, if there is one.
    pub fn engine_cpu(&self) -> Result<Option<Duration>, String> {
        self.engine.as_ref().map(|engine| cpu::of_process(engine.pid())).transpose()
    }

    /// How many buffers of messages its hubs, or those of all nodes, have sent to everybody so far.
    pub fn batches(&self) -> Result<usize, String> {
        let of_one = |address| {
            let metrics = Peer::ask(address, get("/metrics", "")).body;
            let metrics = String::from_utf8_lossy(&metrics);
            let count = metrics.lines().find_map(|line| line.strip_prefix("roomd_batches_total "));
            count
                .and_then(|count| count.parse::<usize>().ok())
                .ok_or_else(|| format!("{address} does not say how many batches there were"))
        };
        self.addresses().into_iter().map(of_one).sum()
    }

    /// Each thread of this name, in the order of their ids.
    pub fn threads(&self, name: &str) -> Result<Vec<ThreadUse>, String> {
        proc::threads(self.process.0.id(), name)
    }

    pub fn holding(&self) -> Result<Holding, String> {
        proc::holding(self.process.0.id())
    }

    pub fn peak_resident_kb(&self) -> Result<f64, String> {
        proc::peak_resident_kb(self.process.0.id())
    }
}

/// Starts the program, or the `node` of this number, and waits until it accepts connections.
fn start_one(
    program: &Program,
    clients: usize,
    engine: Option<&Engine>,
    node: usize,
) -> Result<(SocketAddr, Process), String> {
    let address = free_address();
    let fill = |word: &String| {
        word.replace("{port}", &address.port().to_string())
            .replace("{clients}", &clients.to_string())
    };
    let mut words: Vec<String> = program.command.iter().map(fill).collect();
    if let Some(engine) = engine {
        words.extend(["--engine".to_owned(), engine.url()]);
    }
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.{node}.log", program.name));
    let file = File::create(&log).map_err(|e| format!("creating {}: {e}", log.display()))?;
    let child = Command::new(&words[0])
        .args(&words[1..])
        .current_dir(&program.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn();
    let child = child.map_err(|e| format!("starting {}: {e}", words.join(" ")))?;
    let mut process = Process(child);
    process
        .listens(address, START)
        .map_err(|e| format!("{} {e}; see {}", program.name, log.display()))?;
    Ok((address, process))
}
