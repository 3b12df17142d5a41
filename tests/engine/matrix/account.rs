//! What one client did and heard, in its order.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A place in the log: the epoch as a number, and that of a message.
pub type Place = (u64, u64);

/// A message: who sent it, and which of its own it is.
pub type Id = (u32, u32);

/// Says that it is over.
pub const CURTAIN: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Speaks `roomd.1`, talks and listens.
    Person,
    /// The same, to the very end, so that it hears everybody leave.
    Witness,
    /// Speaks as the tutorial's page does. A connection that comes again is somebody else.
    Tutorial,
    /// Follows by server-sent events.
    Stream,
    /// Publishes by requests with keys.
    Poster,
}

#[derive(Debug)]
pub enum Heard {
    /// A connection is answered: it goes on behind this place, and has missed so much; null is none.
    Greeted {
        node: usize,
        since: Option<Place>,
        place: Place,
        missed: Option<u64>,
        here: Option<Vec<String>>,
    },
    Message(Place, Id),
    /// The log goes on behind this place, as a living connection is told.
    Moved {
        place: Place,
        missed: Option<u64>,
    },
    Came(String),
    Left(String),
    /// A connection of the tutorial's protocol, on this node.
    Entered(usize),
    /// What one of the tutorial's protocol hears, which has no numbers.
    Line(Id),
    LineLeft(i64),
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Pending,
    /// The server said that it was accepted.
    Accepted,
    AcceptedAt(Place),
    /// The connection ended before that, and nobody will ever say.
    Unknown,
}

#[derive(Debug)]
pub struct Account {
    pub id: u32,
    pub kind: Kind,
    pub heard: Vec<Heard>,
    /// Of its messages, from the first on.
    pub said: Vec<Fate>,
    /// The longest time between two messages while all talked.
    pub silence: Duration,
    /// When the last message came.
    pub last: Option<Instant>,
    /// How its connections ended.
    pub ends: BTreeMap<String, usize>,
    /// What no client may ever see.
    pub faults: Vec<String>,
}

impl Account {
    pub fn new(id: u32, kind: Kind) -> Self {
        let (heard, said, faults) = (Vec::new(), Vec::new(), Vec::new());
        let (silence, last, ends) = (Duration::ZERO, None, BTreeMap::new());
        Account { id, kind, heard, said, silence, last, ends, faults }
    }

    /// A message has come, while all talk or not.
    pub fn hears(&mut self, is_talk: bool) {
        let now = Instant::now();
        if let (Some(last), true) = (self.last, is_talk) {
            self.silence = self.silence.max(now - last);
        }
        self.last = Some(now);
    }

    /// The number of a new message.
    pub fn says(&mut self) -> u32 {
        self.said.push(Fate::Pending);
        self.said.len() as u32
    }

    pub fn is(&mut self, k: u32, fate: Fate) {
        if let Some(said) = self.said.get_mut(k as usize - 1) {
            // That it is accepted is known for good, and its place is more than that.
            if matches!(said, Fate::Pending | Fate::Unknown) || matches!(fate, Fate::AcceptedAt(_))
            {
                *said = fate;
            }
        }
    }

    pub fn ended(&mut self, how: impl fmt::Display) {
        *self.ends.entry(how.to_string()).or_default() += 1;
    }

    pub fn fault(&mut self, what: impl fmt::Display) {
        self.faults.push(format!("client {} ({:?}): {what}", self.id, self.kind));
    }
}

/// The place that a cursor names.
pub fn place(cursor: &Value) -> Place {
    let parsed = cursor.as_str().and_then(|cursor| {
        let (epoch, seq) = cursor.trim().split_once('.')?;
        Some((u64::from_str_radix(epoch, 36).ok()?, seq.parse().ok()?))
    });
    parsed.unwrap_or_else(|| panic!("no cursor: {cursor}"))
}

/// A text that names its message, and in which generation it was said.
pub fn text((client, k): Id, generation: u64, len: usize) -> String {
    format!("c{client} {k} g{generation} {}", "x".repeat(len))
}

/// What such a text names.
pub fn read(text: &str) -> (Id, u64) {
    let mut words = text.split(' ');
    let mut number = |letter: &str| words.next()?.strip_prefix(letter)?.parse::<u64>().ok();
    let parsed = number("c").and_then(|c| Some((c as u32, number("")? as u32, number("g")?)));
    let (client, k, generation) = parsed.unwrap_or_else(|| panic!("nobody says {text:?}"));
    ((client, k), generation)
}
