use std::env;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use roomd::lan::banner::greeting;
use rustix::net::{AddressFamily, SocketType};

use crate::support::{
    Client, Frame, PATIENCE, PING, PONG, Peer, TestServer, UPGRADE, eventually, frame, get,
    in_own_namespace, left, says, take,
};

/// Runs `body`, which is that of the test with this path, in a network of its own.
#[track_caller]
pub fn in_own_network(name: &str, body: impl FnOnce()) {
    in_own_namespace("-rn", name, || {
        ip("link set lo up");
        body();
    });
}

#[track_caller]
pub fn ip(args: &str) {
    run("ip", args);
}

/// Changes what the kernel does with packets on their way.
#[track_caller]
pub fn tc(args: &str) {
    run("tc", args);
}

#[track_caller]
fn run(program: &str, args: &str) {
    // Where it is on Debian, for users whose PATH lacks that.
    let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(program)
        .args(args.split_whitespace())
        .env("PATH", path)
        .output()
        .unwrap_or_else(|error| panic!("this test needs {program} (of iproute2): {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args}: {said}");
}

/// Gives this machine an address more, which the server sees clients come from.
#[track_caller]
pub fn own(address: &str) {
    match address.contains(':') {
        true => ip(&format!("addr add {address}/128 dev lo nodad")),
        false => ip(&format!("addr add {address}/32 dev lo")),
    }
}

/// Connects so that the server sees a client from the `address`, which is this machine's.
#[track_caller]
pub fn connect_at(server: &TestServer, address: &str) -> Peer {
    let address = SocketAddr::new(address.parse().expect("an address"), server.address().port());
    // The kernel knows the way to an IPv6 address only some time after it was added.
    let stream = eventually("a connection", || TcpStream::connect_timeout(&address, PATIENCE).ok());
    Peer::over(stream)
}

#[track_caller]
pub fn join_at(server: &TestServer, address: &str, id: i64) -> Client {
    connect_at(server, address).upgrade(&format!("/ws/{id}"))
}

/// Answers the pings to all clients whose streams come, until no more can come.
fn answer_pings(come: &mpsc::Receiver<TcpStream>) {
    let mut clients: Vec<(TcpStream, Vec<u8>)> = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let next = Instant::now() + Duration::from_millis(100);
        loop {
            match come.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(stream) => {
                    stream.set_nonblocking(true).expect("a socket");
                    clients.push((stream, Vec::new()));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => break,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
        for (stream, received) in &mut clients {
            while let Ok(read @ 1..) = stream.read(&mut chunk) {
                received.extend_from_slice(&chunk[..read]);
            }
            let mut rest = &received[..];
            while let Some((first, payload)) = take(&mut rest).expect("whole frames") {
                if first == PING {
                    // One that has vanished meanwhile does not send it.
                    let _ = stream.write_all(&frame(PONG, payload));
                }
            }
            received.drain(..received.len() - rest.len());
        }
    }
}

#[track_caller]
fn is_refused(server: &TestServer, address: &str) {
    let mut peer = connect_at(server, address);
    peer.send(get("/ws/7", UPGRADE));
    let response = peer.response();
    response.refuses(503, "your address");
    assert!(response.field("Retry-After").is_some(), "{}", response.head);
}

#[test]
fn one_address_has_its_share_of_the_places() {
    in_own_network("network::one_address_has_its_share_of_the_places", || {
        own("10.99.0.1");
        own("10.99.0.2");
        let server = TestServer::with(|config| {
            config.listen = ([0; 4], 0).into();
            config.limits.max_clients_per_ip = Some(2);
        });
        let mut first = join_at(&server, "10.99.0.1", 1);
        let mut second = join_at(&server, "10.99.0.1", 2);
        is_refused(&server, "10.99.0.1");
        let mut other = join_at(&server, "10.99.0.2", 3);
        let _exempt: Vec<_> = (0..5).map(|id| join_at(&server, "127.0.0.1", id)).collect();
        first.says_and_hears(1, "still here");
        other.hears(&says(1, "still here"));
        second.hears(&says(1, "still here"));
        second.leave();
        eventually("the place of the one who left", || {
            let mut peer = connect_at(&server, "10.99.0.1");
            peer.send(get("/ws/4", UPGRADE));
            peer.upgraded_unless_full()
        });
    });
}

/// By whatever request: publishing, subscribing or joining.
#[test]
fn one_address_makes_eight_rooms_at_once() {
    in_own_network("network::one_address_makes_eight_rooms_at_once", || {
        own("10.99.0.1");
        own("10.99.0.2");
        let server = TestServer::with(|config| {
            config.listen = ([0; 4], 0).into();
            config.rooms = vec![("declared".into(), None)];
        });
        let publish = |address: &str, room: &str| {
            let mut peer = connect_at(&server, address);
            let head =
                format!("POST /{room} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx");
            peer.send(head);
            peer.response()
        };
        for n in 0..8 {
            assert_eq!(publish("10.99.0.1", &format!("r{n}")).status, 201, "{n}");
        }
        let handshake = format!("{UPGRADE}Sec-WebSocket-Protocol: roomd.1\r\n");
        for request in [get("/r8/json", ""), get("/r8/ws/1", UPGRADE), get("/r8/ws", &handshake)] {
            let mut peer = connect_at(&server, "10.99.0.1");
            peer.send(request);
            let response = peer.response();
            response.refuses(429, "too many rooms");
            let wait = response.field("Retry-After").and_then(|wait| wait.parse::<u64>().ok());
            assert!((1..=60).contains(&wait.expect("a number of seconds")), "{}", response.head);
        }
        publish("10.99.0.1", "r8").refuses(429, "too many rooms");
        // Those that are there, or always are, and those of others.
        for (address, room) in [
            ("10.99.0.1", "r0"),
            ("10.99.0.1", "declared"),
            ("10.99.0.1", "lobby"),
            ("10.99.0.2", "r8"),
            ("10.99.0.1", "r8"),
        ] {
            assert_eq!(publish(address, room).status, 201, "{room}");
        }
        for n in 0..20 {
            assert_eq!(publish("127.0.0.1", &format!("l{n}")).status, 201, "loopback makes more");
        }
    });
}

/// A subscriber may have many tabs or scripts, but not all the places of its address.
#[test]
fn one_address_has_sixteen_streams() {
    in_own_network("network::one_address_has_sixteen_streams", || {
        own("10.99.0.1");
        own("10.99.0.2");
        let server = TestServer::with(|config| {
            config.listen = ([0; 4], 0).into();
            config.limits.max_clients_per_ip = Some(99);
        });
        let ask = |address: &str, path: &str| {
            let mut peer = connect_at(&server, address);
            peer.send(get(path, ""));
            peer
        };
        let stream = |address, path| {
            let mut peer = ask(address, path);
            peer.head_begins_with("HTTP/1.1 200 ").then_some(peer)
        };
        let formats = ["/lab/json", "/lab/sse", "/lab", "/lab/json?poll=1&wait=60"];
        let mut open: Vec<_> = (0..16)
            .map(|n| stream("10.99.0.1", formats[n % 4]).expect("one of the first sixteen"))
            .collect();
        for path in ["/lab/json", "/lab", "/lab/text?poll=1"] {
            let response = ask("10.99.0.1", path).response();
            response.refuses(503, "your address");
            assert_eq!(response.field("Retry-After"), Some("5"), "{path}");
        }
        // An EventSource would not come again after a 503.
        let full = ask("10.99.0.1", "/lab/sse").response();
        assert_eq!((full.status, full.text()), (200, "retry: 15000\nevent: full\ndata: {}\n\n"));
        let mut client = join_at(&server, "10.99.0.1", 1);
        client.says_and_hears(1, "a WebSocket is none of them");
        open.push(stream("10.99.0.2", "/lab/json").expect("another address has its own"));
        let exempt = || stream("127.0.0.1", "/lab/json").expect("loopback is exempt");
        open.extend((0..17).map(|_| exempt()));
        drop(open.remove(0));
        open.push(eventually("the place of the one that left", || {
            stream("10.99.0.1", "/lab/json")
        }));
    });
}

/// Asks for a WebSocket over IPv6 from one address of this machine at another.
#[track_caller]
fn joins_from(server: &TestServer, from: &str, to: &str) -> Option<Client> {
    let end = |ip: &str, port| SocketAddr::new(ip.parse().expect("an address"), port);
    let stream = eventually("a connection", || {
        let socket = rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, None).ok()?;
        rustix::net::bind(&socket, &end(from, 0)).ok()?;
        rustix::net::connect(&socket, &end(to, server.address().port())).ok()?;
        Some(TcpStream::from(socket))
    });
    let mut peer = Peer::over(stream);
    peer.send(get("/ws/1", UPGRADE));
    peer.upgraded_unless_full()
}

/// IPv6 gives a customer a whole /64, so that counts as one address; but on a network of this host each
/// machine has one of its own.
#[test]
fn an_ipv6_network_is_one_address_unless_this_host_is_on_it() {
    in_own_network("network::an_ipv6_network_is_one_address_unless_this_host_is_on_it", || {
        ["fd00:1::1", "fd00:1::2", "fd00:2::1"].into_iter().for_each(own);
        // On a network by the prefix of an interface, and by the address that is connected to.
        ip("addr add fd00:5::1/64 dev lo nodad");
        ["fd00:5::2", "fd00:9::1", "fd00:9::2", "fd00:9::3"].into_iter().for_each(own);
        own("10.99.0.1");
        let server = TestServer::with(|config| {
            config.listen = ([0u16; 8], 0).into();
            config.limits.max_clients_per_ip = Some(1);
        });
        let joins = |from| joins_from(&server, from, "fd00:9::1");
        let _strangers = [joins("fd00:1::1").expect("a slot"), joins("fd00:2::1").expect("a slot")];
        assert!(joins("fd00:1::2").is_none(), "it is of a network that has its client");
        let neighbours = ["fd00:5::1", "fd00:5::2", "fd00:9::2", "fd00:9::3"];
        let _neighbours = neighbours.map(|from| joins(from).expect("a slot"));
        for again in neighbours {
            assert!(joins(again).is_none(), "{again} has its client");
        }
        // An IPv4 client of a socket that serves both is its own address as well.
        let _ipv4 = join_at(&server, "10.99.0.1", 3);
        is_refused(&server, "10.99.0.1");
        let _exempt = [join_at(&server, "::1", 4), join_at(&server, "127.0.0.1", 5)];
    });
}

/// On a small host, too, one address leaves half of the slots to others.
#[test]
fn one_address_gets_half_of_the_slots_at_most() {
    in_own_network("network::one_address_gets_half_of_the_slots_at_most", || {
        own("10.99.0.1");
        own("10.99.0.2");
        let fill = |server: &TestServer, address: &str| {
            let client = |id| {
                let mut peer = connect_at(server, address);
                peer.send(get(&format!("/ws/{id}"), UPGRADE));
                peer.upgraded_unless_full()
            };
            (0..).map_while(client).collect::<Vec<_>>()
        };
        let small = |max_clients_per_ip| {
            TestServer::with(|config| {
                config.listen = ([0; 4], 0).into();
                config.limits.max_memory = Some(8 << 20);
                config.limits.max_clients_per_ip = max_clients_per_ip;
            })
        };
        let server = small(None);
        let greedy = fill(&server, "10.99.0.1");
        is_refused(&server, "10.99.0.1");
        // Connections that ask for nothing do not take the rest, either.
        let _idle: Vec<_> = (0..64).map(|_| connect_at(&server, "10.99.0.1")).collect();
        let others = fill(&server, "10.99.0.2");
        assert!(greedy.len() > 5 && others.len() == greedy.len(), "{}", others.len());
        // The flag wins.
        let all = fill(&small(Some(1000)), "10.99.0.1");
        assert!(all.len() >= 2 * greedy.len(), "{} of {}", all.len(), greedy.len());
    });
}

/// One machine that opens connections and asks for nothing leaves room for the others.
#[test]
fn one_address_has_its_share_of_connections() {
    in_own_network("network::one_address_has_its_share_of_connections", || {
        own("10.99.0.1");
        own("10.99.0.2");
        let server = TestServer::with(|config| {
            config.listen = ([0; 4], 0).into();
            config.limits.max_clients_per_ip = Some(4);
        });
        let crowd: Vec<_> = (0..4 + 32).map(|_| connect_at(&server, "10.99.0.1")).collect();
        is_refused(&server, "10.99.0.1");
        join_at(&server, "10.99.0.2", 1).says_and_hears(1, "here is room");
        drop(crowd);
        eventually("room for the first again", || {
            let mut peer = connect_at(&server, "10.99.0.1");
            peer.send(get("/ws/4", UPGRADE));
            peer.upgraded_unless_full()
        });
    });
}

/// Connections are free, so that one who comes again and again has the rate of its address.
#[test]
fn one_address_has_its_rate_whatever_number_of_connections_it_makes() {
    in_own_network(
        "network::one_address_has_its_rate_whatever_number_of_connections_it_makes",
        || {
            own("10.99.0.1");
            own("10.99.0.2");
            let server = TestServer::with(|config| {
                config.listen = ([0; 4], 0).into();
                config.limits.rate = 1;
                config.limits.close_timeout = Duration::from_millis(100);
            });
            let mut watcher = join_at(&server, "127.0.0.1", 0);
            let begin = Instant::now();
            // Each says what its own burst allows, and goes.
            let mut guests = |address, count| {
                for id in 1..=count {
                    let mut guest = join_at(&server, address, id);
                    for text in ["one", "two"] {
                        guest.says_and_hears(id, text);
                        watcher.hears(&says(id, text));
                    }
                    guest.leave();
                    watcher.hears(&left(id));
                }
                begin.elapsed()
            };
            let time = guests("10.99.0.1", 30);
            // Of 60 messages 20 are a burst, and the others come at 10 a second.
            assert!(time >= Duration::from_secs(3), "60 messages took {time:?}");
            // Others have a rate of their own, and are not slowed.
            join_at(&server, "10.99.0.2", 50).says_and_hears(50, "and I?");
        },
    );
}

/// Above the rate a handshake, for the room or the echo, has its turn later, or none; others join.
#[test]
fn an_address_that_joins_too_often_waits_and_gets_429() {
    in_own_network("network::an_address_that_joins_too_often_waits_and_gets_429", || {
        own("10.99.0.1");
        own("10.99.0.2");
        let server = TestServer::with(|config| {
            config.listen = ([0; 4], 0).into();
            config.limits.rate = 100;
            config.limits.max_clients_per_ip = Some(1000);
        });
        let ask = |path: &str| {
            let mut peer = connect_at(&server, "10.99.0.1");
            peer.send(get(path, UPGRADE));
            peer
        };
        let begin = Instant::now();
        let crowd: Vec<_> = (0..950).map(|n| ask(["/ws", "/ws/1"][n % 2])).collect();
        // All of them wait at the same time, each in a slot of its own.
        join_at(&server, "10.99.0.2", 2).says_and_hears(2, "others join at once");
        // Who has to go is not said: the threads of so many begin in any order.
        let (mut admitted, mut refused) = (Vec::new(), Vec::new());
        for mut peer in crowd {
            if peer.head_begins_with("HTTP/1.1 429 ") {
                refused.push(peer.response());
            } else {
                admitted.push(peer.upgraded());
            }
        }
        let took = begin.elapsed();
        assert!(took >= Duration::from_secs(5), "they got no time to have their turn");
        let most = 200 + 50 * (took.as_secs() as usize + 1);
        assert!((300..=most).contains(&admitted.len()), "{} in {took:?}", admitted.len());
        for response in refused {
            response.refuses(429, "joins too often");
            assert_eq!(response.field("Retry-After"), Some("5"), "{}", response.head);
        }
    });
}

/// A join that waits notices when its client goes: its slot is free again, and its turn too.
#[test]
fn a_join_that_waits_notices_that_its_client_has_gone() {
    in_own_network("network::a_join_that_waits_notices_that_its_client_has_gone", || {
        own("10.99.0.1");
        let server = TestServer::with(|config| {
            config.listen = ([0; 4], 0).into();
            config.limits.rate = 100;
            config.limits.max_clients_per_ip = Some(1000);
        });
        for _ in 0..4 {
            let crowd: Vec<_> = (0..300)
                .map(|_| {
                    let mut peer = connect_at(&server, "10.99.0.1");
                    peer.send(get("/ws", UPGRADE));
                    peer
                })
                .collect();
            drop(crowd);
        }
        // Had each of them its turn, this one would get 429.
        join_at(&server, "10.99.0.1", 1).says_and_hears(1, "they are gone");
    });
}

/// A machine on a network: what it says to whom it serves, and what it hands out as a link.
#[test]
fn others_are_invited_to_an_address_of_the_network() {
    in_own_network("network::others_are_invited_to_an_address_of_the_network", || {
        let invited = |server: &TestServer| {
            let response = server.ask(get("/invite?http://localhost:8000/", ""));
            assert_eq!(response.status, 200);
            assert_eq!(response.field("Content-Type"), Some("application/json"));
            response.is_complete();
            response.text().to_string()
        };
        let server = TestServer::with(|config| config.listen = ([0u16; 8], 0).into());
        let greet = |code| greeting(server.address(), false, code, false);
        assert_eq!(invited(&server), "{}");
        assert!(greet(true).contains("is on none") && greet(true).contains("no QR code"));
        // An address that came later, as one does from a router, is known at once.
        ["fd00:1::1", "9.9.9.9", "10.99.0.1", "169.254.1.1"].into_iter().for_each(own);
        let port = server.address().port();
        let urls = ["10.99.0.1", "9.9.9.9", "[fd00:1::1]", "169.254.1.1"]
            .map(|host| format!("http://{host}:{port}/"));
        let start = format!(r#"{{"url":"{}","code":"#, urls[0]);
        assert!(invited(&server).starts_with(&start), "{}", invited(&server));
        let said = greet(false);
        assert_eq!(said.lines().skip(1).map(str::trim).collect::<Vec<_>>(), urls, "{said}");
        assert!(greet(true).starts_with(&said) && greet(true).contains('█'));
        for url in &urls {
            let address = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix('/'));
            let address: SocketAddr = address.and_then(|it| it.parse().ok()).expect("an address");
            connect_at(&server, &address.ip().to_string()).upgrade("/ws/1");
        }
        let server = TestServer::with(|config| config.listen = ([0; 4], 0).into());
        let said = greeting(server.address(), false, false, false);
        assert!(said.contains("http://10.99.0.1:") && !said.contains("fd00"), "{said}");
    });
}

/// A thousand clients go without a packet, as phones do: the room is told of each of them, once.
#[test]
fn a_thousand_clients_that_vanish_are_missed_once_each() {
    const VANISHING: i64 = 1000;
    in_own_network("network::a_thousand_clients_that_vanish_are_missed_once_each", || {
        own("10.99.0.1");
        let server = TestServer::with(|config| {
            config.listen = ([0; 4], 0).into();
            config.limits.max_clients_per_ip = Some(VANISHING as usize);
            config.limits.ping_interval = Duration::from_secs(4);
            // A machine that is busy may take its time to answer for a thousand.
            config.limits.ping_timeout = Duration::from_secs(4);
            config.limits.close_timeout = Duration::from_millis(100);
        });
        let (here, come) = mpsc::channel();
        // They answer pings until they vanish.
        let answering = thread::spawn(move || answer_pings(&come));
        let join = |id| {
            let client = join_at(&server, "10.99.0.1", id);
            here.send(client.peer.stream.try_clone().expect("a descriptor")).expect("a thread");
            client
        };
        let vanishing: Vec<_> = (0..VANISHING).map(join).collect();
        let mut watcher = join_at(&server, "127.0.0.1", -1);
        watcher.says_and_hears(-1, "all are here");
        // Whatever is sent to them is lost from now on, and nothing comes from them.
        ip("addr del 10.99.0.1/32 dev lo");
        drop(here);
        answering.join().expect("no panic");
        let mut missed = vec![false; VANISHING as usize];
        for _ in 0..VANISHING {
            let so_far = missed.iter().filter(|missed| **missed).count();
            let heard = watcher.message(&format!("news after {so_far} that were missed"));
            let id = (0..VANISHING).find(|id| heard == Frame::text(&left(*id)));
            let id = id.unwrap_or_else(|| panic!("heard {heard:?}")) as usize;
            assert!(!std::mem::replace(&mut missed[id], true), "{id} left twice");
        }
        watcher.says_and_hears(-1, "all are gone");
        drop(vanishing);
    });
}
