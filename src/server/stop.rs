//! Stops a running server in order, each step under a deadline.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::client::socket::Socket;
use crate::history::disk;
use crate::metrics::Metrics;
use crate::room::event::Event;
use crate::room::rooms::Rooms;
use crate::server::ServerError;
use crate::server::acceptor::Acceptor;
use crate::server::shared::Engine;
use crate::server::systemd::ServiceManager;
use crate::server::thread::ServerThread;

/// How long a step takes at most that needs no client. A thread that takes longer hangs.
const STEP: Duration = Duration::from_millis(500);

/// How long threads have to end once their connections have, at least.
const LAST_STEP: Duration = Duration::from_millis(1500);

/// A server whose threads run.
pub struct Running {
    pub room: Acceptor,
    pub admin: Option<Acceptor>,
    pub inboxes: Vec<Sender<Event<Socket>>>,
    pub rooms: Arc<Rooms<Socket>>,
    pub metrics: Arc<Metrics>,
    pub manager: Option<Arc<ServiceManager>>,
    /// Dropping it ends the watchdog.
    pub stop_watchdog: Option<Sender<Infallible>>,
    /// Has the rest of the history written to the disk, if it is.
    pub stop_history: Option<disk::writer::Stop>,
    /// What other machines know of this one, if it shares rooms.
    pub engine: Engine,
    /// In the order in which they end.
    pub threads: Vec<ServerThread>,
    /// Disconnected when no thread serves a connection any more.
    pub all_ended: Receiver<Infallible>,
    pub stop_timeout: Duration,
}

impl Running {
    /// Lets nobody in any more, sends the pending messages, and disconnects all clients with 1001.
    ///
    /// # Errors
    /// When threads have not ended in time. The process should exit.
    pub fn stop(self) -> Result<(), ServerError> {
        let status = "stopping: everybody gets close code 1001";
        log::info!("{status}");
        self.metrics.stop();
        drop(self.stop_watchdog);
        let mut hanging = Vec::new();
        let (slots, joined) = self.room.close(Instant::now() + STEP);
        hanging.extend(joined.err());
        // From here on, connections to a socket that was passed wait for the next run.
        if let Some(manager) = &self.manager {
            manager.stopping(status);
        }
        // The hubs get to this behind all messages so far, which still go out.
        let (done, rooms_are_told) = bounded(0);
        let deadline = Instant::now() + STEP;
        let mut hubs_know = true;
        for inbox in self.inboxes {
            let sent = inbox.send_deadline(Event::Shutdown { done: done.clone() }, deadline);
            hubs_know &= sent.is_ok();
        }
        drop(done);
        let told = rooms_are_told.recv_deadline(deadline + STEP);
        if let Some(history) = self.stop_history {
            // While clients leave, the disk has time. From a hub that hangs, more may come.
            history.stop(hubs_know && told == Err(RecvTimeoutError::Disconnected));
        }
        self.engine.stop();
        // The hubs have done so, unless they hang.
        for room in self.rooms.all() {
            room.info.log.flow.open();
        }
        drop(self.rooms);
        slots.stop();
        if slots.wait_until_empty(self.stop_timeout) > 0 {
            slots.cut();
            let left = slots.wait_until_empty(STEP);
            log::warn!("some did not leave in time and were cut off ({left} are still there)");
        }
        // Health and metrics can tell of the stop until here.
        if let Some(admin) = self.admin {
            let (slots, joined) = admin.close(Instant::now() + STEP);
            hanging.extend(joined.err());
            slots.stop();
            if slots.wait_until_empty(STEP) > 0 {
                slots.cut();
            }
        }
        let deadline = Instant::now() + LAST_STEP;
        if self.all_ended.recv_deadline(deadline) != Err(RecvTimeoutError::Disconnected) {
            hanging.push("a connection's");
        }
        hanging
            .extend(self.threads.into_iter().filter_map(|thread| thread.join_by(deadline).err()));
        if !hanging.is_empty() {
            let hanging = hanging.join(", ");
            return Err(ServerError::System(format!(
                "the stop is incomplete, since threads hang: {hanging}"
            )));
        }
        log::info!("stopped");
        Ok(())
    }
}
