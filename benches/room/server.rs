//! A server under test: how it is started, asked about and stopped.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cpu::{self, Cpus};
use crate::proc::{self, Holding};

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
    child: Child,
}

impl Server {
    /// Starts the program on the server's CPU and waits until it accepts connections.
    pub fn start(program: &Program, clients: usize, cpus: Cpus) -> Result<Server, String> {
        let address = free_address();
        let fill = |word: &String| {
            word.replace("{port}", &address.port().to_string())
                .replace("{clients}", &clients.to_string())
        };
        let words: Vec<String> = program.command.iter().map(fill).collect();
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.log", program.name));
        let file = File::create(&log).map_err(|e| format!("creating {}: {e}", log.display()))?;

        // A process starts with the CPUs of the thread that starts it.
        cpu::pin(cpus.server);
        let child = Command::new(&words[0])
            .args(&words[1..])
            .current_dir(&program.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn();
        cpu::pin(cpus.load);

        let child = child.map_err(|e| format!("starting {}: {e}", words.join(" ")))?;
        let mut server = Server { address, cpus, child };
        server
            .wait_until_ready()
            .map_err(|e| format!("{} {e}; see {}", program.name, log.display()))?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("ended at its start with {status}"));
            }
            if begin.elapsed() > START {
                return Err(format!("accepts no connection at {}", self.address));
            }
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(SETTLE);
        Ok(())
    }

    /// The CPU time that the server has used so far.
    pub fn cpu(&self) -> Result<Duration, String> {
        cpu::of_process(self.child.id())
    }

    pub fn holding(&self) -> Result<Holding, String> {
        proc::holding(self.child.id())
    }

    pub fn peak_resident_kb(&self) -> Result<f64, String> {
        proc::peak_resident_kb(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has nothing to lose, so it need not be asked first.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback port that nobody listens on at the moment.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("binding a loopback port")
}
