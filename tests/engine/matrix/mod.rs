//! The fault matrix: what clients see of each fault, by a checker that knows every message. `make test-engine`
//! runs it; ROWS=F2,disk runs only some rows, and SEED chooses the faults of the ten nodes.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::matrix::checker::Seen;
use crate::matrix::rows::{ROWS, Row};
use crate::redis::{SERVERS, find};

mod account;
mod checker;
mod client;
mod link;
mod rows;
mod scene;
mod stage;
mod ten;

/// Set in the process that has namespaces of its own.
const INSIDE: &str = "ROOMD_TEST_NAMESPACE";

/// Runs `body` where networks and file systems may be made that nobody else sees: this program is started again
/// there, for that one test.
fn in_namespaces(name: &str, body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(
            up.is_ok_and(|status| status.success()),
            "this test needs the program ip (iproute2)"
        );
        return body();
    }
    let program = env::current_exe().expect("this program");
    let status = Command::new("unshare")
        .args(["-rnm", program.to_str().expect("UTF-8"), name])
        .args(["--exact", "--ignored", "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .status();
    let status = status.expect("this test needs the program unshare (util-linux)");
    assert!(status.success(), "it failed in namespaces of its own (unshare -rnm): see above");
}

/// Renews docs/faults.md, if that is wanted.
fn write(change: impl FnOnce(String) -> String) {
    if env::var("TABLE").is_ok_and(|table| table == "write") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/faults.md");
        let before = fs::read_to_string(path).unwrap_or_default();
        fs::write(path, change(before)).expect("docs/faults.md");
    }
}

#[test]
#[ignore = "takes minutes: make test-engine"]
fn each_fault_alone() {
    in_namespaces("matrix::each_fault_alone", || {
        let only = env::var("ROWS").ok().filter(|only| !only.is_empty());
        let mut document = String::from(HEAD);
        let (mut failed, mut tried) = (Vec::new(), 0);
        for name in SERVERS {
            let Some((server, version)) = find(name) else {
                println!("NOT TRIED: {name}, which is not on this system");
                let _ = write!(
                    document,
                    "\n## {name}\n\nNot tried: it was not on the system of this run.\n"
                );
                continue;
            };
            tried += 1;
            println!("{name}: {version}");
            let words: Vec<_> = version.split(' ').collect();
            let version =
                words.iter().find(|word| word.starts_with("v=")).map_or("", |word| &word[2..]);
            let _ = write!(document, "\n## {name} {version}\n\n{COLUMNS}");
            for row in ROWS {
                if only.as_ref().is_some_and(|only| !only.split(',').any(|id| id == row.id)) {
                    continue;
                }
                let started = Instant::now();
                let played = catch_unwind(AssertUnwindSafe(|| (row.play)(&server)));
                let (line, faults) = match &played {
                    Ok(seen) => (line(row, seen), broken(row, seen)),
                    Err(_) => (
                        format!("| {} | {} | FAILED | | | | | | |", row.id, row.fault),
                        vec!["see above".into()],
                    ),
                };
                println!("{line} ({:.0} s)", started.elapsed().as_secs_f32());
                for fault in faults.iter().take(20) {
                    println!("    {fault}");
                }
                if !faults.is_empty() {
                    failed.push(format!("{name}: {} ({} faults)", row.id, faults.len()));
                }
                let _ = writeln!(document, "{line}");
            }
        }
        assert!(tried > 0, "neither of {SERVERS:?} is on this system; see make test");
        assert!(failed.is_empty(), "clients saw what they may not: {failed:#?}");
        if only.is_none() {
            write(|_| document);
        }
    });
}

const HEAD: &str = "# What clients see of faults

`make test-engine TABLE=write` writes this file. Three servers share a room through an engine, and eighteen
clients talk all the time: nine of `roomd.1`, three of the tutorial's protocol, three that follow by
server-sent events and three that publish by requests with keys. A fault happens, and passes. Then a checker
that knows every message looks at what each client sent, what it was told of that, and what it heard:

- all heard one order, and nothing twice;
- each message that was accepted was heard by everybody, or they were told how many they missed or that it is
  lost, and exactly those;
- everybody who came was told of once, and so was everybody who left.

A row fails if any of that is not so, if it loses, misses or closes more than it says here, or if a fault that
must show does not. *Lost* are accepted messages that the engine did not have any more when it came back;
*missed* is the most that one client was told it had missed. *Unknown* are messages of clients whose protocol
has no numbers, and whose connection ended before they heard them.
";

const COLUMNS: &str =
    "| | fault | accepted | lost, and told | missed, and told | unknown | new epochs | \
    longest silence | connections that ended | left |
| --- | --- | --: | --: | --: | --: | --: | --: | --- | --: |
";

/// What a row says.
fn line(row: &Row, seen: &Seen) -> String {
    let Seen { accepted, lost, missed, unknown, epochs, left, .. } = seen;
    let ends: Vec<_> = seen.ends.iter().map(|(how, count)| format!("{count} {how}")).collect();
    let ends = if ends.is_empty() { "none".into() } else { ends.join(", ") };
    let unsure = match seen.unsure {
        0 => String::new(),
        unsure => format!(", and {unsure} times “some”"),
    };
    format!(
        "| {} | {} | {accepted} | {lost} | {missed}{unsure} | {unknown} | {epochs} | {:.1} s | {ends} | {left} |",
        row.id,
        row.fault,
        seen.silence.as_secs_f32()
    )
}

/// What was not as a row promises.
fn broken(row: &Row, seen: &Seen) -> Vec<String> {
    let promise = row.promise;
    let mut broken = seen.faults.clone();
    let mut is_so = |is_so: bool, what: String| {
        if !is_so {
            broken.push(what);
        }
    };
    let loses = seen.lost > 0;
    is_so(promise.loses.is_none_or(|it| it == loses), format!("{} messages are lost", seen.lost));
    is_so(promise.misses == (seen.missed > 0), format!("{} messages were missed", seen.missed));
    is_so(seen.unsure == 0, format!("{} times somebody was told of an unknown gap", seen.unsure));
    is_so(promise.moves == (seen.epochs > 0), format!("{} new epochs", seen.epochs));
    is_so(promise.ends || seen.ends.is_empty(), format!("connections ended: {:?}", seen.ends));
    is_so(seen.silence.as_secs() < promise.silence, format!("silence for {:?}", seen.silence));
    broken
}
