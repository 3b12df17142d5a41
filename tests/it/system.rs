use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, Stdio};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use rustix::io::{fcntl_dupfd_cloexec, ioctl_fionbio};
use rustix::process::{Signal, getuid};

use crate::cli::fails;
use crate::support::{
    Client, PATIENCE, Peer, Process, Program, ROOMD, UPGRADE, eventually, get, roomd, says,
    started_by,
};

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
        let mut process = Process(command.spawn().expect("a process"));
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

/// The program with limits of the shell's `ulimit`, such as `-v 60000`.
fn limited(limits: &str, args: &[&str]) -> Command {
    let program = roomd(args);
    let mut command = Command::new("/bin/sh");
    let script = format!("ulimit {limits} && exec \"$0\" \"$@\"");
    command.env_clear().arg("-c").arg(script).arg(program.get_program()).args(program.get_args());
    command
}

/// Fills the room, and holds on to more connections than there are slots. Those who are in talk on, and
/// those beyond are told that the server is full.
#[track_caller]
fn is_full_but_serves(program: &Program, clients: usize) {
    let mut members: Vec<Client> = (0..clients as i64).map(|id| program.join(id)).collect();
    let mut refused = 0;
    let mut crowd = Vec::new();
    for _ in 0..1000 {
        let mut peer = program.connect();
        if refused < 5 {
            // One that is refused at once may be gone before it has asked.
            let _ = peer.stream.write_all(get("/ws/1", UPGRADE).as_bytes());
            peer.response().refuses(503, "all places are taken");
            refused += 1;
        } else {
            crowd.push(peer);
        }
    }
    let (first, others) = members.split_first_mut().expect("a client");
    first.says_and_hears(0, "it is crowded");
    others.iter_mut().for_each(|other| other.hears(&says(0, "it is crowded")));
    drop(crowd);
    eventually("the page", || (program.ask(get("/", "")).status == 200).then_some(()));
}

/// How many clients the program says that there is room for, and what bounds them.
#[track_caller]
fn room_for(program: &Program) -> (usize, String) {
    let line = program.line("clients at most");
    let number = line.split(" clients at most").next().and_then(|line| line.rsplit(' ').next());
    let clients = number.and_then(|number| number.parse().ok()).expect("a number");
    (clients, program.line("the number of clients follows from "))
}

/// A thread takes addresses, and a process that has none left is aborted.
#[test]
fn a_small_address_space_means_few_clients() {
    for megabytes in [40, 60, 100] {
        let mut command = limited(&format!("-v {megabytes}000"), &["--listen=127.0.0.1:0"]);
        let mut program = Program::of(&mut command);
        let (clients, bound) = room_for(&program);
        assert!(bound.contains("the address space limit of "), "{bound}");
        assert!((megabytes / 3..4 * megabytes).contains(&clients), "{clients} in {megabytes} MB");
        is_full_but_serves(&program, clients);
        program.signal(Signal::TERM);
        assert_eq!(program.ends().code(), Some(0));
    }
}

/// As nobody, whom RLIMIT_NPROC holds for, or as the user of the tests.
#[test]
fn few_processes_mean_few_clients() {
    // Others of this user have processes too, and it is not known how many.
    let of_user = |uid: u32| {
        let tasks = fs::read_dir("/proc").expect("processes").filter_map(|entry| {
            let status = fs::read_to_string(entry.ok()?.path().join("status")).ok()?;
            let number = |name| {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                line.split_whitespace().next()?.parse::<u32>().ok()
            };
            (number("Uid:")? == uid).then(|| number("Threads:"))?
        });
        tasks.sum::<u32>()
    };
    const SOMEBODY: u32 = 64_321;
    let uid = if getuid().is_root() { SOMEBODY } else { getuid().as_raw() };
    let limit = of_user(uid) + 100;
    // Opened here, since the user that it runs as may not reach the file by its path.
    let mut command = started_by(&["prlimit", &format!("--nproc={limit}")], "/proc/self/fd/0");
    command.env_clear().args(["--listen", "127.0.0.1:0"]);
    command.stdin(File::open(ROOMD).expect("the program"));
    if getuid().is_root() {
        command.uid(uid).gid(uid);
    }
    let program = Program::of(&mut command);
    let (clients, bound) = room_for(&program);
    assert!(bound.contains("the process limit of this user"), "{bound}");
    assert!((20..60).contains(&clients), "{clients} clients");
    is_full_but_serves(&program, clients);
}

#[test]
fn too_few_descriptors_for_a_client_and_the_page_are_one_line() {
    let parts = ["the descriptor limit of 16", "one client, the page and health", "ulimit -n"];
    fails(&mut limited("-n 16", &["--listen=127.0.0.1:0"]), 1, &parts);
    fails(&mut limited("-n 58", &["--listen=127.0.0.1:0"]), 1, &["to 59 at least"]);
    let program = Program::of(&mut limited("-n 59", &["--listen=127.0.0.1:0"]));
    let mut client = program.join(1);
    assert_eq!(program.ask(get("/", "")).status, 200);
    assert_eq!(program.ask(get("/healthz", "")).status, 200);
    client.says_and_hears(1, "alone");
}

/// A thread of the program that stands still until this is dropped.
struct Hanging(nix::unistd::Pid);

impl Hanging {
    #[track_caller]
    fn thread(program: &Program, name: &str) -> Self {
        let tasks = format!("/proc/{}/task", program.pid().as_raw_nonzero());
        let tid = eventually("the thread", || {
            fs::read_dir(&tasks).expect("threads").flatten().find_map(|task| {
                let comm = fs::read_to_string(task.path().join("comm")).ok()?;
                (comm.trim_end() == name).then(|| task.file_name().to_str()?.parse().ok())?
            })
        });
        let tid = nix::unistd::Pid::from_raw(tid);
        ptrace::seize(tid, ptrace::Options::empty()).expect("this test needs ptrace");
        ptrace::interrupt(tid).expect("a thread");
        waitpid(tid, Some(WaitPidFlag::__WALL)).expect("a thread that has stopped");
        Hanging(tid)
    }

    /// Lets go of the thread when its process has ended.
    fn is_gone(&self) -> bool {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
        !waitpid(self.0, Some(flags)).is_ok_and(|status| status.pid().is_none())
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // It fails when the thread has ended.
        let _ = ptrace::detach(self.0, None);
    }
}

/// Whatever hangs, a stop ends the process, soon, and says what it was.
#[test]
fn a_stop_does_not_wait_for_threads_that_hang() {
    for name in ["hub", "flusher", "overload", "accept", "http"] {
        let mut program = Program::start(&[]);
        let _client = program.join(1);
        let request = program.connect();
        let thread = Hanging::thread(&program, name);
        program.signal(Signal::TERM);
        eventually("the end of the thread", || thread.is_gone().then_some(()));
        assert_eq!(program.ends().code(), Some(1), "{name}");
        let log = program.lines_to_the_end();
        let last = log.last().expect("a line");
        let culprit = if name == "http" { "connection" } else { name };
        assert!(last.starts_with("roomd: the stop is incomplete"), "{log:#?}");
        assert!(last.contains(culprit), "{last}");
        drop(request);
    }
}

/// The watchdog vouches for the accept loop, HTTP and the hub, as long as all of them live.
#[test]
fn the_watchdog_notices_each_thread_that_hangs() {
    let path = std::env::temp_dir().join(format!("roomd-test-watchdog-{}", process::id()));
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut command = roomd(&["--listen=127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let program = Program::of(&mut command);
    let hears = || {
        let mut notice = [0; 1000];
        let len = socket.recv(&mut notice).expect("a notice");
        String::from_utf8_lossy(&notice[..len]).into_owned()
    };
    assert!(hears().starts_with("READY=1"));
    // It looks for the manager after it has greeted.
    fs::remove_file(path).expect("a socket");
    for (name, part) in [("accept", "connections are not accepted"), ("hub", "the hub does not")] {
        assert_eq!(hears(), "WATCHDOG=1");
        let thread = Hanging::thread(&program, name);
        program.line(part);
        // What was sent before that has arrived.
        socket.set_nonblocking(true).expect("no waiting");
        while socket.recv(&mut [0; 1000]).is_ok() {}
        program.line(part);
        let error = socket.recv(&mut [0; 1000]).expect_err("it vouches for a thread that hangs");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        socket.set_nonblocking(false).expect("waiting");
        drop(thread);
    }
    assert_eq!(hears(), "WATCHDOG=1");
}

#[test]
fn settings_that_do_not_fit_each_other_are_one_line_and_exit_code_2() {
    let same = ["--listen=127.0.0.1:8765", "--admin-listen=127.0.0.1:8765"];
    fails(&mut roomd(&same), 2, &["--admin-listen 127.0.0.1:8765", "--listen"]);
}

/// The reason of a failure is told even when a flood of log lines comes before it.
#[test]
fn the_last_line_is_written_behind_a_flood_of_others() {
    let mut program = Program::start(&[]);
    let thread = Hanging::thread(&program, "flusher");
    // More lines than may be written at once and wait.
    for id in 0..500 {
        program.join(id).peer.reset();
    }
    program.signal(Signal::TERM);
    eventually("the end of the thread", || thread.is_gone().then_some(()));
    assert_eq!(program.ends().code(), Some(1));
    let log = program.lines_to_the_end();
    assert!(log.last().is_some_and(|line| line.starts_with("roomd: the stop is")), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("log lines came too fast")), "{}", log.len());
}
