//! Programs that publish over HTTP with keys and ask again until they have an answer, on whatever node, and one that
//! hears a stream, while calls are cut and late, and the engine is killed.

use std::time::Instant;

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use serde_json::Value;

use super::machine::{Clock, Machine, ROOMS};
use super::memory::Memory;
use super::wire::Network;
use super::{seeds, try_all};
use crate::history::chunk;
use crate::outbox::Outbox;
use crate::outbox::encoding::Encoding;
use crate::outbox::fuzz_target::{BOUNDS, RESPONSE, Socket, flush_all};
use crate::room::event::{Event, Moment, Newcomer};
use crate::room::follow::{Follow, Until, Wants};
use crate::room::idempotency::Published;
use crate::room::publish::{Outcome, Publication};
use crate::testing::Rng;

const REQUESTS: usize = 25;

#[test]
fn what_has_a_key_is_published_once_and_streams_hear_it() {
    try_all(seeds(60), run);
}

fn run(seed: u64) {
    let mut dice = Rng::new(seed);
    let network = Network::new(Memory::new(1_000_000), seed + 1);
    let clock = Clock::new();
    let mut machines = [(); 2].map(|()| Machine::start(&network, &clock, &mut dice));
    for machine in &mut machines {
        for _ in 0..4 {
            machine.write();
            machine.read();
            machine.serve(100);
        }
    }
    let (socket, outbox) = follows(&mut machines[1]);
    network.borrow_mut().faults = 6;
    let (mut next, mut asked, mut again) = (0, None, 0);
    for step in 0.. {
        assert!(step < 50_000, "seed {seed}: {next} requests were answered");
        clock.pass(10);
        network.borrow_mut().engine.now += 10;
        let machine = &mut machines[dice.roll(2)];
        match dice.roll(8) {
            0 | 1 => machine.write(),
            2 | 3 => machine.read(),
            4 | 5 => machine.serve(10),
            6 if dice.roll(6) == 0 => network.borrow_mut().do_late(),
            6 if dice.roll(20) == 0 => {
                network.borrow_mut().kill();
                network.borrow_mut().start();
            }
            // Whoever has no answer asks again after a while.
            _ if asked.is_none() || dice.roll(40) == 0 => {
                again += usize::from(asked.is_some());
                asked = publishes(machine, &format!("text {next}"), &format!("key {next}"));
            }
            _ => {}
        }
        flush_all(&outbox, Instant::now());
        match asked.as_ref().map(Receiver::try_recv) {
            Some(Ok(Outcome::Published { message: Published { seq, .. }, .. })) => {
                let (_, said) = network.borrow().engine.said(ROOMS[0]);
                assert_eq!(said[&seq], format!("text {next}"), "seed {seed}");
                (next, asked) = (next + 1, None);
                if next == REQUESTS {
                    break;
                }
            }
            Some(Ok(other)) => panic!("seed {seed}: {other:?}"),
            Some(Err(TryRecvError::Disconnected)) => asked = None,
            _ => {}
        }
    }
    assert!(again > 0, "seed {seed}: nobody asked twice");
    network.borrow_mut().faults = 0;
    for _ in 0..40 {
        clock.pass(50);
        for machine in &mut machines {
            machine.write();
            machine.read();
            machine.serve(100);
        }
        flush_all(&outbox, Instant::now());
    }
    let (_, said) = network.borrow().engine.said(ROOMS[0]);
    let all: Vec<_> = (0..REQUESTS).map(|n| format!("text {n}")).collect();
    assert_eq!(said.values().cloned().collect::<Vec<_>>(), all, "seed {seed}");
    assert_eq!(heard(&socket.taken()), said.into_iter().collect::<Vec<_>>(), "seed {seed}");
}

fn publishes(machine: &Machine, text: &str, key: &str) -> Option<Receiver<Outcome>> {
    let room = machine.rooms[0].clone();
    let credit = room.log.credit(chunk::cost(64 + text.len()), &mut Default::default(), || false);
    let (answer, outcome) = bounded(1);
    let publication = Publication {
        identity: machine.identify_address(ROOMS[0]),
        room,
        name: Some("pump".into()),
        text: text.to_owned().into(),
        key: Some(key.into()),
        at: Moment::now(),
        credit: credit?,
        answer,
    };
    let _ = machine.events.send(Event::Publish(Box::new(publication)));
    Some(outcome)
}

type Subscriber = (std::sync::Arc<Socket>, std::sync::Arc<Outbox<std::sync::Arc<Socket>>>);

fn follows(machine: &mut Machine) -> Subscriber {
    let socket = Socket::generous(None);
    let outbox = Outbox::new(socket.clone(), Encoding::Json, Vec::new(), BOUNDS);
    outbox.open();
    let identity = machine.identify_address(ROOMS[0]);
    let (head, wants, until) =
        (RESPONSE[..RESPONSE.len() - 2].to_vec(), Wants::All, Until::Forever);
    let who = Newcomer::Follower(Box::new(Follow { head, identity, wants, until }));
    let (room, conn, at) = (machine.rooms[0].clone(), machine.next_conn(), Moment::now());
    let _ = machine.events.send(Event::Join { room, conn, who, outbox: outbox.clone(), at });
    machine.serve(100);
    (socket, outbox)
}

/// The messages of a stream, in which nothing is missing.
fn heard(stream: &[u8]) -> Vec<(u64, String)> {
    let stream = std::str::from_utf8(stream).expect("text");
    let (_, lines) = stream.split_once("\r\n\r\n").expect("a head");
    let mut heard = Vec::new();
    for line in lines.lines() {
        let object: Value = serde_json::from_str(line).expect("JSON");
        match object["t"].as_str() {
            Some("msg") => {
                let text = object["text"].as_str().expect("a text").to_owned();
                heard.push((object["seq"].as_u64().expect("a number"), text));
            }
            Some("hello" | "epoch") => assert_eq!(object["missed"], 0, "{object}"),
            _ => {}
        }
    }
    heard
}
