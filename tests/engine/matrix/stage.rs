//! What all clients of a run share: when to talk, and how far they are.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
use std::time::Duration;

/// Messages of a client that are under way at once, and bytes of one, unless a run says otherwise.
const IN_FLIGHT: usize = 4;
const LEN: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Talk,
    /// Nobody says anything new.
    Hush,
    /// Whoever hears the curtain goes.
    Curtain,
}

#[derive(Debug)]
pub struct Stage {
    phase: AtomicU8,
    generation: AtomicU64,
    /// The mean time between two messages of a client, in milliseconds.
    pace: AtomicU64,
    /// Messages of a client that are under way at once, at most.
    pub in_flight: AtomicUsize,
    /// Bytes of a message, about.
    pub len: AtomicUsize,
    /// The greatest number of a message that anybody heard.
    pub head: AtomicU64,
    /// The tags of those who stay to the end.
    pub witnesses: Mutex<BTreeSet<String>>,
}

impl Stage {
    pub fn new(pace: Duration) -> Self {
        Stage {
            phase: AtomicU8::new(0),
            generation: AtomicU64::new(1),
            pace: AtomicU64::new(pace.as_millis() as u64),
            in_flight: AtomicUsize::new(IN_FLIGHT),
            len: AtomicUsize::new(LEN),
            head: AtomicU64::new(0),
            witnesses: Mutex::default(),
        }
    }

    pub fn phase(&self) -> Phase {
        [Phase::Talk, Phase::Hush, Phase::Curtain][usize::from(self.phase.load(Relaxed))]
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// What is said from here on is of another one.
    pub fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Relaxed) + 1
    }

    pub fn pace(&self) -> u64 {
        self.pace.load(Relaxed)
    }

    /// The greatest number of a message that anybody heard.
    pub fn head(&self) -> u64 {
        self.head.load(Relaxed)
    }

    /// Everybody talks as fast as it can, with so many long messages under way.
    pub fn floods(&self, in_flight: usize, len: usize) {
        self.in_flight.store(in_flight, Relaxed);
        self.len.store(len, Relaxed);
        self.pace.store(0, Relaxed);
    }

    /// Everybody talks as at first.
    pub fn talks(&self, pace: Duration) {
        self.pace.store(pace.as_millis() as u64, Relaxed);
        self.in_flight.store(IN_FLIGHT, Relaxed);
        self.len.store(LEN, Relaxed);
    }
}

/// How far one client is.
#[derive(Debug, Default)]
pub struct Status {
    /// The greatest generation of what it heard, and of its own that it knows to be accepted.
    pub heard: AtomicU64,
    pub proven: AtomicU64,
    /// Nothing of it is under way.
    pub is_settled: AtomicBool,
    pub is_over: AtomicBool,
    /// The node at which it is; 0 is none, 1 the first.
    pub at: AtomicUsize,
}
