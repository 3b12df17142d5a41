//! What a node asks of the engine, as its scripts and a few commands answer it.

use std::time::Duration;

use redis::{Cmd, Value};

use crate::engine::command::{Command, Present};
use crate::engine::connection::{Connection, Fault, Script, list, number, odd, text, texts};
use crate::engine::entry::Raw;
use crate::engine::keys;
use crate::engine::link::Snapshot;

/// A connection to an engine. A call that fails with [`Fault::Lost`] may have been done all the same, or be
/// done later, and ends the connection.
pub trait Engine {
    /// What tags are made with: `secret`, if the engine has none, or one that is not as old.
    fn share_secret(&mut self, secret: &Secret) -> Result<Secret, Fault>;

    /// Opens a room, or goes on with it on this connection: how it is, and the counter of the node's last
    /// command that was taken.
    fn open(&mut self, opening: &Opening<'_>) -> Result<(Snapshot, u64), Fault>;

    /// Says anew who is here on the node. `sent` is the counter of its last command that was taken.
    fn sync(&mut self, place: &Place<'_>, sent: u64, present: &[Present]) -> Result<(), Fault>;

    /// Hands over what clients do, in several rooms.
    fn publish(&mut self, batches: &[Batch<'_>]) -> Result<Vec<Result<Taken, Fault>>, Fault>;

    /// Shows that a node lives.
    fn beat(&mut self, node: &str) -> Result<Beats, Fault>;

    /// Declares a node dead whose beat is still this one: its rooms, and those of `rooms`, where it may have been
    /// and the engine has forgotten it. None: it lives.
    fn fence(
        &mut self,
        node: &str,
        beat: &str,
        rooms: &[String],
    ) -> Result<Option<Vec<String>>, Fault>;

    /// The rooms in which a node is.
    fn rooms(&mut self, node: &str) -> Result<Vec<String>, Fault>;

    /// The members of a node leave a room, of whose log so many entries are kept, if it was declared dead, or it
    /// goes by itself.
    fn reap(&mut self, room: &str, node: &str, keep: usize, by_itself: bool) -> Result<(), Fault>;

    /// A node goes in an orderly way, and nobody need look after it.
    fn forget(&mut self, node: &str) -> Result<(), Fault>;

    /// Has the reader of a node look which rooms it has.
    fn wake(&mut self, node: &str) -> Result<(), Fault>;

    /// Waits for entries behind these places, and for [`Engine::wake`] behind the id that came with the last.
    fn read(&mut self, reading: &Reading<'_>) -> Result<News, Fault>;
}

/// How a node opens a room.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// The room.
    pub room: &'a str,
    /// The node.
    pub node: &'a str,
    /// The epoch that it knows, or 0.
    pub epoch: u64,
    /// A number below 2^20 that this node has for no other opening, nor another node, but for chance.
    pub salt: u64,
    /// Who is in it and its history are wanted, too.
    pub is_all: bool,
    /// Messages of history.
    pub history: usize,
    /// How old those may be.
    pub age: Duration,
}

/// Where a node writes.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The room.
    pub room: &'a str,
    /// The node.
    pub node: &'a str,
    /// The epoch of the log.
    pub epoch: u64,
    /// So many entries of the log are kept.
    pub keep: usize,
}

/// What clients of a node do in one room.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Where.
    pub place: Place<'a>,
    /// In their order, with the counter of each.
    pub commands: Vec<(u64, Command)>,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The counter of the last command that was taken.
    pub counter: u64,
    /// The position of the log's last entry.
    pub pos: u64,
    /// Of requests that came again: their counters, and what they had published.
    pub known: Vec<(u64, String)>,
}

/// What tags are made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret {
    /// When an engine had it first, in milliseconds since 1970 by its clock; 0: none has.
    pub since: u64,
    /// It.
    pub bytes: [u8; 32],
}

/// Who shows that it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beats {
    /// Each node's beat.
    pub beats: Vec<(String, String)>,
    /// The dead nodes with rooms that nobody has taken them out of yet.
    pub unburied: Vec<String>,
    /// What tags are made with; none: the engine has lost it.
    pub secret: Option<Secret>,
}

/// What is read.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    /// By whom, and the id of the last time that it was woken.
    pub node: &'a str,
    /// See there.
    pub woken: &'a str,
    /// The rooms, and the last entry of each that was read.
    pub rooms: Vec<(&'a str, (u64, u64))>,
    /// So many entries of each room at most.
    pub count: usize,
    /// For how long, at most; zero: what is there already.
    pub block: Duration,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// The id of the time at which it was woken, if it was.
    pub woken: Option<String>,
    /// Entries, by the place of the room in [`Reading::rooms`].
    pub entries: Vec<(usize, Vec<Raw>)>,
}

/// A room in which nobody is stays for so long beyond the age of its history.
const IDLE: Duration = Duration::from_secs(3600);

/// Bytes of history that a node takes when it opens a room.
pub(super) const HISTORY_BYTES: usize = 1 << 20;

/// What wakes a reader is kept for so many seconds.
const WAKE: u64 = 86_400;

impl Engine for Connection {
    fn share_secret(&mut self, secret: &Secret) -> Result<Secret, Fault> {
        let mut cmd = self.script(Script::Secret, &[keys::SECRET.into()]);
        let hex: String = secret.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        cmd.arg(hex).arg(secret.since);
        Secret::parse(&text(self.call(&cmd)?)?).ok_or_else(odd)
    }

    fn open(&mut self, opening: &Opening<'_>) -> Result<(Snapshot, u64), Fault> {
        let Opening { room, node, epoch, salt, is_all, history, age } = *opening;
        let server = self.server()?;
        let mut cmd = self.script(Script::Open, &keys::of_room(room, node));
        cmd.arg(node).arg(server).arg(room).arg(epoch).arg(u8::from(is_all)).arg(history);
        cmd.arg(HISTORY_BYTES)
            .arg((age + IDLE).as_millis() as u64)
            .arg(age.as_millis() as u64)
            .arg(salt);
        let mut answer = list(self.call(&cmd)?)?.into_iter();
        let mut next = || answer.next().ok_or_else(odd);
        let (epoch, pos, seq, taken) =
            (number(next()?)?, number(next()?)?, number(next()?)?, number(next()?)?);
        let past = texts(next()?)?.into_iter().map(|line| {
            let (epoch, seq) = line.split_once(' ').ok_or_else(odd)?;
            Ok((epoch.parse().map_err(|_| odd())?, seq.parse().map_err(|_| odd())?))
        });
        let past = past.collect::<Result<Vec<_>, Fault>>()?;
        let members = texts(next()?)?;
        let history = list(next()?)?.into_iter().map(Raw::of);
        let mut history = history.collect::<Result<Vec<_>, Fault>>()?;
        history.reverse();
        Ok((Snapshot { epoch, pos, seq, past, members, history }, taken))
    }

    fn sync(&mut self, place: &Place<'_>, sent: u64, present: &[Present]) -> Result<(), Fault> {
        let mut cmd = self.script(Script::Sync, &keys::of_room(place.room, place.node));
        cmd.arg(place.node).arg(place.epoch).arg(place.keep).arg(sent);
        present.iter().for_each(|present| present.add_to(&mut cmd));
        self.call(&cmd).map(drop)
    }

    fn publish(&mut self, batches: &[Batch<'_>]) -> Result<Vec<Result<Taken, Fault>>, Fault> {
        let cmds: Vec<Cmd> = batches
            .iter()
            .map(|Batch { place, commands }| {
                let mut cmd = self.script(Script::Publish, &keys::of_room(place.room, place.node));
                cmd.arg(place.node).arg(place.epoch).arg(place.keep);
                commands.iter().for_each(|(counter, command)| command.add_to(&mut cmd, *counter));
                cmd
            })
            .collect();
        let answers = self.call_all(&cmds)?;
        Ok(answers.into_iter().map(|answer| answer.and_then(taken)).collect())
    }

    fn beat(&mut self, node: &str) -> Result<Beats, Fault> {
        let mut cmd = self
            .script(Script::Beat, &[keys::BEATS.into(), keys::GONE.into(), keys::SECRET.into()]);
        cmd.arg(node);
        let mut answer = list(self.call(&cmd)?)?.into_iter();
        let beats = texts(answer.next().ok_or_else(odd)?)?;
        let unburied = texts(answer.next().ok_or_else(odd)?)?;
        let secret = Secret::parse(&text(answer.next().ok_or_else(odd)?)?);
        let pair = |pair: &[String]| (pair[0].clone(), pair[1].clone());
        Ok(Beats { beats: beats.chunks_exact(2).map(pair).collect(), unburied, secret })
    }

    fn fence(
        &mut self,
        node: &str,
        beat: &str,
        rooms: &[String],
    ) -> Result<Option<Vec<String>>, Fault> {
        let keys = [keys::BEATS.into(), keys::GONE.into(), keys::rooms(node)];
        let mut cmd = self.script(Script::Fence, &keys);
        cmd.arg(node).arg(beat).arg(rooms);
        match self.call(&cmd)? {
            Value::Nil => Ok(None),
            rooms => texts(rooms).map(Some),
        }
    }

    fn rooms(&mut self, node: &str) -> Result<Vec<String>, Fault> {
        let mut cmd = redis::cmd("SMEMBERS");
        cmd.arg(keys::rooms(node));
        texts(self.call(&cmd)?)
    }

    fn reap(&mut self, room: &str, node: &str, keep: usize, by_itself: bool) -> Result<(), Fault> {
        let mut cmd = self.script(Script::Reap, &keys::of_room(room, node));
        cmd.arg(node).arg(keep).arg(room).arg(u8::from(by_itself));
        self.call(&cmd).map(drop)
    }

    fn forget(&mut self, node: &str) -> Result<(), Fault> {
        let mut cmd = redis::cmd("HDEL");
        cmd.arg(keys::BEATS).arg(node);
        self.call(&cmd).map(drop)
    }

    fn wake(&mut self, node: &str) -> Result<(), Fault> {
        let key = keys::wake(node);
        let mut add = redis::cmd("XADD");
        add.arg(&key).arg("MAXLEN").arg(1).arg("*").arg("w").arg("");
        let mut expire = redis::cmd("EXPIRE");
        expire.arg(&key).arg(WAKE);
        self.call_all(&[add, expire])?.into_iter().try_for_each(|answer| answer.map(drop))
    }

    fn read(&mut self, reading: &Reading<'_>) -> Result<News, Fault> {
        let mut cmd = redis::cmd("XREAD");
        cmd.arg("COUNT").arg(reading.count);
        // By 0 it would wait for ever.
        if !reading.block.is_zero() {
            cmd.arg("BLOCK").arg(reading.block.as_millis() as u64);
        }
        let keys: Vec<String> = reading.rooms.iter().map(|(room, _)| keys::log(room)).collect();
        cmd.arg("STREAMS").arg(keys::wake(reading.node)).arg(&keys).arg(reading.woken);
        for (_, (epoch, pos)) in &reading.rooms {
            cmd.arg(format!("{epoch}-{pos}"));
        }
        let mut news = News::default();
        // They come in the order in which they were asked for.
        let mut rooms = keys.iter().enumerate();
        for stream in list(self.call(&cmd)?)? {
            let mut parts = list(stream)?.into_iter();
            let key = text(parts.next().ok_or_else(odd)?)?;
            let entries = list(parts.next().ok_or_else(odd)?)?;
            if key == keys::wake(reading.node) {
                let last = entries.into_iter().next_back().ok_or_else(odd)?;
                news.woken = Some(text(list(last)?.into_iter().next().ok_or_else(odd)?)?);
                continue;
            }
            let (index, _) = rooms.find(|(_, room)| **room == key).ok_or_else(odd)?;
            let entries = entries.into_iter().map(Raw::of).collect::<Result<Vec<_>, Fault>>()?;
            news.entries.push((index, entries));
        }
        Ok(news)
    }
}

impl Secret {
    /// What the engine has: the time and the bytes, in hex.
    fn parse(text: &str) -> Option<Secret> {
        let (since, hex) = text.split_once(' ')?;
        let mut bytes = [0; 32];
        for (n, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(2 * n..2 * n + 2)?, 16).ok()?;
        }
        Some(Secret { since: since.parse().ok()?, bytes })
    }
}

/// The answer of the script.
fn taken(answer: Value) -> Result<Taken, Fault> {
    let mut answer = list(answer)?.into_iter();
    let mut next = || answer.next().ok_or_else(odd);
    let (counter, pos) = (number(next()?)?, number(next()?)?);
    let known = texts(next()?)?.into_iter().map(|line| {
        let (counter, what) = line.split_once(' ').ok_or_else(odd)?;
        Ok((counter.parse().map_err(|_| odd())?, what.to_owned()))
    });
    Ok(Taken { counter, pos, known: known.collect::<Result<_, Fault>>()? })
}
