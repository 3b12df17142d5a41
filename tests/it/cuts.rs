//! People talk through a proxy that cuts their connections at random places. The client is written as
//! docs/protocol.md says, and so each text arrives once and in order, for everybody.

use std::sync::atomic::Ordering;
use std::thread;

use crate::kit::cutting::{EACH, Message, PEOPLE, Person, Proxy, text};
use crate::support::Program;

#[test]
fn each_text_arrives_once_and_in_order_however_connections_are_cut() {
    for seed in [1, 2, 3] {
        let program = Program::start(&["--rate=0", "--history=1000", "--log-level=warn"]);
        let proxy = Proxy::start(program.address, seed);
        let heard: Vec<Vec<Message>> = thread::scope(|scope| {
            let people: Vec<_> = (0..PEOPLE)
                .map(|n| scope.spawn(move || Person::new(n).talks(proxy.address)))
                .collect();
            people.into_iter().map(|one| one.join().expect("a person")).collect()
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
        let cuts = proxy.cuts.load(Ordering::Relaxed);
        assert!(cuts >= 150, "seed {seed}: only {cuts} cuts");
    }
}
