//! Bytes that went by lately.

use std::time::Duration;

/// Bytes counted in steps of [`STEP`] over the last [`STEPS`] of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// The present step, counted from whatever time the caller counts from.
    now: u64,
    /// What went by in each of the last steps; the present one is at `now % STEPS`.
    bytes: [u32; STEPS],
}

/// The length of a step.
pub const STEP: Duration = Duration::from_millis(500);

/// How many steps are remembered.
pub const STEPS: usize = 16;

impl Window {
    /// Counts `bytes` at this time.
    pub fn add(&mut self, now: Duration, bytes: usize) {
        self.advance(now);
        let present = &mut self.bytes[(self.now % STEPS as u64) as usize];
        *present = present.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// The bytes of the present step and the `steps` before it.
    pub fn sum(&self, now: Duration, steps: usize) -> u64 {
        let mut seen = *self;
        seen.advance(now);
        let last = (0..=steps.min(STEPS - 1) as u64).take_while(|back| *back <= seen.now);
        last.map(|back| u64::from(seen.bytes[((seen.now - back) % STEPS as u64) as usize])).sum()
    }

    /// Forgets what is too long ago.
    fn advance(&mut self, now: Duration) {
        let now = (now.as_millis() / STEP.as_millis()) as u64;
        for passed in 1..=now.saturating_sub(self.now).min(STEPS as u64) {
            self.bytes[((self.now + passed) % STEPS as u64) as usize] = 0;
        }
        self.now = self.now.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_ago_does_not_count() {
        let at = |half_seconds: u32| STEP * half_seconds;
        let mut window = Window::default();
        window.add(at(1), 100);
        window.add(at(3), 10);
        assert_eq!(window.sum(at(3), 0), 10);
        assert_eq!(window.sum(at(3), 2), 110);
        assert_eq!(window.sum(at(4), 2), 10);
        assert_eq!(window.sum(at(50), STEPS), 0);
        window.add(at(50), 1);
        window.add(at(2), 1);
        assert_eq!(window.sum(at(50), STEPS), 2, "a clock that stands back counts for the present");
    }
}
