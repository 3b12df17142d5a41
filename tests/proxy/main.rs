//! roomd behind the real proxies, set up with the blocks of docs/operating.md.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use kit::PATIENCE;
use kit::peer::{Client, Peer, UPGRADE, get, says};
use kit::program::{Process, free_address};
use kit::server::TestServer;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Signal, kill_process};
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
    let proxy = Proxy::nginx(room.address());
    works_behind(&proxy, "/chat");
}

#[test]
fn a_public_name_has_to_be_allowed() {
    let room = room(&[]);
    let proxy = Proxy::nginx(room.address());
    let page = proxy.ask("/chat/", NAME);
    assert!(page.starts_with("HTTP/1.1 403 ") && page.contains("--allow-host"), "{page}");
    let refused = proxy.join("/chat/ws/1", NAME, None).expect_err("a name that is not allowed");
    assert_eq!(refused.0, 403);
    assert!(refused.1.contains("--allow-host"), "{}", refused.1);
}

#[test]
fn caddy_as_documented() {
    let room = room(&[NAME]);
    let proxy = Proxy::caddy(room.address());
    works_behind(&proxy, "");
}

#[test]
fn haproxy_as_documented() {
    let room = room(&[NAME]);
    let proxy = Proxy::haproxy(room.address());
    works_behind(&proxy, "");
}

#[test]
fn clients_of_nginx_have_limits_of_their_own() {
    let room = trusting_room();
    limits_are_the_clients(&room, &Proxy::nginx(room.address()), "/chat");
}

#[test]
fn clients_of_caddy_have_limits_of_their_own() {
    let room = trusting_room();
    limits_are_the_clients(&room, &Proxy::caddy(room.address()), "");
}

#[test]
fn clients_of_haproxy_have_limits_of_their_own() {
    let room = trusting_room();
    limits_are_the_clients(&room, &Proxy::haproxy(room.address()), "");
}

/// Two proxies in a row, both trusted.
#[test]
fn clients_of_a_chain_of_proxies_have_limits_of_their_own() {
    let room = trusting_room();
    let inner = Proxy::haproxy_behind_another(room.address());
    limits_are_the_clients(&room, &Proxy::nginx(inner.address), "/chat");
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
        peer.send(get(&format!("{path}/ws/{from}"), &fields).replace("localhost", &proxy.host()));
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
    let host = proxy.host();
    let load = |file: &str| {
        let response = proxy.ask(&format!("{path}/{file}"), &host);
        assert!(response.starts_with("HTTP/1.1 200 "), "{file}: {response}");
        response
    };
    let page = load("");
    assert!(page.contains("messageText"), "{page}");
    let parts: Vec<_> = page.split('"').filter(|value| value.starts_with("assets/")).collect();
    assert!(parts.len() >= 3, "style, script and icon: {page}");
    parts.into_iter().chain(["echo"]).for_each(|part| drop(load(part)));
    let missing = proxy.ask(&format!("{path}/no.thing"), &host);
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");

    let own = format!("http://{host}");
    let mut page = proxy.join(&format!("{path}/ws/7"), &host, Some(&own)).expect("the own page");
    let mut program = proxy.join(&format!("{path}/ws/8"), &host, None).expect("a program");
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
        let refused = proxy.join(&format!("{path}/ws/9"), &host, Some(origin));
        let (status, line) = refused.expect_err(origin);
        assert!(status == 403 && line.contains("--allow-origin"), "{origin}: {status} {line}");
    }
}

/// Streams and polls arrive as they are sent, since the proxy keeps nothing back.
fn streams_behind(proxy: &Proxy, path: &str) {
    let host = proxy.host();
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

/// A proxy that runs in the foreground, with a folder for its configuration.
struct Proxy {
    process: Process,
    folder: PathBuf,
    address: SocketAddr,
}

impl Proxy {
    fn nginx(room: SocketAddr) -> Self {
        let location = documented_block("nginx", "127.0.0.1:8000", room);
        Self::start("nginx", |folder, address| {
            let folder = folder.display();
            let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
                .concat();
            let config = format!(
                "daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n\
                 access_log off;\n{paths}server {{\nlisten {address};\n{location}}}\n}}\n"
            );
            (config, vec!["-c".into(), format!("{folder}/config"), "-e".into(), "stderr".into()])
        })
    }

    fn caddy(room: SocketAddr) -> Self {
        let site = documented_block("caddy", "127.0.0.1:8000", room);
        Self::start("caddy", |folder, address| {
            // The name without TLS, which nobody certifies here, and on a port of the test's own.
            let site = site.replace(NAME, &format!("http://{NAME}:{}", address.port()));
            let config = format!("{{\nadmin off\n}}\n{site}");
            let path = format!("{}/config", folder.display());
            let args = ["run", "--adapter", "caddyfile", "--config", path.as_str()];
            (config, args.map(String::from).to_vec())
        })
    }

    fn haproxy(room: SocketAddr) -> Self {
        Self::haproxy_with(&documented_block("haproxy", "127.0.0.1:8000", room))
    }

    /// Behind another proxy, to whose word it adds its own.
    fn haproxy_behind_another(room: SocketAddr) -> Self {
        let block = documented_block("haproxy", "127.0.0.1:8000", room);
        let own = "http-request del-header X-Forwarded-For";
        assert!(block.contains(own), "{block}");
        Self::haproxy_with(&block.replace(own, ""))
    }

    fn haproxy_with(block: &str) -> Self {
        Self::start("haproxy", |folder, address| {
            let config = block
                .replace("bind :443 ssl crt /etc/haproxy/chat.pem", &format!("bind {address}"));
            let config = format!("global\n    maxconn 100\n{config}");
            (config, vec!["-db".into(), "-f".into(), format!("{}/config", folder.display())])
        })
    }

    /// Starts it with what `set_up` makes of its folder and address: a configuration, and how it
    /// is told where that is.
    fn start(
        program: &str,
        set_up: impl Fn(&PathBuf, SocketAddr) -> (String, Vec<String>),
    ) -> Self {
        // Neither can take a socket that listens already.
        let address = free_address();
        let folder = std::env::temp_dir().join(format!("roomd-{program}-{}", address.port()));
        fs::create_dir_all(&folder).unwrap();
        let (config, args) = set_up(&folder, address);
        fs::write(folder.join("config"), config).unwrap();
        // `make test` unpacks what is not installed there: installing would start services.
        let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/usr");
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{path}:/usr/sbin:/sbin:{tools}/sbin:{tools}/bin");
        let child = Command::new(program)
            .args(args)
            .env("LD_LIBRARY_PATH", libraries(tools))
            .env("PATH", path)
            .env("HOME", &folder)
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("errors")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        let mut proxy = Proxy { process: Process(child), folder, address };
        if let Err(error) = proxy.process.listens(address, PATIENCE) {
            let errors = fs::read_to_string(proxy.folder.join("errors")).unwrap_or_default();
            panic!("{program} {error}: {errors}");
        }
        proxy
    }

    /// What a browser puts in `Host`.
    fn host(&self) -> String {
        format!("{NAME}:{}", self.address.port())
    }

    fn ask(&self, path: &str, host: &str) -> String {
        let response = Peer::ask(
            self.address,
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        );
        response.head + &String::from_utf8_lossy(&response.body)
    }

    /// A client, or the status and body of the refusal.
    fn join(
        &self,
        path: &str,
        host: &str,
        origin: Option<&str>,
    ) -> Result<WebSocket<TcpStream>, (u16, String)> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        request.headers_mut().insert("Host", value(host));
        if let Some(origin) = origin {
            request.headers_mut().insert("Origin", value(origin));
        }
        let stream = Peer::connect(self.address).stream;
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
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx's worker ends with its master only if that is asked to end.
        let _ = kill_process(self.process.pid(), Signal::TERM);
        let _ = self.process.0.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where what is unpacked has its libraries: in one folder for each kind of machine.
fn libraries(tools: &str) -> String {
    let folders = fs::read_dir(format!("{tools}/lib")).into_iter().flatten().flatten();
    folders.map(|folder| folder.path().display().to_string()).collect::<Vec<_>>().join(":")
}

/// The block in this language from docs/operating.md, with the address of the room.
fn documented_block(language: &str, address: &str, room: SocketAddr) -> String {
    let document =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operating.md")).unwrap();
    let begin = format!("```{language}\n");
    let block = document.split_once(&begin).and_then(|(_, rest)| rest.split_once("```"));
    let block = block.unwrap_or_else(|| panic!("docs/operating.md has no block {begin}")).0;
    assert!(block.contains(address), "{block}");
    block.replace(address, &room.to_string())
}
