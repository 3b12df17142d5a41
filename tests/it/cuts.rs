use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kit::dice::Dice;
use crate::support::*;

/// Passes connections on to a server, and cuts each after a number of bytes that dice choose, in either
/// direction, also within a frame.
struct Cutter {
    address: SocketAddr,
    /// It cuts as long as this is set.
    is_cutting: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    fn before(server: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (is_cutting, cuts) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (cutting, counted) = (is_cutting.clone(), cuts.clone());
        thread::spawn(move || {
            let mut dice = Dice::new(seed);
            for client in listener.incoming() {
                let client = client.expect("a connection");
                let server = TcpStream::connect(server).expect("the server");
                // The handshake takes some 200 bytes each way; most cuts come later.
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let most = 100 + dice.roll(6000) as usize;
                    let (from, to) = (from.try_clone().expect("one"), to.try_clone().expect("one"));
                    let (cutting, counted) = (cutting.clone(), counted.clone());
                    thread::spawn(move || pass(from, to, most, &cutting, &counted));
                }
            }
        });
        Cutter { address, is_cutting, cuts }
    }
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    most: usize,
    cutting: &AtomicBool,
    cuts: &AtomicUsize,
) {
    let (mut passed, mut bytes) = (0, [0; 700]);
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let is_last = cutting.load(Ordering::Relaxed) && passed + read > most;
        let len = if is_last { most.saturating_sub(passed) } else { read };
        if to.write_all(&bytes[..len]).is_err() {
            break;
        }
        passed += len;
        if is_last {
            cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// A person behind a bad link, whose program does what docs/protocol.md says: it keeps each text until it
/// has the proof, and goes on behind the last message that it has shown.
struct Person {
    me: String,
    through: SocketAddr,
    cursor: Option<String>,
    /// What it says, and how much of that is proved.
    texts: Vec<String>,
    proved: usize,
    /// What it has shown: number, whose, and the text.
    shown: Vec<(u64, String, String)>,
}

impl Person {
    /// Connects, and stays as long as the connection does, or until all is said and the head is shown.
    fn connect(&mut self, everything: usize) -> Option<()> {
        let mut client = Knocking::at(self.through)?;
        let since = self.cursor.clone();
        client.say(json!({"t": "hello", "me": self.me, "since": since, "history": 1000}))?;
        let hello = client.next()?;
        assert_eq!(hello["t"], "hello", "{hello}");
        assert_eq!(hello["missed"], 0, "nothing was missed: {hello}");
        let (epoch, mut seq) = position(&hello["cursor"]);
        self.cursor = Some(format!("{epoch}.{seq}"));
        // Null: the server does not remember it, so nothing of it was ever accepted here.
        let accepted = hello["n"].as_u64().unwrap_or(0) as usize;
        self.proved = self.proved.max(accepted);
        let mut sent = self.proved;
        loop {
            // A few at a time, so that what is under way is cut, too.
            while sent < self.texts.len() && sent < self.proved + 5 {
                client.say(json!({"t": "msg", "n": sent + 1, "text": self.texts[sent]}))?;
                sent += 1;
            }
            if self.shown.len() == everything {
                return Some(());
            }
            let object = client.next()?;
            match object["t"].as_str() {
                Some("msg") => {
                    assert_eq!(object["seq"], seq + 1, "a gap");
                    seq += 1;
                    self.cursor = Some(format!("{epoch}.{seq}"));
                    let by = object["by"].as_str().expect("a tag").to_owned();
                    if by == hello["you"] {
                        let n = object["n"].as_u64().expect("its number") as usize;
                        self.proved = self.proved.max(n);
                    }
                    let text = object["text"].as_str().expect("a text").to_owned();
                    self.shown.push((seq, by, text));
                }
                Some("ack") => {
                    self.proved = self.proved.max(object["n"].as_u64().expect("a number") as usize);
                }
                _ => {}
            }
        }
    }
}

/// A connection that may break at any time.
struct Knocking {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Knocking {
    fn at(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut knocking = Knocking { stream, received: Vec::new() };
        let request = get("/lobby/ws", &format!("{UPGRADE}{OFFER}"));
        knocking.stream.write_all(request.as_bytes()).ok()?;
        let end = loop {
            let head = knocking.received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            match head {
                Some(end) => break end + 4,
                None => knocking.fill()?,
            }
        };
        let head: Vec<u8> = knocking.received.drain(..end).collect();
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        Some(knocking)
    }

    fn say(&mut self, object: Value) -> Option<()> {
        self.stream.write_all(&frame(TEXT, object.to_string())).ok()
    }

    /// The next object; none at the end of the connection, or of what the server says.
    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((start, len)) = self.frame() {
                let is_text = self.received[0] == TEXT;
                let rest = self.received.split_off(start + len);
                let payload = std::mem::replace(&mut self.received, rest).split_off(start);
                if !is_text {
                    return None;
                }
                return Some(serde_json::from_slice(&payload).expect("an object"));
            }
            self.fill()?;
        }
    }

    /// Where the payload of the next frame starts, and its length, once it is whole.
    fn frame(&self) -> Option<(usize, usize)> {
        let (start, len) = match *self.received.get(1)? {
            126 => (
                4,
                usize::from(u16::from_be_bytes([*self.received.get(2)?, *self.received.get(3)?])),
            ),
            127 => panic!("so long a text was not said"),
            len => (2, usize::from(len)),
        };
        (self.received.len() >= start + len).then_some((start, len))
    }

    fn fill(&mut self) -> Option<()> {
        let mut bytes = [0; 2000];
        let read = self.stream.read(&mut bytes).ok().filter(|read| *read > 0)?;
        self.received.extend_from_slice(&bytes[..read]);
        Some(())
    }
}

/// Four people talk, and each connection is cut after some messages, hundreds in all. At the end everybody has
/// shown the same: each text once, and those of each person in the order in which they were said.
#[test]
fn each_text_arrives_once_and_in_order_however_often_the_connections_are_cut() {
    const PEOPLE: usize = 4;
    const EACH: usize = 120;
    let program = Program::start(&["--rate=0", "--history=1000", "--log-level=warn"]);
    let cutter = Cutter::before(program.address, 11);
    let deadline = Instant::now() + Duration::from_secs(120);
    let shown: Vec<_> = thread::scope(|scope| {
        let people: Vec<_> = (0..PEOPLE)
            .map(|n| {
                let through = cutter.address;
                scope.spawn(move || {
                    let text = |k: usize| format!("{n} {k} {}", "x".repeat(k * 7 % 300));
                    let mut person = Person {
                        me: me(n as u64 + 1),
                        through,
                        cursor: None,
                        texts: (0..EACH).map(text).collect(),
                        proved: 0,
                        shown: Vec::new(),
                    };
                    while person.connect(PEOPLE * EACH).is_none() {
                        assert!(Instant::now() < deadline, "{n} has shown {}", person.shown.len());
                    }
                    assert_eq!(person.proved, EACH);
                    person.shown
                })
            })
            .collect();
        people.into_iter().map(|person| person.join().expect("a person")).collect()
    });
    cutter.is_cutting.store(false, Ordering::Relaxed);
    let cuts = cutter.cuts.load(Ordering::Relaxed);
    assert!(cuts >= 200, "only {cuts} cuts");
    for other in &shown[1..] {
        assert!(*other == shown[0], "two have shown something else");
    }
    for n in 0..PEOPLE {
        let start = format!("{n} ");
        let said: Vec<usize> = shown[0]
            .iter()
            .filter_map(|(_, _, text)| text.strip_prefix(&start)?.split(' ').next()?.parse().ok())
            .collect();
        assert_eq!(said, (0..EACH).collect::<Vec<_>>(), "the texts of {n}");
    }
}
