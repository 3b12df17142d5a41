//! The log: simple_logger to standard error, in UTC.

use log::{LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Logs from `level` on. Of the libraries, warnings only: theirs would drown ours.
///
/// # Errors
/// When there is a logger already.
pub fn init(level: LevelFilter) -> Result<(), log::SetLoggerError> {
    let logger = SimpleLogger::new().with_level(level);
    #[cfg(feature = "timestamps")]
    let logger = logger.with_utc_timestamps();
    let logger = ["tiny_http", "tungstenite"].iter().fold(logger, |logger, library| {
        logger.with_module_level(library, level.min(LevelFilter::Warn))
    });
    log::set_max_level(logger.max_level());
    log::set_boxed_logger(Box::new(Steady(logger)))
}

/// simple_logger panics when standard error is closed. A log line must not end a thread.
struct Steady(SimpleLogger);

impl Log for Steady {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.0.log(record)));
    }

    fn flush(&self) {
        self.0.flush();
    }
}
