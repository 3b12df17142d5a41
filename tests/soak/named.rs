//! Somebody with a name, whose connection is lost again and again and resumed each time.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use serde_json::{Value, json};

use crate::kit::dice::Dice;
use crate::kit::link::Link;
use crate::kit::roomd1::{me, position};

/// So many of its messages may be on the way.
const IN_FLIGHT: usize = 3;

/// A message by its number in the room: whose, and which of theirs.
pub type Heard = HashMap<u64, (String, Option<u64>)>;

pub struct Named {
    me: String,
    /// Of the last message that it said.
    n: u64,
    /// Said, and not yet heard.
    unproven: VecDeque<u64>,
    epoch: String,
    /// Of the last message that it heard.
    seq: Option<u64>,
    /// The greatest `n` of its own that it heard.
    proven: u64,
    pub heard: Heard,
    pub connections: usize,
    /// Messages that were gone when it came back, as the server said.
    pub missed: u64,
}

impl Named {
    pub fn new(number: u64) -> Self {
        Named {
            me: me(number),
            n: 0,
            unproven: VecDeque::new(),
            epoch: String::new(),
            seq: None,
            proven: 0,
            heard: Heard::new(),
            connections: 0,
            missed: 0,
        }
    }

    /// Talks `until` then, and goes once it has heard all that it said.
    pub fn live(mut self, address: SocketAddr, dice: &mut Dice, until: Instant) -> Self {
        loop {
            self.connections += 1;
            // An error is a lost connection, too.
            if self.connect(address, dice, until).is_ok_and(|is_done| is_done) {
                return self;
            }
        }
    }

    /// Whether it was done before it, or the server, ended the connection.
    fn connect(
        &mut self,
        address: SocketAddr,
        dice: &mut Dice,
        until: Instant,
    ) -> io::Result<bool> {
        let mut link = Link::open(address, "lobby")?;
        let mut hello = json!({"t": "hello", "me": self.me, "history": 0, "who": false});
        if let Some(seq) = self.seq {
            hello["since"] = json!(format!("{}.{seq}", self.epoch));
        }
        link.send(&hello)?;
        let hello = link.object()?;
        self.resume(&hello);
        for n in self.unproven.clone() {
            link.send(&message(n))?;
        }
        let frames = 1 + dice.roll(400);
        for _ in 0..frames {
            let is_over = Instant::now() >= until;
            if is_over && self.unproven.is_empty() {
                return Ok(true);
            }
            if !is_over && self.unproven.len() < IN_FLIGHT && dice.roll(4) == 0 {
                self.n += 1;
                self.unproven.push_back(self.n);
                link.send(&message(self.n))?;
            }
            // There is always something to hear, if only its own.
            if self.unproven.is_empty() {
                link.send(&json!({"t": "ping"}))?;
            }
            let object = link.object()?;
            if object["t"] == "msg" {
                self.hear(&object, &hello["you"]);
            }
        }
        if dice.roll(2) == 0 {
            let _ = sockopt::set_socket_linger(&link.stream, Some(Duration::ZERO));
        }
        Ok(false)
    }

    fn resume(&mut self, hello: &Value) {
        let (epoch, seq) = position(&hello["cursor"]);
        if let Some(last) = self.seq {
            let missed = hello["missed"].as_u64().expect("the room is the same one");
            assert_eq!(seq, last + missed, "{hello}");
            self.missed += missed;
        }
        (self.epoch, self.seq) = (epoch, Some(seq));
        if let Some(accepted) = hello["n"].as_u64() {
            self.unproven.retain(|n| *n > accepted);
        } else {
            assert_eq!(self.unproven.len() as u64, self.n, "it was forgotten: {hello}");
        }
    }

    fn hear(&mut self, object: &Value, you: &Value) {
        let seq = object["seq"].as_u64();
        assert_eq!(seq, self.seq.map(|last| last + 1), "a gap: {object}");
        self.seq = seq;
        let n = object["n"].as_u64();
        if object["by"] == *you {
            let n = n.expect("its own have numbers");
            assert!(n > self.proven, "twice, or out of order: {object}");
            assert!(n == self.proven + 1 || self.missed > 0, "lost: {object}");
            self.proven = n;
            self.unproven.retain(|other| *other > n);
        }
        let by = object["by"].as_str().expect("a sender").to_owned();
        self.heard.insert(seq.expect("a number"), (by, n));
    }
}

fn message(n: u64) -> Value {
    json!({"t": "msg", "n": n, "text": format!("message {n}")})
}

/// All of them heard the same under each number.
pub fn agree(people: &[Named]) {
    let mut all = Heard::new();
    for person in people {
        for (seq, heard) in &person.heard {
            let first = all.entry(*seq).or_insert_with(|| heard.clone());
            assert_eq!(first, heard, "two messages have the number {seq}");
        }
    }
}
