//! Ten nodes with 500 clients, under faults that SEED chooses, for ENGINE_SECONDS. A master, its replica and
//! three Sentinels are the engine; each of the two takes over from the other.

use std::env;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kit::dice::Dice;
use crate::kit::eventually;
use crate::kit::folder::Folder;
use crate::matrix::link::Link;
use crate::matrix::scene::{Crowd, Node, Scene};
use crate::matrix::{self, in_namespaces};
use crate::redis::Redis;
use crate::sentinels::Sentinels;

const NODES: usize = 10;

/// Fifty at each node. They say about thirty messages a second in all, each of which reaches everybody.
const CROWD: Crowd = Crowd {
    people: 28,
    tutorial: 12,
    streams: 8,
    posters: 2,
    roams: true,
    pace: Duration::from_secs(14),
};

/// Memory that a node may take beyond what it took with its own fifty clients, for those of others.
const MOST_KB: f64 = 16.0 * 1024.0;

const TITLE: &str = "\n## Ten servers under faults that a seed chooses\n";

#[test]
#[ignore = "takes minutes: make test-engine"]
fn ten_nodes_under_many_faults() {
    in_namespaces("matrix::ten::ten_nodes_under_many_faults", || {
        let number = |name: &str| env::var(name).ok().and_then(|value| value.parse().ok());
        let seconds = number("ENGINE_SECONDS").unwrap_or(120);
        let seed = number("SEED").unwrap_or(1);
        println!("ten nodes, 500 clients, {seconds} s, SEED={seed}");
        let mut engines = Engines::start();
        let mut scene = engines.scene();
        let before: Vec<_> = scene.nodes.iter().map(|node| node.holding()).collect();
        let mut dice = Dice::new(seed);
        let until = Instant::now() + Duration::from_secs(seconds);
        let (mut faults, mut kinds) = (0, Vec::new());
        while Instant::now() < until {
            // Between faults, and often before the last one is over.
            sleep(Duration::from_millis(300 + dice.roll(4000)));
            if kinds.is_empty() {
                kinds = shuffled(&mut dice);
            }
            fault(&mut scene, &mut engines, kinds.pop().unwrap_or_default(), &mut dice);
            faults += 1;
        }
        engines.link.is(0.0, 0.0);
        scene.flows();
        engines.looks();
        let takeovers = engines.moves;
        let stage = scene.stage.clone();
        let seen = scene.close(|scene| {
            let (mut peak, mut threads) = (0_f64, 0_f64);
            for (node, before) in scene.nodes.iter().zip(&before) {
                let now = node.holding();
                let most = node.peak_kb();
                assert!(most < before.resident_kb + MOST_KB, "{most} kB, {before:?} at first");
                assert!(now.threads <= before.threads, "threads are left: {before:?} {now:?}");
                (peak, threads) = (peak.max(most), threads.max(now.threads));
            }
            println!("a node took {peak:.0} kB at most, and has {threads} threads at last");
        });
        let kinds = ["Person", "Witness", "Tutorial", "Stream", "Poster"];
        let [people, witnesses, tutorial, streams, posters] =
            kinds.map(|kind| seen.kinds.get(kind).copied().unwrap_or(0));
        let ends: Vec<_> = seen.ends.iter().map(|(how, count)| format!("{count} {how}")).collect();
        let summary = format!(
            "{faults} faults in {seconds} s (SEED={seed}) of {NODES} servers, and of their engine, which is a master, its \
             replica and three Sentinels: killed, stopped, cut off, made to take over. There were {} clients: {} of `roomd.1`, \
             {tutorial} of the tutorial's protocol, {streams} streams, {posters} that publish by requests. {} \
             messages were accepted and {} reached a client. {} were lost and told, and {} were missed and told; \
             {} are of an unknown fate. The engine began {} new epochs, and its replica took over {takeovers} times; \
             {} clients left while all were there. \
             Connections that ended: {}. The longest silence was {:.1} s.",
            seen.clients,
            people + witnesses,
            seen.accepted,
            seen.heard,
            seen.lost,
            seen.missed,
            seen.unknown,
            seen.epochs,
            seen.left,
            ends.join(", "),
            seen.silence.as_secs_f32()
        );
        println!("{summary}");
        for fault in seen.faults.iter().take(30) {
            println!("    {fault}");
        }
        assert!(seen.faults.is_empty(), "SEED={seed}: {} faults, see above", seen.faults.len());
        assert!(takeovers > 0 || seen.lost == 0, "a master that goes on keeps everything");
        assert_eq!(seen.unsure, 0, "somebody was told of an unknown gap");
        assert!(stage.head() > 5 * seconds, "there was hardly any talk");
        matrix::write(|before| {
            format!(
                "{}\n{TITLE}\n{summary}\n",
                before.split(TITLE).next().unwrap_or_default().trim_end()
            )
        });
    });
}

/// Kinds of faults. From the second number on none has the other server take over.
const KINDS: u64 = 20;
const LONELY: u64 = 16;

/// A server that does not answer for so long is away, in milliseconds: longer than it may take when this machine
/// has so much else to do.
const AWAY: u64 = 2000;

/// How soon Sentinels make a replica of a master that came back, at the latest.
const MENDED: Duration = Duration::from_secs(60);

/// The name of the machine of both servers and the Sentinels.
const HOST: &str = "engine.example";

/// What is behind the nodes, beside the server that the scene has.
struct Engines {
    /// The first node reaches all of it over a link that has faults of its own.
    link: Link,
    /// The first server, until the scene has it.
    first: Option<Redis>,
    second: Redis,
    sentinels: Sentinels,
    /// How often another one was the master when that was looked at.
    moves: usize,
    master: u16,
    hosts: Folder,
}

impl Engines {
    fn start() -> Self {
        let (link, hosts) = (Link::start(), Folder::new());
        let names = |file: &str, address: &str| {
            let path = hosts.path().join(file);
            fs::write(&path, format!("{address} {HOST}\n")).expect("a file");
            path
        };
        names("far", link.there());
        let near = names("near", "127.0.0.1");
        let status = Command::new("mount").arg("--bind").arg(near).arg("/etc/hosts").status();
        assert!(status.is_ok_and(|status| status.success()), "mount(8) of /etc/hosts");
        let keeps = ["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory", "0"];
        let more = [&keeps[..], &link.reaches(), &["--replica-announce-ip", HOST]].concat();
        let first = Redis::with(&more);
        let second = first.replica(&more);
        let lines = format!(
            "bind 127.0.0.1 {}\nprotected-mode no\nsentinel resolve-hostnames yes\n\
             sentinel announce-hostnames yes",
            link.here()
        );
        let sentinels = Sentinels::at(&first, HOST, &lines, AWAY);
        let master = first.port();
        Engines { link, first: Some(first), second, sentinels, moves: 0, master, hosts }
    }

    /// Ten nodes, of which the first knows the engine's machine by another address.
    fn scene(&mut self) -> Scene {
        let url = self.sentinels.url().replace("127.0.0.1", HOST);
        let far = format!(
            "/bin/mount --bind {} /etc/hosts && exec \"$0\" \"$@\"",
            self.hosts.path().join("far").display()
        );
        let by = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", &far];
        let node = |n| Node::started_by(if n == 0 { &by[..] } else { &[] }, &url, &[]);
        let first = self.first.take().expect("nobody has it yet");
        Scene::on(first, (0..NODES).map(node).collect(), CROWD)
    }

    /// Looks who the master is, as the Sentinels say.
    fn looks(&mut self) -> u16 {
        let before = std::mem::replace(&mut self.master, self.sentinels.master());
        self.moves += usize::from(self.master != before);
        self.master
    }

    /// A fault of one of the two, of which the scene has the `first`.
    ///
    /// The other one takes over from a master that is away for longer than [`AWAY`]. That may happen only when it
    /// has everything again after the last time: Sentinels promote one that has just thrown away what it had, too,
    /// and what the other one had comes back with the next failover.
    fn fault(&mut self, kind: u64, some: Duration, first: &mut Redis) {
        let deadline = Instant::now() + MENDED;
        loop {
            let is_first = self.looks() == first.port();
            let both = if is_first { [&*first, &self.second] } else { [&self.second, &*first] };
            if kind >= LONELY || both[1].is_good_replica() {
                let Engines { second, sentinels, .. } = self;
                let both = if is_first { [first, second] } else { [second, first] };
                return fault_of_engine(kind, some, sentinels, both);
            }
            assert!(Instant::now() < deadline, "the other server has not become a replica");
            sleep(Duration::from_millis(100));
        }
    }
}

/// All kinds of faults, in some order: a run of two minutes has each about once.
fn shuffled(dice: &mut Dice) -> Vec<u64> {
    let mut kinds: Vec<u64> = (0..KINDS).collect();
    for last in (1..kinds.len()).rev() {
        kinds.swap(last, dice.roll(last as u64 + 1) as usize);
    }
    kinds
}

fn fault(scene: &mut Scene, engines: &mut Engines, kind: u64, dice: &mut Dice) {
    let n = dice.roll(NODES as u64) as usize;
    let some = Duration::from_millis(300 + dice.roll(2500));
    eprintln!("fault {kind} (node {}, {some:?})", n + 1);
    let node = &mut scene.nodes[n];
    match kind {
        0 | 1 => {
            node.kill();
            sleep(some);
            node.start_again();
        }
        2 => {
            node.ends();
            sleep(some);
            node.start_again();
        }
        3 | 4 => {
            node.signal(Signal::STOP);
            sleep(some);
            node.signal(Signal::CONT);
        }
        5 => {
            // Beyond its lease.
            node.signal(Signal::STOP);
            sleep(Duration::from_secs(12));
            node.signal(Signal::CONT);
        }
        6 => {
            // Half-open, and nobody is told.
            engines.link.is(0.0, 1.0);
            sleep(2 * some);
            engines.link.is(0.0, 0.0);
        }
        7 => engines.link.is(0.1, 0.01),
        8 => engines.link.is(0.0, 0.0),
        9 => {
            let sentinel = n % 3;
            engines.sentinels.signal(sentinel, Signal::STOP);
            sleep(2 * some);
            engines.sentinels.signal(sentinel, Signal::CONT);
        }
        _ => engines.fault(kind, some, &mut scene.engine),
    }
}

fn fault_of_engine(
    kind: u64,
    some: Duration,
    sentinels: &Sentinels,
    [master, replica]: [&mut Redis; 2],
) {
    match kind {
        10 | 11 => drop(sentinels.may_fail_over()),
        12 | 13 => {
            // Too short for the other one.
            master.kill();
            sleep(some / 4);
            master.start_again();
        }
        14 => {
            // It comes back when the other one is the master. If it came back while that is decided, some nodes
            // would begin an epoch there of which the other one knows nothing, and what was said in it is lost.
            master.kill();
            eventually("a new master", || (sentinels.master() == replica.port()).then_some(()));
            sleep(some);
            master.start_again();
        }
        15 => {
            master.signal(Signal::STOP);
            sleep(some);
            master.signal(Signal::CONT);
        }
        16 => {
            replica.kill();
            sleep(2 * some);
            replica.start_again();
        }
        17 => drop(master.cli(&["client", "kill", "type", "normal"])),
        18 => drop(master.cli(&["script", "flush"])),
        _ => {
            master.cli(&["config", "set", "maxmemory", "1"]);
            sleep(some);
            master.cli(&["config", "set", "maxmemory", "0"]);
        }
    }
}
