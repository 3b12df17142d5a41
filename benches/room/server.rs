//! A server under test: how it is started, asked about and stopped.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::cpu::{self, Cpus};
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
}

impl Program {
    /// A command as one would type it, without quotes.
    pub fn new(name: &str, command: &str, directory: &Path) -> Program {
        Program {
            name: name.to_owned(),
            command: command.split_whitespace().map(str::to_owned).collect(),
            directory: directory.to_owned(),
        }
    }
}

/// A running server. Each measurement gets a fresh one, and it ends with it.
#[derive(Debug)]
pub struct Server {
    pub address: SocketAddr,
    pub cpus: Cpus,
    process: Process,
}

impl Server {
    /// Starts the program on the server's CPU, or on both, and waits until it accepts connections.
    pub fn start(
        program: &Program,
        clients: usize,
        cpus: Cpus,
        on_both: bool,
    ) -> Result<Server, String> {
        let address = free_address();
        let fill = |word: &String| {
            word.replace("{port}", &address.port().to_string())
                .replace("{clients}", &clients.to_string())
        };
        let words: Vec<String> = program.command.iter().map(fill).collect();
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.log", program.name));
        let file = File::create(&log).map_err(|e| format!("creating {}: {e}", log.display()))?;

        // A process starts with the CPUs of the thread that starts it.
        match on_both {
            true => cpu::allow(&[cpus.server, cpus.load]),
            false => cpu::pin(cpus.server),
        }
        let child = Command::new(&words[0])
            .args(&words[1..])
            .current_dir(&program.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn();
        cpu::pin(cpus.load);

        let child = child.map_err(|e| format!("starting {}: {e}", words.join(" ")))?;
        let mut process = Process(child);
        process
            .listens(address, START)
            .map_err(|e| format!("{} {e}; see {}", program.name, log.display()))?;
        thread::sleep(SETTLE);
        Ok(Server { address, cpus, process })
    }

    /// The CPU time that the server has used so far.
    pub fn cpu(&self) -> Result<Duration, String> {
        cpu::of_process(self.process.0.id())
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
