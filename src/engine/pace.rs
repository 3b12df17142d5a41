//! Whether entries come so fast that it pays to gather some before they are sent.

use std::time::{Duration, Instant};

/// Counts what comes.
#[derive(Debug)]
pub struct Pace {
    /// So many a second are fast.
    fast: usize,
    since: Instant,
    count: usize,
    is_fast: bool,
}

/// They are counted for so long.
const PERIOD: Duration = Duration::from_millis(40);

impl Pace {
    /// So many a second are `fast`. Nothing has come by `now`.
    pub fn new(fast: usize, now: Instant) -> Pace {
        Pace { fast, since: now, count: 0, is_fast: false }
    }

    /// So many have come.
    pub fn took(&mut self, count: usize, now: Instant) {
        self.count += count;
        let time = now - self.since;
        if time >= PERIOD {
            self.is_fast = self.count as f64 >= self.fast as f64 * time.as_secs_f64();
            (self.since, self.count) = (now, 0);
        }
    }

    /// Whether they come fast.
    pub fn is_fast(&self) -> bool {
        self.is_fast
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fast() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(800, start);
        (1..100).for_each(|n| pace.took(1, at(2 * n)));
        assert!(!pace.is_fast(), "500 a second");
        (1..100).for_each(|n| pace.took(5, at(200 + n)));
        assert!(pace.is_fast(), "5,000 a second");
        pace.took(40, at(1000));
        assert!(!pace.is_fast(), "they came after a silence");
    }
}
