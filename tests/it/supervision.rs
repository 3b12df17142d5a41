use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{self, Command};
use std::thread;

use rustix::process::Signal;

use crate::cli::{Program, fails, roomd};
use crate::support::{PATIENCE, Peer, TEXT, UPGRADE, frame, get};

/// The side of the service manager that hears how the program is.
struct Manager {
    socket: UnixDatagram,
    /// What the program finds in `NOTIFY_SOCKET`.
    name: String,
    path: Option<PathBuf>,
}

impl Manager {
    fn at_a_path() -> Self {
        let name = format!("roomd-test-notify-{}-{:?}", process::id(), thread::current().id());
        let path = std::env::temp_dir().join(name.replace(['(', ')'], ""));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let name = path.to_str().expect("text").into();
        Self { socket, name, path: Some(path) }.patient()
    }

    #[cfg(target_os = "linux")]
    fn without_a_path() -> Self {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;
        let name = format!("roomd-test-notify-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        Self { socket, name: format!("@{name}"), path: None }.patient()
    }

    fn patient(self) -> Self {
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        self
    }

    #[track_caller]
    fn hears(&self) -> String {
        let mut notice = [0; 1000];
        let len = self.socket.recv(&mut notice).expect("a notice");
        String::from_utf8(notice[..len].into()).expect("text")
    }

    /// Starts the program on a port of its own.
    #[track_caller]
    fn starts(&self, variables: &[(&str, &str)]) -> Program {
        let mut command = roomd(&["--listen=127.0.0.1:0", "--rate=0"]);
        Program::of(command.env("NOTIFY_SOCKET", &self.name).envs(variables.iter().copied()))
    }

    /// The program says that it serves, and where.
    #[track_caller]
    fn hears_that_it_is_ready(&self, program: &Program) {
        let ready = format!("READY=1\nSTATUS=serving on {}: ", program.address);
        let notice = self.hears();
        assert!(notice.starts_with(&ready), "{notice}");
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // It is in the system's folder for what does not matter.
        let _ = self.path.as_ref().map(fs::remove_file);
    }
}

#[test]
fn the_manager_hears_of_start_life_and_stop() {
    hears_of_start_life_and_stop(&Manager::at_a_path());
}

#[cfg(target_os = "linux")]
#[test]
fn the_manager_may_have_no_path() {
    hears_of_start_life_and_stop(&Manager::without_a_path());
}

#[track_caller]
fn hears_of_start_life_and_stop(manager: &Manager) {
    let mut program = manager.starts(&[("WATCHDOG_USEC", "20000")]);
    manager.hears_that_it_is_ready(&program);
    for _ in 0..3 {
        assert_eq!(manager.hears(), "WATCHDOG=1");
    }
    program.signal(Signal::TERM);
    let last = std::iter::repeat_with(|| manager.hears()).find(|notice| notice != "WATCHDOG=1");
    assert!(last.is_some_and(|last| last.starts_with("STOPPING=1\nSTATUS=stopping")));
    assert_eq!(program.ends().code(), Some(0));
}

/// A hub with much to do lives.
#[test]
fn the_manager_hears_of_life_during_a_flood() {
    let manager = Manager::at_a_path();
    let program = manager.starts(&[("WATCHDOG_USEC", "20000")]);
    manager.hears_that_it_is_ready(&program);
    let flooders: Vec<_> = (0..4).map(|id| program.join(id)).collect();
    thread::scope(|scope| {
        for flooder in &flooders {
            // It reads nothing and is evicted, after which it floods the hub as before.
            let mut flood = flooder.peer.twin();
            scope.spawn(move || while flood.stream.write_all(&frame(TEXT, "f")).is_ok() {});
        }
        let mut client = program.join(9);
        client.hears_at_last("Client #0 says: f");
        for _ in 0..3 {
            assert_eq!(manager.hears(), "WATCHDOG=1");
        }
        flooders.iter().for_each(|flooder| flooder.peer.hang_up());
    });
}

#[test]
fn a_watchdog_of_another_process_is_not_fed() {
    let manager = Manager::at_a_path();
    let mut program = manager.starts(&[("WATCHDOG_USEC", "100"), ("WATCHDOG_PID", "1")]);
    manager.hears_that_it_is_ready(&program);
    // Time enough for many signs of life.
    let mut client = program.join(1);
    (0..100).for_each(|n| client.says_and_hears(1, &n.to_string()));
    drop(client);
    program.signal(Signal::TERM);
    assert!(manager.hears().starts_with("STOPPING=1\n"));
    program.ends();
}

#[test]
fn without_the_manager_it_serves_all_the_same() {
    let mut command = roomd(&["--listen=127.0.0.1:0"]);
    let program = Program::of(command.env("NOTIFY_SOCKET", "/nonexistent/socket"));
    program.line("cannot reach the service manager at $NOTIFY_SOCKET");
    assert_eq!(program.ask(get("/", "")).status, 200);
}

/// The program as a service manager starts it: with this as descriptor 3.
fn passed(descriptor: impl Into<OwnedFd>, args: &[&str]) -> Command {
    passed_as("exec 3<&0 </dev/null", descriptor, args)
}

/// The same, but a shell with the descriptor as its input does `so` before.
fn passed_as(so: &str, descriptor: impl Into<OwnedFd>, args: &[&str]) -> Command {
    let roomd = roomd(args);
    let mut command = Command::new("/bin/sh");
    command.env_clear().env("LISTEN_FDS", "1").stdin(descriptor.into());
    command.arg("-c").arg(format!("{so}; LISTEN_PID=$$ exec \"$0\" \"$@\""));
    command.arg(roomd.get_program()).args(roomd.get_args());
    command
}

/// The address of the flag is one that cannot be had: the program does not try. Who connects
/// before it runs, or between two runs, waits and is served.
#[test]
fn a_socket_that_is_passed_is_served_from_one_run_to_the_next() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let connect = || {
        let mut peer = Peer::connect(address);
        peer.send(get("/ws/1", UPGRADE));
        peer
    };
    let mut early = connect();
    for _ in 0..2 {
        let copy = socket.try_clone().expect("a descriptor");
        let mut program = Program::of(&mut passed(copy, &["--listen=192.0.2.1:8000"]));
        assert_eq!(program.address, address);
        assert!(program.greeting.contains("--listen is not used"), "{}", program.greeting);
        let mut client = early.upgraded();
        client.says_and_hears(1, "hello");
        program.signal(Signal::TERM);
        client.is_closed_with(1001);
        drop(client);
        assert_eq!(program.ends().code(), Some(0));
        early = connect();
    }
}

#[test]
fn what_is_no_listening_tcp_socket_is_one_line_and_exit_code_1() {
    let socket = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let listening = socket();
    let to = listening.local_addr().expect("an address");
    let path = std::env::temp_dir().join(format!("roomd-test-passed-{}", process::id()));
    let local = UnixListener::bind(&path).expect("a socket");
    fs::remove_file(path).expect("a socket");
    for descriptor in [
        OwnedFd::from(UdpSocket::bind("127.0.0.1:0").expect("a port")),
        local.into(),
        TcpStream::connect(to).expect("a connection").into(),
        File::open("/dev/null").expect("a file").into(),
    ] {
        let parts = ["cannot serve on what the service manager passed", "listening TCP socket"];
        fails(&mut passed(descriptor, &[]), 1, &parts);
    }
    let one = || passed(socket(), &[]);
    // It is said that there is one.
    fails(&mut passed_as(":", socket(), &[]), 1, &["descriptor 3", "listening TCP socket"]);
    fails(one().env("LISTEN_FDS", "2"), 1, &["descriptor 4", "listening TCP socket"]);
    let twice = || {
        let mut two = passed_as("exec 3<&0 4<&0 </dev/null", socket(), &[]);
        two.env("LISTEN_FDS", "2");
        two
    };
    fails(&mut twice(), 1, &["2 sockets for the room", "ListenStream="]);
    fails(twice().env("LISTEN_FDNAMES", "admin:admin"), 1, &["2 sockets with the name admin"]);
    fails(one().env("LISTEN_FDS", "x"), 1, &["LISTEN_FDS"]);
}

/// And not the room's, which is where the flag says.
#[test]
fn a_socket_with_the_name_admin_is_for_health_and_metrics() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let mut command = passed(socket, &["--listen=127.0.0.1:0"]);
    let program = Program::of(command.env("LISTEN_FDNAMES", "admin"));
    let ask = |address, path| {
        let mut peer = Peer::connect(address);
        peer.send(get(path, ""));
        peer.response().status
    };
    assert_ne!(program.address, address);
    assert_eq!((ask(address, "/healthz"), ask(address, "/")), (200, 404));
    assert_eq!((ask(program.address, "/healthz"), ask(program.address, "/")), (404, 200));
}

#[test]
fn what_is_passed_to_another_process_is_left_alone() {
    let mut command = roomd(&["--listen=127.0.0.1:0"]);
    let program = Program::of(command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1"));
    assert!(!program.greeting.contains("--listen is not used"), "{}", program.greeting);
    assert_eq!(program.ask(get("/", "")).status, 200);
}
