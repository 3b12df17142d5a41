use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::kit::link::Link;
use crate::kit::peer::{Peer, UPGRADE, get};
use crate::kit::program::Program;
use crate::kit::proxy::{Proxy, documented};
use crate::kit::roomd1::{Member, OFFER, me};
use crate::kit::{PATIENCE, eventually};
use crate::redis::Redis;

/// As many that none of two servers has all of them, unless rooms are not spread.
const ROOMS: usize = 24;

/// Two servers, which a proxy may kill the people of.
struct Servers {
    redis: Redis,
    nodes: Vec<Option<Program>>,
    addresses: Vec<SocketAddr>,
}

impl Servers {
    fn start() -> Self {
        let redis = Redis::start();
        let flags = ["--allow-host=chat.example", "--trust-proxy=127.0.0.1", "--log-level=warn"];
        let url = redis.url();
        // Declared, since nobody may make so many.
        let rooms: Vec<_> = (0..ROOMS).map(|n| format!("--room=room{n}")).collect();
        let rooms = rooms.iter().map(String::as_str);
        let flags: Vec<&str> = flags.into_iter().chain(["--engine", &url]).chain(rooms).collect();
        let nodes: Vec<_> = (0..2).map(|_| Program::start(&flags)).collect();
        let addresses = nodes.iter().map(|node| node.address).collect();
        Servers { redis, nodes: nodes.into_iter().map(Some).collect(), addresses }
    }

    /// Blocks of the manual for several servers, with the addresses of these.
    fn block(&self, language: &str) -> String {
        let documented_at = ["10.0.1.1:8000", "10.0.1.2:8000"];
        let at: Vec<_> = documented_at.into_iter().zip(self.addresses.iter().copied()).collect();
        documented("### A proxy in front", language, &at)
    }

    /// How many clients each server has.
    fn clients(&self) -> Vec<u64> {
        let count = |node: &Option<Program>| {
            let text = node.as_ref()?.ask(get("/metrics", "")).text().to_owned();
            let name = "roomd_clients{endpoint=\"room\"} ";
            text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok())
        };
        self.nodes.iter().map(|node| count(node).unwrap_or(0)).collect()
    }
}

fn nginx(servers: &Servers) -> Proxy {
    let one = documented("## Reverse proxies", "nginx", &[]);
    let of_location = |line: &&str| {
        let line = line.trim();
        !["location", "proxy_pass", "}"].iter().any(|start| line.starts_with(start))
    };
    let lines: Vec<&str> = one.lines().filter(of_location).collect();
    let several = servers.block("nginx");
    let rest = "# and the other lines of the block for one server";
    assert!(several.contains(rest), "{several}");
    let several = several.replace(rest, &lines.join("\n"));
    Proxy::nginx(&several.replace("server {\n", "server {\nlisten ADDRESS;\n"))
}

fn haproxy(servers: &Servers) -> Proxy {
    let one = documented("## Reverse proxies", "haproxy", &[]);
    let (before, _) = one.split_once("\nbackend ").expect("a backend");
    Proxy::haproxy(&format!("{before}\n{}", servers.block("haproxy")))
}

#[test]
fn nginx_spreads_rooms_and_people_go_on_elsewhere() {
    goes_on_behind(nginx);
}

#[test]
fn haproxy_spreads_rooms_and_people_go_on_elsewhere() {
    goes_on_behind(haproxy);
}

/// A request that publishes under a key: the status, and what is answered.
fn post(proxy: &Proxy, room: &str, key: &str, text: &str) -> (u16, String) {
    let length = text.len();
    let fields =
        format!("Connection: close\r\nIdempotency-Key: {key}\r\nContent-Length: {length}\r\n");
    let request = get(&format!("/{room}?name=pump"), &fields).replacen("GET", "POST", 1) + text;
    let response = Peer::ask(proxy.address, request);
    (response.status, response.text().to_owned())
}

/// A stream of events, behind this cursor.
fn follow(proxy: &Proxy, room: &str, since: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let fields = format!("Last-Event-ID: {since}\r\n");
    stream.write_all(get(&format!("/{room}/sse"), &fields).as_bytes()).expect("it is taken");
    stream
}

/// Reads until this has come, or the response ends, with the connection or in chunks.
fn comes(stream: &mut TcpStream, wanted: &str) -> Result<String, String> {
    let (mut all, mut bytes) = (String::new(), [0; 1024]);
    while !all.contains(wanted) {
        let len = stream.read(&mut bytes).unwrap_or(0);
        all.push_str(&String::from_utf8_lossy(&bytes[..len]));
        if len == 0 || all.ends_with("0\r\n\r\n") {
            return Err(all);
        }
    }
    Ok(all)
}

/// Client `n` comes again, as often as it takes, behind what it has heard.
fn returns(proxy: &Proxy, room: &str, n: u64, name: &str, since: &str) -> Member {
    // A page waits longer than this between two attempts.
    eventually("a server that takes over", || {
        let request = get(&format!("/{room}/ws"), &format!("{UPGRADE}{OFFER}"));
        Link::by(proxy.address, &request, PATIENCE).ok().map(drop)
    });
    let fields = json!({"me": me(n), "name": name, "since": since});
    Member::join(proxy.address, room, fields)
}

fn goes_on_behind(proxy: fn(&Servers) -> Proxy) {
    let mut servers = Servers::start();
    let proxy = proxy(&servers);
    // Two people of each room are at one server, and rooms are at both.
    let mut people = Vec::new();
    let mut home = Vec::new();
    for n in 0..ROOMS {
        let room = format!("room{n}");
        let before = servers.clients();
        for (id, name) in [(1, "Ana"), (2, "Bob")] {
            people.push(Member::named(proxy.address, &room, id, name));
        }
        let now = servers.clients();
        let gained: Vec<_> = now.iter().zip(&before).map(|(now, before)| now - before).collect();
        assert!(gained == [2, 0] || gained == [0, 2], "{room}: {gained:?} came");
        home.push(usize::from(gained[0] == 0));
    }
    let at_first = home.iter().filter(|home| **home == 0).count();
    assert!((1..ROOMS).contains(&at_first), "{at_first} of {ROOMS} rooms are at the first server");
    println!("{at_first} of {ROOMS} rooms are at the first server");

    // A room at the first server, with a stream, and somebody who publishes by requests.
    let n = home.iter().position(|home| *home == 0).expect("a room");
    let room = format!("room{n}");
    let mut bob = people.swap_remove(2 * n + 1);
    let mut ana = people.swap_remove(2 * n);
    let begin = bob.cursor();
    let mut stream = follow(&proxy, &room, &begin);
    ana.publish(1, "one");
    bob.message("one");
    let (status, place) = post(&proxy, &room, "k1", "two");
    assert_eq!(status, 201, "{place}");
    assert_eq!(bob.message("two")["text"], "two");
    ana.message("her own");
    ana.message("two");
    comes(&mut stream, "\"text\":\"two\"").expect("a stream that is not held back");
    assert_eq!(servers.clients()[0], 2 * at_first as u64, "the room is elsewhere");

    // The server is killed. What comes next is answered by the other one.
    let (since, left) = (bob.cursor(), ana.cursor());
    servers.nodes[0] = None;
    assert!(comes(&mut stream, "nothing").is_err(), "the stream of a dead server goes on");
    let again = eventually("a request that is answered", || {
        let (status, place) = post(&proxy, &room, "k1", "two");
        (status != 502 && status != 503).then_some((status, place))
    });
    assert_eq!(again, (200, place), "published again");
    let mut ana = returns(&proxy, &room, 1, "Ana", &left);
    assert_eq!((&ana.hello["missed"], &ana.hello["n"]), (&Value::from(0), &Value::from(1)));
    // She sends again what she may have sent before, and it is not said twice.
    ana.publish(1, "one");
    ana.publish(2, "three");
    assert_eq!(ana.skip_to("msg", "her own")["text"], "three");
    let mut bob = returns(&proxy, &room, 2, "Bob", &since);
    assert_eq!(bob.hello["missed"], 0);
    assert_eq!(bob.replay(), ["three"]);
    let mut stream = follow(&proxy, &room, &begin);
    let events = comes(&mut stream, "\"text\":\"three\"").expect("a stream");
    for text in ["one", "two", "three"] {
        let said = format!("\"text\":\"{text}\"");
        assert_eq!(events.matches(&said).count(), 1, "{text}: {events}");
    }
    let (status, _) = post(&proxy, &room, "k2", "four");
    assert_eq!(status, 201);
    assert_eq!(bob.skip_to("msg", "four")["text"], "four");
    comes(&mut stream, "\"text\":\"four\"").expect("a stream");
    assert_eq!(servers.clients()[1], servers.clients().iter().sum::<u64>());
    drop(servers.redis);
}
