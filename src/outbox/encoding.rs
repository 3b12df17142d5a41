//! How the entries of a log become bytes for a client: one encoding for each protocol.

use crate::history::Log;
use crate::history::chunk::{Entry, Kind};
use crate::wire::cursor::Epoch;
use crate::wire::{self, roomd1, tutorial};

/// The protocol of a client that hears a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The tutorial's texts, in WebSocket frames.
    Tutorial,
    /// `roomd.1`: JSON objects, in WebSocket frames.
    Roomd1,
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
    pub const ALL: [Encoding; 2] = [Encoding::Tutorial, Encoding::Roomd1];

    /// Appends `entry` of a log of this `epoch` as a client gets it, which may be nothing.
    pub fn encode(self, out: &mut Vec<u8>, _epoch: &Epoch, entry: &Entry<'_>) {
        match self {
            Encoding::Tutorial => match entry.kind {
                Kind::Message { .. } => tutorial::says(out, entry.author.num, entry.text),
                Kind::Left { .. } => tutorial::left(out, entry.author.num),
                _ => {}
            },
            Encoding::Roomd1 => wire::text_of(out, |out| object(out, entry)),
        }
    }
}

impl View {
    /// Appends `entry` of `log`.
    pub fn encode(self, out: &mut Vec<u8>, log: &Log, entry: &Entry<'_>) {
        if !self.is_replay || entry.kind.seq().is_some() {
            self.encoding.encode(out, &log.epoch, entry);
        }
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
    }
}
