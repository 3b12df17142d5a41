//! Where the log does not go on as it was: a new epoch, or a gap.

use crate::config::BATCH_BYTES;
use crate::engine::command::{self, Present};
use crate::engine::entry;
use crate::engine::link::Snapshot;
use crate::history::before::Past;
use crate::history::chunk::{self, Author, Kind};
use crate::metrics::HubCounters;
use crate::net::slots::ConnId;
use crate::outbox::Transport;
use crate::reasons::CloseReason;
use crate::room::names;
use crate::room::resume::{Kept, Resume, Since, resume};
use crate::room::room::Room;
use crate::room::room::shared::roster::{Guest, Roster};
use crate::room::room::shared::{State, message, past};
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
        // The engine may have forgotten that, and this node lives on.
        shared.died_as = None;
        let before = entry.before();
        let is_known = before.is_some_and(|before| before.end.0 > 0);
        let is_removed = before.is_none_or(|before| before.is_removed);
        // What was heard in the same epoch begins with what survived.
        let is_lost = entry.seq < self.seq;
        if !is_known {
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
            match (is_lost, is_removed) {
                (true, _) => ", and has lost what was said last",
                (false, true) => ", and somebody has removed what was said before",
                (false, false) => "",
            }
        );
        let counts = &shared.link.node.counts;
        counts.epochs.add(1);
        counts.lost.add(self.seq.saturating_sub(entry.seq));
        match is_removed {
            true => self.info.log.ring.begin_anew(entry.seq),
            false => self.info.log.ring.lose_behind(entry.seq),
        }
        self.move_log(id.0, entry.seq, (!is_lost).then_some(0));
        if let Some(shared) = &mut self.shared {
            shared.roster.doubt();
            shared.link.begin_epoch(id, shared.present(), shared.roster.nodes());
        }
    }

    /// Some entries were dropped before this node read them.
    pub(super) fn skip(&mut self, snapshot: &Snapshot, tally: &mut HubCounters) {
        self.flush(2 * BATCH_BYTES, self.now, tally);
        let Some(shared) = &mut self.shared else { return };
        let history: Vec<_> = snapshot.messages().collect();
        let (past, epoch) = (past(snapshot), Epoch::from_number(snapshot.epoch));
        let first = history.first().map_or(snapshot.seq + 1, |first| first.seq);
        let kept = Kept { epoch, head: snapshot.seq, first, past: &past, hole: 0 };
        let was_at = Cursor { epoch: Epoch::from_number(shared.at.0), seq: self.seq };
        let Resume { start, missed, .. } = resume(&kept, Since::At(was_at), 0);
        let start = start - 1;
        log::warn!(
            "{}: this node was too slow, and has missed {} messages",
            shared.link.room,
            missed.map_or("some".into(), |missed| missed.to_string())
        );
        shared.link.node.counts.missed.add(missed.unwrap_or(0));
        let survived = survived(&kept, was_at);
        shared.past = past;
        let (link, mut now) = (shared.link.clone(), Roster::of(snapshot));
        let is_new_epoch = snapshot.epoch != shared.at.0;
        if is_new_epoch {
            shared.died_as = None;
            // The engine may have forgotten them, and is told of them anew.
            for (place, guest) in shared.roster.of_node(&link.node.name()) {
                now.insert(place.clone(), Guest { is_known: false, ..guest.clone() });
            }
        }
        shared.at = (snapshot.epoch, snapshot.pos);
        // And it is in the engine still.
        match survived == Some(start) && first <= start {
            true => self.info.log.ring.lose_behind(start),
            false => self.info.log.ring.begin_anew(start),
        }
        self.move_log(snapshot.epoch, start, missed);
        for entry in history.iter().filter(|entry| entry.seq > start) {
            self.seq = entry.seq;
            self.now.at = self.now.at.max(entry.at);
            self.batch.push(message(entry), None);
        }
        self.seq = snapshot.seq;
        let here = self.shared.iter().flat_map(|shared| shared.roster.guests());
        let gone =
            here.filter(|(place, _)| now.at(place).is_none()).map(|(place, _)| place.clone());
        let gone: Vec<_> = gone.collect();
        for (place, guest) in now.guests() {
            self.note_guest(place.clone(), guest.clone());
        }
        for place in gone {
            self.forget_guest(&place);
            if *place.0 == *link.node.name() {
                self.lose(place.1, tally);
            }
        }
        // What of one's own was in the gap is through.
        let id = (snapshot.epoch, snapshot.pos);
        if let Some(shared) = self.shared.as_ref().filter(|_| is_new_epoch) {
            // Those included of whose coming nobody here has heard.
            link.begin_epoch(id, shared.present(), Vec::new());
        }
        link.has_heard(id);
        self.settle(tally);
    }

    /// A client of this node has left, or has come again elsewhere: this was in the gap.
    fn lose(&mut self, conn: ConnId, tally: &mut HubCounters) {
        let Some(shared) = &mut self.shared else { return };
        shared.mine.remove(&conn);
        if shared.leaving.contains_key(&conn) {
            return self.part(conn, tally);
        }
        // The engine may have been told since that it is here.
        shared.push_leave(conn, true);
        if let Some(member) = self.remove(conn) {
            self.hear_out(&member, tally);
            member.outbox.close_for(CloseReason::Moved);
        }
    }

    /// The log goes on in this epoch, behind this number, and its readers are told how many they miss.
    fn move_log(&mut self, epoch: u64, seq: u64, missed: Option<u64>) {
        let log = self.info.log.clone();
        log.set_epoch(epoch);
        self.seq = seq;
        let cursor = Cursor { epoch: log.epoch(), seq }.to_string();
        let (kind, author) = (Kind::Moved { missed }, Author::default());
        self.batch.push(chunk::Entry { kind, at: self.now.at, author, text: &cursor }, None);
    }
}

/// The last number that survived of what somebody has heard who was at this cursor; none: of that log nothing is
/// known.
fn survived(kept: &Kept<'_>, at: Cursor) -> Option<u64> {
    let over = kept.past.iter().find(|past| past.epoch == Some(at.epoch)).map(|past| past.last);
    let last = over.or_else(|| (kept.epoch == at.epoch).then_some(kept.head))?;
    Some(last.min(at.seq))
}

impl<T> State<T> {
    /// Who is here on this node, for the engine.
    fn present(&self) -> Vec<Present> {
        let name = self.link.node.name();
        let here = self.roster.of_node(&name);
        let present = here.filter_map(|((_, conn), guest)| {
            let mine = self.mine.get(conn)?;
            let tag = guest.tag.map_or_else(String::new, |tag| tag.to_string());
            Some(Present {
                conn: *conn,
                who: command::Who { mac: mine.mac.clone(), tag, num: guest.num },
                n: mine.n,
                name: guest.name.clone(),
                fold: names::fold(&guest.name),
                came: mine.came,
            })
        });
        present.collect()
    }
}
