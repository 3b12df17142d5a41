//! How far the disk has got with a log.
//!
//! The writer is no reader of [`flow`](crate::history::flow): senders do not wait for it. What it lacks
//! stays in the log as far as the log's bytes go; when it is further behind, entries are gone.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Sender;

/// How far the writer has read a log, and when it wants to know of more.
#[derive(Debug)]
pub struct Progress {
    /// Bytes said before what it lacks, as [`Position::bytes`](crate::history::chunk::Position) counts
    /// them.
    read: AtomicU64,
    /// It is woken once the log ends here or later.
    alarm: AtomicU64,
    /// Holds one wake-up, which is enough.
    wake: Sender<()>,
}

/// No alarm.
pub const NEVER: u64 = u64::MAX;

impl Progress {
    /// It has read so many bytes, and asks to be woken by `wake` later on.
    pub fn new(read: u64, wake: Sender<()>) -> Self {
        Progress { read: AtomicU64::new(read), alarm: AtomicU64::new(NEVER), wake }
    }

    /// It has read so many bytes.
    pub fn has_read(&self, bytes: u64) {
        self.read.store(bytes, Ordering::Release);
    }

    /// It wants to be woken, once, when the log ends at so many bytes. It has to look at the end of the
    /// log afterwards: what was appended before does not wake it.
    pub fn wake_at(&self, bytes: u64) {
        self.alarm.store(bytes, Ordering::SeqCst);
    }

    /// How far it has read.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Acquire)
    }

    /// The log ends here by now. For the hub, once a batch.
    pub fn appended(&self, end: u64) {
        if end >= self.alarm.load(Ordering::SeqCst) {
            self.alarm.store(NEVER, Ordering::SeqCst);
            // A full channel wakes it just as well; without a receiver the server ends.
            let _ = self.wake.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn the_writer_is_woken_once_for_each_alarm() {
        let (wake, woken) = bounded(1);
        let progress = Progress::new(0, wake);
        progress.appended(10);
        assert!(woken.try_recv().is_err(), "it did not ask");
        progress.wake_at(20);
        progress.appended(19);
        assert!(woken.try_recv().is_err());
        (20..30).for_each(|end| progress.appended(end));
        assert_eq!(woken.try_iter().count(), 1);
        progress.wake_at(0);
        progress.appended(30);
        assert_eq!(woken.try_iter().count(), 1);
    }
}
