//! What is counted about the engine through which servers share their rooms.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::histogram::Histogram;
use crate::metrics::prometheus::Exposition;

/// All of it, for all rooms of this server.
#[derive(Debug, Default)]
pub struct EngineCounts {
    times: Mutex<Times>,
    waiting: AtomicU64,
    /// New epochs that rooms went on in.
    pub epochs: Count,
    /// Messages that were dropped from a log before this server read them.
    pub missed: Count,
    /// Messages that this server had heard, and the engine lost.
    pub lost: Count,
    /// Servers that this one declared dead.
    pub reaped: Count,
    /// How often the others declared this one dead.
    pub fenced: Count,
    /// How often another server became the engine.
    pub moves: Count,
    /// Sentinels that do not answer, and all.
    silent: AtomicU64,
    sentinels: AtomicU64,
    /// From handing over what clients do until the engine has it.
    pub published: Histogram,
    /// From what a client does until this server hears it in the log.
    pub heard: Histogram,
}

/// Counts up.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

/// When the engine was reached.
#[derive(Debug, Default)]
struct Times {
    /// Since when it is as it is. None: there is no engine.
    since: Option<Instant>,
    is_up: bool,
    /// How long it was away, but for this time.
    away: Duration,
}

/// Bytes that wait; they do no longer when it is dropped.
#[derive(Debug)]
pub struct WaitingBytes(Arc<EngineCounts>, u64);

impl Count {
    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }
}

impl EngineCounts {
    /// Whether it is reached.
    pub fn is_reached(&self, is_up: bool) {
        let mut times = self.times();
        if times.since.is_none() || times.is_up != is_up {
            let more = times.away_now().unwrap_or_default();
            times.away += more;
            (times.since, times.is_up) = (Some(Instant::now()), is_up);
        }
    }

    /// How long it has not been reached. None: it is reached, or there is none.
    pub fn away_for(&self) -> Option<Duration> {
        self.times().away_now()
    }

    /// So many bytes wait for it.
    pub fn waits(self: &Arc<Self>, bytes: usize) -> WaitingBytes {
        let bytes = bytes as u64;
        self.waiting.fetch_add(bytes, Relaxed);
        WaitingBytes(self.clone(), bytes)
    }

    /// So many Sentinels were asked, and so many of them did not answer.
    pub fn asked(&self, sentinels: usize, silent: usize) {
        self.sentinels.store(sentinels as u64, Relaxed);
        self.silent.store(silent as u64, Relaxed);
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends all counts, if there is an engine.
    pub(super) fn text(&self, text: &mut Exposition) {
        let times = self.times();
        if times.since.is_none() {
            return;
        }
        let away = times.away + times.away_now().unwrap_or_default();
        text.gauge("roomd_engine_up", "Whether the engine of shared rooms is reached.")
            .is(u64::from(times.is_up));
        drop(times);
        let help = "How long it was not reached, this time included.";
        text.counter("roomd_engine_down_seconds_total", help).is(away.as_secs_f64());
        let help = "Bytes of what clients did and the engine's log has not told of yet.";
        text.gauge("roomd_engine_waiting_bytes", help).is(self.waiting.load(Relaxed));
        for (name, help, count) in [
            ("roomd_engine_epochs_total", "New epochs that rooms went on in.", &self.epochs),
            (
                "roomd_engine_missed_total",
                "Messages that were dropped from the engine's log before this server read them.",
                &self.missed,
            ),
            (
                "roomd_engine_lost_total",
                "Messages that this server had heard, and the engine lost.",
                &self.lost,
            ),
            ("roomd_engine_reaped_total", "Servers that this one declared dead.", &self.reaped),
            (
                "roomd_engine_fenced_total",
                "How often the others declared this server dead.",
                &self.fenced,
            ),
            (
                "roomd_engine_moves_total",
                "How often the Sentinels named another master.",
                &self.moves,
            ),
        ] {
            text.counter(name, help).is(count.0.load(Relaxed));
        }
        let sentinels = self.sentinels.load(Relaxed);
        if sentinels > 0 {
            let mut family =
                text.gauge("roomd_engine_sentinels", "Sentinels, by whether they answer.");
            let silent = self.silent.load(Relaxed);
            family.sample(&[("answers", "yes")], sentinels.saturating_sub(silent));
            family.sample(&[("answers", "no")], silent);
        }
        Histogram::text(
            text,
            "roomd_engine_publish_seconds",
            "From handing over what clients do until the engine has it, each batch.",
            [&self.published].into_iter(),
        );
        Histogram::text(
            text,
            "roomd_engine_heard_seconds",
            "From what a client does until this server hears it in the engine's log.",
            [&self.heard].into_iter(),
        );
    }
}

impl Times {
    fn away_now(&self) -> Option<Duration> {
        self.since.filter(|_| !self.is_up).map(|since| since.elapsed())
    }
}

impl Drop for WaitingBytes {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(self.1, Relaxed);
    }
}
