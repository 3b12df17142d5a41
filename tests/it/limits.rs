use std::time::{Duration, Instant};

use crate::support::{
    Frame, PING, PONG, TEXT, TestServer, UNMASKED, UPGRADE, eventually, frame, get, says,
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
    let server = TestServer::with(|config| config.limits.max_clients_per_ip = 1);
    let mut clients: Vec<_> = (0..50).map(|id| server.join(id)).collect();
    clients[0].says_and_hears(0, "hello");
    clients[49].hears(&says(0, "hello"));
}

/// Who floods is slowed down to its rate. All that it says is heard, by those whom it can't
/// hinder in saying something meanwhile.
#[test]
fn a_flooder_is_slowed_and_nothing_is_lost() {
    const RATE: usize = 200;
    const FLOOD: usize = 4 * RATE;
    let server = TestServer::with(|config| config.limits.rate = RATE as u32);
    let (mut flooder, mut other) = (server.join(1), server.join(2));
    let flood: Vec<u8> = (0..FLOOD).flat_map(|n| frame(TEXT, n.to_string())).collect();
    let started = Instant::now();
    flooder.send(flood);
    other.say("and I?");
    let heard: Vec<_> = (0..=FLOOD).map(|_| other.next("the flood")).collect();
    // Two seconds of the rate may come at once, and the rest at the rate.
    let slowed = Duration::from_secs(1) * (FLOOD - 2 * RATE) as u32 / RATE as u32;
    assert!(started.elapsed() > slowed * 9 / 10, "it took only {:?}", started.elapsed());
    let own = heard.iter().position(|frame| *frame == Frame::text(&says(2, "and I?")));
    assert!(own.is_some_and(|at| at < FLOOD), "the other one had to wait for the end");
    let flood: Vec<_> = (0..FLOOD).map(|n| Frame::text(&says(1, &n.to_string()))).collect();
    let heard: Vec<_> =
        heard.into_iter().filter(|frame| *frame != Frame::text(&says(2, "and I?"))).collect();
    assert!(heard == flood, "something was lost");
}

#[test]
fn a_flood_of_pings_or_echoes_is_slowed_as_well() {
    const RATE: usize = 200;
    const FLOOD: usize = 3 * RATE;
    for (first, answer) in [(PING, PONG), (TEXT, TEXT)] {
        let server = TestServer::with(|config| config.limits.rate = RATE as u32);
        let mut client = server.echo();
        let started = Instant::now();
        client.send(frame(first, "x").repeat(FLOOD));
        for _ in 0..FLOOD {
            assert_eq!(client.next("an answer").first, answer);
        }
        assert!(started.elapsed() > Duration::from_millis(900), "{:?}", started.elapsed());
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
