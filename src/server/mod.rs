//! The whole server: binds, starts the threads, and stops them in order.

mod acceptor;
pub mod allocator;
mod error;
mod kept;
mod rooms;
#[cfg_attr(not(feature = "engine"), path = "alone.rs")]
mod shared;
mod sockets;
mod start;
mod stop;
pub mod systemd;
mod thread;
mod watchdog;

use std::net::SocketAddr;

use crossbeam_channel::{Receiver, Sender, unbounded};

pub use self::error::ServerError;
use self::rooms::Declared;
use self::sockets::Listening;
use self::systemd::{Passed, ServiceManager};
use crate::config::budget::Budget;
use crate::config::system_limits::SystemLimits;
use crate::config::{AdminListen, Config, host_memory};
use crate::history::disk::state::StateFolder;
use crate::room::identity::Secret;

/// A server that listens, and serves once it is [`run`](Server::run).
#[derive(Debug)]
pub struct Server {
    room: Listening,
    /// Where health and metrics alone are found.
    admin: Option<Listening>,
    config: Config,
    declared: Declared,
    budget: Budget,
    system: SystemLimits,
    /// Where the history is kept, if it is.
    state: Option<StateFolder>,
    /// What tags are made with.
    secret: Secret,
    manager: Option<ServiceManager>,
    stop: (Sender<StopReason>, Receiver<StopReason>),
}

/// Stops a server from another thread.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<StopReason>);

/// Why the server stops.
#[derive(Debug)]
enum StopReason {
    Requested,
    /// The server cannot do without this thread.
    ThreadEnded(&'static str),
}

impl Server {
    /// Listens where `config` says. Connections wait until the server runs.
    ///
    /// # Errors
    /// When the settings do not fit each other, an address is not to be had, or the system gives too
    /// little of something.
    pub fn bind(config: Config) -> Result<Server, ServerError> {
        Server::on(Passed::default(), config)
    }

    /// Serves on the sockets that were passed, and listens where `config` says only in place of those
    /// that were not.
    ///
    /// # Errors
    /// As those of [`Server::bind`], or when a socket cannot be used.
    pub fn on(passed: Passed, mut config: Config) -> Result<Server, ServerError> {
        config.check().map_err(ServerError::Settings)?;
        shared::check(&config).map_err(ServerError::Settings)?;
        let declared = rooms::declared(&config).map_err(ServerError::Settings)?;
        config.limits.declared_rooms = rooms::count(&declared);
        config.limits.is_shared = config.engine.is_some();
        // Before the sockets: a second server with the same settings should say what it is about.
        let state = config.state_dir.as_deref().map(StateFolder::take).transpose();
        let state = state.map_err(ServerError::Settings)?;
        let secret = kept::secret(state.as_ref())?;
        let system = SystemLimits::raised();
        system.check().map_err(ServerError::System)?;
        let memory = system.cap_memory(&mut config.limits, host_memory::memory());
        let budget = Budget::new(&config.limits, system.connections().connections, memory)
            .map_err(ServerError::Settings)?;
        let buffers = budget.buffers;
        let room = match passed.room {
            Some(socket) => sockets::adopt(socket, buffers)?,
            None => sockets::open(config.listen, "--listen", buffers)?,
        };
        let admin = match (passed.admin, config.admin) {
            (Some(socket), _) => Some(sockets::adopt(socket, buffers)?),
            (None, AdminListen::At(address)) => {
                Some(sockets::open(address, "--admin-listen", buffers)?)
            }
            (None, AdminListen::WithTheRoom | AdminListen::Off) => None,
        };
        let (manager, stop) = (None, unbounded());
        Ok(Server { room, admin, config, declared, budget, system, state, secret, manager, stop })
    }

    /// Has the server notify `manager` when it serves, lives and stops.
    #[must_use]
    pub fn notifying(self, manager: ServiceManager) -> Server {
        Server { manager: Some(manager), ..self }
    }

    /// Where the server listens, with the port that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.room.1
    }

    /// Where health and metrics are found, if they have an address of their own.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, address)| *address)
    }

    /// Something to stop the server with.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.0.clone())
    }

    /// Serves until it is stopped. Then nobody is let in any more, all clients get close code 1001,
    /// and queued messages are sent; this returns when all connections have ended or
    /// [`Limits::stop_timeout`](crate::Limits::stop_timeout) is over.
    ///
    /// # Errors
    /// When the system gives no thread to start with, a thread failed that the server cannot do
    /// without, or one has not ended in time.
    pub fn run(self) -> Result<(), ServerError> {
        let reasons = self.stop.1.clone();
        let running = start::start(self)?;
        let failed = match reasons.recv() {
            Ok(StopReason::ThreadEnded(name)) => Some(name),
            Ok(StopReason::Requested) | Err(_) => None,
        };
        let stopped = running.stop();
        match failed {
            Some(name) => Err(ServerError::System(format!(
                "the {name} thread failed, and nothing goes without it"
            ))),
            None => stopped,
        }
    }
}

impl Stopper {
    /// Stops the server; it is fine to do so twice.
    pub fn stop(&self) {
        // The server may be gone already.
        let _ = self.0.send(StopReason::Requested);
    }
}
