//! The fence, checked by shuttle: somebody loses a connection with messages on their way, comes again with
//! the same secret, and sends again what was not accepted. In whichever order the steps of both
//! connections happen, each text is heard once and in order.
//!
//! The hub, the outboxes, the log and its flow control are the real ones. The inbox is a model.

use std::collections::VecDeque;

use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use super::fuzz_target::{Guest, join, moment, room_within};
use super::*;
use crate::config::budget::LogBounds;
use crate::history::flow::Turn;
use crate::net::slots::ConnId;
use crate::outbox::encoding::Encoding;
use crate::outbox::fuzz_target::Socket;
use crate::room::event::Farewell;
use crate::room::hello::Hello;
use crate::room::identity::Identity;
use crate::wire::tag::Tag;

/// Orders of steps that are tried, by chance and by few preemptions (PCT).
const ORDERS: usize = 4_000;
const PREEMPTIONS: usize = 3;

/// So many texts does the person say, over so many connections.
const TEXTS: u64 = 4;
const CONNECTIONS: u64 = 3;

/// The inbox of the hub, and who waits for what it does.
#[derive(Default)]
struct World {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    inbox: VecDeque<Event<Arc<Socket>>>,
    /// Nobody sends any more.
    is_over: bool,
}

impl World {
    fn send(&self, event: Event<Arc<Socket>>) {
        self.state.lock().unwrap().inbox.push_back(event);
        self.news.notify_all();
    }

    /// What the hub's thread does, one event or all that are there at a time.
    fn run(&self, hub: &mut Hub<Arc<Socket>>) {
        let mut state = self.state.lock().unwrap();
        loop {
            if state.inbox.is_empty() {
                if state.is_over {
                    return;
                }
                state = self.news.wait(state).unwrap();
                continue;
            }
            let events = std::mem::take(&mut state.inbox);
            drop(state);
            events.into_iter().for_each(|event| hub.handle(event));
            hub.flush();
            state = self.state.lock().unwrap();
            self.news.notify_all();
        }
    }

    /// Waits for the answer to a hello: the greatest number that was accepted.
    fn accepted(&self, guest: &Guest) -> u64 {
        let mut state = self.state.lock().unwrap();
        loop {
            let got = String::from_utf8_lossy(&guest.got()).into_owned();
            if got.contains(r#""t":"hello""#) {
                let n = got.split_once(r#""n":"#).expect("hello has n").1;
                return n.split(',').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            }
            state = self.news.wait(state).unwrap();
        }
    }
}

/// One connection of the person: it comes, and sends what was not accepted before.
fn talk(world: &World, room: &Arc<RoomInfo>, conn: ConnId, guest: &Guest) {
    let identity = Identity { mac: [7; 32], tag: Tag(*b"abcdefgh"), num: 7 };
    let hello = Hello { identity, name: None, since: None, history: 0, who: false, hear: true };
    let who = Newcomer::Person(Box::new(hello));
    let (outbox, at) = (guest.outbox.clone(), moment());
    world.send(Event::Join { room: room.clone(), conn, who, outbox, at });
    let mut turn = Turn::default();
    for n in world.accepted(guest) + 1..=TEXTS {
        let credit = room.log.credit(chunk::cost(1), &mut turn, || true).expect("credit");
        let (room, text) = (room.id, n.to_string().into());
        world.send(Event::Broadcast { room, conn, text, n, at, credit });
    }
}

fn lose_connections() {
    let (world, room) = (Arc::new(World::default()), room_within(LogBounds::new(1 << 16, 1000)));
    let witness = Guest::new();
    let mut hub = Hub::new();
    hub.handle(join(&room, 0, 1, &witness));
    let hub_thread = {
        let world = world.clone();
        thread::spawn(move || {
            world.run(&mut hub);
            hub
        })
    };
    let guests: Vec<Guest> = (0..CONNECTIONS).map(|_| Guest::speaking(Encoding::Roomd1)).collect();
    let mut sessions = Vec::new();
    for (conn, guest) in (1..).zip(guests.clone()) {
        // The person gives up on one connection once it was welcome there, whatever is on its way.
        let is_last = conn == CONNECTIONS;
        let session = thread::spawn({
            let (world, room, guest) = (world.clone(), room.clone(), guest.clone());
            move || {
                talk(&world, &room, conn, &guest);
                if !is_last {
                    // Its server notices later that it is gone.
                    let farewell = Farewell { frames: None, is_lost: true };
                    world.send(Event::Leave { room: room.id, conn, farewell });
                }
            }
        });
        world.accepted(&guest);
        // This one may have left again by now.
        assert!(room.count() <= 2, "a ghost is in the room");
        sessions.push(session);
    }
    sessions.into_iter().for_each(|session| session.join().unwrap());
    world.state.lock().unwrap().is_over = true;
    world.news.notify_all();
    drop(hub_thread.join().unwrap());
    let got = String::from_utf8_lossy(&witness.got()).into_owned();
    let heard: Vec<_> = got.split("says: ").skip(1).map(|text| &text[..1]).collect();
    assert_eq!(heard, ["1", "2", "3", "4"], "{got:?}");
    assert!(!guests[CONNECTIONS as usize - 1].is_closed(), "the last one stays");
    assert_eq!(room.log.flow.in_flight(), 0, "credit is lost");
}

#[test]
fn each_text_of_one_who_comes_again_is_heard_once_and_in_order() {
    shuttle::check_random(lose_connections, ORDERS);
    shuttle::check_pct(lose_connections, ORDERS, PREEMPTIONS);
}
