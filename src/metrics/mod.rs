//! What the server counts about itself.
//!
//! Whoever counts does so where it happens, and pays for no more than an addition: sessions count
//! what comes once for a client or for a read, and the hub, which sends every message to everybody,
//! counts in numbers of its own ([`HubCounters`]) and hands them over once a batch.

pub mod engine;
pub mod histogram;
pub mod history;
pub mod process;
pub mod prometheus;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime};

use crate::config::HAS_ENGINE;
use crate::metrics::engine::EngineCounts;
use crate::metrics::histogram::Histogram;
use crate::metrics::history::HistoryCounts;
use crate::metrics::process::Process;
use crate::metrics::prometheus::Exposition;
use crate::reasons::{LeaveReason, RefusalReason};

/// All counts of one server.
#[derive(Debug)]
pub struct Metrics {
    started: SystemTime,
    stopping: AtomicBool,
    /// The clients of the room.
    pub room: Sessions,
    /// The clients of the echo.
    pub echo: Sessions,
    /// Subscribers over HTTP.
    pub stream: Sessions,
    refusals: [AtomicU64; RefusalReason::ALL.len()],
    evictions: AtomicU64,
    received_bytes: AtomicU64,
    echoed: AtomicU64,
    answered_bytes: AtomicU64,
    behind: AtomicU64,
    /// The engine through which servers share their rooms.
    pub engine: Arc<EngineCounts>,
    hubs: Vec<HubCounts>,
    /// The history on the disk.
    pub history: HistoryCounts,
}

/// The clients of one endpoint: how many have come, and why they have gone.
#[derive(Debug, Default)]
pub struct Sessions {
    joins: AtomicU64,
    leaves: [AtomicU64; LeaveReason::ALL.len()],
}

/// A client's being here. It is counted as a leave however it ends.
#[derive(Debug)]
pub struct SessionCount<'a> {
    visits: &'a Sessions,
    leaving: LeaveReason,
}

/// What the hub counts, since the beginning.
#[derive(Debug, Default)]
pub struct HubCounters {
    /// Messages that were said in the room.
    pub messages: u64,
    /// Messages and notices that clients were sent, each for each client.
    pub deliveries: u64,
    /// Bytes of those, in frames.
    pub bytes: u64,
    /// Buffers of frames that were made for everybody.
    pub batches: u64,
    /// Clients that went on from somewhere in the log, by what they were given.
    pub resumes: [u64; Resumed::ALL.len()],
    /// Messages that they surely missed.
    pub missed: u64,
    /// Clients that were replaced by one with the same identity.
    pub fenced: u64,
    /// Messages that had been said before.
    pub duplicates: u64,
    /// When the messages of this batch came.
    pub heard: Vec<Instant>,
}

/// What a client was given that went on from somewhere in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// Everything that it lacked.
    Complete,
    /// What was left of it.
    Partial,
    /// What there was: nobody knows how much it lacked.
    Unknown,
}

impl Resumed {
    /// Every case, in the order of the discriminants.
    pub const ALL: &[Resumed] = &[Resumed::Complete, Resumed::Partial, Resumed::Unknown];

    /// The label in the metrics.
    pub fn label(self) -> &'static str {
        match self {
            Resumed::Complete => "complete",
            Resumed::Partial => "partial",
            Resumed::Unknown => "unknown",
        }
    }
}

/// What a hub has counted. It alone writes here, so it stores and need not add, and the line of
/// the processor's cache that it writes to is not the one that the sessions or other hubs do.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct HubCounts {
    messages: AtomicU64,
    deliveries: AtomicU64,
    bytes: AtomicU64,
    batches: AtomicU64,
    resumes: [AtomicU64; Resumed::ALL.len()],
    missed: AtomicU64,
    fenced: AtomicU64,
    duplicates: AtomicU64,
    /// How long it took to send each message to everybody.
    took: Histogram,
}

/// About as long as the text is.
const TEXT_BYTES: usize = 8 * 1024;

impl Metrics {
    /// Nothing has happened yet, in a server with so many hubs.
    pub fn new(hubs: usize) -> Self {
        Metrics {
            started: SystemTime::now(),
            stopping: AtomicBool::new(false),
            room: Sessions::default(),
            echo: Sessions::default(),
            stream: Sessions::default(),
            refusals: Default::default(),
            evictions: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            echoed: AtomicU64::new(0),
            answered_bytes: AtomicU64::new(0),
            behind: AtomicU64::new(0),
            engine: Arc::default(),
            hubs: std::iter::repeat_with(HubCounts::default).take(hubs).collect(),
            history: HistoryCounts::default(),
        }
    }

    /// The server stops: who leaves from now on leaves because of that.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Whether the server stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Somebody was refused.
    pub fn refused(&self, reason: RefusalReason) {
        add(&self.refusals[reason as usize], 1);
    }

    /// A client was given up because it reads too slowly.
    pub fn evicted(&self) {
        add(&self.evictions, 1);
    }

    /// So many bytes came from a client.
    pub fn received(&self, bytes: usize) {
        add(&self.received_bytes, bytes as u64);
    }

    /// Echoes, and other answers of a session, are sent.
    pub fn answered(&self, echoes: u32, bytes: usize) {
        add(&self.echoed, echoes.into());
        add(&self.answered_bytes, bytes as u64);
    }

    /// So many clients are behind now.
    pub fn are_behind(&self, clients: usize) {
        self.behind.store(clients as u64, Relaxed);
    }

    /// Where each of the hubs counts.
    pub fn hubs(&self) -> &[HubCounts] {
        &self.hubs
    }

    /// The sum of something that all hubs count.
    fn of_hubs(&self, count: impl Fn(&HubCounts) -> &AtomicU64) -> u64 {
        self.hubs.iter().map(|hub| count(hub).load(Relaxed)).sum()
    }

    /// All counts in Prometheus' text format, with what others know: how many events wait for the
    /// hubs, and what the system says of the `process`.
    pub fn text(&self, queue_depth: usize, process: &Process) -> String {
        let mut text = Exposition::with_capacity(TEXT_BYTES);
        text.gauge("roomd_build_info", "Always 1; the label says which roomd this is.")
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.clients(&mut text);
        self.traffic(&mut text, queue_depth);
        self.history.text(&mut text);
        if HAS_ENGINE {
            self.engine.text(&mut text);
        }
        let mut refusals = text.counter("roomd_refusals_total", "Requests that were refused.");
        for (reason, count) in RefusalReason::ALL.iter().zip(&self.refusals) {
            let status = reason.status().to_string();
            let labels = [("status", &*status), ("reason", reason.label())];
            refusals.sample(&labels, count.load(Relaxed));
        }
        let since = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        text.gauge("process_start_time_seconds", "When the server started, in Unix time.")
            .is(since.as_secs_f64());
        of_process(&mut text, process);
        text.into_text()
    }

    fn clients(&self, text: &mut Exposition) {
        // Who leaves meanwhile is counted as here, and never as less than nobody.
        let leaves = [&self.room, &self.echo, &self.stream].map(Sessions::leaves);
        let joins = [&self.room, &self.echo, &self.stream].map(|visits| visits.joins.load(Relaxed));
        let mut here = text.gauge("roomd_clients", "Clients that are connected.");
        for (n, endpoint) in ENDPOINTS.iter().enumerate() {
            let gone: u64 = leaves[n].iter().sum();
            here.sample(&[("endpoint", endpoint)], joins[n].saturating_sub(gone));
        }
        let mut family = text.counter("roomd_joins_total", "Clients that have come.");
        for (endpoint, joins) in ENDPOINTS.iter().zip(joins) {
            family.sample(&[("endpoint", endpoint)], joins);
        }
        let mut family =
            text.counter("roomd_leaves_total", "Clients whose session has ended, and why.");
        for (endpoint, leaves) in ENDPOINTS.iter().zip(leaves) {
            for (leaving, count) in LeaveReason::ALL.iter().zip(leaves) {
                let labels = [("endpoint", *endpoint), ("reason", leaving.label())];
                family.sample(&labels, count);
            }
        }
        text.gauge("roomd_clients_behind", "Clients for whom something waits to be sent.")
            .is(self.behind.load(Relaxed));
        let help = "Clients that were given up with 1013 because they read too slowly.";
        text.counter("roomd_evictions_total", help).is(self.evictions.load(Relaxed));
    }

    fn traffic(&self, text: &mut Exposition, queue_depth: usize) {
        let help = "Messages from clients: said in a room, or echoed.";
        let mut family = text.counter("roomd_messages_received_total", help);
        let said = self.of_hubs(|hub| &hub.messages);
        for (endpoint, count) in ENDPOINTS.iter().zip([said, self.echoed.load(Relaxed)]) {
            family.sample(&[("endpoint", endpoint)], count);
        }
        let help = "Messages and notices of a room that clients were sent, each for each client.";
        text.counter("roomd_deliveries_total", help).is(self.of_hubs(|hub| &hub.deliveries));
        let help = "Bytes from clients behind their handshakes.";
        text.counter("roomd_received_bytes_total", help).is(self.received_bytes.load(Relaxed));
        let help = "Bytes of messages, notices and answers for clients, sent or waiting.";
        text.counter("roomd_sent_bytes_total", help)
            .is(self.of_hubs(|hub| &hub.bytes) + self.answered_bytes.load(Relaxed));
        let help = "Buffers in which a room's messages were sent to everybody.";
        text.counter("roomd_batches_total", help).is(self.of_hubs(|hub| &hub.batches));
        text.gauge("roomd_hub_queue_depth", "Events that wait for the hubs.").is(queue_depth);
        let help = "Clients that went on from somewhere in a room's log, and what they were given.";
        let mut family = text.counter("roomd_resumes_total", help);
        for result in Resumed::ALL {
            let count = self.of_hubs(|hub| &hub.resumes[*result as usize]);
            family.sample(&[("result", result.label())], count);
        }
        let help = "Messages that they missed, as far as that is known.";
        text.counter("roomd_missed_total", help).is(self.of_hubs(|hub| &hub.missed));
        let help = "Clients that were replaced by a connection with the same identity.";
        text.counter("roomd_fenced_total", help).is(self.of_hubs(|hub| &hub.fenced));
        let help = "Messages that were sent again and had been accepted before.";
        text.counter("roomd_duplicates_total", help).is(self.of_hubs(|hub| &hub.duplicates));
        Histogram::text(
            text,
            "roomd_message_seconds",
            "From having a message of the room to having sent it to everybody.",
            self.hubs.iter().map(|hub| &hub.took),
        );
    }
}

impl HubCounters {
    /// A client went on from somewhere, if it has a `result`, and surely missed so many messages.
    pub fn resumed(&mut self, result: Option<Resumed>, missed: Option<u64>) {
        if let Some(result) = result {
            self.resumes[result as usize] += 1;
        }
        self.missed += missed.unwrap_or(0);
    }
}

impl HubCounts {
    /// How many batches the hub has sent: while the number grows, it goes on.
    pub fn batches(&self) -> u64 {
        self.batches.load(Relaxed)
    }

    /// The hub has sent its batches, and counted. For its thread alone.
    pub fn store(&self, tally: &mut HubCounters) {
        self.messages.store(tally.messages, Relaxed);
        self.deliveries.store(tally.deliveries, Relaxed);
        self.bytes.store(tally.bytes, Relaxed);
        self.batches.store(tally.batches, Relaxed);
        for (count, resumes) in self.resumes.iter().zip(tally.resumes) {
            count.store(resumes, Relaxed);
        }
        self.missed.store(tally.missed, Relaxed);
        self.fenced.store(tally.fenced, Relaxed);
        self.duplicates.store(tally.duplicates, Relaxed);
        if tally.heard.is_empty() {
            return;
        }
        let now = Instant::now();
        self.took
            .took_each(tally.heard.drain(..).map(|heard| now.saturating_duration_since(heard)));
    }
}

/// The endpoints' labels, the room's first.
const ENDPOINTS: [&str; 3] = ["room", "echo", "stream"];

impl Sessions {
    /// A client is here.
    pub fn begin(&self) -> SessionCount<'_> {
        add(&self.joins, 1);
        SessionCount { visits: self, leaving: LeaveReason::Failed }
    }

    fn leaves(&self) -> [u64; LeaveReason::ALL.len()] {
        self.leaves.each_ref().map(|count| count.load(Relaxed))
    }
}

impl SessionCount<'_> {
    /// The client is gone.
    pub fn end(mut self, leaving: LeaveReason) {
        self.leaving = leaving;
    }
}

impl Drop for SessionCount<'_> {
    fn drop(&mut self) {
        add(&self.visits.leaves[self.leaving as usize], 1);
    }
}

fn of_process(text: &mut Exposition, process: &Process) {
    let Process { cpu, resident, mapped, threads, descriptors, max_descriptors } = process;
    text.counter("process_cpu_seconds_total", "Time of the processor.").is(cpu.as_secs_f64());
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Memory that is really there.", *resident),
        ("process_virtual_memory_bytes", "Addresses that are taken.", *mapped),
        ("process_threads", "Threads.", *threads),
        ("process_open_fds", "Descriptors that are open.", *descriptors),
        ("process_max_fds", "Descriptors that may be open.", *max_descriptors),
    ] {
        if let Some(value) = value {
            text.gauge(name, help).is(value);
        }
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Relaxed);
}
