//! How long things took.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::metrics::prometheus::Exposition;

/// From fast to far too slow, in microseconds.
const BOUNDS: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000,
];

/// How many took how long, and all of them together.
#[derive(Debug, Default)]
pub struct Histogram {
    /// How many were within each of [`BOUNDS`], and those beyond.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Something took so long. For any thread.
    pub fn took(&self, time: Duration) {
        self.counts[bucket(time)].fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// Several things took so long. For one thread alone, which need not lock the bus for that.
    pub fn took_each(&self, times: impl Iterator<Item = Duration>) {
        let mut nanoseconds = self.nanoseconds.load(Relaxed);
        for time in times {
            nanoseconds += time.as_nanos() as u64;
            let count = &self.counts[bucket(time)];
            count.store(count.load(Relaxed) + 1, Relaxed);
        }
        self.nanoseconds.store(nanoseconds, Relaxed);
    }

    /// Appends the sum of several.
    pub(super) fn text<'a>(
        text: &mut Exposition,
        name: &'static str,
        help: &str,
        all: impl Iterator<Item = &'a Histogram>,
    ) {
        let (mut counts, mut nanoseconds) = ([0; BOUNDS.len() + 1], 0);
        for one in all {
            for (sum, count) in counts.iter_mut().zip(&one.counts) {
                *sum += count.load(Relaxed);
            }
            nanoseconds += one.nanoseconds.load(Relaxed);
        }
        let bounds = BOUNDS.iter().map(|bound| Duration::from_micros(*bound).as_secs_f64());
        let sum = Duration::from_nanos(nanoseconds).as_secs_f64();
        text.histogram(name, help, bounds, &counts, sum);
    }
}

/// Which of the counts a time belongs to.
fn bucket(time: Duration) -> usize {
    let nanoseconds = time.as_nanos() as u64;
    BOUNDS.iter().position(|bound| nanoseconds <= bound * 1_000).unwrap_or(BOUNDS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_that_holds_it() {
        let micros = [0, 50, 51, 5_000_000, 5_000_001, 90_000_000];
        let buckets = micros.map(|time| bucket(Duration::from_micros(time)));
        assert_eq!(buckets, [0, 0, 1, 15, 16, 16]);
        let (one, other) = (Histogram::default(), Histogram::default());
        one.took(Duration::from_millis(2));
        other.took_each([3, 4].into_iter().map(Duration::from_millis));
        let mut text = Exposition::default();
        Histogram::text(&mut text, "t_seconds", "How long.", [&one, &other].into_iter());
        let text = text.into_text();
        for line in ["{le=\"0.001\"} 0", "{le=\"0.0025\"} 1", "{le=\"0.005\"} 3", "_sum 0.009"] {
            assert!(text.contains(&format!("t_seconds_bucket{line}\n").replace("_bucket_", "_")));
        }
    }
}
