//! The threads that live as long as the server.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::config::SERVER_STACK;
use crate::server::{ServerError, StopReason};

/// A thread that the server cannot do without.
#[derive(Debug)]
pub struct ServerThread {
    name: &'static str,
    handle: JoinHandle<()>,
}

/// How often a thread that is to end is looked at. std has no join with a deadline.
const LOOK: Duration = Duration::from_millis(2);

impl ServerThread {
    /// Starts a thread whose end, also by a panic, stops the server.
    pub fn spawn(
        name: &'static str,
        stop: &Sender<StopReason>,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<Self, ServerError> {
        struct Guard(&'static str, Sender<StopReason>);
        impl Drop for Guard {
            fn drop(&mut self) {
                // During a stop there is no receiver.
                let _ = self.1.send(StopReason::ThreadEnded(self.0));
            }
        }
        let guard = Guard(name, stop.clone());
        let spawned =
            thread::Builder::new().name(name.into()).stack_size(SERVER_STACK).spawn(move || {
                let _guard = guard;
                run();
            });
        let handle = spawned.map_err(|error| cannot_start(name, &error))?;
        Ok(ServerThread { name, handle })
    }

    /// Waits for the end of the thread.
    ///
    /// # Errors
    /// The thread's name, if it has not ended by `deadline`.
    pub fn join_by(self, deadline: Instant) -> Result<(), &'static str> {
        while !self.handle.is_finished() {
            if Instant::now() >= deadline {
                return Err(self.name);
            }
            thread::sleep(LOOK);
        }
        // A panic has been reported by its hook, and the server ends anyway.
        let _ = self.handle.join();
        Ok(())
    }
}

/// The system gives no thread, socket pair or the like.
pub fn cannot_start(what: &str, error: &io::Error) -> ServerError {
    ServerError::System(format!("cannot start the {what} thread: {error}"))
}
