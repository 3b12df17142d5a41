use std::env;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use roomd::lan::banner::greeting;

use crate::support::{
    Client, Frame, PATIENCE, Peer, TestServer, UPGRADE, eventually, get, left, says, started_by,
};

/// Set in the process that runs in the network of its own.
const INSIDE: &str = "ROOMD_TEST_NETWORK";

/// Runs `body`, which is that of the test named `name`, in a network of its own: this program is
/// started again there, for that one test.
#[track_caller]
fn in_own_network(name: &str, body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        ip("link set lo up");
        return body();
    }
    let output = started_by(&["unshare", "-rn"], env::current_exe().expect("this program"))
        .args([&format!("network::{name}"), "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("this test needs the program unshare (of util-linux)");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "in a network of its own (unshare -rn) the test failed:\n{said}"
    );
}

/// Changes the network.
#[track_caller]
fn ip(args: &str) {
    // Where it is on Debian, for users whose PATH lacks that.
    let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new("ip")
        .args(args.split(' '))
        .env("PATH", path)
        .output()
        .expect("this test needs the program ip (of iproute2)");
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Gives this machine an address more, which the server sees clients come from.
#[track_caller]
fn own(address: &str) {
    match address.contains(':') {
        true => ip(&format!("addr add {address}/128 dev lo nodad")),
        false => ip(&format!("addr add {address}/32 dev lo")),
    }
}

/// Connects so that the server sees a client from the `address`, which is this machine's.
#[track_caller]
fn connect_at(server: &TestServer, address: &str) -> Peer {
    let address = SocketAddr::new(address.parse().expect("an address"), server.address().port());
    // The kernel knows the way to an IPv6 address only some time after it was added.
    let stream = eventually("a connection", || TcpStream::connect_timeout(&address, PATIENCE).ok());
    Peer::over(stream)
}

#[track_caller]
fn join_at(server: &TestServer, address: &str, id: i64) -> Client {
    connect_at(server, address).upgrade(&format!("/ws/{id}"))
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
    in_own_network("one_address_has_its_share_of_the_places", || {
        own("10.99.0.1");
        own("10.99.0.2");
        let server = TestServer::with(|config| {
            config.listen = ([0; 4], 0).into();
            config.limits.max_clients_per_ip = 2;
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

/// IPv6 gives a machine a whole /64, so that counts as one address.
#[test]
fn a_network_of_ipv6_is_one_address() {
    in_own_network("a_network_of_ipv6_is_one_address", || {
        ["fd00:1::1", "fd00:1::2", "fd00:2::1"].into_iter().for_each(own);
        own("10.99.0.1");
        let server = TestServer::with(|config| {
            config.listen = ([0u16; 8], 0).into();
            config.limits.max_clients_per_ip = 1;
        });
        let _first = join_at(&server, "fd00:1::1", 1);
        is_refused(&server, "fd00:1::2");
        let _second = join_at(&server, "fd00:2::1", 2);
        // An IPv4 client of a socket that serves both is its own address as well.
        let _third = join_at(&server, "10.99.0.1", 3);
        is_refused(&server, "10.99.0.1");
        let _exempt = [join_at(&server, "::1", 4), join_at(&server, "127.0.0.1", 5)];
    });
}

/// One machine that opens connections and asks for nothing leaves room for the others.
#[test]
fn one_address_has_its_share_of_connections() {
    in_own_network("one_address_has_its_share_of_connections", || {
        own("10.99.0.1");
        own("10.99.0.2");
        let server = TestServer::with(|config| {
            config.listen = ([0; 4], 0).into();
            config.limits.max_clients_per_ip = 4;
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

/// A machine on a network: what it says to whom it serves, and what it hands out as a link.
#[test]
fn others_are_invited_to_an_address_of_the_network() {
    in_own_network("others_are_invited_to_an_address_of_the_network", || {
        let invited = |server: &TestServer| {
            let response = server.ask(get("/invite?http://localhost:8000/", ""));
            assert_eq!(response.status, 200);
            assert_eq!(response.field("Content-Type"), Some("application/json"));
            response.is_complete();
            response.text().to_string()
        };
        let server = TestServer::with(|config| config.listen = ([0u16; 8], 0).into());
        let greet = |code| greeting(server.address(), &[], false, code, false);
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
        let said = greeting(server.address(), &[], false, false, false);
        assert!(said.contains("http://10.99.0.1:") && !said.contains("fd00"), "{said}");
    });
}

/// A thousand clients go without a packet, as phones do: the room is told of each of them, once.
#[test]
fn a_thousand_clients_that_vanish_are_missed_once_each() {
    const VANISHING: i64 = 1000;
    in_own_network("a_thousand_clients_that_vanish_are_missed_once_each", || {
        own("10.99.0.1");
        let server = TestServer::with(|config| {
            config.listen = ([0; 4], 0).into();
            config.limits.max_clients_per_ip = VANISHING as usize;
            // Longer than it takes until all of them have come.
            config.limits.ping_interval = Duration::from_secs(5);
            config.limits.ping_timeout = Duration::from_millis(500);
            config.limits.close_timeout = Duration::from_millis(100);
        });
        let mut watcher = join_at(&server, "127.0.0.1", -1);
        let vanishing: Vec<_> =
            (0..VANISHING).map(|id| join_at(&server, "10.99.0.1", id)).collect();
        watcher.says_and_hears(-1, "all are here");
        // Whatever is sent to them is lost from now on, and nothing comes from them.
        ip("addr del 10.99.0.1/32 dev lo");
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

/// A server that is announced answers to its name, with the address that others reach, and is
/// listed with its port; when it stops, it says goodbye.
#[cfg(feature = "mdns")]
#[test]
fn mdns_answers_to_the_name() {
    use std::net::UdpSocket;

    use rustix::net::{self, AddressFamily, SocketType, sockopt};

    /// A question of multicast DNS, and what comes back with it.
    fn ask(socket: &UdpSocket, name: &str, kind: u8) -> Option<Vec<u8>> {
        let mut question = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        question.extend(labels(name));
        question.extend([0, kind, 0, 1]);
        socket.send_to(&question, "224.0.0.251:5353").expect("a way to the network");
        let mut answer = [0; 4096];
        let (len, _) = socket.recv_from(&mut answer).ok()?;
        // Others may ask at the same time, and be answered by several.
        (answer[..2] == [0, 7] && answer[7] > 0).then(|| answer[..len].to_vec())
    }

    fn labels(name: &str) -> Vec<u8> {
        let labels = name.split_inclusive('.').map(|label| label.trim_end_matches('.'));
        let mut bytes: Vec<u8> =
            labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
        bytes.push(0);
        bytes
    }

    /// Beside whoever has the port already.
    fn on_the_port_of_mdns() -> UdpSocket {
        let socket = net::socket(AddressFamily::INET, SocketType::DGRAM, None).expect("a socket");
        sockopt::set_socket_reuseaddr(&socket, true).expect("an option");
        sockopt::set_socket_reuseport(&socket, true).expect("an option");
        net::bind(&socket, &SocketAddr::from(([0; 4], 5353))).expect("the port");
        socket.into()
    }

    fn has(answer: &[u8], part: &[u8]) -> bool {
        answer.windows(part.len()).any(|bytes| bytes == part)
    }

    in_own_network("mdns_answers_to_the_name", || {
        ip("link add lan0 type veth peer name lan1");
        ip("addr add 10.99.0.1/24 dev lan0");
        ip("addr add 10.98.0.1/24 dev lan1");
        ip("link set lan0 up");
        ip("link set lan1 up");
        ip("route add 224.0.0.0/4 dev lan0");
        let server = TestServer::with(|config| {
            config.listen = ([10, 99, 0, 1], 0).into();
            config.mdns = Some("boat".into());
        });
        let socket = UdpSocket::bind("10.99.0.1:0").expect("a port");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let own = eventually("the address", || ask(&socket, "boat.local.", 1));
        assert!(has(&own, &[0, 4, 10, 99, 0, 1]), "{own:?}");
        assert!(!has(&own, &[10, 98, 0, 1]) && !has(&own, &[127, 0, 0, 1]), "{own:?}");
        let listed = eventually("the list", || ask(&socket, "_http._tcp.local.", 12));
        assert!(has(&listed, b"\x04boat"), "{listed:?}");
        let whole = "boat._http._tcp.local.";
        let service = eventually("the service", || ask(&socket, whole, 33));
        let port = server.address().port().to_be_bytes();
        assert!(has(&service, &[0, 0, 0, 0, port[0], port[1]]), "{service:?}");
        // The name is one that the server answers to.
        let mut peer = Peer::over(TcpStream::connect(server.address()).expect("a connection"));
        peer.send("GET / HTTP/1.1\r\nHost: boat.local:8000\r\n\r\n");
        assert_eq!(peer.response().status, 200);

        // Whoever listens hears the goodbye: the address, to be kept for no time.
        let listener = on_the_port_of_mdns();
        listener.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (group, interface) = ([224, 0, 0, 251].into(), [10, 99, 0, 1].into());
        listener.join_multicast_v4(&group, &interface).expect("a group");
        drop(server);
        let goodbye = |packet: &[u8]| has(packet, &[0, 0, 0, 0, 0, 4, 10, 99, 0, 1]);
        let mut packet = [0; 4096];
        loop {
            let len = listener.recv(&mut packet).expect("a goodbye");
            if goodbye(&packet[..len]) {
                break;
            }
        }
        assert_eq!(ask(&socket, "boat.local.", 1), None);
    });
}
