use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::io::{fcntl_dupfd_cloexec, ioctl_fionbio};
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::{Program, roomd};
use crate::support::{Peer, eventually, get};

/// A process that ends with the test.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Process(command.spawn().expect("a process"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it runs");
    }

    #[track_caller]
    fn ends(&mut self) -> ExitStatus {
        eventually("the end of the program", || self.0.try_wait().expect("a process"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails when the process has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// SIGHUP, which a terminal sends when it closes, is a stop like the others.
#[test]
fn a_hangup_stops_it_with_1001_and_exit_code_0() {
    let mut program = Program::start(&[]);
    let mut client = program.join(1);
    program.signal(Signal::HUP);
    client.is_closed_with(1001);
    drop(client);
    assert_eq!(program.ends().code(), Some(0));
}

/// A pipe that takes no byte more, and the end that would read it.
fn full_pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let mut full = File::from(writer);
    ioctl_fionbio(&full, true).expect("no waiting");
    let error = std::iter::repeat_with(|| full.write_all(b"full")).find_map(Result::err);
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::WouldBlock));
    while full.write(b"f").is_ok() {}
    ioctl_fionbio(&full, false).expect("waiting again");
    (full, File::from(reader))
}

/// Nobody reads standard error from before the start: it serves, and a signal ends it.
#[test]
fn a_full_standard_error_delays_neither_start_nor_stop() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let (full, _reader) = full_pipe();
    for signal in [Signal::TERM, Signal::HUP] {
        let mut command = Command::new("/bin/sh");
        let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
        let program = roomd(&["--log-level=debug"]);
        command.env_clear().arg("-c").arg(script);
        command.arg(program.get_program()).args(program.get_args());
        command.stdin(fcntl_dupfd_cloexec(&socket, 0).expect("a descriptor"));
        command.stderr(full.try_clone().expect("a descriptor")).stdout(Stdio::null());
        let mut process = Process::start(&mut command);
        let mut client = Peer::connect(address).upgrade("/ws/1");
        client.says_and_hears(1, "hello");
        process.signal(signal);
        client.is_closed_with(1001);
        drop(client);
        assert_eq!(process.ends().code(), Some(0));
    }
}

/// A flood of refusals is a few lines and a number.
#[test]
fn the_log_counts_refusals_that_come_too_fast() {
    const LEFT_OUT: &str = " more refusals in a second were not logged";
    let mut program = Program::start(&[]);
    let head = get("/", "").replace("localhost", &"é".repeat(3000));
    let flood = || (0..100).for_each(|_| program.ask(&head).refuses(403, "not a name of"));
    flood();
    program.line(LEFT_OUT);
    flood();
    program.signal(Signal::TERM);
    program.ends();
    let log = program.lines_to_the_end();
    let left_out = |line: &String| {
        let number = line.split(LEFT_OUT).next()?.rsplit(' ').next()?;
        line.contains(LEFT_OUT).then(|| number.parse::<usize>().expect("a number"))
    };
    let refused: Vec<_> = log.iter().filter(|line| line.contains("refused 127.0.0.1")).collect();
    // Some of the first flood may be told after the second began.
    assert!(refused.len() + log.iter().filter_map(left_out).sum::<usize>() >= 100, "{log:#?}");
    assert!(refused.len() < 50 && refused.iter().all(|line| line.len() < 2200), "{log:#?}");
}
