//! How the entries of a log become bytes for a client: one encoding for each protocol.

use crate::history::chunk::{Entry, Kind};
use crate::wire::cursor::{Cursor, Epoch};
use crate::wire::stream::Format;
use crate::wire::{self, roomd1, tutorial};

/// The protocol of a client that hears a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The tutorial's texts, in WebSocket frames.
    Tutorial,
    /// `roomd.1`: JSON objects, in WebSocket frames.
    Roomd1,
    /// The same objects in lines.
    Json,
    /// The same objects as server-sent events.
    Sse,
    /// Messages as lines of text.
    Text,
}

/// How many encodings there are.
pub const ENCODINGS: usize = Encoding::ALL.len();

/// How a reader sees the entries of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The reader's protocol.
    pub encoding: Encoding,
    /// The entries are from before it came: messages alone, since it was told who is here.
    pub is_replay: bool,
}

impl Encoding {
    /// Every encoding, in the order of the discriminants.
    pub const ALL: [Encoding; 5] =
        [Encoding::Tutorial, Encoding::Roomd1, Encoding::Json, Encoding::Sse, Encoding::Text];

    /// The encoding of a stream over HTTP.
    pub fn of(format: Format) -> Self {
        match format {
            Format::Json => Encoding::Json,
            Format::Sse => Encoding::Sse,
            Format::Text => Encoding::Text,
        }
    }

    /// How objects follow each other in a stream over HTTP. None: they are in WebSocket frames.
    pub fn format(self) -> Option<Format> {
        match self {
            Encoding::Tutorial | Encoding::Roomd1 => None,
            Encoding::Json => Some(Format::Json),
            Encoding::Sse => Some(Format::Sse),
            Encoding::Text => Some(Format::Text),
        }
    }

    /// Whether its clients hear who comes and goes, by name.
    pub fn has_presence(self) -> bool {
        matches!(self, Encoding::Roomd1 | Encoding::Json | Encoding::Sse)
    }

    /// Appends `entry`, which was said in this `epoch`, as a client gets it, which may be nothing.
    pub fn encode(self, out: &mut Vec<u8>, epoch: Epoch, entry: &Entry<'_>) {
        match self {
            Encoding::Tutorial => match entry.kind {
                Kind::Message { .. } => tutorial::says(out, entry.author.num, entry.text),
                Kind::Left { .. } => tutorial::left(out, entry.author.num),
                _ => {}
            },
            Encoding::Roomd1 => wire::text_of(out, |out| object(out, entry)),
            Encoding::Json => in_stream(Format::Json, out, epoch, entry),
            Encoding::Sse => in_stream(Format::Sse, out, epoch, entry),
            Encoding::Text => in_stream(Format::Text, out, epoch, entry),
        }
    }
}

impl View {
    /// Appends `entry`, which was said in this `epoch`.
    pub fn encode(self, out: &mut Vec<u8>, epoch: Epoch, entry: &Entry<'_>) {
        if !self.is_replay || entry.kind.seq().is_some() {
            self.encoding.encode(out, epoch, entry);
        }
    }
}

/// Appends `entry` as it is in a stream.
fn in_stream(format: Format, out: &mut Vec<u8>, epoch: Epoch, entry: &Entry<'_>) {
    let Entry { kind, author, text, .. } = *entry;
    let write = |out: &mut Vec<u8>| object(out, entry);
    match (kind, kind_of(entry)) {
        (Kind::Message { seq, .. }, _) => {
            let (by, cursor) = (author.by(), Cursor { epoch, seq });
            let name = if author.tag.is_some() { author.name } else { &by.to_string() };
            format.message(out, cursor, (name, text), write);
        }
        (_, Some(name)) => format.notice(out, name, write),
        (_, None) => {}
    }
}

/// The type of the object by which `roomd.1` tells of `entry`; none if it does not.
fn kind_of(entry: &Entry<'_>) -> Option<&'static str> {
    match entry.kind {
        Kind::Message { .. } => Some("msg"),
        Kind::Joined { .. } => Some("join"),
        Kind::Left { is_told: false, .. } => None,
        Kind::Left { .. } => Some("leave"),
        Kind::Counted { .. } => Some("count"),
        Kind::Members { .. } => Some("who"),
        Kind::Renamed => Some("name"),
        Kind::Moved { .. } => Some("epoch"),
    }
}

/// Appends the object by which `roomd.1` tells of `entry`; nothing if it does not.
fn object(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let Entry { kind, at, author, text } = *entry;
    let by = author.by();
    match kind {
        Kind::Message { seq, n } => {
            let n = (n > 0).then_some(n);
            roomd1::msg(out, seq, at, by, author.name, text, n);
        }
        Kind::Joined { count } => roomd1::join(out, by, author.name, count),
        Kind::Left { is_told: false, .. } => {}
        Kind::Left { count, is_lost, .. } => roomd1::leave(out, by, count, is_lost),
        Kind::Counted { count } => roomd1::count(out, count),
        Kind::Members { count } => roomd1::who(out, count, text),
        Kind::Renamed => roomd1::name(out, by, author.name),
        Kind::Moved { missed } => roomd1::epoch(out, text, missed),
    }
}
