//! Commands of which no entry tells.

use std::sync::Arc;

use crate::config::BATCH_BYTES;
use crate::engine::command::{self, Command};
use crate::engine::link::{Known, PassedOver, Waiting};
use crate::metrics::HubCounters;
use crate::net::slots::ConnId;
use crate::outbox::Transport;
use crate::reasons::CloseReason;
use crate::room::idempotency::Published;
use crate::room::publish::Outcome;
use crate::room::room::{Room, Who};
use crate::wire::cursor::Epoch;

impl<T: Transport> Room<T> {
    pub(super) fn settle(&mut self, tally: &mut HubCounters) {
        let settled = self.shared.as_ref().map(|shared| shared.link.settled());
        for passed_over in settled.into_iter().flatten() {
            self.pass_over(passed_over, tally);
        }
    }

    /// The engine took something of which no entry tells.
    pub(super) fn pass_over(&mut self, passed_over: PassedOver, tally: &mut HubCounters) {
        let Some(shared) = &mut self.shared else { return };
        let PassedOver(Waiting { counter, command, .. }, known) = passed_over;
        match command.kind {
            command::Kind::Join => {
                // How it joined was in a gap.
                if let Some((_, outbox)) = shared.joining.remove(&command.conn) {
                    shared.push_leave(command.conn, true);
                    outbox.close_for(CloseReason::Moved);
                }
            }
            command::Kind::Say if command.n > 0 => {
                tally.duplicates += 1;
                if let Some(mine) = shared.mine.get_mut(&command.conn) {
                    mine.n = mine.n.max(command.n);
                }
                if let Some(place) = self.places.get(&command.conn) {
                    self.members[*place].acknowledge(command.n, None);
                }
            }
            command::Kind::Publish => {
                let Some(answer) = shared.answers.remove(&counter) else { return };
                match known.map(published) {
                    Some(Some(outcome)) => drop(answer.try_send(outcome)),
                    Some(None) => drop(answer.try_send(Outcome::Conflict)),
                    // The answer of the script was lost.
                    None => shared.keep_unanswered(answer),
                }
            }
            command::Kind::Leave => {
                shared.mine.remove(&command.conn);
                let place = (shared.link.node.name().to_string(), command.conn);
                if shared.roster.at(&place).is_some() {
                    // It was in a gap, and the engine may have forgotten it since. It is told once more.
                    if command.n == 0 {
                        shared.link.push(Command { n: 1, ..command }, None);
                    } else {
                        self.forget_guest(&place);
                    }
                }
                self.part(place.1, tally);
            }
            _ => {}
        }
    }

    /// This node was declared dead under this name: everybody was told that its clients have left, and they come
    /// again. The log and the writer tell of it, one after the other; who comes in between has not left.
    pub(super) fn die(&mut self, name: Arc<str>, tally: &mut HubCounters) {
        self.flush(2 * BATCH_BYTES, self.now, tally);
        let Some(shared) = &mut self.shared else { return };
        if shared.died_as.as_ref() == Some(&name) {
            return shared.link.goes_on();
        }
        shared.died_as = Some(name);
        shared.link.clear();
        let answers: Vec<_> = shared.answers.drain().map(|(_, answer)| answer).collect();
        answers.into_iter().for_each(|answer| shared.keep_unanswered(answer));
        shared.mine.clear();
        shared.leaving.clear();
        for (_, (_, outbox)) in shared.joining.drain() {
            outbox.close_for(CloseReason::Moved);
        }
        let people = self.members.iter().filter(|member| !matches!(member.who, Who::Follower));
        let people: Vec<_> = people.map(|member| member.conn).collect();
        for conn in people {
            if let Some(member) = self.remove(conn) {
                member.outbox.close_for(CloseReason::Moved);
            }
        }
    }

    /// A member is sent what it hears last, if it waits for that.
    pub(super) fn part(&mut self, conn: ConnId, tally: &mut HubCounters) {
        let farewell = self.shared.as_mut().and_then(|shared| shared.leaving.remove(&conn));
        let Some(frames) = farewell.and_then(|farewell| farewell.frames) else { return };
        if let Some(member) = self.remove(conn) {
            self.hear_out(&member, tally);
            member.outbox.close(&frames);
        }
    }
}

/// What a script says of a request that came before; none for a conflict.
fn published(known: Known) -> Option<Outcome> {
    let mut words = known.says.splitn(3, ' ');
    let mut number = || words.next()?.parse().ok();
    let message = Published { seq: number()?, at: number()? };
    let name = words.next().unwrap_or_default().into();
    let epoch = Epoch::from_number(known.epoch);
    Some(Outcome::Published { message, epoch, name, is_new: false })
}
