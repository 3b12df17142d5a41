//! Disks that are full, read-only or gone: the room goes on, says so, and is written again once that is
//! possible.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::restart::{files, lines};
use crate::support::{Folder, Member, TestServer, eventually, get, in_own_namespace};

/// A server whose disk is tried again soon.
#[track_caller]
fn start(folder: &Folder) -> TestServer {
    TestServer::with(|config| {
        config.state_dir = Some(folder.path().into());
        config.limits.disk_retry = Duration::from_millis(50);
    })
}

#[track_caller]
fn mount(args: &str, folder: &Folder) {
    let output = Command::new("mount").args(args.split(' ')).arg(folder.path()).output();
    let output = output.expect("this test needs the program mount (of util-linux)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mount {args}: {said}");
}

/// Fills the disk that the folder is on.
fn fill(path: &Path) {
    let step = vec![0; 4096];
    let mut file = fs::File::create(path).expect("a file");
    while std::io::Write::write_all(&mut file, &step).is_ok() {}
}

/// The body of /healthz, which is 200 in any case.
#[track_caller]
fn health(server: &TestServer) -> String {
    let response = server.ask(get("/healthz", ""));
    assert_eq!(response.status, 200);
    response.text().into()
}

/// Waits until the second line of /healthz has this `part`.
#[track_caller]
fn tells(server: &TestServer, part: &str) {
    eventually(&format!("{part:?} in /healthz"), || {
        let text = health(server);
        text.strip_prefix("ok\nhistory is in memory only: lobby: ")?.contains(part).then_some(())
    });
}

#[track_caller]
fn is_well(server: &TestServer) {
    eventually("a healthy disk", || (health(server) == "ok\n").then_some(()));
}

#[track_caller]
fn metric(server: &TestServer, name: &str) -> f64 {
    let response = server.ask(get("/metrics", ""));
    let line = response.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect("a metric").parse().expect("a number")
}

fn join(server: &TestServer) -> Member {
    Member::join(server.address(), "lobby", json!({"history": 1000}))
}

/// The texts on the disk, of which none is missing.
#[track_caller]
fn texts(folder: &Folder) -> Vec<String> {
    let lines = lines(folder, "lobby");
    assert!(lines.iter().all(|line| line["t"] != "hole"), "{lines:?}");
    let messages = lines.iter().filter(|line| line["t"] == "msg");
    messages.map(|line| line["text"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn a_full_disk() {
    in_own_namespace("-rm", "faults::a_full_disk", || {
        let folder = Folder::new();
        mount("-t tmpfs -o size=256k none", &folder);
        let server = start(&folder);
        let mut member = join(&server);
        member.says_and_hears("written");
        eventually("a line on the disk", || (!texts(&folder).is_empty()).then_some(()));
        fill(&folder.path().join("filler"));
        let mut said = vec!["written".to_owned()];
        for n in 0..100 {
            said.push(format!("{n} {}", "x".repeat(900)));
            member.says_and_hears(&said[n + 1]);
        }
        tells(&server, "No space left on device");
        assert!(metric(&server, "roomd_history_errors_total") >= 1.0);
        assert_eq!(metric(&server, "roomd_history_faulty_rooms"), 1.0);
        member.says_and_hears("the room goes on");
        said.push("the room goes on".into());
        fs::remove_file(folder.path().join("filler")).expect("it is there");
        is_well(&server);
        drop(member);
        drop(server);
        assert_eq!(texts(&folder), said, "what waited in memory is written, once");
        for file in files(&folder, "lobby") {
            // Of a line for which there was no space, nothing is left.
            let text = fs::read_to_string(file).expect("text");
            assert!(
                text.ends_with("}\n") && text.lines().all(|line| line.ends_with('}')),
                "{text}"
            );
        }
        assert_eq!(join(&start(&folder)).replay(), said);
    });
}

/// The kernel remounts nothing while a file is open for writing, so the disk is read-only from the start.
#[test]
fn a_read_only_disk() {
    in_own_namespace("-rm", "faults::a_read_only_disk", || {
        let folder = Folder::new();
        mount("-t tmpfs -o size=256k none", &folder);
        let server = start(&folder);
        let mut member = join(&server);
        member.says_and_hears("before");
        let cursor = member.cursor();
        drop(member);
        drop(server);
        mount("-o remount,ro none", &folder);
        let server = start(&folder);
        tells(&server, "Read-only file system");
        let mut member =
            Member::join(server.address(), "lobby", json!({"since": cursor, "history": 0}));
        assert_eq!(
            (member.hello["missed"].as_u64(), member.hello["head"].as_u64()),
            (Some(0), Some(1))
        );
        member.says_and_hears("meanwhile");
        mount("-o remount,rw none", &folder);
        is_well(&server);
        member.says_and_hears("after");
        drop(member);
        drop(server);
        assert_eq!(texts(&folder), ["before", "meanwhile", "after"]);
    });
}

#[test]
fn a_folder_that_is_removed() {
    let folder = Folder::new();
    let server = start(&folder);
    let mut member = join(&server);
    member.says_and_hears("removed");
    eventually("a line on the disk", || (!texts(&folder).is_empty()).then_some(()));
    fs::remove_dir_all(folder.path().join("lobby")).expect("it is there");
    member.says_and_hears("noticed");
    eventually("an error", || (metric(&server, "roomd_history_errors_total") > 0.0).then_some(()));
    is_well(&server);
    member.says_and_hears("after");
    eventually("a line on the disk", || (texts(&folder).len() == 2).then_some(()));
    assert_eq!(texts(&folder), ["noticed", "after"]);
    assert_eq!(files(&folder, "lobby").len(), 1);
    // Nobody may take the place of the folder itself: the lock is in there.
    fs::remove_dir_all(folder.path()).expect("it is there");
    member.says_and_hears("gone");
    tells(&server, "No such file");
    member.says_and_hears("the room goes on");
    drop(member);
    server.stop();
    server.ended();
}
