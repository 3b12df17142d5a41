//! Whether the engine of a shared room can be reached: the members are told when it cannot, and when it can
//! again, and those who leave or join do not wait for it.

use std::time::{Duration, Instant};

use crate::config::ENGINE_NOTICE;
use crate::metrics::HubCounters;
use crate::outbox::Transport;
use crate::outbox::encoding::Encoding;
use crate::room::room::{Room, Who};
use crate::wire;
use crate::wire::roomd1;

/// How often a room with members looks.
const PERIOD: Duration = Duration::from_millis(500);

/// What the members of a room were told.
#[derive(Debug)]
pub(super) struct Reach {
    is_away: bool,
    looked: Instant,
}

impl Reach {
    /// Of a room that is reached.
    pub(super) fn new(now: Instant) -> Self {
        Reach { is_away: false, looked: now }
    }
}

impl<T: Transport> Room<T> {
    /// When to look again; none if nobody waits for that.
    pub(super) fn reach_due(&self) -> Option<Instant> {
        let has_readers = self.hearers[Encoding::Roomd1 as usize] > 0;
        let shared = self.shared.as_ref();
        let waits = shared.is_some_and(|shared| has_readers || shared.is_moving());
        waits.then(|| self.reach.looked + PERIOD)
    }

    /// Tells the members of `roomd.1` if it has changed.
    pub(super) fn tell_reach(&mut self, tally: &mut HubCounters) {
        let now = self.now.received;
        if self.reach_due().is_none_or(|due| now < due) {
            return;
        }
        self.reach.looked = now;
        self.part_if_away(tally);
        let is_away = self.info.is_away_for(ENGINE_NOTICE);
        if std::mem::replace(&mut self.reach.is_away, is_away) == is_away {
            return;
        }
        let mut frame = Vec::new();
        wire::text_of(&mut frame, |out| roomd1::reach(out, is_away));
        let people = self.members.iter().filter(|member| matches!(member.who, Who::Person(_)));
        for member in people.filter(|member| member.hears.is_some()) {
            // If it is gone already, the next batch finds that out.
            let _ = member.outbox.send(&frame);
        }
    }
}
