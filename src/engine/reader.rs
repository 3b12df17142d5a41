//! The thread that reads the logs of this node's rooms, all of them at once.
//!
//! It pulls: there is nothing in the engine that could overflow for a node that is slow, and a room whose
//! readers are behind waits alone.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::engine::calls::{Engine, Reading};
use crate::engine::connection::{Connection, Fault};
use crate::engine::entry::{Before, Raw};
use crate::engine::link::News;
use crate::engine::node::{Feed, Node, Settings};
use crate::engine::pace::Pace;
use crate::engine::writer::{end_of, opening};

/// Reads the logs.
pub struct Reader {
    node: Arc<Node>,
    settings: Settings,
    /// What was read and waits for the readers of its room, by its name.
    held: HashMap<String, VecDeque<Raw>>,
    /// How far the stream was read by which the writer wakes this thread, and whose it is.
    wake: (Arc<str>, String),
    /// The mean size of an entry.
    mean: usize,
    /// How fast entries come.
    pace: Pace,
    /// What was read last waits for the next read, to be delivered with what that brings.
    is_gathering: bool,
}

/// Entries of one room that are read at once: about so many bytes, if they are as long as those before.
const READ_BYTES: usize = 64 * 1024;
const COUNT: RangeInclusive<usize> = 16..=512;

/// How long a read waits for something new; a stop waits for that.
const BLOCK: Duration = Duration::from_millis(400);

/// How long it waits while a room's readers are behind.
const HELD: Duration = Duration::from_millis(10);

/// While entries come fast, what was read waits so long for more: each batch costs a hub a send to every client,
/// however little there is in it.
const GATHER: Duration = Duration::from_millis(1);

/// The hub is given so many bytes at once, and may have so many to take.
pub(super) const PIECE: usize = 32 * 1024;
pub(super) const UNDELIVERED: u64 = 256 * 1024;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(2);

impl Reader {
    /// The reader of this node.
    pub fn new(node: Arc<Node>, settings: Settings) -> Reader {
        let wake = (node.name(), "0".into());
        let (mean, pace) = (READ_BYTES / COUNT.end(), Pace::new(settings.fast, node.now()));
        Reader { node, settings, held: HashMap::new(), wake, mean, pace, is_gathering: false }
    }

    /// Reads until the node stops.
    pub fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        while !self.node.is_stopping() {
            let fault = match Connection::open(&self.settings.to) {
                Ok(mut engine) => {
                    pause = FIRST_PAUSE;
                    loop {
                        match self.read(&mut engine) {
                            Ok(()) if self.node.is_stopping() => return,
                            Ok(()) if self.is_gathering => thread::sleep(GATHER),
                            Ok(()) => {}
                            Err(fault) => break fault,
                        }
                    }
                }
                Err(fault) => fault,
            };
            self.is_gathering = false;
            self.deliver_all(&self.node.feeds());
            if let Fault::Lost(why) = fault {
                log::debug!("reading from the engine: {why}");
            }
            // The writer may not have noticed yet.
            self.node.suspect();
            self.node.rest_until_connected(end_of(pause));
            pause = (2 * pause).min(LAST_PAUSE);
        }
    }

    /// How many entries wait for the readers of their rooms.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.values().map(VecDeque::len).sum()
    }

    /// How many bytes they are.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.held.values().flatten().map(Raw::size).sum()
    }

    /// Waits for entries once, and delivers what there is.
    pub(super) fn read(&mut self, engine: &mut impl Engine) -> Result<(), Fault> {
        let name = self.node.name();
        if self.wake.0 != name {
            self.wake = (name.clone(), "0".into());
        }
        let feeds = self.node.feeds();
        let (mut open, mut rooms): (Vec<Arc<Feed>>, _) = (Vec::new(), Vec::new());
        let is_second = std::mem::take(&mut self.is_gathering);
        for feed in &feeds {
            let Some(at) = feed.position() else { continue };
            if is_second && has_room(feed) || self.deliver(feed) {
                open.push(feed.clone());
                rooms.push((&*feed.link.room, at));
            }
        }
        self.held.retain(|_, held| !held.is_empty());
        let block = match (is_second, self.held.is_empty()) {
            (true, _) => Duration::ZERO,
            (false, true) => BLOCK,
            (false, false) => HELD,
        };
        let mut count = count(self.settings.entries, feeds.len(), self.mean);
        if is_second {
            let first = self.held.values().map(VecDeque::len).max();
            count = count.saturating_sub(first.unwrap_or(0)).max(1);
        }
        let reading = Reading { node: &name, woken: &self.wake.1, rooms, count, block };
        let news = engine.read(&reading)?;
        if let Some(woken) = news.woken {
            self.wake.1 = woken;
        }
        let most = news.entries.iter().map(|(_, entries)| entries.len()).max().unwrap_or(0);
        let entries = news.entries.iter().flat_map(|(_, entries)| entries);
        self.pace.took(entries.map(|raw| raw.count).sum(), self.node.now());
        self.node.set_fast(self.pace.is_fast());
        self.is_gathering = self.pace.is_fast() && !is_second && (1..count).contains(&most);
        for (index, entries) in news.entries {
            self.take(engine, &open[index], entries)?;
        }
        if !self.is_gathering {
            self.deliver_all(&open);
        }
        Ok(())
    }

    /// Takes entries of a room, which follow on those before, or else there is a gap.
    fn take(
        &mut self,
        engine: &mut impl Engine,
        feed: &Feed,
        entries: Vec<Raw>,
    ) -> Result<(), Fault> {
        let Some(mut at) = feed.position() else { return Ok(()) };
        let held = self.held.entry(feed.link.room.clone()).or_default();
        let mut has_gap = false;
        for raw in entries {
            if !follows(at, &raw) {
                has_gap = true;
                break;
            }
            at = raw.id;
            self.mean = (self.mean * 31 + raw.size()).div_ceil(32);
            held.push_back(raw);
        }
        feed.set_position(at);
        // What was read before a gap goes first. If there is no room for that, what follows is read again.
        if has_gap && self.deliver(feed) {
            let name = self.node.name();
            let opening = opening(&self.settings, &self.node, &name, feed, at.0, true);
            let (snapshot, _) = engine.open(&opening)?;
            feed.set_position((snapshot.epoch, snapshot.pos));
            feed.deliver(News::Gap(Box::new(snapshot)));
        }
        Ok(())
    }

    fn deliver_all(&mut self, feeds: &[Arc<Feed>]) {
        for feed in feeds {
            self.deliver(feed);
        }
    }

    /// Gives a hub what was read of a room. False: its readers are too far behind for all of it.
    fn deliver(&mut self, feed: &Feed) -> bool {
        let Some(held) = self.held.get_mut(&feed.link.room) else { return true };
        while !held.is_empty() {
            if !has_room(feed) {
                return false;
            }
            let mut bytes = 0;
            let count = held.iter().take_while(|raw| {
                let is_first = bytes == 0;
                bytes += raw.size();
                is_first || bytes <= PIECE
            });
            let count = count.count();
            let piece: Vec<Raw> = held.drain(..count).collect();
            let bytes: usize = piece.iter().map(Raw::size).sum();
            feed.link.undelivered.fetch_add(bytes as u64, Ordering::Relaxed);
            feed.deliver(News::Entries(piece));
        }
        true
    }
}

/// Whether the readers of a room are not too far behind to be given more.
fn has_room(feed: &Feed) -> bool {
    let undelivered = feed.link.undelivered.load(Ordering::Relaxed);
    undelivered <= UNDELIVERED && feed.log.has_room(undelivered)
}

/// How many entries of each room to read at once. All texts may suddenly be as long as they can be, and what
/// was read of each of the `rooms` may wait for its readers.
fn count(entries: usize, rooms: usize, mean: usize) -> usize {
    let most = (entries / rooms.max(1)).max(1);
    (READ_BYTES / mean).clamp(*COUNT.start(), *COUNT.end()).min(most)
}

/// Whether an entry comes right behind this position.
fn follows((epoch, pos): (u64, u64), raw: &Raw) -> bool {
    if raw.id.0 == epoch {
        return raw.first() == pos + 1;
    }
    // A new epoch says where the one before ended. Behind that, the engine has lost what it had. If that one is
    // not the last that was heard, there may be more between them.
    let before = raw.entry().and_then(|entry| entry.before());
    // Behind nothing there is nothing to miss.
    before.is_some_and(|Before { end, .. }| end.0 == 0 || end.0 == epoch && end.1 <= pos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_once_fits_even_if_all_of_it_is_long() {
        assert_eq!(count(10_000, 1, 100), *COUNT.end());
        assert_eq!(count(10_000, 1, 1000), READ_BYTES / 1000);
        assert_eq!(count(10_000, 1, READ_BYTES), *COUNT.start());
        for entries in [64, 100, 255, 1000, 50_000] {
            for rooms in [0, 1, 2, 3, 30, 64] {
                for mean in [1, 128, 4000, 2 * READ_BYTES] {
                    let count = count(entries, rooms, mean);
                    assert!(count > 0 && rooms * count <= entries, "{entries}, {rooms}, {mean}");
                }
            }
        }
        assert_eq!(count(0, 3, 100), 1, "or nothing would ever be read");
    }
}
