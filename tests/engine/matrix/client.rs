//! Clients of each kind, written as docs/protocol.md says, that come back whenever they lose a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kit::dice::Dice;
use crate::kit::frame::{close, frame};
use crate::kit::link::{Link, receive};
use crate::kit::peer::{UPGRADE, get};
use crate::kit::roomd1::{OFFER, me};
use crate::matrix::account::{Account, CURTAIN, Fate, Heard, Kind, Place, place, read, text};
use crate::matrix::stage::{Phase, Stage, Status};

/// How long anything may take over a connection before it is given up.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a read waits, after which the client looks around.
const LOOK: Duration = Duration::from_millis(200);
/// For what happens when all is over: somebody who died is found dead after ten seconds.
const LAST: Duration = Duration::from_secs(40);

pub struct Client {
    pub account: Account,
    stage: Arc<Stage>,
    status: Arc<Status>,
    nodes: Arc<Vec<SocketAddr>>,
    /// The node to which it goes next.
    node: usize,
    /// Whether it goes to another node when it cannot reach its own.
    roams: bool,
    dice: Dice,
    next: Instant,
    /// The generation in which each message under way was said, and about how long it is.
    pending: BTreeMap<u32, (u64, usize)>,
    connections: i64,
    heard_curtain: bool,
    /// What a person knows of itself.
    at: Option<Place>,
    you: String,
    here: BTreeSet<String>,
    has_handed_over: bool,
}

/// The numbers of the tutorial's clients begin here, behind those that people with names have for them.
const FIRST: i64 = 1 << 32;

/// The number of one of the tutorial's clients, for each connection another.
fn number(id: u32, connection: i64) -> i64 {
    FIRST + i64::from(id) * 1000 + connection
}

impl Client {
    pub fn new(
        id: u32,
        kind: Kind,
        home: usize,
        roams: bool,
        nodes: Arc<Vec<SocketAddr>>,
        stage: Arc<Stage>,
        status: Arc<Status>,
    ) -> Self {
        let mut dice = Dice::new(u64::from(id) + 1);
        // Not all at once.
        let next = Instant::now() + Duration::from_millis(dice.roll(stage.pace() + 1));
        Client {
            account: Account::new(id, kind),
            stage,
            status,
            nodes,
            node: home,
            roams,
            dice,
            next,
            pending: BTreeMap::new(),
            connections: 0,
            heard_curtain: false,
            at: None,
            you: String::new(),
            here: BTreeSet::new(),
            has_handed_over: false,
        }
    }

    /// Lives until the curtain.
    pub fn live(mut self) -> Account {
        loop {
            self.connections += 1;
            let before = self.account.heard.len();
            let result = match self.account.kind {
                Kind::Person | Kind::Witness => self.person(),
                Kind::Tutorial => self.tutorial(),
                Kind::Stream => self.stream(),
                Kind::Poster => self.poster(),
            };
            self.status.at.store(0, Relaxed);
            match result {
                Ok(()) => {
                    self.status.is_over.store(true, Relaxed);
                    return self.account;
                }
                Err(error) => {
                    let is_new = self.account.heard.len() == before;
                    if !is_new {
                        self.account.ended(kind_of(&error));
                    }
                    if self.roams && is_new {
                        self.node = (self.node + 1) % self.nodes.len();
                    }
                }
            }
            // A page waits longer; what matters here comes sooner so.
            thread::sleep(Duration::from_millis(50 + self.dice.roll(250)));
        }
    }

    fn is_talk(&self) -> bool {
        self.stage.phase() == Phase::Talk
    }

    /// Whether it is time to say something; never for two at once.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.is_talk()
            && now >= self.next
            && self.pending.len() < self.stage.in_flight.load(Relaxed);
        if is_due {
            let pace = self.stage.pace();
            self.next = now + Duration::from_millis(pace / 2 + self.dice.roll(pace + 1));
        }
        is_due
    }

    /// How long to wait for what others say.
    fn wait(&self) -> Duration {
        let until_next = self.next.saturating_duration_since(Instant::now());
        let is_free = self.pending.len() < self.stage.in_flight.load(Relaxed);
        let wait = if self.is_talk() && is_free { until_next.min(LOOK) } else { LOOK };
        wait.max(Duration::from_millis(1))
    }

    /// A new message: its number, and its text.
    fn new_text(&mut self) -> (u32, String) {
        let (k, generation) = (self.account.says(), self.stage.generation());
        self.pending.insert(k, (generation, self.stage.len.load(Relaxed)));
        (k, self.text(k))
    }

    /// A message under way, as it was said.
    fn text(&self, k: u32) -> String {
        let (generation, len) = self.pending[&k];
        text((self.account.id, k), generation, len)
    }

    fn settle(&mut self, k: u32, fate: Fate) {
        self.account.is(k, fate);
        if let (Some((generation, _)), true) = (self.pending.remove(&k), fate != Fate::Unknown) {
            self.status.proven.fetch_max(generation, Relaxed);
        }
        self.status.is_settled.store(self.pending.is_empty(), Relaxed);
    }

    /// Nobody will say what became of these.
    fn give_up(&mut self) {
        for k in self.pending.keys().copied().collect::<Vec<_>>() {
            self.settle(k, Fate::Unknown);
        }
    }

    fn looks(&mut self) {
        self.status.is_settled.store(self.pending.is_empty() && !self.is_talk(), Relaxed);
    }

    /// A message has come; whose it is.
    fn hear_text(&mut self, said: &str) -> (u32, u32) {
        let (id, generation) = read(said);
        self.account.hears(self.is_talk());
        self.heard_curtain |= id.0 == CURTAIN;
        self.status.heard.fetch_max(generation, Relaxed);
        id
    }

    fn person(&mut self) -> io::Result<()> {
        let request = get("/lobby/ws", &format!("{UPGRADE}{OFFER}"));
        let mut link = Link::by(self.nodes[self.node], &request, PATIENCE)?;
        link.may_be_replaced = true;
        let result = self.person_over(&mut link);
        result.map_err(|error| link.closed.map_or(error, closed))
    }

    fn person_over(&mut self, link: &mut Link) -> io::Result<()> {
        let id = self.account.id;
        let mut hello =
            json!({"t": "hello", "me": me(u64::from(id)), "name": format!("p{id}"), "history": 0});
        if let Some((epoch, seq)) = self.at {
            hello["since"] = json!(format!("{}.{seq}", base36(epoch)));
        }
        link.send(&hello)?;
        let hello = link.object_within(PATIENCE)?.ok_or(ErrorKind::TimedOut)?;
        self.is_greeted(&hello);
        match hello["n"].as_u64() {
            Some(accepted) => {
                let through = self.pending.range(..=accepted as u32).map(|(k, _)| *k);
                through
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|k| self.settle(k, Fate::Accepted));
            }
            None if self.has_handed_over => self.give_up(),
            None => {}
        }
        for k in self.pending.keys() {
            self.has_handed_over = true;
            link.send(&json!({"t": "msg", "n": k, "text": self.text(*k)}))?;
        }
        let mut last = None;
        loop {
            self.looks();
            if self.is_done(&mut last) {
                // It goes, and what else comes is not of interest.
                return link.stream.write_all(&close(1000, "")).or(Ok(()));
            }
            if self.is_due() {
                let (k, text) = self.new_text();
                self.has_handed_over = true;
                link.send(&json!({"t": "msg", "n": k, "text": text}))?;
            }
            if let Some(object) = link.object_within(self.wait())? {
                self.hear_object(&object);
            }
        }
    }

    /// Whether it goes. Who stays to the end waits until nobody else is here.
    fn is_done(&mut self, last: &mut Option<Instant>) -> bool {
        if !self.heard_curtain || !self.pending.is_empty() {
            return false;
        }
        if self.account.kind != Kind::Witness {
            return true;
        }
        let witnesses = self.stage.witnesses.lock().expect("no panic");
        let others: Vec<_> = self.here.difference(&witnesses).cloned().collect();
        drop(witnesses);
        if others.is_empty() {
            return true;
        }
        let deadline = *last.get_or_insert_with(|| Instant::now() + LAST);
        if Instant::now() < deadline {
            return false;
        }
        self.account.fault(format_args!("these have gone and are here: {others:?}"));
        true
    }

    fn is_greeted(&mut self, hello: &Value) {
        assert_eq!(hello["t"], "hello", "{hello}");
        self.you = hello["you"].as_str().expect("a tag").to_owned();
        if self.account.kind == Kind::Witness {
            self.stage.witnesses.lock().expect("no panic").insert(self.you.clone());
        }
        let here = hello["who"].as_array().map(|who| {
            who.iter().map(|each| each[0].as_str().expect("a tag").to_owned()).collect::<Vec<_>>()
        });
        self.here = here.iter().flatten().cloned().collect();
        self.is_at(hello, here);
    }

    /// A `hello` has come.
    fn is_at(&mut self, hello: &Value, here: Option<Vec<String>>) {
        let place = place(&hello["cursor"]);
        let (node, since, missed) = (self.node, self.at, hello["missed"].as_u64());
        self.account.heard.push(Heard::Greeted { node, since, place, missed, here });
        self.at = Some(place);
        self.status.at.store(node + 1, Relaxed);
    }

    fn hear_object(&mut self, object: &Value) {
        let by = || object["by"].as_str().expect("a tag").to_owned();
        match object["t"].as_str() {
            Some("msg") => {
                let seq = object["seq"].as_u64().expect("a number");
                let place = (self.at.expect("a hello").0, seq);
                let id = self.hear_text(object["text"].as_str().expect("a text"));
                self.account.heard.push(Heard::Message(place, id));
                self.at = Some(place);
                self.stage.head.fetch_max(seq, Relaxed);
                if id.0 == self.account.id {
                    if self.account.kind != Kind::Stream && object["by"] != *self.you {
                        self.account.fault(format_args!("its own comes from another: {object}"));
                    }
                    self.settle(id.1, Fate::AcceptedAt(place));
                }
            }
            Some("epoch") => {
                let place = place(&object["cursor"]);
                let missed = object["missed"].as_u64();
                self.account.heard.push(Heard::Moved { place, missed });
                self.at = Some(place);
            }
            Some("ack") => {
                self.settle(object["n"].as_u64().expect("a number") as u32, Fate::Accepted)
            }
            Some("join") => {
                self.here.insert(by());
                self.account.heard.push(Heard::Came(by()));
            }
            Some("leave") => {
                self.here.remove(&by());
                self.account.heard.push(Heard::Left(by()));
            }
            Some("err") => self.account.fault(object),
            _ => {}
        }
    }

    fn tutorial(&mut self) -> io::Result<()> {
        let num = number(self.account.id, self.connections);
        let request = get(&format!("/ws/{num}"), UPGRADE);
        let mut link = Link::by(self.nodes[self.node], &request, PATIENCE)?;
        self.account.heard.push(Heard::Entered(self.node));
        self.status.at.store(self.node + 1, Relaxed);
        let result = self.tutorial_over(&mut link, num);
        self.give_up();
        result.map_err(|error| link.closed.map_or(error, closed))
    }

    fn tutorial_over(&mut self, link: &mut Link, num: i64) -> io::Result<()> {
        loop {
            self.looks();
            if self.heard_curtain && self.pending.is_empty() {
                return link.stream.write_all(&close(1000, "")).or(Ok(()));
            }
            if self.is_due() {
                let (_, text) = self.new_text();
                link.stream.write_all(&frame(crate::kit::frame::TEXT, text))?;
            }
            let Some(line) = link.text_within(self.wait())? else { continue };
            let line = String::from_utf8(line).expect("text");
            let rest = line.strip_prefix("Client #").and_then(|rest| rest.split_once(' '));
            let (who, what) = rest.unwrap_or_else(|| panic!("{line}"));
            let who: i64 = who.parse().expect("a number");
            if let Some(said) = what.strip_prefix("says: ") {
                let id = self.hear_text(said);
                self.account.heard.push(Heard::Line(id));
                if id.0 == self.account.id && who == num {
                    self.settle(id.1, Fate::Accepted);
                }
            } else if who >= FIRST {
                // Those who have names may leave again and again.
                self.account.heard.push(Heard::LineLeft(who));
            }
        }
    }

    fn stream(&mut self) -> io::Result<()> {
        let since = self.at.map_or_else(String::new, |(epoch, seq)| {
            format!("Last-Event-ID: {}.{seq}\r\n", base36(epoch))
        });
        let mut stream = TcpStream::connect_timeout(&self.nodes[self.node], PATIENCE)?;
        stream.write_all(get("/lobby/sse", &since).as_bytes())?;
        let mut received = Vec::new();
        let head = until(&mut stream, &mut received, b"\r\n\r\n")?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(head.chars().take(12).collect::<String>()));
        }
        loop {
            self.looks();
            if self.heard_curtain {
                return Ok(());
            }
            let deadline = Instant::now() + LOOK;
            while !received.windows(2).any(|end| end == b"\n\n") {
                if !receive(&mut stream, &mut received, deadline)? {
                    break;
                }
            }
            while let Some(at) = received.windows(2).position(|end| end == b"\n\n") {
                let event = String::from_utf8(received.drain(..at + 2).collect()).expect("text");
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let kind = event.lines().find_map(|line| line.strip_prefix("event: "));
                let Some(object) = data.map(|data| serde_json::from_str(data).expect("JSON"))
                else {
                    continue;
                };
                match kind {
                    Some("full") => return Err(io::Error::other("full")),
                    Some("hello") => self.is_at(&object, None),
                    _ => self.hear_object(&object),
                }
            }
        }
    }

    fn poster(&mut self) -> io::Result<()> {
        loop {
            self.looks();
            if self.stage.phase() == Phase::Curtain && self.pending.is_empty() {
                return Ok(());
            }
            let (k, said) = match self.pending.keys().next().copied() {
                Some(k) => (k, self.text(k)),
                None if self.is_due() => self.new_text(),
                None => {
                    thread::sleep(self.wait());
                    continue;
                }
            };
            let key = format!("c{}-{k}", self.account.id);
            let place = post(self.nodes[self.node], &key, &said)?;
            // So that it counts as somebody who was there.
            self.status.at.store(self.node + 1, Relaxed);
            self.status.heard.fetch_max(self.pending[&k].0, Relaxed);
            self.settle(k, Fate::AcceptedAt(place));
        }
    }
}

/// Publishes a text under a key: its place.
pub fn post(address: SocketAddr, key: &str, text: &str) -> io::Result<Place> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let fields = format!("Idempotency-Key: {key}\r\nContent-Length: {}\r\n", text.len());
    let request = get("/lobby", &fields).replacen("GET", "POST", 1) + text;
    stream.write_all(request.as_bytes())?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let Some((head, body)) = response.split_once("\r\n\r\n") else {
        return Err(ErrorKind::UnexpectedEof.into());
    };
    match head.get(9..12) {
        Some("201" | "200") => Ok(place(&json!(body))),
        Some("503") => Err(io::Error::other("503")),
        _ => panic!("{response}"),
    }
}

/// What comes up to this end, which is taken.
fn until(stream: &mut TcpStream, received: &mut Vec<u8>, end: &[u8]) -> io::Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(at) = received.windows(end.len()).position(|bytes| bytes == end) {
            let taken = received.drain(..at + end.len()).collect();
            return Ok(String::from_utf8(taken).expect("text"));
        }
        if !receive(stream, received, deadline)? {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        digits.push(char::from_digit((number % 36) as u32, 36).expect("a digit"));
        number /= 36;
    }
    digits.iter().rev().collect()
}

fn closed(code: u16) -> io::Error {
    io::Error::other(code.to_string())
}

/// How a connection ended, in a word.
fn kind_of(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::Other => error.to_string(),
        ErrorKind::UnexpectedEof => "ended".into(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "reset".into(),
        other => format!("{other:?}"),
    }
}
