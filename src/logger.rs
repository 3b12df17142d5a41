//! The log: simple_logger to standard error, in UTC, from a thread of its own.
//!
//! A caller hands over a line and goes on. A standard error that is closed, stuck or slow costs
//! lines and nothing else, and a flood of connections is not a flood of lines: the queue is bounded
//! in bytes, [`LOG_RATE`] and [`REFUSAL_LOG_RATE`] bound the lines a second, and a line says how
//! many were left out.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use crate::config::{
    LOG_BYTES, LOG_FLUSH, LOG_LINE_BYTES, LOG_LINES, LOG_RATE, LOG_SUMMARY, REFUSAL_LOG_RATE,
    SERVER_STACK,
};
use crate::rate::Pace;

/// The modules that log refusals, which anybody can cause at will. They have a rate of their own, so
/// that they leave room for other lines.
const REFUSALS: [&str; 2] = ["roomd::http::refusal", "roomd::net::listener"];

/// The queue of the log thread, once there is one.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Starts the log thread. Logs from `level` on; of the libraries, warnings only.
///
/// # Errors
/// When there is no thread to be had, or a logger already.
pub fn init(level: LevelFilter) -> io::Result<()> {
    let logger = ["tiny_http", "tungstenite"]
        .iter()
        .fold(SimpleLogger::new().with_level(level), |logger, library| {
            logger.with_module_level(library, level.min(LevelFilter::Warn))
        });
    let logger = Arc::new(logger);
    // A reader of debug lines wants all of them.
    let is_limited = level <= LevelFilter::Info;
    let (queue, lines) = Queue::new(is_limited.then_some(REFUSAL_LOG_RATE));
    let queue = Arc::new(queue);
    let writer = Writer { logger: logger.clone(), queue: queue.clone() };
    let pace = is_limited.then(|| Pace::new(LOG_RATE, Instant::now())).flatten();
    thread::Builder::new()
        .name("log".into())
        .stack_size(SERVER_STACK)
        .spawn(move || writer.run(&lines, pace))?;
    log::set_max_level(level);
    log::set_boxed_logger(Box::new(Front { logger, queue: queue.clone() }))
        .map_err(io::Error::other)?;
    // `set_boxed_logger` has made sure that this is the first one.
    let _ = QUEUE.set(queue);
    Ok(())
}

/// Prints `text` to standard error, whatever the log level: through the log thread, so that it
/// cannot block, or at once if there is no such thread yet.
pub fn print(text: &str) {
    match QUEUE.get() {
        // A flood of log lines delays it, and does not displace it.
        Some(queue) => drop(queue.lines.send_timeout(Line::Print(text.into()), LOG_FLUSH)),
        // A closed standard error has no reader to tell.
        None => drop(io::stderr().write_all(text.as_bytes())),
    }
}

/// The end that the threads of the program call.
struct Front {
    logger: Arc<SimpleLogger>,
    queue: Arc<Queue>,
}

impl Log for Front {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.queue.push_record(record);
        }
    }

    /// Has the lines so far written as fast as they can be, and waits for that, at most [`LOG_FLUSH`]
    /// twice.
    fn flush(&self) {
        self.queue.is_hurried.store(true, Ordering::Relaxed);
        let (done, is_done) = bounded(1);
        if self.queue.lines.send_timeout(Line::Flush(done), LOG_FLUSH).is_ok() {
            let _ = is_done.recv_timeout(LOG_FLUSH);
        }
    }
}

enum Line {
    Record { at: SystemTime, level: Level, target: String, text: String },
    Print(String),
    Flush(Sender<()>),
}

/// Lines on their way to the log thread, bounded in number and in bytes.
struct Queue {
    lines: Sender<Line>,
    bytes: AtomicUsize,
    /// Lines that found the queue full.
    left_out: AtomicUsize,
    /// The program ends, and [`LOG_RATE`] does not hold any more.
    is_hurried: AtomicBool,
    refusals: Option<Mutex<PerSecond>>,
}

/// What passes of lines that come too fast.
struct PerSecond {
    rate: u32,
    since: Instant,
    passed: u32,
    left_out: usize,
}

impl Queue {
    fn new(refusal_rate: Option<u32>) -> (Self, Receiver<Line>) {
        let (lines, to_write) = bounded(LOG_LINES);
        let refusals = refusal_rate.map(|rate| Mutex::new(PerSecond::new(rate, Instant::now())));
        let (bytes, left_out) = (AtomicUsize::new(0), AtomicUsize::new(0));
        (Queue { lines, bytes, left_out, is_hurried: AtomicBool::new(false), refusals }, to_write)
    }

    fn push_record(&self, record: &Record<'_>) {
        if REFUSALS.contains(&record.target()) && !self.passes_refusal() {
            return;
        }
        let mut text = Bounded(String::new());
        // An error is the end of the line's room.
        let _ = text.write_fmt(*record.args());
        let (target, text) = (String::from(record.target()), text.0);
        let bytes = target.len() + text.len();
        let line = Line::Record { at: SystemTime::now(), level: record.level(), target, text };
        self.push(line, bytes);
    }

    fn passes_refusal(&self) -> bool {
        self.refusals.as_ref().is_none_or(|refusals| {
            refusals.lock().unwrap_or_else(PoisonError::into_inner).passes(Instant::now())
        })
    }

    fn push(&self, line: Line, bytes: usize) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > LOG_BYTES || self.lines.try_send(line).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take_left_out(&self) -> usize {
        self.left_out.swap(0, Ordering::Relaxed)
    }

    /// Refusals that were left out in a second that is over, or in any if `now` is none.
    fn take_left_out_refusals(&self, now: Option<Instant>) -> usize {
        let Some(refusals) = &self.refusals else { return 0 };
        let mut refusals = refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = now.is_none_or(|now| now.saturating_duration_since(refusals.since) >= SECOND);
        if is_over { std::mem::take(&mut refusals.left_out) } else { 0 }
    }
}

const SECOND: Duration = Duration::from_secs(1);

impl PerSecond {
    fn new(rate: u32, now: Instant) -> Self {
        PerSecond { rate, since: now, passed: 0, left_out: 0 }
    }

    fn passes(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= SECOND {
            (self.since, self.passed) = (now, 0);
        }
        if self.passed < self.rate {
            self.passed += 1;
            return true;
        }
        self.left_out += 1;
        false
    }
}

/// A text that is cut after [`LOG_LINE_BYTES`].
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = LOG_LINE_BYTES.saturating_sub(self.0.len());
        if part.len() <= room {
            self.0.push_str(part);
            return Ok(());
        }
        let end = (0..=room).rev().find(|end| part.is_char_boundary(*end)).unwrap_or(0);
        self.0.push_str(&part[..end]);
        self.0.push('…');
        Err(fmt::Error)
    }
}

/// The log thread.
struct Writer {
    logger: Arc<SimpleLogger>,
    queue: Arc<Queue>,
}

impl Writer {
    fn run(&self, lines: &Receiver<Line>, mut pace: Option<Pace>) {
        // A line that was left out follows less than `LOG_SUMMARY` after one that was not, so the
        // thread sleeps for good only when nothing is left to be told.
        let mut is_idle = true;
        loop {
            let next = if is_idle {
                lines.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                lines.recv_timeout(LOG_SUMMARY)
            };
            is_idle = matches!(next, Err(RecvTimeoutError::Timeout));
            match next {
                Ok(Line::Record { at, level, target, text }) => {
                    self.queue.bytes.fetch_sub(target.len() + text.len(), Ordering::Relaxed);
                    self.write(at, level, &target, &text);
                    if let Some(pace) = &mut pace {
                        let wait = pace.count_now();
                        if !self.queue.is_hurried.load(Ordering::Relaxed) {
                            thread::sleep(wait);
                        }
                    }
                    self.summarize(Some(Instant::now()));
                }
                Ok(Line::Print(text)) => drop(io::stderr().write_all(text.as_bytes())),
                Ok(Line::Flush(done)) => {
                    self.summarize(None);
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.summarize(None),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Writes how many lines were left out.
    fn summarize(&self, now: Option<Instant>) {
        let lines = self.queue.take_left_out();
        if lines > 0 {
            self.warn(&format!("{lines} log lines came too fast and were left out"));
        }
        let refusals = self.queue.take_left_out_refusals(now);
        if refusals > 0 {
            self.warn(&format!("{refusals} more refusals in a second were not logged"));
        }
    }

    fn warn(&self, text: &str) {
        self.write(SystemTime::now(), Level::Warn, module_path!(), text);
    }

    fn write(&self, at: SystemTime, level: Level, target: &str, text: &str) {
        let mut stderr = io::stderr().lock();
        // simple_logger panics when standard error is closed.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            // A time before 1970 has no such form, and the line goes without one.
            let _ = write!(stderr, "{} ", humantime::format_rfc3339_millis(at));
            let mut record = Record::builder();
            self.logger
                .log(&record.level(level).target(target).args(format_args!("{text}")).build());
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &Queue, target: &str, text: &str) {
        let mut record = Record::builder();
        queue.push_record(&record.target(target).args(format_args!("{text}")).build());
    }

    #[test]
    fn the_queue_is_bounded_in_bytes() {
        let (queue, lines) = Queue::new(None);
        for _ in 0..1000 {
            push(&queue, "roomd", &"é".repeat(1_000_000));
        }
        let bytes = |line| match line {
            Line::Record { target, text, .. } => target.len() + text.len(),
            _ => panic!("another line"),
        };
        let all: Vec<usize> = lines.try_iter().map(bytes).collect();
        assert!(all.iter().all(|bytes| *bytes <= LOG_LINE_BYTES + "roomd…".len()), "{all:?}");
        assert!((LOG_BYTES / 2..=LOG_BYTES).contains(&all.iter().sum()), "{all:?}");
        assert_eq!(queue.take_left_out() + all.len(), 1000);
    }

    #[test]
    fn refusals_pass_at_their_rate_and_the_others_are_counted() {
        let start = Instant::now();
        let mut refusals = PerSecond::new(10, start);
        let passes =
            |refusals: &mut PerSecond, at| (0..1000).filter(|_| refusals.passes(at)).count();
        assert_eq!(passes(&mut refusals, start), 10);
        assert_eq!(passes(&mut refusals, start + SECOND / 2), 0);
        assert_eq!(passes(&mut refusals, start + SECOND), 10);
        assert_eq!(refusals.left_out, 990 + 1000 + 990);
    }

    #[test]
    fn refusals_leave_room_for_other_lines() {
        let (queue, lines) = Queue::new(Some(10));
        for n in 0..1000 {
            push(&queue, REFUSALS[0], "refused");
            if n % 100 == 0 {
                push(&queue, "roomd", "something else");
            }
        }
        assert!((20..40).contains(&lines.len()), "{}", lines.len());
        assert_eq!(queue.take_left_out(), 0);
        assert!(queue.take_left_out_refusals(None) > 900);
    }
}
