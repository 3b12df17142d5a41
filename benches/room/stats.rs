//! Medians and percentiles.

use std::time::Duration;

/// The value that `percent` of the others do not exceed.
pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1);
    let last = last.expect("a percentile of at least one value");
    values[last * percent / 100]
}

pub fn median(values: &mut [f64]) -> f64 {
    percentile(values, 50)
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Microseconds for each of `count`.
pub fn micros_each(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

/// How many a second.
pub fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
