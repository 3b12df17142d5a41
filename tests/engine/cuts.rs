use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::kit::cutting::{EACH, Message, PEOPLE, Person, Proxy, text};
use crate::kit::dice::Dice;
use crate::kit::program::{Program, free_address, roomd};
use crate::redis::{KEEPS, Redis};

/// What happens, one after the other, at least once each.
const FAULTS: [Fault; 4] =
    [Fault::KillsNode, Fault::KillsEngine, Fault::StopsEngine, Fault::StopsNode];

#[derive(Clone, Copy)]
enum Fault {
    KillsNode,
    StopsNode,
    KillsEngine,
    StopsEngine,
}

/// Six people roam over three nodes. Their connections are cut; the engine is killed, which keeps what it
/// was told, or stopped; and one of the nodes is killed, and comes back as another, or is stopped. Each text
/// arrives once and in order, for everybody.
#[test]
fn each_text_arrives_once_whatever_is_cut_killed_or_stopped() {
    for seed in [1] {
        let mut redis = Redis::with(KEEPS);
        let nodes = [redis.node(), redis.node()];
        let third = free_address();
        let mut program = Some(node_at(&redis, third));
        let proxies: Vec<Proxy> = [nodes[0].address(), nodes[1].address(), third]
            .into_iter()
            .zip(seed * 3..)
            .map(|(address, seed)| Proxy::start(address, seed))
            .collect();
        let addresses: Vec<_> = proxies.iter().map(|proxy| proxy.address).collect();
        let is_over = AtomicBool::new(false);
        let heard: Vec<Vec<Message>> = thread::scope(|scope| {
            let people: Vec<_> = (0..PEOPLE)
                .map(|n| {
                    scope.spawn({
                        let addresses = &addresses;
                        move || Person::new(n).roams(addresses)
                    })
                })
                .collect();
            let (redis, program, is_over) = (&mut redis, &mut program, &is_over);
            let harm = scope.spawn(move || {
                let mut dice = Dice::new(seed);
                let mut faults = 0;
                for fault in FAULTS.iter().cycle() {
                    // Between faults, people get on with it for a while.
                    thread::sleep(Duration::from_millis(50 + dice.roll(200)));
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let pause = Duration::from_millis(dice.roll(400));
                    match fault {
                        Fault::KillsNode => {
                            // SIGKILL.
                            *program = None;
                            thread::sleep(pause);
                            *program = Some(node_at(redis, third));
                        }
                        Fault::StopsNode => {
                            let program = program.as_ref().expect("it runs");
                            program.signal(Signal::STOP);
                            thread::sleep(pause);
                            program.signal(Signal::CONT);
                        }
                        Fault::KillsEngine => {
                            redis.kill();
                            thread::sleep(pause / 2);
                            redis.start_again();
                        }
                        Fault::StopsEngine => {
                            redis.signal(Signal::STOP);
                            thread::sleep(pause);
                            redis.signal(Signal::CONT);
                        }
                    }
                    faults += 1;
                }
                faults
            });
            let heard: Vec<_> = people.into_iter().map(|one| one.join()).collect();
            is_over.store(true, Ordering::Relaxed);
            let faults = harm.join().expect("no panic");
            assert!(
                faults >= FAULTS.len(),
                "seed {seed}: people were through after {faults} faults"
            );
            heard.into_iter().map(|one| one.expect("a person")).collect()
        });
        for other in &heard[1..] {
            assert!(*other == heard[0], "seed {seed}: two people heard another order");
        }
        let cuts: u64 = proxies.iter().map(|proxy| proxy.cuts.load(Ordering::Relaxed)).sum();
        assert!(cuts > 50, "seed {seed}: {cuts} cuts");
        for person in 0..PEOPLE {
            let of_it = heard[0].iter().filter(|message| message.name == format!("p{person}"));
            let texts: Vec<_> = of_it.map(|message| message.text.clone()).collect();
            let said: Vec<_> = (1..=EACH).map(|n| text(person, n)).collect();
            assert_eq!(texts, said, "seed {seed}, person {person}");
        }
    }
}

/// A node that is a process of its own, there.
fn node_at(redis: &Redis, address: SocketAddr) -> Program {
    let (engine, address) = (redis.url(), address.to_string());
    let args = ["--engine", &engine, "--log-level=warn", "--listen", &address];
    Program::of(&mut roomd(&args))
}
