//! Threads that serve connections, one connection at a time each.
//!
//! A thread that is done waits a moment for the next connection before it ends: starting a thread
//! costs more than the whole handshake. The one that waits shortest is taken first, so that the
//! others come to their end.

use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::config::{STACK, THREAD_LINGER};

/// Threads of one kind. Dropping it lets those that wait end at once.
pub struct Threads<J> {
    name: &'static str,
    serve: Arc<dyn Fn(J) + Send + Sync>,
    rest: Arc<Rest<J>>,
    /// Every thread holds one, so that the end of them all can be waited for.
    alive: Sender<Infallible>,
}

/// Where threads wait for a job.
struct Rest<J>(Mutex<Waiting<J>>);

struct Waiting<J> {
    threads: Vec<Arc<IdleThread<J>>>,
    is_over: bool,
}

/// One thread that waits. Its job is put here under the lock of [`Rest`].
struct IdleThread<J> {
    thread: Thread,
    job: Mutex<Option<J>>,
}

impl<J: Send + 'static> Threads<J> {
    /// Threads named `name` that run `serve`. They hold `alive` as long as they run.
    pub fn new(
        name: &'static str,
        alive: Sender<Infallible>,
        serve: impl Fn(J) + Send + Sync + 'static,
    ) -> Self {
        let rest = Rest(Mutex::new(Waiting { threads: Vec::new(), is_over: false }));
        Threads { name, serve: Arc::new(serve), rest: Arc::new(rest), alive }
    }

    /// Has a thread serve `job`.
    ///
    /// # Errors
    /// The job, when the system gives no thread for it.
    pub fn serve(&self, job: J) -> Result<(), (J, io::Error)> {
        let mut waiting = self.rest.lock();
        let Some(seat) = waiting.threads.pop() else {
            drop(waiting);
            return self.start(job);
        };
        put(&seat.job, job);
        drop(waiting);
        seat.thread.unpark();
        Ok(())
    }

    fn start(&self, job: J) -> Result<(), (J, io::Error)> {
        // A failed spawn drops what it was given, and the job has to be answered for.
        let slot = Arc::new(Mutex::new(Some(job)));
        let first = slot.clone();
        let (serve, rest, alive) = (self.serve.clone(), self.rest.clone(), self.alive.clone());
        let name = self.name;
        let spawned = thread::Builder::new().name(name.into()).stack_size(STACK).spawn(move || {
            let _alive = alive;
            let mut job = take(&first);
            drop(first);
            while let Some(this) = job {
                // A panic ends the connection, whose guards tell everybody who has to know.
                if catch_unwind(AssertUnwindSafe(|| serve(this))).is_err() {
                    log::error!("a {name} thread panicked; its connection is closed");
                }
                job = rest.next();
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
        let mut waiting = self.rest.lock();
        waiting.is_over = true;
        waiting.threads.iter().for_each(|seat| seat.thread.unpark());
    }
}

impl<J> Rest<J> {
    /// Waits for a job. None: it is time to end.
    fn next(&self) -> Option<J> {
        let seat = Arc::new(IdleThread { thread: thread::current(), job: Mutex::new(None) });
        self.lock().threads.push(seat.clone());
        let until = Instant::now() + THREAD_LINGER;
        loop {
            thread::park_timeout(until.saturating_duration_since(Instant::now()));
            let mut waiting = self.lock();
            let job = take(&seat.job);
            if job.is_some() {
                return job;
            }
            if waiting.is_over || Instant::now() >= until {
                waiting.threads.retain(|other| !Arc::ptr_eq(other, &seat));
                return None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<J>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take<J>(slot: &Mutex<Option<J>>) -> Option<J> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn put<J>(slot: &Mutex<Option<J>>, job: J) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
}
