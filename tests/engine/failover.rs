use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::kit::eventually;
use crate::kit::peer::get;
use crate::kit::roomd1::{Member, me};
use crate::redis::Redis;
use crate::sentinels::Sentinels;

/// A master, and its replica, which has all of it.
fn pair(more: &[&str]) -> (Redis, Redis) {
    let master = Redis::with(more);
    let replica = master.replica(more);
    (master, replica)
}

/// The replica has everything that the master has.
fn catches_up(master: &Redis, replica: &Redis) {
    eventually("a replica that has everything", || {
        let length = |redis: &Redis| redis.cli(&["xlen", "roomd:{lobby}:log"]);
        (length(master) == length(replica)).then_some(())
    });
}

#[test]
fn when_the_master_is_killed_the_rooms_go_on_at_its_replica() {
    let (mut master, replica) = pair(&[]);
    let sentinels = Sentinels::watching(&master);
    // Who is asked first hangs, and holds nobody up.
    sentinels.signal(0, Signal::STOP);
    let (a, b) = (sentinels.node(), sentinels.node());
    let mut ana = Member::named(a.address(), "lobby", 1, "Ana");
    let mut bob = Member::named(b.address(), "lobby", 2, "Bob");
    ana.publish(1, "one");
    bob.message("one");
    ana.skip_to("msg", "her own");
    sentinels.signal(0, Signal::CONT);
    catches_up(&master, &replica);
    master.kill();
    ana.publish(2, "two");
    for member in [&mut ana, &mut bob] {
        let epoch = member.skip_to("epoch", "a new epoch");
        assert_eq!(epoch["missed"], 0, "{epoch}");
        let two = member.message("two");
        assert_eq!((&two["text"], &two["seq"]), (&json!("two"), &json!(2)));
    }
    assert_eq!(sentinels.master(), replica.port());
    // The old master comes back, as the one that it was, and nobody takes it for that.
    master.start_again();
    ana.publish(3, "three");
    assert_eq!(bob.message("three")["text"], "three");
    ana.message("her own");
    assert!(replica.cli(&["xrange", "roomd:{lobby}:log", "-", "+"]).contains("three"));
}

#[test]
fn a_sentinel_that_hangs_holds_nobody_up() {
    let (master, _replica) = pair(&[]);
    let sentinels = Sentinels::watching(&master);
    let node = sentinels.node();
    let mut ana = Member::named(node.address(), "lobby", 1, "Ana");
    for n in 0..2 {
        sentinels.signal(n, Signal::STOP);
    }
    let until = Instant::now() + Duration::from_secs(3);
    let (mut n, mut slowest) = (0, Duration::ZERO);
    while Instant::now() < until {
        n += 1;
        let said = Instant::now();
        ana.publish(n, "text");
        ana.message("her own");
        slowest = slowest.max(said.elapsed());
    }
    assert!(slowest < Duration::from_millis(250), "a message took {slowest:?}");
    let metrics = node.ask(get("/metrics", ""));
    assert!(metrics.text().contains("\nroomd_engine_sentinels{answers=\"no\"} 2\n"), "{metrics:?}");
}

/// Somebody has the replica take over while people talk, and the old master takes what it is told for ten
/// seconds more. What is lost until the nodes know is told, and nothing else is said twice.
#[test]
fn nobody_goes_on_writing_to_a_master_that_was_replaced() {
    const MORE: usize = 100;
    let (master, replica) = pair(&[]);
    let sentinels = Sentinels::watching(&master);
    let (a, b) = (sentinels.node(), sentinels.node());
    let mut ana = Member::named(a.address(), "lobby", 1, "Ana");
    let mut bob = Member::named(b.address(), "lobby", 2, "Bob");
    let began = Instant::now();
    // When she had heard her own messages, and where the new epoch began, with what she was told.
    let (mut said, mut epoch) = (Vec::new(), None);
    while epoch.as_ref().is_none_or(|(at, _)| said.len() < at + MORE) {
        let n = said.len() as u64 + 1;
        ana.publish(n, &n.to_string());
        if n == 200 {
            sentinels.fail_over();
        }
        loop {
            let next = ana.next("her own");
            match next["t"].as_str() {
                Some("msg") if next["text"].as_str() == Some(&*n.to_string()) => break,
                Some("epoch") => epoch = Some((said.len(), next["missed"].clone())),
                _ => {}
            }
        }
        said.push(began.elapsed());
    }
    assert_eq!(sentinels.master(), replica.port());
    let log = replica.cli(&["xrange", "roomd:{lobby}:log", "-", "+"]);
    let kept: Vec<usize> = log.lines().filter_map(|line| line.parse().ok()).collect();
    let lost: Vec<usize> = (1..=said.len()).filter(|n| !kept.contains(n)).collect();
    let (_, missed) = epoch.expect("a new epoch");
    assert_eq!(lost.is_empty(), missed == 0, "{} messages were lost, told: {missed}", lost.len());
    if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
        assert_eq!(last - first + 1, lost.len(), "not all of the lost ones are in one piece");
        let time = said[last - 1] - said[first - 1];
        assert!(time < Duration::from_secs(4), "for {time:?} the old master was written to");
    }
    assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "something is in the log twice");
    // What he hears before the new epoch, and after it.
    let mut heard: Vec<Vec<usize>> = vec![Vec::new()];
    while heard[heard.len() - 1].last() != Some(&said.len()) {
        let next = bob.next("what she says");
        match next["t"].as_str() {
            Some("msg") => {
                let n = next["text"].as_str().and_then(|n| n.parse::<usize>().ok());
                heard.last_mut().expect("a list").extend(n);
            }
            Some("epoch") => heard.push(Vec::new()),
            _ => {}
        }
    }
    let [before, after] = &heard[..] else { panic!("{} epochs", heard.len()) };
    for heard in [before, after] {
        assert!(heard.windows(2).all(|pair| pair[0] < pair[1]), "something was said twice");
    }
    // One that was under way may be lost, after he heard it, and then said again.
    let again: Vec<_> = before.iter().filter(|n| after.contains(n)).collect();
    assert!(again.len() <= 1, "said again: {again:?}");
    let metrics = a.ask(get("/metrics", ""));
    assert!(metrics.text().contains("\nroomd_engine_moves_total 1\n"), "{metrics:?}");
    // And those who come know what there is.
    let c = sentinels.node();
    let late = Member::join(c.address(), "lobby", json!({"me": me(1)}));
    assert_eq!(late.hello["n"], said.len());
}

/// With its first replica a server takes another name for what it has, while nodes are connected to it.
#[test]
fn a_first_replica_begins_one_epoch_at_most() {
    const MORE: u64 = 50;
    let master = Redis::start();
    let (a, b) = (master.node(), master.node());
    let mut ana = Member::named(a.address(), "lobby", 1, "Ana");
    let mut bob = Member::named(b.address(), "lobby", 2, "Bob");
    let _replica = master.replica(&[]);
    // A node that comes later hears the other name.
    let c = master.node();
    let mut cleo = Member::named(c.address(), "lobby", 3, "Cleo");
    let mut epochs = 0;
    for n in 1..=MORE {
        ana.publish(n, &n.to_string());
        loop {
            let next = cleo.next("what she says");
            match next["t"].as_str() {
                Some("msg") => break assert_eq!(next["text"], n.to_string()),
                Some("epoch") => epochs += 1,
                _ => {}
            }
        }
    }
    let mut heard = 0;
    while heard < MORE {
        let next = bob.next("what she says");
        heard += u64::from(next["t"] == "msg");
        if next["t"] == "epoch" {
            assert_eq!(next["missed"], 0, "{next}");
        }
    }
    assert!(epochs <= 1, "{epochs} epochs began");
}
