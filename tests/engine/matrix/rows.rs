//! The faults, one at a time: each has three nodes, on which people talk all the time.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::kit::eventually;
use crate::kit::folder::Folder;
use crate::kit::frame::TEXT;
use crate::kit::peer::Peer;
use crate::kit::program::Program;
use crate::kit::roomd1::{Member, knock_over, me};
use crate::matrix::account::text;
use crate::matrix::checker::Seen;
use crate::matrix::link::Link;
use crate::matrix::scene::{FEW, Scene};
use crate::redis::{PASSWORD, Redis, SERVERS, find};
use crate::sentinels::Sentinels;

/// A fault, and what clients may see of it.
pub struct Row {
    pub id: &'static str,
    pub fault: &'static str,
    pub play: fn(&Path) -> Seen,
    pub promise: Promise,
}

/// What clients see at most. What a row promises to lose, it has to lose, else it shows nothing.
#[derive(Clone, Copy)]
pub struct Promise {
    /// Whether accepted messages are lost, of which everybody is told. None: that depends.
    pub loses: Option<bool>,
    /// Somebody misses messages, and is told how many.
    pub misses: bool,
    /// Connections end, and clients come again.
    pub ends: bool,
    /// A new epoch.
    pub moves: bool,
    /// Nobody waits for longer, in seconds.
    pub silence: u64,
}

const CALM: Promise =
    Promise { loses: Some(false), misses: false, ends: false, moves: false, silence: 3 };
const MOVES: Promise = Promise { moves: true, silence: 8, ..CALM };

/// What is asked of it while it waits for the disk is lost if it is killed, a second's messages at most.
const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];
const KEEPS: Promise = Promise { loses: None, ..MOVES };

pub const ROWS: &[Row] = &[
    Row { id: "F0", fault: "none", play: nothing, promise: CALM },
    Row {
        id: "F1",
        fault: "engine killed, which keeps nothing; back after 2 s",
        play: forgets,
        promise: Promise { loses: Some(true), ..MOVES },
    },
    Row {
        id: "F2",
        fault: "engine killed, append-only file; back after 1 s",
        play: keeps,
        promise: KEEPS,
    },
    Row {
        id: "F3",
        fault: "engine killed, back with a snapshot that is older",
        play: loses_the_last,
        promise: Promise { loses: Some(true), ..MOVES },
    },
    Row {
        id: "F4a",
        fault: "engine stopped for 1.5 s",
        play: |server| stops(server, Duration::from_millis(1500)),
        promise: Promise { silence: 5, ..CALM },
    },
    Row {
        id: "F4b",
        fault: "engine stopped for 8 s",
        play: |server| stops(server, Duration::from_secs(8)),
        promise: Promise { silence: 14, ..CALM },
    },
    Row {
        id: "F5",
        fault: "master killed; Sentinels promote its replica",
        play: a_replica_takes_over,
        promise: Promise { loses: None, silence: 12, ..MOVES },
    },
    Row {
        id: "F6",
        fault: "node stopped while others flood, longer than the log lasts",
        play: overruns,
        promise: Promise { misses: true, ends: true, silence: 40, ..CALM },
    },
    Row {
        id: "F7",
        fault: "node killed, back after 12 s",
        play: a_node_dies,
        promise: Promise { ends: true, silence: 6, ..CALM },
    },
    Row {
        id: "F8",
        fault: "node stopped for 13 s, and so declared dead",
        play: a_node_comes_back,
        promise: Promise { ends: true, silence: 25, ..CALM },
    },
    Row {
        id: "F9",
        fault: "Sentinels promote a replica while the master works, and goes on for 10 s",
        play: a_replica_is_promoted,
        promise: Promise { loses: None, ..MOVES },
    },
    Row {
        id: "F10a",
        fault: "engine's clock an hour behind the log, and a restart",
        play: the_clock_is_behind,
        promise: KEEPS,
    },
    Row { id: "F10b", fault: "log of the room deleted", play: the_log_is_deleted, promise: KEEPS },
    Row {
        id: "F10c",
        fault: "everything deleted (FLUSHALL)",
        play: everything_is_deleted,
        promise: Promise { loses: Some(true), ..MOVES },
    },
    Row {
        id: "links",
        fault: "connections to the engine cut five times",
        play: links_are_cut,
        promise: CALM,
    },
    Row {
        id: "scripts",
        fault: "scripts flushed (NOSCRIPT)",
        play: scripts_are_flushed,
        promise: CALM,
    },
    Row {
        id: "replica",
        fault: "engine made a replica for 2 s (READONLY)",
        play: is_a_replica,
        promise: MOVES,
    },
    Row {
        id: "memory",
        fault: "engine out of memory for 3 s (OOM)",
        play: memory_is_full,
        promise: Promise { silence: 8, ..CALM },
    },
    Row {
        id: "disk",
        fault: "disk of the append-only file full for 3 s (MISCONF)",
        play: the_disk_is_full,
        promise: Promise { silence: 8, ..CALM },
    },
    Row {
        id: "password",
        fault: "engine wants another password for 2 s (NOAUTH)",
        play: the_password_changes,
        promise: Promise { silence: 8, ..CALM },
    },
    Row {
        id: "loading",
        fault: "engine killed, and slow to load its file (LOADING)",
        play: loads,
        promise: Promise { silence: 20, ..KEEPS },
    },
    Row {
        id: "upgrade",
        fault: "engine shut down, and a later one started on its files",
        play: is_upgraded,
        promise: MOVES,
    },
    Row {
        id: "rolling",
        fault: "nodes stopped and started, one after the other",
        play: nodes_roll,
        promise: Promise { ends: true, silence: 6, ..CALM },
    },
    Row {
        id: "half-open",
        fault: "link of one node dead for 6 s, and nobody is told",
        play: |server| the_link_is_dead(server, Duration::from_secs(6)),
        promise: Promise { silence: 14, ..CALM },
    },
    Row {
        id: "cut off",
        fault: "the same for 14 s, so the node is declared dead",
        play: |server| the_link_is_dead(server, Duration::from_secs(14)),
        promise: Promise { ends: true, silence: 30, ..CALM },
    },
    Row {
        id: "delay",
        fault: "link of one node with 200 ms in each direction",
        play: |server| the_link_is(server, 0.2, 0.0),
        promise: Promise { silence: 5, ..CALM },
    },
    Row {
        id: "loss",
        fault: "link of one node that loses 1 %, with 20 ms in each direction",
        play: |server| the_link_is(server, 0.02, 0.01),
        promise: Promise { silence: 6, ..CALM },
    },
    Row {
        id: "slow reader",
        fault: "a client that does not read, while others flood",
        play: somebody_is_slow,
        promise: Promise { silence: 6, ..CALM },
    },
];

fn engine(server: &Path, more: &[&str]) -> Redis {
    let mut engine = Redis::of(server);
    engine.add(more);
    engine.start_again();
    engine
}

/// People have got on with it again.
fn ends(scene: Scene) -> Seen {
    scene.flows();
    scene.hears_more(50);
    scene.close(|_| {})
}

/// Three nodes, on which this happens.
fn plays(server: &Path, more: &[&str], fault: impl FnOnce(&mut Scene)) -> Seen {
    let mut scene = Scene::of(engine(server, more));
    scene.hears_more(100);
    fault(&mut scene);
    ends(scene)
}

fn is_ok(scene: &Scene, words: &[&str]) {
    let said = scene.engine.cli(words);
    assert!(said.contains("OK"), "{words:?}: {said}");
}

fn nothing(server: &Path) -> Seen {
    let scene = Scene::of(engine(server, &[]));
    scene.hears_more(300);
    ends(scene)
}

fn forgets(server: &Path) -> Seen {
    plays(server, &[], |scene| {
        scene.engine.kill();
        sleep(Duration::from_secs(2));
        scene.engine.start_again();
    })
}

fn keeps(server: &Path) -> Seen {
    plays(server, AOF, |scene| {
        scene.engine.kill();
        sleep(Duration::from_secs(1));
        scene.engine.start_again();
    })
}

fn loses_the_last(server: &Path) -> Seen {
    plays(server, &[], |scene| {
        is_ok(scene, &["save"]);
        scene.hears_more(50);
        scene.engine.kill();
        sleep(Duration::from_millis(500));
        scene.engine.start_again();
    })
}

fn stops(server: &Path, time: Duration) -> Seen {
    plays(server, &[], |scene| {
        scene.engine.signal(Signal::STOP);
        sleep(time);
        scene.engine.signal(Signal::CONT);
    })
}

/// A master, its replica, three Sentinels that watch them, and nodes that ask these.
fn watched(server: &Path) -> (Scene, Redis, Sentinels) {
    let master = engine(server, &[]);
    let replica = master.replica(&[]);
    let sentinels = Sentinels::watching(&master);
    let urls = vec![sentinels.url(); 3];
    (Scene::with(master, &urls, &[], FEW), replica, sentinels)
}

fn a_replica_takes_over(server: &Path) -> Seen {
    let (mut scene, replica, sentinels) = watched(server);
    scene.hears_more(100);
    scene.engine.kill();
    let seen = ends(scene);
    assert_eq!(sentinels.master(), replica.port());
    seen
}

fn a_replica_is_promoted(server: &Path) -> Seen {
    let (scene, replica, sentinels) = watched(server);
    scene.hears_more(100);
    sentinels.fail_over();
    eventually("a failover", || (sentinels.master() == replica.port()).then_some(()));
    scene.flows();
    // Longer than the old master takes to learn that it is one no more.
    sleep(Duration::from_secs(11));
    ends(scene)
}

fn overruns(server: &Path) -> Seen {
    let engine = engine(server, &[]);
    let url = engine.url();
    let urls = [url.clone(), url.clone(), url];
    let scene = Scene::with(engine, &urls, &["--engine-memory=1M"], FEW);
    scene.nodes[2].signal(Signal::STOP);
    scene.stage.floods(64, 600);
    scene.hears_more(5000);
    scene.stage.talks(FEW.pace);
    scene.nodes[2].signal(Signal::CONT);
    ends(scene)
}

fn a_node_dies(server: &Path) -> Seen {
    plays(server, &[], |scene| {
        scene.nodes[2].kill();
        sleep(Duration::from_secs(12));
        scene.nodes[2].start_again();
    })
}

fn a_node_comes_back(server: &Path) -> Seen {
    plays(server, &[], |scene| {
        scene.nodes[2].signal(Signal::STOP);
        sleep(Duration::from_secs(13));
        scene.nodes[2].signal(Signal::CONT);
    })
}

fn the_clock_is_behind(server: &Path) -> Seen {
    let engine = engine(server, AOF);
    let seconds: u64 =
        engine.cli(&["time"]).lines().next().expect("a time").parse().expect("a time");
    let ahead = ((seconds + 3600) * 1000).to_string();
    // What an engine leaves whose clock was an hour ahead when it was started last.
    let (log, meta) = ("roomd:{lobby}:log", "roomd:{lobby}:meta");
    let head = format!("e 0 0 {ahead} somebody.1 0 0 0 - ");
    engine.cli(&["xadd", log, &format!("{ahead}-0"), &head, "0 0"]);
    let fields = ["server", "another", "epoch", &ahead, "pos", "0", "seq", "0"];
    engine.cli(&[&["hset", meta], &fields[..]].concat());
    let mut scene = Scene::of(engine);
    let epoch = |scene: &Scene| -> u64 {
        scene.engine.cli(&["hget", meta, "epoch"]).trim().parse().expect("an epoch")
    };
    let before = epoch(&scene);
    assert!(before > ahead.parse().expect("a number"), "the epoch follows the clock");
    scene.hears_more(100);
    scene.engine.kill();
    scene.engine.start_again();
    scene.flows();
    assert!(epoch(&scene) > before, "the epoch has not grown");
    ends(scene)
}

fn the_log_is_deleted(server: &Path) -> Seen {
    plays(server, &[], |scene| {
        assert!(scene.engine.cli(&["del", "roomd:{lobby}:log"]).contains('1'));
    })
}

fn everything_is_deleted(server: &Path) -> Seen {
    plays(server, &[], |scene| {
        is_ok(scene, &["flushall"]);
    })
}

fn links_are_cut(server: &Path) -> Seen {
    let scene = Scene::of(engine(server, &[]));
    for _ in 0..5 {
        scene.hears_more(30);
        scene.engine.cli(&["client", "kill", "type", "normal"]);
        scene.flows();
    }
    ends(scene)
}

fn scripts_are_flushed(server: &Path) -> Seen {
    plays(server, &[], |scene| {
        is_ok(scene, &["script", "flush"]);
    })
}

fn is_a_replica(server: &Path) -> Seen {
    plays(server, &[], |scene| {
        is_ok(scene, &["replicaof", "127.0.0.1", "1"]);
        sleep(Duration::from_secs(2));
        is_ok(scene, &["replicaof", "no", "one"]);
    })
}

fn memory_is_full(server: &Path) -> Seen {
    plays(server, &[], |scene| {
        is_ok(scene, &["config", "set", "maxmemory", "1"]);
        sleep(Duration::from_secs(3));
        is_ok(scene, &["config", "set", "maxmemory", "0"]);
    })
}

fn the_disk_is_full(server: &Path) -> Seen {
    let mut engine = Redis::of(server);
    let folder = engine.folder().to_owned();
    let mount = |words: &[&str]| {
        let status = Command::new(words[0]).args(&words[1..]).arg(&folder).status();
        assert!(status.expect("mount(8)").success(), "{words:?} {}", folder.display());
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=2m", "none"]);
    engine.add(AOF);
    engine.start_again();
    let scene = Scene::of(engine);
    scene.hears_more(100);
    let filler = folder.join("filler");
    let full = fs::write(&filler, vec![0; 4 << 20]).expect_err("2 MB are full");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    eventually("an engine that takes no writes", || {
        let said = scene.engine.cli(&["set", "x", "y"]);
        said.contains("MISCONF").then_some(())
    });
    sleep(Duration::from_secs(3));
    fs::remove_file(&filler).expect("a file");
    let seen = ends(scene);
    mount(&["umount", "--lazy"]);
    seen
}

fn the_password_changes(server: &Path) -> Seen {
    plays(server, &[], |scene| {
        is_ok(scene, &["config", "set", "requirepass", PASSWORD]);
        scene.engine.cli(&["client", "kill", "type", "normal"]);
        // A node that is started with a wrong one serves nobody, and says why.
        let folder = Folder::new();
        let path = folder.path().join("password");
        fs::write(&path, "wrong\n").expect("a file");
        let flag = format!("--engine-password-file={}", path.display());
        let wrong = Program::start(&["--engine", &scene.engine.url(), &flag]);
        let line = wrong.line("cannot be reached");
        assert!(line.to_lowercase().contains("auth") || line.contains("WRONGPASS"), "{line}");
        sleep(Duration::from_secs(2));
        drop(wrong);
        is_ok(scene, &["config", "set", "requirepass", ""]);
    })
}

fn loads(server: &Path) -> Seen {
    // What is loaded is loaded slowly, and it answers meanwhile.
    let slowly = ["--key-load-delay", "300", "--loading-process-events-interval-bytes", "1024"];
    let mut scene = Scene::of(engine(server, &[AOF, &slowly].concat()));
    scene.hears_more(1500);
    scene.engine.kill();
    scene.engine.start_loading();
    let said = scene.engine.cli(&["ping"]);
    assert!(said.contains("LOADING"), "it has loaded too soon: {said}");
    eventually("an engine that has loaded", || {
        scene.engine.cli(&["ping"]).contains("PONG").then_some(())
    });
    ends(scene)
}

fn is_upgraded(server: &Path) -> Seen {
    plays(server, AOF, |scene| {
        scene.engine.cli(&["shutdown"]);
        scene.engine.kill();
        // The later one, if it is there; none reads the files of one that is later.
        let name = server.file_name().expect("a name");
        let later = SERVERS.iter().skip_while(|other| **other != name).skip(1);
        if let Some((other, version)) = later.copied().find_map(find) {
            eprintln!("goes on as {version}");
            scene.engine.becomes(&other);
        }
        scene.engine.start_again();
    })
}

fn nodes_roll(server: &Path) -> Seen {
    let mut scene = Scene::of(engine(server, &[]));
    for n in 0..scene.nodes.len() {
        scene.hears_more(30);
        scene.nodes[n].ends();
        scene.flows();
        scene.nodes[n].start_again();
        scene.flows();
    }
    ends(scene)
}

/// Three nodes, of which the first reaches the engine over a link.
fn over(link: &Link, server: &Path) -> Scene {
    let engine = engine(server, &link.reaches());
    let (url, far) = (engine.url(), link.url(&engine));
    Scene::with(engine, &[far, url.clone(), url], &[], FEW)
}

fn the_link_is_dead(server: &Path, time: Duration) -> Seen {
    let mut link = Link::start();
    let scene = over(&link, server);
    scene.hears_more(100);
    link.is(0.0, 1.0);
    sleep(time);
    assert!(scene.nodes[0].health().contains("cannot be reached"), "it has not noticed");
    assert_eq!(scene.nodes[1].health(), "ok\n");
    link.is(0.0, 0.0);
    ends(scene)
}

fn the_link_is(server: &Path, delay: f64, loss: f64) -> Seen {
    let mut link = Link::start();
    link.is(delay, loss);
    let scene = over(&link, server);
    // Others may have gone elsewhere until it was there.
    eventually("a node that has reached the engine", || {
        (scene.nodes[0].health() == "ok\n").then_some(())
    });
    // What is said at the far node takes there and back.
    let mut far = Member::named(scene.nodes[0].address, "lobby", 9999, "Far");
    let said = Instant::now();
    far.publish(1, &text((9999, 1), 0, 0));
    while far.message("her own")["by"] != *far.you {}
    assert!(said.elapsed().as_secs_f64() > 2.0 * delay, "the link is not late");
    far.leave();
    scene.hears_more(400);
    ends(scene)
}

fn somebody_is_slow(server: &Path) -> Seen {
    let scene = Scene::of(engine(server, &[]));
    let peer = Peer::narrow(scene.nodes[0].address);
    let mut slow = Member::greet(knock_over(peer, "lobby"), json!({"me": me(9999), "history": 0}));
    scene.stage.floods(8, 4000);
    scene.hears_more(1500);
    scene.stage.talks(FEW.pace);
    scene.flows();
    let head = scene.stage.head();
    while slow.seq() < head {
        let frame = slow.client.message("a message, or the end");
        if frame.first != TEXT {
            assert_eq!(frame.close_code(), 1013);
            break;
        }
        slow.take(frame);
    }
    drop(slow);
    ends(scene)
}
