//! Where the log does not go on as it was: a new epoch, or a gap.

use crate::config::BATCH_BYTES;
use crate::engine::command::{self, Present};
use crate::engine::entry;
use crate::engine::link::{Snapshot, Through};
use crate::history::before::Past;
use crate::history::chunk::{self, Author, Kind};
use crate::metrics::HubCounters;
use crate::outbox::Transport;
use crate::room::names;
use crate::room::room::Room;
use crate::room::room::shared::{Guest, message, past, roster};
use crate::wire::cursor::{Cursor, Epoch};

impl<T: Transport> Room<T> {
    /// The engine was restarted, or another one took over: the log goes on in a new epoch, maybe without some
    /// of the last entries.
    pub(super) fn begin_epoch(
        &mut self,
        entry: &entry::Entry<'_>,
        id: (u64, u64),
        tally: &mut HubCounters,
    ) {
        // What was heard before is of the old epoch.
        self.flush(2 * BATCH_BYTES, self.now, tally);
        let Some(shared) = &mut self.shared else { return };
        let before = entry.text.split_once(' ');
        let before = before.and_then(|(epoch, pos)| Some((epoch.parse().ok()?, pos.parse().ok()?)));
        let before: (u64, u64) = before.unwrap_or((0, 0));
        let is_lost = before < shared.at;
        if before.0 == 0 {
            shared.past.clear();
        } else {
            for past in &mut shared.past {
                past.last = past.last.min(entry.seq);
            }
            let epoch = Some(Epoch::from_number(shared.at.0));
            shared.past.push(Past { epoch, last: entry.seq, is_clean: true });
        }
        log::warn!(
            "{}: the engine goes on in another epoch{}",
            shared.link.room,
            if is_lost { ", and has lost what was said last" } else { "" }
        );
        let counts = &shared.link.node.counts;
        counts.epochs.add(1);
        counts.lost.add(self.seq.saturating_sub(entry.seq));
        self.move_log(id.0, entry.seq, (!is_lost).then_some(0));
        let Some(shared) = &mut self.shared else { return };
        let name = shared.link.node.name();
        let mut present = Vec::new();
        for ((node, conn), guest) in &mut shared.roster {
            guest.is_known = false;
            if **node != *name {
                continue;
            }
            let Some(mine) = shared.mine.get(conn) else { continue };
            let tag = guest.tag.map_or_else(String::new, |tag| tag.to_string());
            present.push(Present {
                conn: *conn,
                who: command::Who { mac: mine.mac.clone(), tag, num: guest.num },
                n: mine.n,
                name: guest.name.clone(),
                fold: names::fold(&guest.name),
                came: mine.came,
            });
        }
        shared.link.begin_epoch(id, present);
    }

    /// Some entries were dropped before this node read them.
    pub(super) fn skip(&mut self, snapshot: &Snapshot, tally: &mut HubCounters) {
        self.flush(2 * BATCH_BYTES, self.now, tally);
        let Some(shared) = &mut self.shared else { return };
        let is_same = snapshot.epoch == shared.at.0 && snapshot.seq >= self.seq;
        let seq = if is_same { self.seq } else { 0 };
        let entries = snapshot.history.iter().filter_map(|raw| raw.entry());
        let news: Vec<_> = entries.filter(|entry| entry.seq > seq).collect();
        let start = news.first().map_or(snapshot.seq, |first| first.seq - 1);
        let missed = is_same.then(|| start - seq);
        log::warn!(
            "{}: this node was too slow, and has missed {} messages",
            shared.link.room,
            missed.map_or("some".into(), |missed| missed.to_string())
        );
        shared.link.node.counts.missed.add(missed.unwrap_or(0));
        shared.past = past(snapshot);
        if missed != Some(0) {
            shared.hole = start;
        }
        shared.at = (snapshot.epoch, snapshot.pos);
        let (link, now) = (shared.link.clone(), roster(snapshot));
        self.move_log(snapshot.epoch, start, missed);
        for entry in &news {
            self.seq = entry.seq;
            self.now.at = self.now.at.max(entry.at);
            self.batch.push(message(entry), None);
        }
        self.seq = snapshot.seq;
        let gone = self.shared.iter().flat_map(|shared| shared.roster.keys());
        let gone: Vec<_> = gone.filter(|key| !now.contains_key(*key)).cloned().collect();
        for key in gone {
            self.forget_guest(&key);
        }
        for (key, guest) in now {
            let Some(shared) = &mut self.shared else { return };
            let author = Guest { is_known: true, name: guest.name.clone(), ..guest };
            if shared.roster.insert(key, guest).is_none() {
                self.count();
                self.tell_came(author.author());
            }
        }
        // What of one's own was in the gap is through.
        for through in link.hear((snapshot.epoch, snapshot.pos), 0) {
            if let Through::PassedOver(waiting, known) = through {
                self.pass_over(waiting, known, tally);
            }
        }
    }

    /// The log goes on in this epoch, behind this number, and its readers are told how many they miss.
    fn move_log(&mut self, epoch: u64, seq: u64, missed: Option<u64>) {
        let log = self.info.log.clone();
        log.set_epoch(epoch);
        if seq != self.seq {
            log.ring.begin_anew(seq);
        }
        self.seq = seq;
        let cursor = Cursor { epoch: log.epoch(), seq }.to_string();
        let (kind, author) = (Kind::Moved { missed }, Author::default());
        self.batch.push(chunk::Entry { kind, at: self.now.at, author, text: &cursor }, None);
    }
}
