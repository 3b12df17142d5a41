//! Threads that serve connections, one connection at a time each.
//!
//! A thread that is done waits a moment for the next connection before it ends: starting a thread
//! costs more than the whole handshake.

use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::{STACK, THREAD_LINGER};

/// Threads of one kind. Dropping it lets those that wait end at once.
pub struct Workers<J> {
    name: &'static str,
    serve: Arc<dyn Fn(J) + Send + Sync>,
    /// Of no capacity: a job goes straight to a thread that waits for one.
    jobs: (Sender<J>, Receiver<J>),
    /// Every thread holds one, so that the end of them all can be waited for.
    alive: Sender<Infallible>,
}

impl<J: Send + 'static> Workers<J> {
    /// Threads named `name` that run `serve`. They hold `alive` as long as they run.
    pub fn new(
        name: &'static str,
        alive: Sender<Infallible>,
        serve: impl Fn(J) + Send + Sync + 'static,
    ) -> Self {
        Workers { name, serve: Arc::new(serve), jobs: bounded(0), alive }
    }

    /// Has a thread serve `job`.
    ///
    /// # Errors
    /// The job, when the system gives no thread for it.
    pub fn serve(&self, job: J) -> Result<(), (J, io::Error)> {
        match self.jobs.0.try_send(job) {
            Ok(()) => Ok(()),
            Err(nobody_waits) => self.start(nobody_waits.into_inner()),
        }
    }

    fn start(&self, job: J) -> Result<(), (J, io::Error)> {
        // A failed spawn drops what it was given, and the job has to be answered for.
        let slot = Arc::new(Mutex::new(Some(job)));
        let first = slot.clone();
        let (serve, next, alive) = (self.serve.clone(), self.jobs.1.clone(), self.alive.clone());
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
                job = next.recv_timeout(THREAD_LINGER).ok();
            }
        });
        if let Err(error) = spawned {
            if let Some(job) = take(&slot) {
                return Err((job, error));
            }
        }
        Ok(())
    }
}

fn take<J>(slot: &Mutex<Option<J>>) -> Option<J> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}
