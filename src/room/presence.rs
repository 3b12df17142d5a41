//! How the members of a room hear who comes and goes: each by name while the room is small, and by
//! their number when it is large.

use std::time::{Duration, Instant};

/// A large room is told the number of its members at most once in this time.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether a room is small or large, and what it was told.
#[derive(Debug)]
pub struct Presence {
    /// So many members are a small room.
    limit: u64,
    is_large: bool,
    /// The number has changed since the members were told.
    is_due: bool,
    told: Option<Instant>,
}

/// What members are told of somebody's coming or going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Who it was.
    Name,
    /// Who all of them are: the room is small again.
    Members,
    /// Nothing for now.
    Nothing,
}

impl Presence {
    /// Of an empty room that is small up to so many members.
    pub fn new(limit: usize) -> Self {
        Presence { limit: limit as u64, is_large: false, is_due: false, told: None }
    }

    /// Whether members are told who is here.
    pub fn is_small(&self) -> bool {
        !self.is_large
    }

    /// Somebody came, and so many are here now.
    pub fn came(&mut self, count: u64) -> News {
        self.is_large |= count > self.limit;
        self.is_due |= self.is_large;
        if self.is_large { News::Nothing } else { News::Name }
    }

    /// Somebody left, and so many are here now.
    pub fn left(&mut self, count: u64) -> News {
        if !self.is_large {
            return News::Name;
        }
        // Not at the limit itself, where one who comes and goes would have everybody listed each time.
        self.is_large = count > self.limit * 9 / 10;
        self.is_due = self.is_large;
        if self.is_large { News::Nothing } else { News::Members }
    }

    /// When the members have to be told their number, `now` or later; none if they know it.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.is_due.then(|| self.told.map_or(now, |told| told + PAUSE))
    }

    /// Whether to tell them now.
    pub fn tell(&mut self, now: Instant) -> bool {
        let is_time = self.is_due && self.told.is_none_or(|told| now >= told + PAUSE);
        if is_time {
            (self.is_due, self.told) = (false, Some(now));
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_room_hears_names() {
        let (mut presence, now) = (Presence::new(3), Instant::now());
        for count in 1..=3 {
            assert_eq!(presence.came(count), News::Name);
        }
        assert_eq!(presence.left(2), News::Name);
        assert_eq!(presence.due(now), None);
    }

    #[test]
    fn a_large_room_hears_numbers_once_a_second() {
        let (mut presence, now) = (Presence::new(20), Instant::now());
        assert_eq!(presence.came(21), News::Nothing);
        assert!(presence.tell(now) && !presence.tell(now), "what is told is not due");
        assert_eq!(presence.came(22), News::Nothing);
        assert_eq!(presence.due(now), Some(now + PAUSE));
        assert!(!presence.tell(now + PAUSE / 2));
        assert!(presence.tell(now + PAUSE));
    }

    #[test]
    fn one_that_shrinks_to_nine_tenths_is_small_again() {
        let (mut presence, now) = (Presence::new(20), Instant::now());
        presence.came(21);
        for count in [20, 19] {
            assert_eq!(presence.left(count), News::Nothing);
        }
        assert_eq!(presence.left(18), News::Members);
        assert_eq!(presence.due(now), None);
        assert_eq!(presence.came(19), News::Name);
    }
}
