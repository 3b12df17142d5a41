//! The log: simple_logger to standard error, in UTC, from a thread of its own.
//!
//! Whoever logs hands over a line and goes on. So a standard error that is closed, stuck or slow
//! costs lines and nothing else, and a flood of connections does not become a flood of lines: what
//! comes faster than [`LOG_RATE`] for long is left out, and the number of lines is told.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use crate::config::{LOG_FLUSH, LOG_LINES, LOG_RATE};
use crate::rate::Pace;

/// Logs from `level` on. Of the libraries, warnings only: theirs would drown ours.
///
/// # Errors
/// When there is no thread to be had, or a logger already.
pub fn init(level: LevelFilter) -> io::Result<()> {
    let logger = SimpleLogger::new().with_level(level);
    #[cfg(feature = "timestamps")]
    let logger = logger.with_utc_timestamps();
    let logger = ["tiny_http", "tungstenite"].iter().fold(logger, |logger, library| {
        logger.with_module_level(library, level.min(LevelFilter::Warn))
    });
    let logger = Arc::new(logger);
    let (lines, to_write) = bounded(LOG_LINES);
    let left_out = Arc::new(AtomicUsize::new(0));
    let hand_over = HandOver { logger: logger.clone(), lines, left_out: left_out.clone() };
    // One who looks for something wants to see all of it.
    let rate = if level > LevelFilter::Info { 0 } else { LOG_RATE };
    thread::Builder::new()
        .name("log".into())
        .spawn(move || write(&logger, &to_write, &left_out, rate))?;
    log::set_max_level(level);
    log::set_boxed_logger(Box::new(hand_over)).map_err(io::Error::other)
}

enum Line {
    Text {
        level: Level,
        target: String,
        text: String,
    },
    /// Everything before this has been written.
    Written(Sender<()>),
}

struct HandOver {
    logger: Arc<SimpleLogger>,
    lines: Sender<Line>,
    left_out: Arc<AtomicUsize>,
}

impl Log for HandOver {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = Line::Text {
            level: record.level(),
            target: record.target().into(),
            text: record.args().to_string(),
        };
        if self.lines.try_send(line).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was logged is written, but not for long.
    fn flush(&self) {
        let (done, is_done) = bounded(1);
        if self.lines.send_timeout(Line::Written(done), LOG_FLUSH).is_ok() {
            let _ = is_done.recv_timeout(LOG_FLUSH);
        }
    }
}

fn write(logger: &SimpleLogger, lines: &Receiver<Line>, left_out: &AtomicUsize, rate: u32) {
    let mut pace = Pace::new(rate, Instant::now());
    for line in lines {
        match line {
            Line::Text { level, target, text } => {
                write_line(logger, level, &target, &text);
                thread::sleep(pace.as_mut().map_or_else(Default::default, Pace::count_now));
            }
            Line::Written(done) => drop(done.send(())),
        }
        let missing = left_out.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let text = format!("{missing} log lines came too fast and were left out");
            write_line(logger, Level::Warn, module_path!(), &text);
        }
    }
}

fn write_line(logger: &SimpleLogger, level: Level, target: &str, text: &str) {
    // simple_logger panics when standard error is closed.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let mut record = Record::builder();
        logger.log(&record.level(level).target(target).args(format_args!("{text}")).build());
    }));
}
