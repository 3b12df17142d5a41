//! roomd behind the real proxies, set up with the blocks of docs/operating.md.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use kit::PATIENCE;
use kit::peer::{Client, Peer, UPGRADE, get, says};
use kit::proxy::{Proxy, documented};
use kit::server::TestServer;
use rustix::net::{AddressFamily, SocketType};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Error, Message, WebSocket};

#[path = "../kit/mod.rs"]
mod kit;

/// The public name in docs/operating.md.
const NAME: &str = "chat.example";

#[test]
fn nginx_as_documented() {
    let room = room(&[NAME]);
    let proxy = nginx(room.address());
    works_behind(&proxy, "/chat");
}

#[test]
fn a_public_name_has_to_be_allowed() {
    let room = room(&[]);
    let proxy = nginx(room.address());
    let page = ask(&proxy, "/chat/", NAME);
    assert!(page.starts_with("HTTP/1.1 403 ") && page.contains("--allow-host"), "{page}");
    let refused = join(&proxy, "/chat/ws/1", NAME, None).expect_err("a name that is not allowed");
    assert_eq!(refused.0, 403);
    assert!(refused.1.contains("--allow-host"), "{}", refused.1);
}

#[test]
fn caddy_as_documented() {
    let room = room(&[NAME]);
    let proxy = caddy(room.address());
    works_behind(&proxy, "");
}

#[test]
fn haproxy_as_documented() {
    let room = room(&[NAME]);
    let proxy = haproxy(room.address());
    works_behind(&proxy, "");
}

#[test]
fn clients_of_nginx_have_limits_of_their_own() {
    let room = trusting_room();
    limits_are_the_clients(&room, &nginx(room.address()), "/chat");
}

#[test]
fn clients_of_caddy_have_limits_of_their_own() {
    let room = trusting_room();
    limits_are_the_clients(&room, &caddy(room.address()), "");
}

#[test]
fn clients_of_haproxy_have_limits_of_their_own() {
    let room = trusting_room();
    limits_are_the_clients(&room, &haproxy(room.address()), "");
}

/// Two proxies in a row, both trusted.
#[test]
fn clients_of_a_chain_of_proxies_have_limits_of_their_own() {
    let room = trusting_room();
    let inner = haproxy_behind_another(room.address());
    limits_are_the_clients(&room, &nginx(inner.address), "/chat");
}

/// A server with two places for one address, which trusts the proxies of this machine.
fn trusting_room() -> TestServer {
    TestServer::with(|config| {
        config.allow_host = vec![NAME.into()];
        config.trust_proxy = vec!["127.0.0.1".parse().expect("an address")];
        config.limits.max_clients_per_ip = Some(2);
    })
}

/// Two machines behind a proxy have two places each, whatever fields they make up.
fn limits_are_the_clients(room: &TestServer, proxy: &Proxy, path: &str) {
    let knock = |from: u8, fields: &str| {
        let mut peer = Peer::over(connect_from(Ipv4Addr::new(127, 0, 0, from), proxy.address));
        let fields = format!("{UPGRADE}{fields}");
        peer.send(get(&format!("{path}/ws/{from}"), &fields).replace("localhost", &host(proxy)));
        peer
    };
    let join = |from| -> Client { knock(from, "").upgraded() };
    // The proxy keeps the connection for another request.
    let is_refused = |from, fields: &str| {
        comes(&mut knock(from, fields).stream, "your address has all the places");
    };
    let mut first = [join(5), join(5)];
    let mut second = join(6);
    for made_up in [
        "",
        "X-Forwarded-For: 192.0.2.9\r\n",
        "X-Forwarded-For: 127.0.0.1\r\n",
        "X-Forwarded-For: unknown\r\n",
        "X-Forwarded-For: \"\r\n",
        "X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-For: 192.0.2.9\r\n",
        "Forwarded: for=192.0.2.9\r\n",
        "Forwarded: for=\"\r\n",
        "Forwarded: for=192.0.2.9\r\nX-Forwarded-For: 192.0.2.9\r\n",
        "x_forwarded_for: 192.0.2.9\r\n",
    ] {
        is_refused(5, made_up);
    }
    let mut third = join(6);
    is_refused(6, "");
    for (id, client) in [(5, &mut first[0]), (6, &mut second), (6, &mut third)] {
        client.say("here");
        client.hears_at_last(&says(id, "here"));
    }
    // The proxy's own requests, without a client, still have places.
    assert_eq!(room.ask(get("/healthz", "")).status, 200);
}

/// A connection from this address of loopback, as a machine of its own.
fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((from, 0))).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The page loads with all that belongs to it, clients join and talk, and another site's page is
/// not let in.
fn works_behind(proxy: &Proxy, path: &str) {
    let host = host(proxy);
    let load = |file: &str| {
        let response = ask(proxy, &format!("{path}/{file}"), &host);
        assert!(response.starts_with("HTTP/1.1 200 "), "{file}: {response}");
        response
    };
    let page = load("");
    assert!(page.contains("messageText"), "{page}");
    let parts: Vec<_> = page.split('"').filter(|value| value.starts_with("assets/")).collect();
    assert!(parts.len() >= 3, "style, script and icon: {page}");
    parts.into_iter().chain(["echo"]).for_each(|part| drop(load(part)));
    let missing = ask(proxy, &format!("{path}/no.thing"), &host);
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");

    let own = format!("http://{host}");
    let mut page = join(proxy, &format!("{path}/ws/7"), &host, Some(&own)).expect("the own page");
    let mut program = join(proxy, &format!("{path}/ws/8"), &host, None).expect("a program");
    for text in ["hello", "", "你好"] {
        program.send(text.into()).unwrap();
        for client in [&mut page, &mut program] {
            assert_eq!(client.read().unwrap(), Message::text(format!("Client #8 says: {text}")));
        }
    }
    program.close(None).unwrap();
    assert_eq!(page.read().unwrap(), Message::text("Client #8 left the chat"));

    streams_behind(proxy, path);

    for origin in ["http://evil.example", &format!("http://{NAME}.evil.example"), "null"] {
        let refused = join(proxy, &format!("{path}/ws/9"), &host, Some(origin));
        let (status, line) = refused.expect_err(origin);
        assert!(status == 403 && line.contains("--allow-origin"), "{origin}: {status} {line}");
    }
}

/// Streams and polls arrive as they are sent, since the proxy keeps nothing back.
fn streams_behind(proxy: &Proxy, path: &str) {
    let host = host(proxy);
    let connect = |head: &str| {
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{head}\r\nHost: {host}\r\n").as_bytes()).unwrap();
        stream
    };
    let follow = |what: &str| {
        let mut stream = connect(&format!("GET {path}/lab/{what} HTTP/1.1"));
        stream.write_all(b"\r\n").unwrap();
        stream
    };
    let mut streams = [follow("json"), follow("sse"), follow("json?poll=1&wait=60&since=none")];
    for stream in &mut streams {
        comes(stream, "\"t\":\"hello\"");
    }
    let mut publisher = connect(&format!("POST {path}/lab HTTP/1.1"));
    publisher.write_all(b"Connection: close\r\nContent-Length: 5\r\n\r\npumps").unwrap();
    comes(&mut publisher, "HTTP/1.1 201 ");
    for stream in &mut streams {
        comes(stream, "\"text\":\"pumps\"");
    }
}

/// Reads until this has come.
#[track_caller]
fn comes(stream: &mut TcpStream, wanted: &str) {
    let (mut all, mut bytes) = (Vec::new(), [0; 1024]);
    while !String::from_utf8_lossy(&all).contains(wanted) {
        let len = stream.read(&mut bytes).expect(wanted);
        assert!(len > 0, "no {wanted} in {}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&bytes[..len]);
    }
}

/// A server that these public names lead to.
fn room(allow_host: &[&str]) -> TestServer {
    TestServer::with(|config| {
        config.allow_host = allow_host.iter().map(|name| (*name).into()).collect();
    })
}

/// The block for one server.
fn block(language: &str, room: SocketAddr) -> String {
    documented("## Reverse proxies", language, &[("127.0.0.1:8000", room)])
}

fn nginx(room: SocketAddr) -> Proxy {
    Proxy::nginx(&format!("server {{\nlisten ADDRESS;\n{}}}\n", block("nginx", room)))
}

fn caddy(room: SocketAddr) -> Proxy {
    // The name without TLS, which nobody certifies here.
    let site = format!("http://{NAME}:PORT");
    Proxy::caddy(&block("caddy", room).replace(NAME, &site))
}

fn haproxy(room: SocketAddr) -> Proxy {
    Proxy::haproxy(&block("haproxy", room))
}

/// Behind another proxy, to whose word it adds its own.
fn haproxy_behind_another(room: SocketAddr) -> Proxy {
    let block = block("haproxy", room);
    let own = "http-request del-header X-Forwarded-For";
    assert!(block.contains(own), "{block}");
    Proxy::haproxy(&block.replace(own, ""))
}

/// What a browser puts in `Host`.
fn host(proxy: &Proxy) -> String {
    format!("{NAME}:{}", proxy.address.port())
}

fn ask(proxy: &Proxy, path: &str, host: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let response = Peer::ask(proxy.address, head);
    response.head + &String::from_utf8_lossy(&response.body)
}

/// A client, or the status and body of the refusal.
fn join(
    proxy: &Proxy,
    path: &str,
    host: &str,
    origin: Option<&str>,
) -> Result<WebSocket<TcpStream>, (u16, String)> {
    let mut request = format!("ws://{}{path}", proxy.address).into_client_request().unwrap();
    let value = |text: &str| HeaderValue::from_str(text).unwrap();
    request.headers_mut().insert("Host", value(host));
    if let Some(origin) = origin {
        request.headers_mut().insert("Origin", value(origin));
    }
    let stream = Peer::connect(proxy.address).stream;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    match tungstenite::client(request, stream) {
        Ok((client, _)) => Ok(client),
        Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
            let body = response.body().as_deref().unwrap_or_default();
            Err((response.status().as_u16(), String::from_utf8_lossy(body).into_owned()))
        }
        Err(error) => panic!("no handshake and no refusal: {error}"),
    }
}
