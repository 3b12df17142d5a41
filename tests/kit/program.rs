//! roomd as a process of its own, and other programs.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use rustix::process::{Pid, Signal, kill_process};

use super::peer::{Client, Peer, Response};
use super::{PATIENCE, eventually};

pub const ROOMD: &str = env!("CARGO_BIN_EXE_roomd");

/// Names what runs this build where it is for another processor than this machine's (`make
/// test-arm`): the kernel would not start such a program by itself.
const EMULATOR: &str = "ROOMD_TEST_EMULATOR";

/// A program of this build, started by `words`, which come first.
pub fn started_by(words: &[&str], program: impl AsRef<OsStr>) -> Command {
    let emulator = env::var_os(EMULATOR);
    let mut words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    words.extend(emulator.as_deref());
    words.push(program.as_ref());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// Set in the process that runs in a namespace of its own.
const INSIDE: &str = "ROOMD_TEST_NAMESPACE";

/// Runs `body`, which is that of the test with this path, in what these flags of unshare(1) give it: this
/// program is started again there, for that one test.
#[track_caller]
pub fn in_own_namespace(flags: &str, name: &str, body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return body();
    }
    let output = started_by(&["unshare", flags], env::current_exe().expect("this program"))
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("this test needs the program unshare (of util-linux)");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "in a namespace of its own (unshare {flags}) the test failed:\n{said}"
    );
}

/// roomd as it is about to be started: no setting comes from this test's environment.
pub fn roomd(args: &[&str]) -> Command {
    let mut command = started_by(&[], ROOMD);
    command.env_clear().args(args);
    command
}

/// A loopback port that nobody listens on at the moment, for a program that does not choose one
/// itself.
pub fn free_address() -> SocketAddr {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
    free.expect("a free port")
}

/// A process that ends when this is dropped.
#[derive(Debug)]
pub struct Process(pub Child);

impl Process {
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
        if signal == Signal::STOP {
            let tasks = format!("/proc/{}/task", self.0.id());
            let is_stopped = |task: DirEntry| {
                let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                // Behind the name, which is in parentheses.
                stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
            };
            eventually("a program that is stopped", || {
                let mut tasks = fs::read_dir(&tasks).expect("it runs").filter_map(Result::ok);
                tasks.all(is_stopped).then_some(())
            });
        }
    }

    /// The end of a process that was told to end.
    #[track_caller]
    pub fn ends(&mut self) -> ExitStatus {
        eventually("the end of the program", || self.0.try_wait().expect("a process"))
    }

    /// Waits until the process accepts connections.
    ///
    /// # Errors
    ///
    /// It has ended instead, or does not within this time.
    pub fn listens(&mut self, address: SocketAddr, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        while TcpStream::connect(address).is_err() {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Err(format!("ended at its start with {status}"));
            }
            if Instant::now() > deadline {
                return Err(format!("accepts no connection at {address}"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A program that has ended explains what its clients complain about.
        if let (true, Ok(Some(status))) = (thread::panicking(), self.0.try_wait()) {
            eprintln!("{status}: so ended process {}", self.0.id());
        }
        // It fails when the program has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// roomd, while it serves.
#[derive(Debug)]
pub struct Program {
    pub process: Process,
    pub address: SocketAddr,
    pub greeting: String,
    log: Receiver<String>,
}

impl Program {
    /// Starts it on a port of its own.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        Self::of(roomd(args).args(["--listen", "127.0.0.1:0"]))
    }

    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        let (process, stderr) = spawn(command);
        let (said, log) = unbounded();
        // It ends with the program, or when nobody wants to know any more.
        thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                if said.send(String::from_utf8(line).expect("the log is text")).is_err() {
                    return;
                }
            }
        });
        let address = ([127, 0, 0, 1], 0).into();
        let mut program = Program { process, address, greeting: String::new(), log };
        program.greeting = program.line("roomd: open http://");
        program.address = address_in(&program.greeting);
        program
    }

    /// One whose standard error is closed once it has greeted.
    #[track_caller]
    pub fn unheard(command: &mut Command) -> Self {
        let (process, mut stderr) = spawn(command);
        let mut greeting = String::new();
        stderr.read_line(&mut greeting).expect("a first line");
        let (_, log) = unbounded();
        Program { process, address: address_in(&greeting), greeting, log }
    }

    /// The next line of standard error that has this `part`.
    #[track_caller]
    pub fn line(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        loop {
            match self.log.recv_deadline(deadline) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => before.push(line),
                Err(error) => panic!("no line with {part:?} ({error}) after {before:#?}"),
            }
        }
    }

    /// The lines that have come so far.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.log.try_iter()
    }

    /// All lines until the end of the program.
    #[track_caller]
    pub fn lines_to_the_end(&self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        while let Ok(line) = self.log.recv_deadline(deadline) {
            lines.push(line);
        }
        assert!(Instant::now() < deadline, "the program goes on after {lines:#?}");
        lines
    }

    #[track_caller]
    pub fn connect(&self) -> Peer {
        Peer::connect(self.address)
    }

    #[track_caller]
    pub fn join(&self, id: i64) -> Client {
        self.connect().upgrade(&format!("/ws/{id}"))
    }

    #[track_caller]
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        Peer::ask(self.address, request)
    }

    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    #[track_caller]
    pub fn ends(&mut self) -> ExitStatus {
        self.process.ends()
    }
}

#[track_caller]
fn spawn(command: &mut Command) -> (Process, BufReader<ChildStderr>) {
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    (Process(child), stderr)
}

/// The address in what the program says first.
#[track_caller]
fn address_in(greeting: &str) -> SocketAddr {
    let place = greeting.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    let place = place.expect("an address").replace("localhost", "127.0.0.1");
    place.parse().expect("an address")
}
