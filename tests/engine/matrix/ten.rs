//! Ten nodes with 500 clients, under faults that SEED chooses, for ENGINE_SECONDS.

use std::env;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kit::dice::Dice;
use crate::matrix::link::Link;
use crate::matrix::scene::{Crowd, Scene};
use crate::matrix::{self, in_namespaces};
use crate::redis::Redis;

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
        // The first node reaches the engine over a link that has faults of its own.
        let mut link = Link::start();
        let keeps = ["--appendonly", "yes", "--appendfsync", "everysec"];
        let engine = Redis::with(&[&keeps[..], &link.reaches()].concat());
        let mut urls = vec![engine.url(); NODES];
        urls[0] = link.url(&engine);
        let mut scene = Scene::with(engine, &urls, &[], CROWD);
        let before: Vec<_> = scene.nodes.iter().map(|node| node.holding()).collect();
        let mut dice = Dice::new(seed);
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut faults = 0;
        while Instant::now() < until {
            // Between faults, and often before the last one is over.
            sleep(Duration::from_millis(500 + dice.roll(6000)));
            fault(&mut scene, &mut link, &mut dice);
            faults += 1;
        }
        link.is(0.0, 0.0);
        scene.flows();
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
            "{faults} faults in {seconds} s (SEED={seed}), on {NODES} servers with {} clients: {} of `roomd.1`, \
             {tutorial} of the tutorial's protocol, {streams} streams, {posters} that publish by requests. {} \
             messages were accepted and {} reached a client. {} were lost and told, and {} were missed and told; \
             {} are of an unknown fate. The engine began {} new epochs; {} clients left while all were there. \
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
        assert_eq!((seen.lost, seen.missed), (0, 0), "the engine keeps everything");
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

fn fault(scene: &mut Scene, link: &mut Link, dice: &mut Dice) {
    let n = dice.roll(NODES as u64) as usize;
    let some = Duration::from_millis(300 + dice.roll(2500));
    let kind = dice.roll(15);
    eprintln!("fault {kind} (node {}, {some:?})", n + 1);
    match kind {
        0 | 1 => {
            scene.nodes[n].kill();
            sleep(some);
            scene.nodes[n].start_again();
        }
        2 => {
            scene.nodes[n].ends();
            sleep(some);
            scene.nodes[n].start_again();
        }
        3 | 4 => {
            scene.nodes[n].signal(Signal::STOP);
            sleep(some);
            scene.nodes[n].signal(Signal::CONT);
        }
        5 => {
            // Beyond its lease.
            scene.nodes[n].signal(Signal::STOP);
            sleep(Duration::from_secs(12));
            scene.nodes[n].signal(Signal::CONT);
        }
        6 | 7 => {
            scene.engine.kill();
            sleep(some);
            scene.engine.start_again();
        }
        8 => {
            scene.engine.signal(Signal::STOP);
            sleep(some);
            scene.engine.signal(Signal::CONT);
        }
        9 => drop(scene.engine.cli(&["client", "kill", "type", "normal"])),
        10 => drop(scene.engine.cli(&["script", "flush"])),
        11 => {
            // Half-open, and nobody is told.
            link.is(0.0, 1.0);
            sleep(2 * some);
            link.is(0.0, 0.0);
        }
        12 => link.is(0.1, 0.01),
        13 => link.is(0.0, 0.0),
        _ => {
            scene.engine.cli(&["config", "set", "maxmemory", "1"]);
            sleep(some);
            scene.engine.cli(&["config", "set", "maxmemory", "0"]);
        }
    }
}
