use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, getuid};

use crate::support::{
    Client, MAX_MESSAGE, PATIENCE, Peer, ROOMD, TEXT, UNMASKED, UPGRADE, close, eventually, frame,
    get, left, says, started_by,
};
pub use crate::support::{Program, roomd};

/// What a program may have of the system's resources, while it runs.
struct Limits {
    pid: Pid,
    /// It does not run as the user of the tests.
    is_nobodys: bool,
}

impl Limits {
    /// Lowers what it may have of a resource from now on. Gives the limit that was.
    #[track_caller]
    fn lower(&self, resource: &str, limit: u64) -> String {
        let before = self.prlimit(&[&format!("--{resource}"), "--output=SOFT", "--noheadings"]);
        self.set(resource, &limit.to_string());
        before.trim().to_string()
    }

    #[track_caller]
    fn set(&self, resource: &str, limit: &str) {
        // Without the hard limit behind the colon, which stays.
        self.prlimit(&[&format!("--{resource}={limit}:")]);
    }

    #[track_caller]
    fn prlimit(&self, args: &[&str]) -> String {
        let mut command = Command::new("prlimit");
        command.args(args).arg(format!("--pid={}", self.pid));
        if self.is_nobodys {
            become_nobody(&mut command);
        }
        let output = command.output().expect("this test needs the program prlimit (of util-linux)");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        String::from_utf8(output.stdout).expect("text")
    }
}

/// Has a process run as another user than root, for whom some limits do not hold.
fn become_nobody(command: &mut Command) {
    const NOBODY: u32 = 65_534;
    command.uid(NOBODY).gid(NOBODY);
}

/// Runs the program, which is not to serve, and gives all that it said.
#[track_caller]
fn run(command: &mut Command) -> Output {
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut process = process.expect("a process");
    let deadline = Instant::now() + PATIENCE;
    while process.try_wait().expect("a process").is_none() {
        if Instant::now() > deadline {
            let _ = process.kill();
            panic!("{command:?} serves");
        }
        thread::yield_now();
    }
    process.wait_with_output().expect("its output")
}

/// The program fails with this exit code and one line that has these parts.
#[track_caller]
pub fn fails(command: &mut Command, code: i32, parts: &[&str]) {
    let output = run(command);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("roomd: "), "{said}");
    for part in parts {
        assert!(said.contains(part), "{said:?} lacks {part:?}");
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn the_first_line_says_what_to_open_and_who_can() {
    let own = Program::start(&[]);
    assert!(own.greeting.contains("only this machine"), "{}", own.greeting);
    assert_eq!(own.ask(get("/", "")).status, 200);
    let open = Program::of(&mut roomd(&["--listen", "0.0.0.0:0"]));
    assert!(open.greeting.contains("the whole network"), "{}", open.greeting);
    assert_eq!(open.ask(get("/", "")).status, 200);
    // Also if nothing is logged.
    assert!(Program::start(&["--log-level", "off"]).address.port() > 0);
}

#[test]
fn a_qr_code_that_would_lead_nowhere_is_not_drawn() {
    let by_flag = Program::start(&["--qr"]);
    assert!(by_flag.line("QR").contains("nobody else could open"));
    let by_variable = Program::of(roomd(&["--listen", "127.0.0.1:0"]).env("ROOMD_QR", "true"));
    assert!(by_variable.line("QR").contains("nobody else could open"));
    let without = Program::start(&["--log-level", "info"]);
    assert!(!without.line("").contains("QR"), "nobody asked for one");
}

/// The program stops well: with exit code 0 and a last line that says so.
#[track_caller]
fn stops(mut program: Program, signal: Signal, mut client: Client) {
    program.signal(signal);
    client.is_closed_with(1001);
    drop(client);
    let status = program.ends();
    assert_eq!(status.code(), Some(0), "{status}");
    let log = program.lines_to_the_end();
    assert!(log.iter().any(|line| line.contains("stopping")), "{log:#?}");
    assert!(log.last().is_some_and(|line| line.contains("stopped")), "{log:#?}");
}

#[test]
fn a_signal_stops_it_with_1001_and_exit_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let program = Program::start(&[]);
        let client = program.join(1);
        stops(program, signal, client);
    }
}

#[test]
fn a_signal_stops_it_in_spite_of_idle_flooding_and_stuck_clients() {
    let program = Program::start(&["--rate=0"]);
    let mut client = program.join(1);
    let _idle = program.join(2);
    let mut stuck = Peer::narrow(program.address).upgrade("/ws");
    stuck.send(frame(TEXT, "s".repeat(MAX_MESSAGE)).repeat(4));
    let flooder = program.connect().upgrade("/ws");
    let mut flood = flooder.peer.twin();
    thread::scope(|scope| {
        // It reads none of its answers.
        scope.spawn(move || while flood.stream.write_all(&frame(TEXT, "f")).is_ok() {});
        client.says_and_hears(1, "before the end");
        stops(program, Signal::TERM, client);
        flooder.peer.hang_up();
    });
}

#[test]
fn an_address_that_cannot_be_had_is_one_line_and_exit_code_1() {
    let program = Program::start(&[]);
    let address = program.address.to_string();
    fails(&mut roomd(&["--listen", &address]), 1, &[&address, "in use", "--listen"]);
    fails(&mut roomd(&["--listen", "192.0.2.1:8000"]), 1, &["192.0.2.1:8000", "--listen"]);
    let admin = ["--listen", "127.0.0.1:0", "--admin-listen", &address];
    fails(&mut roomd(&admin), 1, &[&address, "in use", "--admin-listen"]);
    assert_eq!(program.ask(get("/", "")).status, 200);
}

#[test]
fn a_wrong_command_line_is_one_line_and_exit_code_2() {
    for (args, parts) in [
        (&["--rate", "fast"][..], &["--rate", "'fast'", "1000000"][..]),
        (&["--rate"], &["--rate", "value"]),
        (&["--max-clients=0"], &["--max-clients", "'0'"]),
        (&["--listen", "8000"], &["--listen", "'8000'", "ADDRESS:PORT"]),
        (&["--listen", "no.such.host.invalid:80"], &["--listen", "no.such.host.invalid:80"]),
        (&["--no-such-flag"], &["--no-such-flag", "--help"]),
        (&["-x"], &["-x"]),
        (&["word\n"], &["'word\\n'"]),
        (&["--log-level", "loud\u{1b}[31m"], &["--log-level", "loud\\u{1b}[31m"]),
    ] {
        fails(&mut roomd(args), 2, parts);
    }
    if cfg!(not(feature = "engine")) {
        let parts = &["--engine", "--features engine"];
        fails(&mut roomd(&["--engine", "redis://localhost"]), 2, parts);
    } else {
        for (url, parts) in [
            ("redis://:hush@localhost", &["--engine:", "ROOMD_ENGINE_PASSWORD"]),
            ("redis+sentinel://localhost", &["--engine:", "redis+sentinel://"]),
        ] {
            fails(&mut roomd(&["--engine", url]), 2, parts);
        }
        let parts = &["--engine-ca /no/such", "No such file"];
        fails(&mut roomd(&["--engine=rediss://box", "--engine-ca=/no/such"]), 2, parts);
    }
    fails(roomd(&[]).env("ROOMD_PING_TIMEOUT", "never"), 2, &["ROOMD_PING_TIMEOUT", "'never'"]);
}

#[test]
fn variables_set_what_flags_leave_open() {
    let mut command = roomd(&["--max-message", "5"]);
    command.env("ROOMD_LISTEN", "127.0.0.1:0");
    command.env("ROOMD_MAX_CLIENTS", "1").env("ROOMD_MAX_MESSAGE", "1000");
    let program = Program::of(&mut command);
    let mut client = program.join(1);
    program.ask(get("/ws", UPGRADE)).refuses(503, "all places are taken");
    client.says_and_hears(1, "12345");
    client.say("123456");
    client.is_closed_with(1009);
}

#[test]
fn flags_reach_what_they_are_about() {
    let program = Program::start(&[
        "--ping-interval=100ms",
        "--ping-timeout=100ms",
        "--head-timeout=0.2",
        "--allow-origin=https://chat.example",
        "--allow-host=chat.lan",
    ]);
    program.join(1).next("a ping");
    program.ask("GET /").refuses(408, "too long");
    let mut peer = program.connect();
    peer.send(get("/ws", &format!("{UPGRADE}Origin: https://chat.example\r\n")));
    peer.upgraded();
    let page = program.ask(get("/", "").replace("localhost", "chat.lan"));
    assert_eq!(page.status, 200);
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (flag, parts) in [
        ("--help", &["Usage: roomd", "--listen", "127.0.0.1:8000", "--max-queue", "ROOMD_"][..]),
        ("-h", &["Usage: roomd"]),
        ("--version", &[concat!("roomd ", env!("CARGO_PKG_VERSION"), " ("), ", rustc 1.", ")\n"]),
        ("-V", &["roomd "]),
    ] {
        let output = run(&mut roomd(&[flag]));
        assert!(output.status.success() && output.stderr.is_empty(), "{flag}: {output:?}");
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(parts.iter().all(|part| said.contains(part)), "{flag}: {said}");
    }
}

/// One line each for who came and went and why, and for refusals; none for messages. What a client
/// has sent is escaped.
#[test]
fn the_log_tells_what_an_operator_wants_to_know() {
    let program = Program::start(&[]);
    let mut client = program.join(-7);
    let joined = program.line("#-7 joins");
    assert!(joined.contains("INFO") && joined.contains("127.0.0.1:"), "{joined}");
    let (time, _) = joined.split_once(' ').unwrap_or_default();
    assert!(
        time.len() == 24 && time.contains('T') && time.ends_with('Z'),
        "no UTC time in {joined}"
    );
    client.says_and_hears(-7, "a secret");
    client.send(close(4000, "bye\n\u{1b}[31m2026-01-01 INFO forged"));
    client.is_closed_with(4000);
    drop(client);
    let gone = program.line("#-7");
    assert!(gone.contains("left") && gone.contains("4000"), "{gone}");
    assert!(gone.contains("bye\\n\\u{1b}[31m2026"), "{gone}");

    program.join(8).peer.reset();
    program.line("#8 joins");
    assert!(program.line("#8").contains("left: the connection was lost"));
    let mut bad = program.join(9);
    bad.send(UNMASKED);
    bad.is_closed_with(1002);
    drop(bad);
    program.line("#9 joins");
    assert!(program.line("#9").contains("broke the protocol"));

    for (request, parts) in [
        (get("/no.thing", ""), &["404"][..]),
        (get("/ws/\u{e9}'\"", UPGRADE), &["400"]),
        (get("/ws", &format!("{UPGRADE}Origin: http://\u{e9}vil.example\r\n")), &["403", "vil"]),
        ("\x16\x03\x01".into(), &["400"]),
    ] {
        let status = program.ask(request).status.to_string();
        let refused = program.line("refused 127.0.0.1:");
        assert!(refused.contains(&status), "{refused}");
        assert!(parts.iter().all(|part| refused.contains(part)), "{refused}");
    }
    program.signal(Signal::TERM);
    let log = program.lines_to_the_end();
    assert!(log.iter().all(|line| !line.contains("a secret")), "{log:#?}");
    assert!(log.iter().all(|line| line.chars().all(|c| !c.is_control())), "{log:#?}");
}

#[test]
fn the_log_names_clients_that_are_too_slow() {
    let program = Program::start(&["--rate=0", "--max-queue=70000"]);
    let mut talker = program.join(1);
    let _stalled = Peer::narrow(program.address).upgrade("/ws/2");
    let text = "x".repeat(MAX_MESSAGE);
    eventually("the eviction", || {
        talker.say(&text);
        let next = talker.next("news");
        (next.payload == left(2).as_bytes()).then_some(())
    });
    drop(talker);
    let slow = program.line("#2 at");
    assert!(slow.contains("WARN") && slow.contains("1013"), "{slow}");
}

/// Whoever watched the log is gone: that is no reason to end, or to serve anybody less.
#[test]
fn a_closed_standard_error_changes_nothing() {
    let mut command = roomd(&["--listen", "127.0.0.1:0", "--log-level", "debug"]);
    let mut program = Program::unheard(&mut command);
    let mut watcher = program.join(1);
    for id in 2..20 {
        program.ask(get("/no.thing", "")).refuses(404, "");
        let mut client = program.join(id);
        client.says_and_hears(id, "hi");
        watcher.hears(&says(id, "hi"));
        client.leave();
        watcher.hears(&left(id));
    }
    assert_eq!(program.ask(get("/", "")).status, 200);
    program.signal(Signal::TERM);
    watcher.is_closed_with(1001);
    drop(watcher);
    assert_eq!(program.ends().code(), Some(0));
}

/// With few descriptors there are few places, and the rest is as ever.
#[test]
fn few_descriptors_mean_few_places() {
    for limit in [64, 100] {
        let script = format!("ulimit -n {limit} && exec \"$@\"");
        let mut command = started_by(&["sh", "-c", &script, "sh"], ROOMD);
        command.env_clear().args(["--listen", "127.0.0.1:0", "--max-clients", "500"]);
        let program = Program::of(&mut command);
        assert!(program.line("descriptor limit").contains("WARN"));
        let try_join = |id: i64| {
            let mut peer = program.connect();
            peer.send(get(&format!("/ws/{id}"), UPGRADE));
            peer.upgraded_unless_full()
        };
        let mut members = vec![program.join(0)];
        while let Some(member) = try_join(members.len() as i64) {
            members.push(member);
            assert!(members.len() < limit, "more clients than descriptors");
        }
        let (first, others) = members.split_first_mut().expect("a client");
        first.says_and_hears(0, "it is crowded");
        others.iter_mut().for_each(|other| other.hears(&says(0, "it is crowded")));
        eventually("the page", || (program.ask(get("/", "")).status == 200).then_some(()));
        members.pop().expect("a client").leave();
        eventually("the place of the one who left", || try_join(1000));
    }
}

/// Whoever watches at an address of its own learns how it is while nobody else gets in.
#[test]
fn health_is_told_while_all_places_are_taken() {
    let mut command = started_by(&["sh", "-c", "ulimit -n 100 && exec \"$@\"", "sh"], ROOMD);
    command.env_clear().args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let program = Program::of(&mut command);
    let place = program.line("health and metrics at ");
    let admin = place.rsplit(' ').next().and_then(|place| place.parse().ok());
    let ask = |path: &str| {
        let mut peer = Peer::connect(admin.expect("an address"));
        peer.send(get(path, ""));
        peer.response()
    };
    let full = "roomd_refusals_total{status=\"503\",reason=\"full\"} ";
    let mut crowd = Vec::new();
    eventually("a crowd that takes all places", || {
        crowd.push(program.connect());
        ask("/metrics")
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(full))
            .filter(|n| *n != "0")
            .map(drop)
    });
    let healthy = ask("/healthz");
    assert_eq!((healthy.status, healthy.text()), (200, "ok\n"));
}

/// The descriptors run out while it serves: those who are there talk on, and whoever comes is
/// served when there are some again.
#[test]
fn descriptors_that_run_out_are_waited_for() {
    let program = Program::start(&[]);
    let (mut one, mut other) = (program.join(1), program.join(2));
    let limits = Limits { pid: program.pid(), is_nobodys: false };
    let before = limits.lower("nofile", 3);
    let mut newcomer = program.connect();
    newcomer.send(get("/ws/3", UPGRADE));
    program.line("cannot accept connections");
    one.says_and_hears(1, "can you hear me?");
    other.hears(&says(1, "can you hear me?"));
    limits.set("nofile", &before);
    let mut newcomer = newcomer.upgraded();
    newcomer.says_and_hears(3, "at last");
    assert_eq!(program.ask(get("/", "")).status, 200);
}

/// No thread is to be had: whoever comes is told so, those who are there talk on.
#[test]
fn no_thread_for_another_client_is_503() {
    let mut command = started_by(&[], "/proc/self/fd/0");
    command.env_clear().args(["--listen", "127.0.0.1:0"]);
    // Opened here, since the user that it runs as may not reach the file by its path.
    command.stdin(File::open(ROOMD).expect("the program"));
    if getuid().is_root() {
        become_nobody(&mut command);
    }
    let program = Program::of(&mut command);
    let limits = Limits { pid: program.pid(), is_nobodys: getuid().is_root() };
    let mut member = program.join(1);
    let before = limits.lower("nproc", 1);
    // A thread or two may be waiting for work still.
    let mut lucky = Vec::new();
    let refusal = eventually("a lack of threads", || {
        let mut peer = program.connect();
        peer.send(get("/ws/2", UPGRADE));
        match peer.upgraded_unless_full() {
            Some(client) => {
                lucky.push(client);
                None
            }
            None => Some(program.ask(get("/ws/2", UPGRADE))),
        }
    });
    refusal.refuses(503, "thread");
    assert!(refusal.field("Retry-After").is_some());
    program.line("no thread for 127.0.0.1:");
    member.says_and_hears(1, "I am still here");
    limits.set("nproc", &before);
    let mut newcomer = program.join(3);
    newcomer.says_and_hears(3, "here I am");
    member.hears(&says(3, "here I am"));
}
