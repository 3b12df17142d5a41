//! What the pages talk to: a real server, real clients, and a line between that can fail.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use roomd::Config;

use crate::kit::frame::{TEXT, close, frame};
use crate::kit::peer::{self, Peer, says};
use crate::kit::server::TestServer;

/// A server in this process. It stops when this goes.
pub struct Room {
    pub address: SocketAddr,
    _server: TestServer,
}

impl Room {
    pub fn start() -> Room {
        Room::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut Config)) -> Room {
        let server = TestServer::with(change);
        Room { address: server.address(), _server: server }
    }

    /// A server at the address of one that has stopped.
    pub fn start_at(address: SocketAddr) -> Room {
        Room::start_with(|config| config.listen = address)
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub fn echo_url(&self) -> String {
        format!("http://{}/echo", self.address)
    }

    pub fn join(&self, id: i64) -> Client {
        self.join_saying(id, "here")
    }

    /// A client that says something at once: it hears itself once it has joined.
    pub fn join_saying(&self, id: i64, text: &str) -> Client {
        let mut client = Client::connect(&format!("ws://{}/ws/{id}", self.address), id);
        client.say(text);
        client
    }
}

/// Has three clients talk in the room of a page, one after the other, and leave.
pub fn talk(url: &str, messages: usize) {
    let room = url.split(['?', '#']).next().expect("a path").replacen("http", "ws", 1);
    for id in 101..=103 {
        Client::connect(&format!("{room}ws/{id}"), id).say_all((0..messages / 3).map(|n| {
            match n % 8 {
                0 => format!("Message {n} of a conversation.\nIt has two lines."),
                1 => format!("{n}: {}", "longer than a line of a phone, ".repeat(6)),
                2 => format!("`code {n}` and http://boat.local/charts/{n}"),
                _ => format!("message {n}"),
            }
        }));
    }
}

pub struct Client {
    id: i64,
    client: peer::Client,
}

/// It says that it goes, or pages would wait for it to come back.
impl Drop for Client {
    fn drop(&mut self) {
        let _ = (&self.client.peer.stream).write_all(&close(1000, ""));
    }
}

impl Client {
    fn connect(url: &str, id: i64) -> Client {
        // The name that the browser has for this machine.
        let url = url.replace("boat.local", "127.0.0.1");
        let rest = url.strip_prefix("ws://").expect("a URL");
        let (address, path) = rest.split_once('/').expect("a path");
        let peer = Peer::connect(address.parse().expect("an address"));
        Client { id, client: peer.upgrade(&format!("/{path}")) }
    }

    /// Goes without a word.
    pub fn lose(self) {
        let _ = self.client.peer.stream.shutdown(Shutdown::Both);
    }

    /// Says something, and waits until everybody has been told.
    pub fn say(&mut self, text: &str) {
        self.client.say(text);
        let own = says(self.id, text);
        while self.hear() != own {}
    }

    /// Says things as fast as the room takes them.
    pub fn say_all(&mut self, texts: impl Iterator<Item = String>) {
        let texts: Vec<String> = texts.collect();
        for some in texts.chunks(100) {
            self.client.send(some.iter().flat_map(|text| frame(TEXT, text)).collect::<Vec<_>>());
            some.iter().for_each(|_| drop(self.hear()));
        }
    }

    /// Hears all that comes until a frame ends with this.
    pub fn hear_until(&mut self, end: &str) {
        while !self.hear().ends_with(end) {}
    }

    pub fn hear(&mut self) -> String {
        let next = self.client.message("a message");
        assert_eq!(next.first, TEXT, "{next:?}");
        String::from_utf8(next.payload).expect("text")
    }
}

/// A line to a server: a proxy that serves it under a path, and that can hang or be cut.
pub struct Line {
    pub address: SocketAddr,
    hanging: Arc<AtomicBool>,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

/// The path under which the line serves what is at `/`.
pub const SUB_PATH: &str = "/deep/room/";

impl Line {
    pub fn to(server: SocketAddr) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let hanging = Arc::new(AtomicBool::new(false));
        let ends = Arc::new(Mutex::new(Vec::new()));
        let (hangs, open) = (hanging.clone(), ends.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let both = [(&client, &server), (&server, &client)];
                for (index, (from, to)) in both.into_iter().enumerate() {
                    let (from, to) = (share(from), share(to));
                    open.lock().expect("no panic").push(share(&from));
                    let hangs = hangs.clone();
                    thread::spawn(move || carry(from, to, index == 0, &hangs));
                }
            }
        });
        Line { address, hanging, ends }
    }

    pub fn url(&self) -> String {
        format!("http://{}{SUB_PATH}", self.address)
    }

    /// Nothing comes through any more, in either direction, but nothing is closed.
    pub fn hang(&self, yes: bool) {
        self.hanging.store(yes, Ordering::SeqCst);
    }

    /// Closes everything without a word.
    pub fn cut(&self) {
        for end in self.ends.lock().expect("no panic").drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn share(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a descriptor")
}

fn carry(mut from: TcpStream, mut to: TcpStream, is_request: bool, hanging: &AtomicBool) {
    let mut buffer = [0; 1 << 16];
    let mut is_first = is_request;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if hanging.load(Ordering::SeqCst) {
            continue;
        }
        let mut bytes = buffer[..read].to_vec();
        // The request line fits one read: a browser sends it at once.
        if std::mem::take(&mut is_first) {
            let line = String::from_utf8_lossy(&bytes).replacen(SUB_PATH, "/", 1);
            bytes = line.into_bytes();
        }
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
