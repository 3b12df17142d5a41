use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::kit::cutting::{EACH, Message, PEOPLE, Person, Proxy, text};
use crate::kit::dice::Dice;
use crate::redis::{KEEPS, Redis};

/// Six people roam over three nodes. Their connections are cut, and the engine is killed, which keeps what it
/// was told, or stopped. Each text arrives once and in order, for everybody.
#[test]
fn each_text_arrives_once_whatever_is_cut_killed_or_stopped() {
    for seed in [1] {
        let mut redis = Redis::with(KEEPS);
        let nodes = [redis.node(), redis.node(), redis.node()];
        let proxies: Vec<Proxy> = nodes
            .iter()
            .zip(seed * 3..)
            .map(|(node, seed)| Proxy::start(node.address(), seed))
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
            let (redis, is_over) = (&mut redis, &is_over);
            let harm = scope.spawn(move || {
                let mut dice = Dice::new(seed);
                let mut faults = 0;
                while !is_over.load(Ordering::Relaxed) {
                    // Between faults, people get on with it for a while.
                    thread::sleep(Duration::from_millis(300 + dice.roll(700)));
                    if dice.roll(2) == 0 {
                        redis.kill();
                        thread::sleep(Duration::from_millis(dice.roll(300)));
                        redis.start_again();
                    } else {
                        redis.signal(Signal::STOP);
                        thread::sleep(Duration::from_millis(dice.roll(1000)));
                        redis.signal(Signal::CONT);
                    }
                    faults += 1;
                }
                faults
            });
            let heard: Vec<_> = people.into_iter().map(|one| one.join()).collect();
            is_over.store(true, Ordering::Relaxed);
            assert!(
                harm.join().expect("no panic") > 0,
                "seed {seed}: nothing happened to the engine"
            );
            heard.into_iter().map(|one| one.expect("a person")).collect()
        });
        for other in &heard[1..] {
            assert!(*other == heard[0], "seed {seed}: two people heard another order");
        }
        for person in 0..PEOPLE {
            let of_it = heard[0].iter().filter(|message| message.name == format!("p{person}"));
            let texts: Vec<_> = of_it.map(|message| message.text.clone()).collect();
            let said: Vec<_> = (1..=EACH).map(|n| text(person, n)).collect();
            assert_eq!(texts, said, "seed {seed}, person {person}");
        }
    }
}
