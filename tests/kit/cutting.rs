//! People who talk through a proxy that cuts their connections at random places. The client is written as
//! docs/protocol.md says.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt;
use serde_json::{Value, json};

use super::dice::Dice;
use super::link::Link;
use super::roomd1::me;

pub const PEOPLE: u64 = 6;
pub const EACH: u64 = 80;
/// So many texts of a person may be on the way.
const IN_FLIGHT: usize = 4;

pub fn text(person: u64, n: u64) -> String {
    // Of different lengths, so that cuts are at different places.
    format!("{person} says {n} {}", "x".repeat((n * 37 % 400) as usize))
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub seq: u64,
    pub name: String,
    pub text: String,
}

/// A client that keeps `(n, text)` until the proof, and a cursor.
pub struct Person {
    number: u64,
    /// The room may have another epoch at any time, in which nothing is lost.
    is_shared: bool,
    /// The greatest `n` that was given to a text.
    last_n: u64,
    /// Said, and not yet heard.
    unproven: VecDeque<(u64, String)>,
    /// Whether a text was ever handed to a socket.
    has_handed_over: bool,
    cursor: Option<String>,
    heard: Vec<Message>,
}

impl Person {
    pub fn new(number: u64) -> Self {
        let (unproven, heard) = (VecDeque::new(), Vec::new());
        Person {
            number,
            is_shared: false,
            last_n: 0,
            unproven,
            has_handed_over: false,
            cursor: None,
            heard,
        }
    }

    /// Says everything and listens until everybody has; what it heard.
    pub fn talks(self, address: SocketAddr) -> Vec<Message> {
        self.talks_at(&[address])
    }

    /// In a room that several servers share: each connection is to another of these.
    pub fn roams(mut self, addresses: &[SocketAddr]) -> Vec<Message> {
        self.is_shared = true;
        self.talks_at(addresses)
    }

    fn talks_at(mut self, addresses: &[SocketAddr]) -> Vec<Message> {
        for n in 0..5000 {
            let address = addresses[(self.number as usize + n) % addresses.len()];
            match self.one_connection(address) {
                Ok(true) => return self.heard,
                // The engine is away. It is not asked again at once.
                Err(error) if error.kind() == ErrorKind::Other => {
                    assert!(self.is_shared, "{error}");
                    thread::sleep(Duration::from_millis(50));
                }
                // Whatever went wrong, the next connection goes on.
                _ => {}
            }
        }
        panic!("person {} has heard {} messages only", self.number, self.heard.len());
    }

    /// Whether it has heard everything before the connection ended.
    fn one_connection(&mut self, address: SocketAddr) -> io::Result<bool> {
        let mut socket = Link::open(address, "lobby")?;
        socket.may_be_replaced = self.is_shared;
        let mut hello =
            json!({"t": "hello", "me": me(self.number), "name": format!("p{}", self.number)});
        match &self.cursor {
            Some(cursor) => hello["since"] = json!(cursor),
            None => hello["history"] = json!(1000),
        }
        socket.send(&hello)?;
        let hello = socket.object()?;
        self.is_greeted(&hello);
        let you = hello["you"].clone();
        for (n, text) in self.unproven.clone() {
            self.has_handed_over = true;
            socket.send(&json!({"t": "msg", "n": n, "text": text}))?;
        }
        loop {
            if self.heard.len() as u64 == PEOPLE * EACH {
                return Ok(true);
            }
            while self.unproven.len() < IN_FLIGHT && self.last_n < EACH {
                self.last_n += 1;
                let text = text(self.number, self.last_n);
                self.unproven.push_back((self.last_n, text.clone()));
                self.has_handed_over = true;
                socket.send(&json!({"t": "msg", "n": self.last_n, "text": text}))?;
            }
            let object = socket.object()?;
            match object["t"].as_str() {
                Some("msg") => self.hears(&object, &you),
                Some("err") => panic!("person {}: {object}", self.number),
                // A connection that was taken for lost has brought it.
                Some("ack") if self.is_shared => {
                    self.unproven.retain(|(n, _)| object["n"] != *n);
                }
                Some("epoch") if self.is_shared => {
                    assert_eq!(object["missed"], 0, "{object}");
                    self.cursor = object["cursor"].as_str().map(String::from);
                }
                _ => {}
            }
        }
    }

    fn is_greeted(&mut self, hello: &Value) {
        assert_eq!(hello["t"], "hello", "{hello}");
        assert_eq!(hello["missed"], 0, "{hello}");
        assert_eq!(hello["name"], format!("p{}", self.number), "{hello}");
        if let Some(cursor) = &self.cursor {
            let number = |cursor: &str| cursor.rsplit('.').next().map(String::from);
            let now = hello["cursor"].as_str().expect("a cursor");
            assert_eq!(number(now), number(cursor), "{hello}");
            assert!(self.is_shared || now == cursor, "{hello}");
        }
        self.cursor = hello["cursor"].as_str().map(String::from);
        match hello["n"].as_u64() {
            Some(accepted) => self.unproven.retain(|(n, _)| *n > accepted),
            // A client that was forgotten would have to ask its person; none of these is.
            None => assert!(!self.has_handed_over || self.unproven.len() == self.last_n as usize),
        }
    }

    fn hears(&mut self, object: &Value, you: &Value) {
        let seq = object["seq"].as_u64().expect("a number");
        let text = object["text"].as_str().expect("a text").to_owned();
        let name = object["name"].as_str().expect("a name").to_owned();
        // Over all connections: no gap, nothing twice.
        assert_eq!(seq, self.heard.last().map_or(1, |last| last.seq + 1), "{object}");
        self.heard.push(Message { seq, name, text });
        let epoch = self.cursor.as_deref().and_then(|cursor| cursor.split_once('.'));
        self.cursor = Some(format!("{}.{seq}", epoch.expect("a cursor").0));
        if object["by"] == *you {
            self.unproven.retain(|(n, _)| object["n"] != *n);
        }
    }
}

/// How a connection ends once its bytes are used up.
#[derive(Clone, Copy)]
enum Cut {
    /// Both ends see the end of the stream.
    Ends,
    /// Both ends see a reset.
    Resets,
    /// The client is gone, and the server does not know: its end stays open, and what the client had
    /// sent last arrives later.
    Ghost,
}

/// What a cut client had sent and the server has not got yet.
struct Ghost {
    server: TcpStream,
    late: Vec<u8>,
}

#[derive(Clone, Copy)]
pub struct Proxy {
    pub address: SocketAddr,
    pub cuts: &'static AtomicU64,
}

type Ghosts = Arc<Mutex<Vec<Ghost>>>;

impl Proxy {
    /// It serves as long as the test's process, which is not for long.
    pub fn start(server: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let cuts: &'static AtomicU64 = Box::leak(Box::default());
        let ghosts = Ghosts::default();
        thread::spawn(move || {
            let mut dice = Dice::new(seed);
            let mut old = Vec::new();
            for client in listener.incoming().map_while(Result::ok) {
                // What is late arrives around the time at which somebody comes back.
                let late: Vec<Ghost> = ghosts.lock().expect("no panic").drain(..).collect();
                let deliver = |ghosts: Vec<Ghost>| -> Vec<TcpStream> {
                    let deliver = |mut ghost: Ghost| {
                        // The server may have closed it.
                        let _ = ghost.server.write_all(&ghost.late);
                        ghost.server
                    };
                    ghosts.into_iter().map(deliver).collect()
                };
                let is_early = dice.roll(2) == 0;
                let (now, later) = if is_early { (late, Vec::new()) } else { (Vec::new(), late) };
                old.extend(deliver(now));
                // It may have been killed, and come back.
                let Ok(server) = TcpStream::connect(server) else { continue };
                let cut = [Cut::Ends, Cut::Resets, Cut::Ghost][dice.roll(3) as usize];
                Pair::forward(client, server, &mut dice, cut, cuts, &ghosts);
                old.extend(deliver(later));
                // A ghost's end is seen some connections later.
                if old.len() > 20 {
                    old.drain(..10);
                }
            }
        });
        Proxy { address, cuts }
    }
}

/// The two directions of one connection share its bytes.
#[derive(Clone)]
struct Pair {
    left: Arc<AtomicI64>,
    is_cut: Arc<AtomicBool>,
}

impl Pair {
    fn forward(
        client: TcpStream,
        server: TcpStream,
        dice: &mut Dice,
        cut: Cut,
        cuts: &'static AtomicU64,
        ghosts: &Ghosts,
    ) {
        // Some end within the handshake, most within what follows, a few are long.
        let bytes = [300, 1500, 4000, 12_000][dice.roll(4) as usize];
        let left = Arc::new(AtomicI64::new(dice.roll(bytes) as i64));
        let pair = Pair { left, is_cut: Arc::default() };
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("no delay");
            stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
        }
        let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
        let (down_from, down_to) = (clone(&server), clone(&client));
        let down = pair.clone();
        let down = thread::spawn(move || drop(down.pump(down_from, down_to)));
        let ghosts = ghosts.clone();
        thread::spawn(move || {
            let late = pair.pump(clone(&client), clone(&server));
            down.join().expect("the other direction");
            cuts.fetch_add(1, Ordering::Relaxed);
            match cut {
                Cut::Ends => {}
                Cut::Resets => {
                    for stream in [&client, &server] {
                        let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
                    }
                }
                Cut::Ghost => ghosts.lock().expect("no panic").push(Ghost { server, late }),
            }
        });
    }

    /// Forwards bytes until they are used up or an end has come; those that were not forwarded.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream) -> Vec<u8> {
        let mut chunk = [0; 600];
        while !self.is_cut.load(Ordering::Relaxed) {
            let read = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => break,
            };
            let before = self.left.fetch_sub(read as i64, Ordering::Relaxed);
            let forwarded = usize::try_from(before).unwrap_or(0).min(read);
            if to.write_all(&chunk[..forwarded]).is_err() {
                break;
            }
            if forwarded < read {
                self.is_cut.store(true, Ordering::Relaxed);
                return chunk[forwarded..read].to_vec();
            }
        }
        self.is_cut.store(true, Ordering::Relaxed);
        Vec::new()
    }
}
