use std::time::Duration;

use crate::support::{
    CLOSE, Client, Frame, PING, PONG, TEXT, TestServer, UNMASKED, UPGRADE, eventually, frame, get,
    says,
};

#[test]
fn no_place_for_another_client_is_503_with_retry_after() {
    let server = TestServer::with(|config| config.limits.max_clients = Some(2));
    // Echo clients and those of the room share the places.
    let (mut member, echo) = (server.join(1), server.echo());
    for path in ["/ws", "/ws/3"] {
        let response = server.ask(get(path, UPGRADE));
        response.refuses(503, "all places are taken");
        let seconds = response.field("Retry-After").and_then(|value| value.parse::<u32>().ok());
        assert!(seconds.is_some_and(|seconds| seconds > 0), "{}", response.head);
    }
    // The page still loads, and what is wrong is still told.
    assert_eq!(server.ask(get("/", "")).status, 200);
    server.ask(get("/ws/x", UPGRADE)).refuses(400, "integer");
    member.says_and_hears(1, "nobody else came");
    echo.leave();
    let mut next = eventually("the place of the one who left", || server.tries_to_join(3));
    next.says_and_hears(3, "my turn");
    member.hears(&says(3, "my turn"));
    server.ask(get("/ws/4", UPGRADE)).refuses(503, "all places are taken");
}

#[test]
fn places_come_back_however_a_client_leaves() {
    let server = TestServer::with(|config| {
        config.limits.max_clients = Some(1);
        config.limits.close_timeout = Duration::from_millis(50);
    });
    for round in 0..40 {
        let mut client = eventually("a place", || server.tries_to_join(round));
        match round % 4 {
            0 => client.leave(),
            1 => client.peer.reset(),
            2 => drop(client),
            _ => {
                client.send(UNMASKED);
                client.is_closed_with(1002);
            }
        }
    }
}

/// Loopback is exempt from the limit per address: a proxy comes from there.
#[test]
fn loopback_may_have_all_the_places() {
    let server = TestServer::with(|config| config.limits.max_clients_per_ip = Some(1));
    let mut clients: Vec<_> = (0..50).map(|id| server.join(id)).collect();
    clients[0].says_and_hears(0, "hello");
    clients[49].hears(&says(0, "hello"));
}

/// All that a flooder says is heard, by those whom it can't hinder in saying something meanwhile.
#[test]
fn nothing_of_a_flood_is_lost_and_others_are_heard() {
    const RATE: usize = 200;
    const FLOOD: usize = 4 * RATE;
    let server = TestServer::with(|config| config.limits.rate = RATE as u32);
    let (mut flooder, mut other) = (server.join(1), server.join(2));
    flooder.send((0..FLOOD).flat_map(|n| frame(TEXT, n.to_string())).collect::<Vec<_>>());
    other.say("and I?");
    let heard: Vec<_> = (0..=FLOOD).map(|_| other.next("the flood")).collect();
    let own = heard.iter().position(|frame| *frame == Frame::text(&says(2, "and I?")));
    assert!(own.is_some_and(|at| at < FLOOD), "the other one had to wait for the end");
    let flood: Vec<_> = (0..FLOOD).map(|n| Frame::text(&says(1, &n.to_string()))).collect();
    let heard: Vec<_> =
        heard.into_iter().filter(|frame| *frame != Frame::text(&says(2, "and I?"))).collect();
    assert!(heard == flood, "something was lost");
}

/// A server that takes one message a second beyond a burst of two, so that the end of a flood comes
/// after any test has given up.
fn crawling() -> TestServer {
    TestServer::with(|config| config.limits.rate = 1)
}

const FLOOD: usize = 1000;

/// How many others come, talk and leave meanwhile: a flood that is not slowed is over by then.
const OTHERS: i64 = 20;

#[test]
fn a_flooder_in_the_room_is_slowed() {
    let server = crawling();
    let mut flooder = server.join(1);
    flooder.send(frame(TEXT, "x").repeat(FLOOD));
    flooder.hears(&says(1, "x"));
    for id in 2..2 + OTHERS {
        let mut other = server.join(id);
        other.say("and I?");
        other.hears_at_last(&says(id, "and I?"));
    }
    server.stop();
    let own = Frame::text(&says(1, "x"));
    let heard = frames_until_1001(&mut flooder).iter().filter(|frame| **frame == own).count();
    assert!(heard < FLOOD / 2, "{heard} of {FLOOD} were taken at once");
}

#[test]
fn a_flood_of_pings_pongs_or_echoes_is_slowed_as_well() {
    for first in [PING, PONG, TEXT] {
        let server = crawling();
        let mut flooder = server.echo();
        flooder.send(frame(first, "x").repeat(FLOOD));
        flooder.say("the end");
        for _ in 0..OTHERS {
            let mut other = server.echo();
            other.say("and I?");
            other.hears("Message text was: and I?");
        }
        server.stop();
        let end = Frame::text("Message text was: the end");
        let heard = frames_until_1001(&mut flooder);
        assert!(!heard.contains(&end), "{FLOOD} frames {first:#x} were taken at once");
    }
}

/// Nor is a message that comes in a thousand pieces cheaper than a thousand messages.
#[test]
fn a_flood_of_fragments_is_slowed_as_well() {
    const BEGINS: u8 = TEXT & 0x0f;
    const GOES_ON: u8 = 0;
    const ENDS: u8 = 0x80;
    for piece in ["", "x"] {
        let server = crawling();
        let mut flooder = server.echo();
        flooder.send(frame(BEGINS, piece));
        flooder.send(frame(GOES_ON, piece).repeat(FLOOD));
        flooder.send(frame(ENDS, piece));
        for _ in 0..OTHERS {
            let mut other = server.echo();
            other.say("and I?");
            other.hears("Message text was: and I?");
        }
        server.stop();
        assert_eq!(frames_until_1001(&mut flooder), [], "{FLOOD} pieces were taken at once");
    }
    // A few are as good as one.
    let server = TestServer::with(|config| config.limits.rate = 100);
    let mut client = server.echo();
    client.send(frame(BEGINS, "in "));
    client.send(frame(GOES_ON, "x").repeat(50));
    client.send(frame(ENDS, " pieces"));
    client.hears(&format!("Message text was: in {} pieces", "x".repeat(50)));
}

/// What a client hears until the server stops.
fn frames_until_1001(client: &mut Client) -> Vec<Frame> {
    let mut heard = Vec::new();
    loop {
        let next = client.next("1001");
        if next.first == CLOSE {
            assert_eq!(next.close_code(), 1001);
            return heard;
        }
        heard.push(next);
    }
}

#[test]
fn a_rate_of_0_is_no_limit() {
    let server = TestServer::with(|config| config.limits.rate = 0);
    let mut client = server.join(1);
    const MANY: usize = 5000;
    client.send((0..MANY).flat_map(|n| frame(TEXT, n.to_string())).collect::<Vec<_>>());
    client.hears_all((0..MANY).map(|n| says(1, &n.to_string())));
}
