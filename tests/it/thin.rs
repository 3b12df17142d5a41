//! A thin link: a token bucket between the server and all who talk and read.

use std::thread;

use roomd::Config;
use serde_json::{Value, json};

use crate::follow::Stream;
use crate::kit::roomd1::{Member, OFFER};
use crate::network::{connect_at, in_own_network, ip, join_at, own, tc};
use crate::support::{
    Client, Frame, PATIENCE, Peer, TEXT, TestServer, UPGRADE, frame, get, left, numbered, says,
};

/// What the link takes: 2.5 megabytes a second for all readers together.
const RATE: &str = "20mbit";

/// Where the readers are.
const PHONES: &str = "10.99.0.1";

/// A server all of whose connections go through the thin link.
fn behind_a_thin_link(set: impl FnOnce(&mut Config)) -> TestServer {
    own(PHONES);
    // Packets of loopback are larger than the bucket.
    ip("link set lo mtu 1500");
    let server = TestServer::with(|config| {
        config.listen = ([0; 4], 0).into();
        config.limits.rate = 0;
        set(config);
    });
    tc(&format!("qdisc add dev lo root tbf rate {RATE} burst 16kb latency 100ms"));
    server
}

/// What `talkers` and `phones` hear when each talker says `count` texts of `len` bytes: so many frames
/// each, in the order in which they came. The room makes the talkers wait as long as it takes.
fn hear(
    talkers: &mut [Client],
    phones: &mut [Client],
    count: usize,
    len: usize,
    frames: usize,
) -> Vec<Vec<Frame>> {
    thread::scope(|scope| {
        let mut listening = Vec::new();
        for (id, talker) in talkers.iter_mut().enumerate() {
            let mut sending = talker.peer.twin();
            sending.stream.set_write_timeout(Some(3 * PATIENCE)).expect("a timeout");
            scope.spawn(move || {
                (0..count).for_each(|n| sending.send(frame(TEXT, numbered(1000 * id + n, len))));
            });
            listening.push(talker);
        }
        listening.extend(phones);
        let threads = listening.into_iter().map(|client| {
            scope.spawn(move || (0..frames).map(|_| client.message("a message")).collect())
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().expect("all is heard")).collect()
    })
}

/// Everybody heard the same in the same order, and of each talker everything.
fn check(heard: &[Vec<Frame>], talkers: usize, count: usize, len: usize) {
    assert!(heard.windows(2).all(|pair| pair[0] == pair[1]), "they heard another order");
    for id in 0..talkers {
        let start = format!("Client #{id} says: ").into_bytes();
        let of_talker = heard[0].iter().filter(|frame| frame.payload.starts_with(&start));
        let expected =
            (0..count).map(|n| Frame::text(&says(id as i64, &numbered(1000 * id + n, len))));
        assert!(of_talker.cloned().eq(expected), "not all of talker {id} was heard");
    }
}

/// Talkers within the rules, and a link that does not take what they say: everybody hears everything.
#[test]
fn twenty_phones_on_a_thin_link_hear_everything() {
    in_own_network("thin::twenty_phones_on_a_thin_link_hear_everything", || {
        let server = behind_a_thin_link(|_| {});
        let mut phones: Vec<_> = (0..20).map(|id| join_at(&server, PHONES, 100 + id)).collect();
        for (talkers, count, len) in [(1, 150, 4_000), (1, 10, 60_000), (5, 25, 4_000)] {
            let mut talking: Vec<_> = (0..talkers).map(|id| server.join(id as i64)).collect();
            let heard = hear(&mut talking, &mut phones, count, len, talkers * count);
            check(&heard, talkers, count, len);
            drop(talking);
            for phone in &mut phones {
                (0..talkers).for_each(|_| drop(phone.message("a notice")));
            }
        }
    });
}

/// People of `roomd.1` and subscribers over HTTP hear everything on the same link, too.
#[test]
fn people_and_subscribers_on_a_thin_link_hear_everything() {
    in_own_network("thin::people_and_subscribers_on_a_thin_link_hear_everything", || {
        let server = behind_a_thin_link(|_| {});
        let phone = || connect_at(&server, PHONES);
        let mut people: Vec<_> = (0..10)
            .map(|_| {
                let mut peer = phone();
                peer.send(get("/lobby/ws", &format!("{UPGRADE}{OFFER}")));
                Member::greet(peer.upgraded_to(Some("roomd.1")), json!({"history": 0}))
            })
            .collect();
        let mut streams: Vec<_> = ["/lobby/json", "/lobby/sse"]
            .into_iter()
            .cycle()
            .take(10)
            .map(|path| Stream::over(phone(), path, ""))
            .collect();
        let mut talker = server.join(0);
        for (count, len) in [(150, 4_000), (10, 60_000)] {
            let said: Vec<String> = (0..count).map(|n| numbered(n, len)).collect();
            let mut sending = talker.peer.twin();
            sending.stream.set_write_timeout(Some(3 * PATIENCE)).expect("a timeout");
            thread::scope(|scope| {
                scope.spawn(|| said.iter().for_each(|text| sending.send(frame(TEXT, text))));
                scope.spawn(|| said.iter().for_each(|text| talker.hears(&says(0, text))));
                for person in &mut people {
                    scope.spawn(|| {
                        said.iter().for_each(|text| {
                            assert_eq!(person.message("a message")["text"], **text);
                        });
                    });
                }
                for stream in &mut streams {
                    scope
                        .spawn(|| said.iter().for_each(|text| assert!(next_text(stream) == *text)));
                }
            });
        }
    });
}

/// The text of the next message of a stream, whatever else comes before it.
fn next_text(stream: &mut Stream) -> String {
    loop {
        let line = stream.until("\n");
        let Some(begin) = line.find('{') else { continue };
        let object: Value = serde_json::from_str(&line[begin..]).expect("an object");
        if object["t"] == "msg" {
            return object["text"].as_str().expect("a text").to_owned();
        }
    }
}

/// Two that never read stop the room when its log is full. They are closed, and nobody else is.
#[test]
fn those_that_stall_among_phones_are_closed_alone() {
    in_own_network("thin::those_that_stall_among_phones_are_closed_alone", || {
        const COUNT: usize = 400;
        // The log has less than half of what is said.
        let server = behind_a_thin_link(|config| config.limits.max_memory = Some(10 << 20));
        let mut phones: Vec<_> = (0..12).map(|id| join_at(&server, PHONES, 100 + id)).collect();
        let stalled =
            [201, 202].map(|id| Peer::narrow(server.address()).upgrade(&format!("/ws/{id}")));
        let mut talkers = [server.join(0)];
        let heard = hear(&mut talkers, &mut phones, COUNT, 4_000, COUNT + 2);
        check(&heard, 1, COUNT, 4_000);
        let gone = |id| heard[0].contains(&Frame::text(&left(id)));
        assert!(gone(201) && gone(202), "nobody was closed");
        drop(stalled);
    });
}

/// One long text is most of what a small host's room may hold, and no reason to close those who read.
#[test]
fn one_long_text_on_a_small_host_closes_nobody() {
    in_own_network("thin::one_long_text_on_a_small_host_closes_nobody", || {
        const LEN: usize = 64_000;
        let server = behind_a_thin_link(|config| {
            config.limits.max_memory = Some(8 << 20);
            config.limits.max_clients_per_ip = Some(1000);
        });
        let mut phones: Vec<_> = (0..45).map(|id| join_at(&server, PHONES, 100 + id)).collect();
        let mut talkers: Vec<_> = (0..4).map(|id| join_at(&server, PHONES, id)).collect();
        for (saying, count) in [(1, 1), (4, 1)] {
            let (talking, others) = talkers.split_at_mut(saying);
            let heard = hear(talking, &mut phones, count, LEN, saying * count);
            check(&heard, saying, count, LEN);
            for other in others {
                (0..saying * count).for_each(|_| drop(other.message("what others say")));
            }
        }
        talkers[0].says_and_hears(0, "all are here");
        phones.iter_mut().for_each(|phone| phone.hears(&says(0, "all are here")));
    });
}
