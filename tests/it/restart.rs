//! History on the disk: what a restart keeps, however the server ends.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Signal, getuid};
use serde_json::{Value, json};

use crate::kit::dice::Dice;
use crate::support::{Folder, Member, Program, ROOMD, get, me, position, roomd, started_by};

fn start(folder: &Folder) -> Program {
    let args = ["--rate=0", "--room=lab=The lab", "--state-dir", folder.arg()];
    Program::start(&args)
}

/// Stops it as a service manager does.
#[track_caller]
pub fn stop(mut program: Program) {
    program.signal(Signal::TERM);
    assert!(program.ends().success());
}

#[track_caller]
pub fn kill(mut program: Program) {
    program.signal(Signal::KILL);
    program.ends();
}

/// The files of a room, the oldest first.
pub fn files(folder: &Folder, room: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path().join(room)).expect("a folder of the room");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// The objects in the files of a room. What is no object is none.
pub fn lines(folder: &Folder, room: &str) -> Vec<Value> {
    let texts = files(folder, room).into_iter().map(|file| fs::read(file).expect("a file"));
    let lines = |text: Vec<u8>| {
        let lines = text.split(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).ok());
        lines.flatten().collect::<Vec<Value>>()
    };
    texts.flat_map(lines).collect()
}

/// Waits until the files have the message with this number.
#[track_caller]
fn is_written(folder: &Folder, room: &str, seq: u64) {
    crate::support::eventually(&format!("message {seq} on the disk"), || {
        lines(folder, room).iter().any(|line| line["seq"] == seq).then_some(())
    });
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn a_clean_restart_goes_on_where_it_stopped() {
    let folder = Folder::new();
    let first = start(&folder);
    let mut ana = Member::named(first.address, "lab", 1, "Ana");
    for n in 1..=20 {
        ana.publish(n, &format!("{n} 你好\n\"x\""));
        ana.message("its own");
    }
    let mut tutorial = first.join(7);
    tutorial.says_and_hears(7, "in the lobby");
    let mut other = Member::named(first.address, "other", 1, "Ana");
    other.says_and_hears("in a room that is not kept");
    let (cursor, tag, epoch) = (ana.cursor(), ana.you.clone(), ana.epoch().to_owned());
    drop((ana, tutorial, other));
    stop(first);

    let second = start(&folder);
    let since = |seq: u64| json!({"me": me(1), "since": format!("{epoch}.{seq}"), "name": "Ana"});
    let mut back = Member::join(second.address, "lab", since(15));
    assert_ne!(back.epoch(), epoch, "the epoch is new");
    assert_eq!(back.you, tag, "tags stay");
    let hello = &back.hello;
    assert_eq!(
        (&hello["missed"], &hello["head"], &hello["n"]),
        (&json!(0), &json!(20), &json!(20))
    );
    assert_eq!(back.hello["title"], "The lab");
    let texts: Vec<_> = (16..=20).map(|n| format!("{n} 你好\n\"x\"")).collect();
    assert_eq!(back.replay(), texts);
    // One that was accepted is not said again, and numbers go on.
    back.publish(20, "20 again");
    assert_eq!(back.next("an ack"), json!({"t": "ack", "n": 20}));
    back.publish(21, "21");
    let next = back.message("its own");
    assert_eq!((&next["seq"], &next["by"]), (&json!(21), &json!(tag)));
    assert_eq!(Member::join(second.address, "lab", since(20)).hello["missed"], 0, "{cursor}");
    assert_eq!(Member::join(second.address, "lab", since(22)).hello["missed"], Value::Null);
    let page = second.ask(get("/lab/json?poll=1&since=all", ""));
    assert_eq!(page.text().lines().filter(|line| line.contains(r#""t":"msg""#)).count(), 21);
    let lobby = Member::join(second.address, "lobby", json!({"since": "a.0"}));
    assert_eq!(lobby.hello["head"], 1);
    assert_eq!(Member::join(second.address, "other", json!({})).hello["head"], 0);
    assert!(!folder.path().join("other").exists());
}

/// The files are what is on the wire, so that `jq` and `grep` are the export.
#[test]
fn the_files_are_what_clients_are_sent() {
    let folder = Folder::new();
    let program = start(&folder);
    let mut ana = Member::named(program.address, "lab", 1, "Ana");
    ana.publish(1, "one");
    let heard = ana.message("its own");
    let epoch = ana.epoch().to_owned();
    ana.leave();
    stop(program);
    let lines = lines(&folder, "lab");
    let at = lines[0]["at"].as_u64().expect("a time");
    assert!(at > 1_700_000_000_000);
    let run = json!({"t": "run", "v": 1, "epoch": epoch, "next": 1, "at": at});
    assert_eq!(lines, [run, heard, json!({"t": "end", "next": 2})]);
    let names: Vec<_> =
        files(&folder, "lab").iter().map(|it| it.file_name().map(Into::into)).collect();
    assert_eq!(names, [Some(std::ffi::OsString::from("0000000000000001.log"))]);
    for (path, expected) in [
        (folder.path().join("lock"), 0o600),
        (folder.path().join("secret"), 0o600),
        (folder.path().join("lab"), 0o700),
        (files(&folder, "lab").remove(0), 0o600),
    ] {
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
    assert_eq!(fs::metadata(folder.path().join("secret")).expect("a file").len(), 32);
}

/// Of what was said in the last second some may be lost, so nobody knows what was missed.
#[test]
fn whoever_comes_back_after_a_kill_is_told_that_messages_may_be_missing() {
    let folder = Folder::new();
    let first = start(&folder);
    let mut ana = Member::named(first.address, "lab", 1, "Ana");
    (1..=5).for_each(|n| ana.says_and_hears(&n.to_string()));
    is_written(&folder, "lab", 5);
    let epoch = ana.epoch().to_owned();
    kill(first);
    let second = start(&folder);
    let since = |seq: u64| json!({"since": format!("{epoch}.{seq}")});
    for (seq, start) in [(3, 4), (5, 6), (7, 6)] {
        let member = Member::join(second.address, "lab", since(seq));
        assert_eq!(member.hello["missed"], Value::Null, "{seq}");
        assert_eq!(position(&member.hello["cursor"]).1, start - 1, "{seq}");
    }
    // What nobody has heard of before is no news.
    assert_eq!(Member::join(second.address, "lab", json!({})).hello["missed"], 0);
    let epoch = Member::join(second.address, "lab", json!({})).epoch().to_owned();
    stop(second);
    let third = start(&folder);
    let member = Member::join(third.address, "lab", json!({"since": format!("{epoch}.5")}));
    assert_eq!(member.hello["missed"], 0, "the second start ended well");
    assert_eq!(Member::join(third.address, "lab", since(5)).hello["missed"], Value::Null);
}

#[test]
fn a_second_server_and_a_folder_that_cannot_be_had() {
    let folder = Folder::new();
    let first = start(&folder);
    let refused = |path: &str| {
        let mut program = roomd(&["--listen=127.0.0.1:0", "--state-dir", path]);
        let output = program.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with("roomd: --state-dir ") && said.lines().count() == 1, "{said}");
        said
    };
    assert!(refused(folder.arg()).contains("another roomd"));
    let file = folder.path().join("lock");
    assert!(refused(file.to_str().expect("UTF-8")).contains("Not a directory"));
    assert!(refused(&format!("{}/no/folder", folder.arg())).contains("No such file"));
    // The first one is not disturbed.
    Member::named(first.address, "lab", 1, "Ana").says_and_hears("still here");
    kill(first);
    // A lock of somebody who was killed is none.
    start(&folder);
}

/// Without the right to write there, whoever owns what is in it.
#[test]
fn a_folder_of_somebody_else() {
    let folder = Folder::new();
    stop(start(&folder));
    let refused = |expected: &str| {
        // Opened here, since the user that it runs as may not reach the file by its path.
        let mut command = started_by(&[], "/proc/self/fd/0");
        command.env_clear().args(["--listen=127.0.0.1:0", "--state-dir", folder.arg()]);
        command.stdin(fs::File::open(ROOMD).expect("the program"));
        if getuid().is_root() {
            command.uid(64_321).gid(64_321);
        }
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected) && said.contains("Permission denied"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    };
    let forbid = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("it is ours");
    };
    forbid(folder.path());
    refused("cannot open the lock");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::remove_file(folder.path().join("secret")).expect("it is there");
    fs::set_permissions(folder.path().join("lock"), fs::Permissions::from_mode(0o666))
        .expect("it is ours");
    fs::write(folder.path().join("secret"), [7; 32]).expect("it is written");
    forbid(&folder.path().join("secret"));
    refused("secret");
}

/// Wherever the last file ends: the server starts, and what is whole is there.
#[test]
fn a_torn_file_never_keeps_the_server_from_starting() {
    let folder = Folder::new();
    let program = start(&folder);
    let mut ana = Member::named(program.address, "lab", 1, "Ana");
    for n in 1..=60 {
        ana.publish(n, &format!("{n} {}", "é".repeat(n as usize)));
        ana.message("its own");
    }
    ana.leave();
    stop(program);
    let file = files(&folder, "lab").remove(0);
    let bytes = fs::read(&file).expect("a file");
    let mut dice = Dice::new(7);
    for round in 0..12 {
        let cut = bytes.len() - dice.roll(4096) as usize;
        let mut torn = bytes[..cut].to_vec();
        // As a power cut leaves it, at times.
        torn.resize(cut + [0, 0, 100][dice.roll(3) as usize], 0);
        fs::write(&file, &torn).expect("it is written");
        files(&folder, "lab")
            .iter()
            .skip(1)
            .for_each(|it| fs::remove_file(it).expect("it is there"));
        let whole = bytes[..cut].iter().rposition(|it| *it == b'\n').expect("a line") + 1;
        let lines = String::from_utf8(bytes[..whole].to_vec()).expect("text");
        let messages = lines.lines().filter(|line| line.contains(r#""t":"msg""#)).count() as u64;
        let program = start(&folder);
        let mut member =
            Member::join(program.address, "lab", json!({"me": me(1), "history": 1000}));
        let hello = &member.hello;
        let (head, n) = (hello["head"].clone(), hello["n"].clone());
        assert_eq!((head, n), (json!(messages), json!(messages)), "round {round}, cut at {cut}");
        assert_eq!(member.replay().len() as u64, messages);
        member.says_and_hears("goes on");
        assert_eq!(fs::read(&file).expect("a file"), lines.as_bytes(), "the torn line is cut off");
        member.leave();
        stop(program);
    }
}

/// Keys of requests that come again are remembered in memory alone.
#[test]
fn a_key_is_not_remembered_over_a_restart() {
    let folder = Folder::new();
    let publish = |program: &Program| {
        let request = "POST /lab HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\
            Idempotency-Key: 7f3a\r\n\r\non";
        let response = program.ask(request);
        (response.status, response.text().trim_end().rsplit('.').next().map(str::to_owned))
    };
    let program = start(&folder);
    assert_eq!(publish(&program), (201, Some("1".into())));
    assert_eq!(publish(&program), (200, Some("1".into())));
    stop(program);
    let program = start(&folder);
    assert_eq!(publish(&program), (201, Some("2".into())));
    assert_eq!(publish(&program), (200, Some("2".into())));
}
