//! Rooms by path: their names, who makes them, how many there may be, and that they are apart.

use serde_json::{Value, json};

use crate::support::{
    Member, OFFER, Peer, Program, UPGRADE, eventually, get, knock, left, me, says,
};

fn start(args: &[&str]) -> Program {
    Program::start(&[&["--rate=0"], args].concat())
}

fn handshake(program: &Program, path: &str) -> Peer {
    let mut peer = program.connect();
    peer.send(get(path, &format!("{UPGRADE}{OFFER}")));
    peer
}

fn tutorial(program: &Program, path: &str) -> crate::support::Client {
    program.connect().upgrade(path)
}

#[test]
fn rooms_are_apart() {
    let program = start(&[]);
    let mut lobby = Member::named(program.address, "lobby", 1, "ana");
    let mut lab = Member::named(program.address, "lab", 1, "ana");
    assert_eq!((&lobby.hello["room"], &lab.hello["room"]), (&json!("lobby"), &json!("lab")));
    assert_ne!(lobby.epoch(), lab.epoch());
    let mut seven = tutorial(&program, "/lab/ws/7");
    lab.hears(json!({"t": "join", "by": "#7", "name": "#7", "count": 2}));
    let mut other = program.join(7);
    lobby.hears(json!({"t": "join", "by": "#7", "name": "#7", "count": 2}));
    seven.says_and_hears(7, "in the lab");
    lab.hears_message("#7", "#7", "in the lab");
    other.says_and_hears(7, "in the lobby");
    lobby.hears_message("#7", "#7", "in the lobby");
    lab.says_and_hears("second");
    assert_eq!((lab.seq(), lobby.seq()), (2, 1));
    seven.message("second");
    seven.leave();
    lab.hears(json!({"t": "leave", "by": "#7", "count": 1}));
    lobby.pings();
    other.says_and_hears(7, "nobody left");
}

/// The room at `/` is the lobby, whatever path leads there.
#[test]
fn the_lobby_has_two_paths() {
    let program = start(&[]);
    let mut first = program.join(1);
    let mut second = tutorial(&program, "/lobby/ws/2");
    let mut named = Member::named(program.address, "lobby", 1, "ana");
    assert_eq!(named.hello["count"], 3);
    second.say("hi");
    first.hears(&says(2, "hi"));
    second.hears(&says(2, "hi"));
    named.hears_message("#2", "#2", "hi");
    second.leave();
    first.hears(&left(2));
}

#[test]
fn names_of_rooms_are_folded_without_a_redirect() {
    let program = start(&[]);
    let mut first = Member::named(program.address, "lab", 1, "ana");
    let second = Member::named(program.address, "LaB", 2, "bo");
    assert_eq!((&second.hello["room"], &second.hello["count"]), (&json!("lab"), &json!(2)));
    first.hears(json!({"t": "join", "by": second.you, "name": "bo", "count": 2}));
    let _third = tutorial(&program, "/LAB/ws/7");
    first.skip_to("join", "#7");
    let _fourth = tutorial(&program, "/Lobby/ws/7");
}

#[test]
fn names_of_rooms_have_a_grammar() {
    let program = start(&[]);
    let longest = "r".repeat(64);
    for room in ["a", "7", "0-9_x", "a--_", &longest] {
        let response = handshake(&program, &format!("/{room}/ws"));
        drop(Member::greet(response.upgraded_to(Some("roomd.1")), json!({})));
    }
    let too_long = "r".repeat(65);
    for room in [
        "-a",
        "_a",
        "_rooms",
        "a.b",
        "caf%C3%A9",
        "a%20b",
        "a+b",
        "a/b",
        "",
        &too_long,
        "a~",
        "l%2Fab",
    ] {
        for path in [format!("/{room}/ws"), format!("/{room}/ws/7")] {
            let status = handshake(&program, &path).response().status;
            assert!([400, 404].contains(&status), "{path}: {status}");
        }
    }
    for reserved in ["echo", "invite", "healthz", "metrics", "assets", "ws"] {
        let status = handshake(&program, &format!("/{reserved}/ws")).response().status;
        assert!([400, 404].contains(&status), "{reserved}: {status}");
    }
    // Ids of the tutorial's clients as ever.
    for id in ["seven", "", "7.0", "9223372036854775808"] {
        assert_ne!(handshake(&program, &format!("/lab/ws/{id}")).response().status, 101);
    }
}

#[test]
fn the_page_of_a_room() {
    let program = start(&[]);
    let page = |path: &str| program.ask(get(path, "Accept: text/html,*/*;q=0.8\r\n"));
    let lab = page("/lab");
    assert_eq!(lab.status, 200, "{}", lab.head);
    assert!(lab.text().contains("messageText"));
    for (path, status, location) in [
        ("/Lab", 308, "lab"),
        ("/LAB/", 308, "../lab"),
        ("/lab/", 308, "../lab"),
        ("/lobby", 307, "./"),
    ] {
        let response = page(path);
        assert_eq!(response.status, status, "{path}: {}", response.head);
        let to = response.field("Location").expect("a location");
        // Relative, so that a proxy may put the server under a path.
        assert!(!to.starts_with('/') && !to.contains("://"), "{path}: {to}");
        assert_eq!(resolved(path, to), resolved(path, location), "{path}: {to}");
    }
    let head = program.ask(get("/lab", "Accept: text/html\r\n").replacen("GET", "HEAD", 1));
    assert_eq!((head.status, head.body.len()), (200, 0));
    let options = program.ask(get("/lab", "").replacen("GET", "OPTIONS", 1));
    assert_eq!(options.status, 204, "{}", options.head);
    assert!(options.field("Allow").is_some());
    let foreign = get("/lab", "Origin: https://evil.example\r\n").replacen("GET", "OPTIONS", 1);
    assert_eq!(program.ask(foreign).status, 403);
}

/// The path to which a relative reference leads (RFC 3986 section 5.2, as far as it is used here).
fn resolved(base: &str, reference: &str) -> String {
    let mut parts: Vec<&str> = base.split('/').collect();
    parts.pop();
    for part in reference.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.len() == 1 { "/".into() } else { parts.join("/").replacen("//", "/", 1) }
}

#[test]
fn declared_rooms_are_listed_with_their_titles() {
    let program = start(&["--room=lab=The \"Lab\" 水", "--room=shop"]);
    let lab = Member::named(program.address, "lab", 1, "ana");
    assert_eq!(lab.hello["title"], "The \"Lab\" 水");
    let _hidden = Member::named(program.address, "hidden", 1, "ana");
    let response = program.ask(get("/_rooms", ""));
    assert_eq!(response.status, 200, "{}", response.head);
    assert_eq!(response.field("Content-Type"), Some("application/x-ndjson"));
    let mut rooms: Vec<Value> =
        response.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    rooms.sort_by_key(|room| room["name"].to_string());
    let expected = [("lab", json!("The \"Lab\" 水"), 1), ("shop", rooms[1]["title"].clone(), 0)];
    assert_eq!(rooms.len(), expected.len(), "{rooms:?}");
    for (room, (name, title, count)) in rooms.iter().zip(expected) {
        assert_eq!((&room["name"], &room["count"]), (&json!(name), &json!(count)));
        assert_eq!(room["title"], title);
    }
    let foreign = program.ask(get("/_rooms", "Origin: https://evil.example\r\n"));
    assert_eq!(foreign.status, 403);
}

#[test]
fn closed_rooms_are_the_declared_ones_and_the_lobby() {
    let program = start(&["--rooms=closed", "--room=lab"]);
    Member::named(program.address, "lab", 1, "ana").pings();
    Member::named(program.address, "lobby", 1, "ana").pings();
    for path in ["/shop/ws", "/shop/ws/7"] {
        assert_eq!(handshake(&program, path).response().status, 404, "{path}");
    }
    assert_eq!(program.ask(get("/shop", "Accept: text/html\r\n")).status, 404);
}

/// For one more, the undeclared room that has been empty longest goes; if none is empty, 503.
#[test]
fn there_are_at_most_so_many_rooms() {
    let program = start(&["--max-rooms=4", "--room=lab"]);
    let join = |room: &str| Member::named(program.address, room, 1, "ana");
    // The lobby may count as one of them.
    let mut members = vec![join("lab"), join("lobby")];
    let mut names = vec!["a", "b", "c", "d", "e"].into_iter();
    let refused = loop {
        let room = names.next().expect("there is a bound");
        let mut peer = handshake(&program, &format!("/{room}/ws"));
        match peer.is_refused_with(503) {
            true => break peer.response(),
            false => members.push(Member::greet(peer.upgraded_to(Some("roomd.1")), json!({}))),
        }
    };
    assert!(refused.field("Retry-After").is_some(), "{}", refused.head);
    // Publishing and subscribing make rooms as well.
    let post = get("/another", "Content-Length: 1\r\n").replacen("GET", "POST", 1) + "x";
    for request in [post, get("/another/json", ""), get("/another/text?poll=1", "")] {
        let refused = program.ask(&request);
        refused.refuses(503, "rooms");
        assert!(refused.field("Retry-After").is_some(), "{}", refused.head);
    }
    assert!((4..=5).contains(&members.len()), "{} rooms", members.len());
    // A handshake without a hello holds a place, and gives it back.
    let mut last = members.pop().expect("one");
    last.says_and_hears("kept while there is room");
    last.leave();
    let silent = eventually("a room for a handshake", || {
        let mut peer = handshake(&program, "/silent/ws");
        (!peer.is_refused_with(503)).then(|| peer.upgraded_to(Some("roomd.1")))
    });
    handshake(&program, "/another/ws").response().refuses(503, "");
    silent.leave();
    eventually("the place that was given back", || {
        let mut peer = handshake(&program, "/another/ws");
        (!peer.is_refused_with(503)).then_some(())
    });
    members[0].pings();
}

impl Peer {
    #[track_caller]
    fn is_refused_with(&mut self, status: u16) -> bool {
        self.head_begins_with(&format!("HTTP/1.1 {status} "))
    }
}

/// Programs of the host and proxies come from loopback, which may make ten times as many as others.
#[test]
fn an_address_makes_so_many_rooms_and_is_then_refused() {
    let program = start(&["--max-rooms=100"]);
    let post = |room: &str| {
        let head =
            format!("POST /{room} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi");
        program.ask(head)
    };
    for n in 0..80 {
        assert_eq!(post(&format!("room{n}")).status, 201, "room {n}");
    }
    let refused = post("another");
    refused.refuses(429, "too many rooms");
    assert!(refused.field("Retry-After").is_some(), "{}", refused.head);
    handshake(&program, "/another/ws").response().refuses(429, "too many rooms");
    // Those that are there do not count.
    assert_eq!((post("room3").status, post("lobby").status), (201, 201));
}

/// A small host has four rooms. What one of them does not need the others have: the lobby keeps a long
/// history while it is alone, gives it up for rooms that people are in, and goes on in each case.
#[test]
fn rooms_share_the_memory_of_a_small_host() {
    let program = start(&["--max-memory=8M", "--max-clients=8"]);
    let mut ana = Member::join(program.address, "lobby", json!({"history": 0}));
    let long = "t".repeat(20_000);
    for n in 0..20 {
        ana.says_and_hears(&format!("{n} {long}"));
    }
    let history = |room: &str| {
        let path = format!("/{room}/json?poll=1");
        program
            .ask(get(&path, ""))
            .text()
            .lines()
            .filter(|line| line.contains(r#""t":"msg""#))
            .count()
    };
    let alone = history("lobby");
    assert!(alone >= 8, "{alone} messages of 20 kB are kept");
    let mut others: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|room| Member::join(program.address, room, json!({"history": 0})))
        .collect();
    handshake(&program, "/d/ws").response().refuses(503, "rooms");
    let shared = history("lobby");
    assert!((2..alone).contains(&shared), "{shared} of {alone} are left");
    for member in others.iter_mut().chain([&mut ana]) {
        member.says_and_hears(&"x".repeat(65_536));
        member.says_and_hears(&"y".repeat(65_536));
    }
    assert!(history("lobby") >= 1 && history("a") >= 1);
}

/// What nobody could be given any more keeps no room.
#[test]
fn a_room_without_history_ends_with_its_last_member() {
    let program = start(&["--history=0"]);
    let mut ana = Member::named(program.address, "lab", 1, "ana");
    ana.says_and_hears("gone with the room");
    let epoch = ana.epoch().to_owned();
    ana.leave();
    eventually("another room of this name", || {
        let member = Member::named(program.address, "lab", 2, "bea");
        (member.epoch() != epoch).then_some(())
    });
    let mut lobby = Member::named(program.address, "lobby", 1, "ana");
    lobby.says_and_hears("stays");
    let epoch = lobby.epoch().to_owned();
    lobby.leave();
    assert_eq!(Member::named(program.address, "lobby", 1, "ana").epoch(), epoch);
}

/// Looking at a room makes none.
#[test]
fn the_page_and_head_make_no_room() {
    let program = start(&["--max-rooms=2"]);
    for n in 0..30 {
        let page = program.ask(get(&format!("/room{n}"), "Accept: text/html\r\n"));
        assert_eq!(page.status, 200);
        let head = get(&format!("/room{n}"), "").replacen("GET", "HEAD", 1);
        assert_eq!(program.ask(head).status, 200);
    }
    Member::named(program.address, "lab", 1, "ana").pings();
}

/// A connection is in one room, and the same secret has another tag in each.
#[test]
fn tags_differ_between_rooms() {
    let program = start(&[]);
    let first = Member::join(program.address, "lab", json!({"me": me(1)}));
    let second = Member::join(program.address, "shop", json!({"me": me(1)}));
    assert_ne!(first.you, second.you);
    drop(knock(program.address, "lab"));
}
