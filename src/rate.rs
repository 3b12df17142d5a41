//! How fast something may come, such as the messages of one client.
//!
//! A client that talks faster is not read from for a while: its messages wait in its own system,
//! and none is lost.

use std::time::{Duration, Instant};

use crate::config::BURST_SECONDS;

/// A pace: the generic cell rate algorithm, which is a token bucket in one field.
#[derive(Debug)]
pub struct Pace {
    /// Between two messages at the allowed rate.
    interval: Duration,
    /// When the messages so far would have come at the allowed rate.
    due: Instant,
}

impl Pace {
    /// A pace of `rate` messages a second; none if that is 0.
    pub fn new(rate: u32, now: Instant) -> Option<Self> {
        (rate > 0).then(|| Pace { interval: Duration::from_secs(1) / rate, due: now })
    }

    /// Counts a message that comes now. How long to wait before it is taken.
    pub fn count_now(&mut self) -> Duration {
        self.count(Instant::now())
    }

    /// Counts a message. How long to wait before it is taken.
    fn count(&mut self, now: Instant) -> Duration {
        self.due = self.due.max(now) + self.interval;
        let ahead = self.due - now;
        ahead.saturating_sub(Duration::from_secs(BURST_SECONDS.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut pace = Pace::new(100, start).expect("a rate");
        let mut now = start;
        let mut waited = Vec::new();
        for _ in 0..300 {
            let wait = pace.count(now);
            now += wait;
            waited.push(wait);
        }
        assert!(waited[..200].iter().all(Duration::is_zero), "200 at once are a burst");
        assert!(waited[200..].iter().all(|wait| *wait == Duration::from_millis(10)));
        assert_eq!(now - start, Duration::from_secs(1));
    }

    #[test]
    fn silence_is_not_saved_up() {
        let start = Instant::now();
        let mut pace = Pace::new(10, start).expect("a rate");
        let later = start + Duration::from_secs(3600);
        let waits: Vec<_> = (0..21).map(|_| pace.count(later)).collect();
        assert!(waits[..20].iter().all(Duration::is_zero));
        assert_eq!(waits[20], Duration::from_millis(100));
    }

    #[test]
    fn no_rate_is_no_pace() {
        assert!(Pace::new(0, Instant::now()).is_none());
    }
}
