//! Threads that serve connections, one connection at a time each.
//!
//! A thread whose connection has ended waits a moment for the next one before it ends: starting a thread
//! costs more than the whole handshake. The thread that has waited for the shortest time is taken first,
//! so that the others end.

use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::{STACK, THREAD_LINGER};

/// Threads of one kind. Dropping it ends those that wait.
pub struct Threads<J>(Arc<Shared<J>>);

/// What the threads of one kind have in common. One reference is all that each of them keeps.
struct Shared<J> {
    name: &'static str,
    serve: Box<dyn Fn(J) + Send + Sync>,
    idle: Mutex<IdleThreads<J>>,
    quota: Quota,
}

/// How many threads of all kinds there may be. A process that starts more than its addresses and
/// mappings have room for is aborted, and not just refused a thread.
#[derive(Clone)]
pub struct Quota {
    left: Arc<AtomicUsize>,
    /// The threads of a kind hold one, so that the end of them all can be waited for.
    _alive: Sender<Infallible>,
}

/// A thread's part of the quota of its kind.
struct Permit<J>(Arc<Shared<J>>);

impl Quota {
    /// At most so many threads. The receiver is disconnected when all have ended.
    pub fn new(threads: usize) -> (Self, Receiver<Infallible>) {
        let (alive, all_ended) = bounded(0);
        (Quota { left: Arc::new(AtomicUsize::new(threads)), _alive: alive }, all_ended)
    }

    /// One thread more; false if there are as many as there may be.
    fn take(&self) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

impl<J> Drop for Permit<J> {
    fn drop(&mut self) {
        self.0.quota.left.fetch_add(1, Relaxed);
    }
}

/// Threads that wait for a job.
struct IdleThreads<J> {
    threads: Vec<Arc<IdleThread<J>>>,
    is_over: bool,
}

/// One thread that waits. Its job is put here under the lock of [`IdleThreads`].
struct IdleThread<J> {
    thread: Thread,
    job: Mutex<Option<J>>,
}

impl<J: Send + 'static> Threads<J> {
    /// Threads named `name` that run `serve`, as far as the `quota` allows.
    pub fn new(
        name: &'static str,
        quota: Quota,
        serve: impl Fn(J) + Send + Sync + 'static,
    ) -> Self {
        let idle = Mutex::new(IdleThreads { threads: Vec::new(), is_over: false });
        Threads(Arc::new(Shared { name, serve: Box::new(serve), idle, quota }))
    }

    /// Has a thread serve `job`.
    ///
    /// # Errors
    /// The job, when neither the quota nor the system gives a thread for it.
    pub fn serve(&self, job: J) -> Result<(), (J, io::Error)> {
        let mut waiting = self.0.waiting();
        let Some(idle) = waiting.threads.pop() else {
            drop(waiting);
            return self.start(job);
        };
        put(&idle.job, job);
        drop(waiting);
        idle.thread.unpark();
        Ok(())
    }

    #[inline(never)]
    fn start(&self, job: J) -> Result<(), (J, io::Error)> {
        if !self.0.quota.take() {
            return Err((job, io::Error::other("all threads are busy")));
        }
        let permit = Permit(self.0.clone());
        // A failed spawn drops what it was given, and the job has to be answered for.
        let slot = Arc::new(Mutex::new(Some(job)));
        let first = slot.clone();
        let name = self.0.name;
        let spawned = thread::Builder::new().name(name.into()).stack_size(STACK).spawn(move || {
            let Permit(threads) = &permit;
            let mut job = take(&first);
            drop(first);
            while let Some(this) = job {
                // A panic ends the connection, whose guards tell everybody who has to know.
                if catch_unwind(AssertUnwindSafe(|| (threads.serve)(this))).is_err() {
                    log::error!("a {} thread panicked; its connection is closed", threads.name);
                }
                job = threads.next();
            }
        });
        match spawned {
            Ok(_) => Ok(()),
            Err(error) => take(&slot).map_or(Ok(()), |job| Err((job, error))),
        }
    }
}

impl<J> Drop for Threads<J> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.is_over = true;
        waiting.threads.iter().for_each(|idle| idle.thread.unpark());
    }
}

impl<J> Shared<J> {
    /// Waits for a job. None: it is time to end.
    fn next(&self) -> Option<J> {
        let idle = Arc::new(IdleThread { thread: thread::current(), job: Mutex::new(None) });
        self.waiting().threads.push(idle.clone());
        let until = Instant::now() + THREAD_LINGER;
        loop {
            thread::park_timeout(until.saturating_duration_since(Instant::now()));
            let mut waiting = self.waiting();
            let job = take(&idle.job);
            if job.is_some() {
                return job;
            }
            if waiting.is_over || Instant::now() >= until {
                waiting.threads.retain(|other| !Arc::ptr_eq(other, &idle));
                return None;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, IdleThreads<J>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take<J>(slot: &Mutex<Option<J>>) -> Option<J> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn put<J>(slot: &Mutex<Option<J>>, job: J) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Jobs that wait until they are told to end.
    #[test]
    fn a_quota_bounds_the_threads_of_all_kinds() {
        let (quota, all_ended) = Quota::new(2);
        let wait = |name| {
            Threads::new(name, quota.clone(), |job: Receiver<Infallible>| {
                let _ = job.recv();
            })
        };
        let (some, others) = (wait("some"), wait("others"));
        let (end, ended) = bounded::<Infallible>(0);
        assert!(some.serve(ended.clone()).is_ok() && others.serve(ended.clone()).is_ok());
        assert!(some.serve(ended.clone()).is_err() && others.serve(ended).is_err());
        drop((end, some, others, quota));
        assert!(all_ended.recv().is_err());
    }
}
