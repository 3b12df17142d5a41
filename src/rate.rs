//! How fast something may come, such as the messages of one client.
//!
//! A client that talks faster is not read from for a while: its messages wait in its own system,
//! and none is lost.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::config::BURST_SECONDS;

/// A pace: the generic cell rate algorithm, which is a token bucket in one field.
#[derive(Debug)]
pub struct Pace {
    /// Between two messages at the allowed rate.
    interval: Duration,
    /// When the messages so far would have come at the allowed rate.
    due: Instant,
    /// The pace of all clients of the same address together.
    shared: Option<Arc<SharedPace>>,
}

impl Pace {
    /// A pace of `rate` messages a second; none if that is 0.
    pub fn new(rate: u32, now: Instant) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(rate)?;
        Some(Pace { interval, due: now, shared: None })
    }

    /// The same pace, within one that is `shared` with others.
    #[must_use]
    pub fn within(self, shared: Arc<SharedPace>) -> Self {
        Pace { shared: Some(shared), ..self }
    }

    /// Counts a message that comes now. How long to wait before it is taken.
    pub fn count_now(&mut self) -> Duration {
        self.count_together(1)
    }

    /// Counts so many that come together. How long to wait before they are taken. For those who share a
    /// pace they are one: the others should not wait for hundreds that came at once.
    pub fn count_together(&mut self, number: u32) -> Duration {
        let now = Instant::now();
        let shared = self.shared.as_ref().map_or(Duration::ZERO, |shared| shared.count(now));
        (0..number).map(|_| self.count(now)).last().unwrap_or_default().max(shared)
    }

    /// Counts a message. How long to wait before it is taken.
    fn count(&mut self, now: Instant) -> Duration {
        self.due = self.due.max(now) + self.interval;
        let ahead = self.due - now;
        ahead.saturating_sub(Duration::from_secs(BURST_SECONDS.into()))
    }
}

/// A pace that threads share without a lock: one atomic operation counts.
#[derive(Debug)]
pub struct SharedPace {
    /// Nanoseconds between two at the allowed rate.
    interval: u64,
    /// Nanoseconds by which those that come may be early.
    burst: u64,
    /// [`Pace::due`], in nanoseconds since the first that was counted.
    due: AtomicU64,
}

impl SharedPace {
    /// A pace of `rate` a second, of which `burst` may come at once. At least one of each.
    pub fn new(rate: u32, burst: u32) -> Self {
        let interval = 1_000_000_000 / u64::from(rate.max(1));
        SharedPace { interval, burst: interval * u64::from(burst.max(1)), due: AtomicU64::new(0) }
    }

    /// Counts one that comes at this time. How long to wait before it is taken.
    pub fn count(&self, now: Instant) -> Duration {
        let now = nanoseconds(now);
        let after = |due: u64| due.max(now) + self.interval;
        // The closure gives a value for every `due`, so there is no error.
        let before = match self.due.fetch_update(Relaxed, Relaxed, |due| Some(after(due))) {
            Ok(before) | Err(before) => before,
        };
        Duration::from_nanos((after(before) - now).saturating_sub(self.burst))
    }

    /// Takes one back that was counted and still has to wait.
    pub fn take_back(&self) {
        self.due.fetch_sub(self.interval, Relaxed);
    }

    /// How long the next one would have to wait.
    pub fn next_wait(&self, now: Instant) -> Duration {
        let now = nanoseconds(now);
        let next = self.due.load(Relaxed).max(now) + self.interval;
        Duration::from_nanos((next - now).saturating_sub(self.burst))
    }

    /// Whether as many may come at once as ever: it need not be remembered.
    pub fn is_unused(&self, now: Instant) -> bool {
        self.due.load(Relaxed) <= nanoseconds(now)
    }
}

/// Nanoseconds since the first call: 64 bits are enough for five centuries.
fn nanoseconds(now: Instant) -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(|| now);
    now.saturating_duration_since(origin).as_nanos() as u64
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

    #[test]
    fn those_who_share_a_pace_have_it_together() {
        let shared = Arc::new(SharedPace::new(10, 20));
        let start = Instant::now();
        let of_client =
            || Pace::new(1000, start).map(|pace| pace.within(shared.clone())).expect("a rate");
        let mut clients = [of_client(), of_client()];
        let waits: Vec<_> = (0..30).map(|n| clients[n % 2].count_now()).collect();
        assert!(waits[..20].iter().all(Duration::is_zero), "{waits:?}");
        let last = Duration::from_secs(1) - start.elapsed();
        assert!(waits[29] >= last && waits[29] <= Duration::from_secs(1), "{waits:?}");
    }

    #[test]
    fn fragments_that_come_together_do_not_keep_the_others_waiting() {
        let shared = Arc::new(SharedPace::new(10, 2));
        let pace = Pace::new(100, Instant::now()).expect("a rate");
        assert!(pace.within(shared.clone()).count_together(300) > Duration::from_millis(900));
        assert!(shared.next_wait(Instant::now()).is_zero());
    }

    #[test]
    fn a_shared_pace_is_unused_once_its_burst_is_there_again() {
        let (pace, start) = (SharedPace::new(10, 2), Instant::now());
        assert!(pace.is_unused(start));
        let waits: Vec<_> = (0..4).map(|_| pace.count(start).as_millis()).collect();
        assert_eq!(waits, [0, 0, 100, 200]);
        assert_eq!(pace.next_wait(start).as_millis(), 300);
        pace.take_back();
        assert_eq!(pace.next_wait(start).as_millis(), 200);
        assert!(!pace.is_unused(start + Duration::from_millis(299)));
        assert!(pace.is_unused(start + Duration::from_millis(300)));
    }
}
