//! Requests that may come again: which key stood for which message.
//!
//! A program that lost the answer to its request sends it again with the same `Idempotency-Key`. Within
//! [`REMEMBERED`] it gets the number of the message that it has published, and nothing is published
//! twice. Pure: it is told the time, and keeps hashes alone.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::config::{KEY, KEYS};

/// How long a key is remembered, as long as there are not too many.
pub const REMEMBERED: Duration = Duration::from_secs(600);

/// So many of the last keys are remembered, whatever time has passed.
pub const LEAST: usize = *KEYS.start();

const _: () = assert!(size_of::<Known>() <= KEY, "the budget counts less");

/// The keys of one room, from the oldest to the newest.
#[derive(Debug)]
pub struct Keys {
    /// So many are remembered at most.
    most: usize,
    /// Whoever sends requests does not know its secret, so no two of them are made to look the same.
    hasher: RandomState,
    known: VecDeque<Known>,
}

/// A key, and the message that it stands for.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Of the sender and the key.
    key: u64,
    body: u64,
    message: Published,
    since: Instant,
}

/// A message that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub seq: u64,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// What a request with a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the first one.
    New,
    /// It came before, and this is what it has published.
    Same(Published),
    /// The key stands for a message with another body.
    Conflict,
}

impl Keys {
    /// None yet, and so many at most.
    pub fn new(most: usize) -> Self {
        Keys { most: most.max(LEAST), hasher: RandomState::new(), known: VecDeque::new() }
    }

    /// What a request is that this `sender` sends with this `key` and `body`.
    pub fn look_up(&mut self, sender: &str, key: &str, body: &str, now: Instant) -> Verdict {
        self.forget(now);
        let (key, body) = (self.hasher.hash_one((sender, key)), self.hasher.hash_one(body));
        // A request is repeated soon or not at all.
        match self.known.iter().rev().find(|known| known.key == key) {
            None => Verdict::New,
            Some(known) if known.body == body => Verdict::Same(known.message),
            Some(_) => Verdict::Conflict,
        }
    }

    /// The request has published this `message`. It was [`Verdict::New`].
    pub fn add(
        &mut self,
        (sender, key, body): (&str, &str, &str),
        message: Published,
        now: Instant,
    ) {
        let (key, body) = (self.hasher.hash_one((sender, key)), self.hasher.hash_one(body));
        self.forget(now);
        if self.known.len() == self.most {
            self.known.pop_front();
        }
        self.known.push_back(Known { key, body, message, since: now });
    }

    fn forget(&mut self, now: Instant) {
        let is_old = |known: &Known| now.saturating_duration_since(known.since) >= REMEMBERED;
        while self.known.len() > LEAST && self.known.front().is_some_and(is_old) {
            self.known.pop_front();
        }
        self.known.shrink_to((2 * self.known.len()).max(LEAST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    const MOST: usize = *KEYS.end();
    const SECOND: Duration = Duration::from_secs(1);

    fn message(seq: u64) -> Published {
        Published { seq, at: 7 }
    }

    #[test]
    fn a_repetition_is_known_and_another_body_is_a_conflict() {
        let (mut keys, now) = (Keys::new(MOST), Instant::now());
        assert_eq!(keys.look_up("~ana", "1", "on", now), Verdict::New);
        keys.add(("~ana", "1", "on"), message(5), now);
        assert_eq!(keys.look_up("~ana", "1", "on", now), Verdict::Same(message(5)));
        assert_eq!(keys.look_up("~ana", "1", "off", now), Verdict::Conflict);
        assert_eq!(keys.look_up("~ana", "2", "on", now), Verdict::New);
        assert_eq!(keys.look_up("~bob", "1", "on", now), Verdict::New, "another's key");
        assert_eq!(keys.look_up("~an", "a1", "on", now), Verdict::New, "joined, it looks the same");
    }

    #[test]
    fn the_last_ones_stay_and_the_others_go_after_ten_minutes() {
        let (mut keys, start) = (Keys::new(MOST), Instant::now());
        for n in 0..=LEAST as u64 {
            keys.add(("~ana", &n.to_string(), "on"), message(n + 1), start);
        }
        let just = start + REMEMBERED - SECOND;
        assert_eq!(keys.look_up("~ana", "0", "on", just), Verdict::Same(message(1)));
        let later = start + REMEMBERED;
        assert_eq!(keys.look_up("~ana", "0", "on", later), Verdict::New);
        assert_eq!(keys.look_up("~ana", "1", "on", later + REMEMBERED), Verdict::Same(message(2)));
    }

    /// Against a plain list: whatever comes at whatever time, what has to be known is, and the bound holds.
    #[test]
    fn what_must_be_known_is_and_no_more_than_that() {
        for seed in 0..20 {
            let mut dice = Rng::new(seed);
            let most = [MOST, 100, LEAST][dice.roll(3)];
            let (mut keys, mut now) = (Keys::new(most), Instant::now());
            let mut list: Vec<(String, String, Published, Instant)> = Vec::new();
            let names = [3, 200, 5000][dice.roll(3)];
            for seq in 1..4000 {
                now += SECOND * [0, 0, 0, 1, 40][dice.roll(5)] as u32;
                let (key, body) = (dice.roll(names).to_string(), dice.roll(2).to_string());
                let is_kept = |(n, (.., since)): &(usize, &(_, _, _, Instant))| {
                    *n < LEAST || *n < most && now - *since < REMEMBERED
                };
                let known = list.iter().rev().enumerate().filter(is_kept);
                let known = known.map(|(_, known)| known).find(|known| known.0 == key);
                let expected = match known {
                    None => Verdict::New,
                    Some((_, said, message, _)) if *said == body => Verdict::Same(*message),
                    Some(_) => Verdict::Conflict,
                };
                assert_eq!(keys.look_up("~ana", &key, &body, now), expected, "{seed}, {seq}");
                if expected == Verdict::New {
                    keys.add(("~ana", &key, &body), message(seq), now);
                    list.push((key, body, message(seq), now));
                }
                assert!(keys.known.len() <= most);
            }
        }
    }
}
