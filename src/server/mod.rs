//! The whole server: binds, starts the threads, and stops them in order.

pub mod systemd;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::client::permits::Permits;
use crate::client::session::{Host, Inbox, Session};
use crate::config::budget::{Budget, Buffers, Capacity};
use crate::config::host_memory;
use crate::config::{ADMIN_PLACES, AdminListen, Config, INBOX};
use crate::history::Log;
use crate::http::admin::Admin;
use crate::http::origin::Access;
use crate::http::page::Page;
use crate::http::refusal::Refusal;
use crate::http::{Gate, Site};
use crate::metrics::Metrics;
use crate::net::conn::Conn;
use crate::net::doorman::Doorman;
use crate::net::listener::{self, Listener};
use crate::net::slots::Slots;
use crate::net::threads::Threads;
use crate::outbox::flusher::{Flusher, Wake};
use crate::room::event::Event;
use crate::room::hub::Hub;
use crate::server::systemd::{Passed, ServiceManager};

/// A server that listens, and serves once it is [`run`](Server::run).
#[derive(Debug)]
pub struct Server {
    socket: TcpListener,
    address: SocketAddr,
    /// Where health and metrics alone are found.
    admin: Option<(TcpListener, SocketAddr)>,
    config: Config,
    budget: Budget,
    supervisor: Option<ServiceManager>,
    stop: (Sender<Notice>, Receiver<Notice>),
}

/// Stops a server from another thread.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<Notice>);

/// What the thread that runs the server waits for.
#[derive(Debug)]
enum Notice {
    /// Somebody wants the server to stop.
    Stop,
    /// A thread that the server cannot do without has ended.
    Ended(&'static str),
}

/// Why the server does not start, or stopped by itself: what was tried, and what to do.
#[derive(Debug)]
pub struct ServerError {
    line: String,
    is_about_settings: bool,
}

impl ServerError {
    fn settings(line: String) -> Self {
        ServerError { line, is_about_settings: true }
    }

    fn other(line: String) -> Self {
        ServerError { line, is_about_settings: false }
    }

    /// Whether other settings would help, and not another state of the system.
    pub fn is_about_settings(&self) -> bool {
        self.is_about_settings
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for ServerError {}

/// How long threads may take to end once their connections have.
const LAST_MOMENT: Duration = Duration::from_millis(500);

impl Server {
    /// Listens where `config` says. Connections wait until the server runs.
    ///
    /// # Errors
    /// When the settings do not fit each other or an address cannot be had.
    pub fn bind(config: Config) -> Result<Server, ServerError> {
        Server::on(Passed::default(), config)
    }

    /// Serves on the sockets that were passed, and listens where `config` says only in place of those
    /// that were not.
    ///
    /// # Errors
    /// When the settings do not fit each other, or an address cannot be had or a socket used.
    pub fn on(passed: Passed, config: Config) -> Result<Server, ServerError> {
        config.check().map_err(ServerError::settings)?;
        let budget = Budget::new(&config.limits, raise_descriptor_limit(), host_memory::memory())
            .map_err(ServerError::settings)?;
        let buffers = budget.buffers;
        let (socket, address) = match passed.room {
            Some(socket) => take(socket, buffers)?,
            None => listen(config.listen, "--listen", buffers)?,
        };
        let admin = match (passed.admin, config.admin) {
            (Some(socket), _) => Some(take(socket, buffers)?),
            (None, AdminListen::At(address)) => Some(listen(address, "--admin-listen", buffers)?),
            (None, AdminListen::WithTheRoom | AdminListen::Off) => None,
        };
        let (supervisor, stop) = (None, unbounded());
        Ok(Server { socket, address, admin, config, budget, supervisor, stop })
    }

    /// Has the server tell `supervisor` when it serves, that it lives and when it stops.
    #[must_use]
    pub fn supervised_by(self, supervisor: ServiceManager) -> Server {
        Server { supervisor: Some(supervisor), ..self }
    }

    /// Where the server listens; the port that the system chose, if it was to choose.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where health and metrics are found, if they have an address of their own.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, address)| *address)
    }

    /// Something to stop the server with.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.0.clone())
    }

    /// Serves until it is stopped. Then nobody is let in any more, everybody gets close code
    /// 1001, and what is queued goes out; this returns when everybody is gone or
    /// [`Limits::stop_timeout`](crate::Limits::stop_timeout) is over.
    ///
    /// # Errors
    /// When the system gives no thread to start with, or a thread failed that the server cannot
    /// do without.
    pub fn run(self) -> Result<(), ServerError> {
        let news = self.stop.1.clone();
        let running = self.start()?;
        let result = match news.recv() {
            Ok(Notice::Ended(name)) => Err(ServerError::other(format!(
                "the {name} thread failed, and nothing goes without it"
            ))),
            Ok(Notice::Stop) | Err(_) => Ok(()),
        };
        running.stop();
        result
    }

    /// Starts the threads, the ones that others rely on first.
    fn start(self) -> Result<Running, ServerError> {
        let Server { socket, address, admin: admin_socket, config, budget, supervisor, stop } =
            self;
        let (notices, _) = stop;
        let limits = config.limits;
        let (capacity, buffers) = (budget.capacity, budget.buffers);
        if let Some(wanted) = limits.max_clients.filter(|wanted| *wanted > capacity.clients) {
            log::warn!(
                "only {} clients of --max-clients {wanted} fit the descriptor limit; raise it with ulimit -n",
                capacity.clients
            );
        }
        let start =
            |what, error: io::Error| ServerError::other(format!("cannot start {what}: {error}"));
        let metrics = Arc::new(Metrics::new());
        let page = Page::new(limits.max_message);
        let (flusher, flusher_thread) =
            Flusher::start(metrics.clone()).map_err(|error| start("the flusher", error))?;
        let waker = flusher.waker().clone();
        let log = Arc::new(Log::new(budget.log, move || waker.wake()));
        flusher.watch_room(&log);
        let (inbox, events) = bounded(INBOX);
        let counts = metrics.clone();
        let hub = Hub::new(log.clone());
        let hub_thread = spawn("hub", &notices, move || hub.run(&events, &counts))?;
        let supervisor = supervisor.map(Arc::new);
        let (doorman, refuse) = Doorman::new(metrics.clone());
        let doorman_thread = spawn("doorman", &notices, refuse)?;

        let (alive, all_ended) = bounded::<Infallible>(0);
        let host = Host {
            limits: limits.clone(),
            echo: config.echo,
            inbox: inbox.clone(),
            log: log.clone(),
            flusher,
            piece: buffers.piece(),
            permits: Permits::new(budget.slots),
        };
        let sessions = Threads::new("client", alive.clone(), move |session: Session| {
            session.run(&host);
        });
        let admin = Admin { metrics: metrics.clone(), inbox: inbox.clone() };
        let admin = Arc::new(admin);
        let access = Access::new(&config.allow_origin, &config.allow_host);
        let gate = Gate {
            limits: limits.clone(),
            site: Some(Site { access, page, listening: address }),
            admin: (admin_socket.is_none() && config.admin == AdminListen::WithTheRoom)
                .then(|| admin.clone()),
        };
        let gates = Threads::new("gate", alive.clone(), move |conn| {
            if let Some(session) = gate.admit(conn) {
                if let Err((session, error)) = sessions.serve(session) {
                    log::warn!("no thread for {}: {error}", session.conn.peer);
                    gate.refuse(&session.conn, &Refusal::no_thread(), false);
                }
            }
        });
        let office = Office { doorman, metrics: metrics.clone() };
        let front = office.open("accept", &notices, socket, capacity, gates)?;
        let status = format!("serving on {address}: {} clients at most", capacity.clients);
        log::info!("{status}");
        log::info!("memory at most: {budget}");
        let admin_gate = Gate { limits: limits.clone(), site: None, admin: Some(admin) };
        // What it takes is gone afterwards, also if there is no such address.
        let admin_notices = notices.clone();
        let open_admin = move |(socket, address)| {
            let gates = Threads::new("admin", alive, move |conn| drop(admin_gate.admit(conn)));
            let capacity = Capacity { clients: 0, clients_per_ip: 0, front: ADMIN_PLACES };
            let front = office.open("admin accept", &admin_notices, socket, capacity, gates)?;
            log::info!("health and metrics at {address}");
            Ok(front)
        };
        let admin_front = admin_socket.map(open_admin).transpose()?;
        if let Some(supervisor) = &supervisor {
            supervisor.ready(&status);
        }
        // Its first sign of life comes after that.
        let (stop_vouching, vouch_until) = bounded(0);
        let watchdog_thread = match &supervisor {
            Some(supervisor) if supervisor.watches() => {
                let (supervisor, inbox) = (supervisor.clone(), inbox.clone());
                Some(spawn("watchdog", &notices, move || supervisor.watch(&inbox, &vouch_until))?)
            }
            _ => None,
        };
        // The watchdog has a sender of the hub's inbox, so it goes first.
        let threads = [hub_thread, flusher_thread, doorman_thread];
        Ok(Running {
            front,
            admin_front,
            inbox,
            log,
            metrics,
            supervisor,
            stop_vouching,
            threads: watchdog_thread.into_iter().chain(threads).collect(),
            all_ended,
            stop_timeout: limits.stop_timeout,
        })
    }
}

/// A server whose threads run.
struct Running {
    front: Front,
    admin_front: Option<Front>,
    inbox: Inbox,
    log: Arc<Log>,
    metrics: Arc<Metrics>,
    supervisor: Option<Arc<ServiceManager>>,
    /// Dropping it ends the watchdog.
    stop_vouching: Sender<Infallible>,
    /// In the order in which they end.
    threads: Vec<JoinHandle<()>>,
    /// Disconnected when no connection has a thread any more.
    all_ended: Receiver<Infallible>,
    stop_timeout: Duration,
}

impl Running {
    /// Ends them in order: nobody is let in, everybody is told, and what is queued goes out.
    fn stop(self) {
        let status = "stopping: everybody gets close code 1001";
        log::info!("{status}");
        self.metrics.stop();
        drop(self.stop_vouching);
        let places = self.front.close();
        // From here on, who connects to a socket that was passed waits for the next run.
        if let Some(supervisor) = &self.supervisor {
            supervisor.stopping(status);
        }
        // Behind everything that has been said, so that it still goes out. A hub that hangs takes
        // nothing.
        let (done, room_is_told) = bounded(0);
        let _ = self.inbox.send_timeout(Event::Shutdown { done }, LAST_MOMENT);
        drop(self.inbox);
        let _ = room_is_told.recv_timeout(LAST_MOMENT);
        // The hub has done so, unless it hangs.
        self.log.flow.open();
        drop(self.log);
        places.stop();
        if places.wait_until_empty(self.stop_timeout) > 0 {
            places.cut();
            let left = places.wait_until_empty(LAST_MOMENT);
            log::warn!("some did not leave in time and were cut off ({left} are still there)");
        }
        // Until here whoever watches can see it stop.
        if let Some(front) = self.admin_front {
            let places = front.close();
            places.stop();
            if places.wait_until_empty(LAST_MOMENT) > 0 {
                places.cut();
            }
        }
        // Only a thread that does not come back could still hold one of these.
        if self.all_ended.recv_timeout(LAST_MOMENT) == Err(RecvTimeoutError::Disconnected) {
            self.threads.into_iter().for_each(join);
        }
        log::info!("stopped");
    }
}

/// What all listeners share.
struct Office {
    doorman: Doorman,
    metrics: Arc<Metrics>,
}

/// A socket whose connections are accepted by a thread.
struct Front {
    places: Slots,
    /// Dropping it ends the thread.
    stop: UnixStream,
    thread: JoinHandle<()>,
}

impl Office {
    /// Accepts what comes to `socket` in a thread of this `name`.
    fn open(
        &self,
        name: &'static str,
        notices: &Sender<Notice>,
        socket: TcpListener,
        capacity: Capacity,
        gates: Threads<Arc<Conn>>,
    ) -> Result<Front, ServerError> {
        let (stop, told) = UnixStream::pair()
            .map_err(|error| ServerError::other(format!("cannot start accepting: {error}")))?;
        let places = Slots::new(capacity);
        let listener = Listener {
            socket,
            stop: told,
            places: places.clone(),
            gates,
            doorman: self.doorman.clone(),
            metrics: self.metrics.clone(),
        };
        let thread = spawn(name, notices, move || listener.run())?;
        Ok(Front { places, stop, thread })
    }
}

impl Front {
    /// Nobody is let in any more. Those who are in have these places.
    fn close(self) -> Slots {
        drop(self.stop);
        join(self.thread);
        self.places.close();
        self.places
    }
}

impl Stopper {
    /// Stops the server; it is fine to do so twice.
    pub fn stop(&self) {
        // The server may be gone already.
        let _ = self.0.send(Notice::Stop);
    }
}

/// Starts a thread that the server cannot do without: its end is told.
fn spawn(
    name: &'static str,
    notices: &Sender<Notice>,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, ServerError> {
    struct Tell(&'static str, Sender<Notice>);
    impl Drop for Tell {
        fn drop(&mut self) {
            // Also when it panics. During a stop nobody listens any more.
            let _ = self.1.send(Notice::Ended(self.0));
        }
    }
    let tell = Tell(name, notices.clone());
    thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            let _tell = tell;
            run();
        })
        .map_err(|error| ServerError::other(format!("cannot start the {name} thread: {error}")))
}

/// A thread that panicked has said so, and the server ends anyway.
fn join(thread: JoinHandle<()>) {
    let _ = thread.join();
}

/// Raises the limit of open descriptors as far as this process may. What it is then.
fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let current =
        if setrlimit(Resource::Nofile, raised).is_ok() { raised.current } else { limit.current };
    current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// A socket that listens where `flag` says, and where that is. The kernel's buffers of its
/// connections are as `buffers` say.
fn listen(
    address: SocketAddr,
    flag: &str,
    buffers: Buffers,
) -> Result<(TcpListener, SocketAddr), ServerError> {
    TcpListener::bind(address)
        .and_then(|socket| {
            listener::widen(&socket)?;
            listener::prepare(&socket, buffers)?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        })
        .map_err(|error| cannot_listen(address, flag, &error))
}

/// A socket that was passed, as [`listen`] gives it; only how many connections wait there is up to
/// whoever made it.
fn take(socket: TcpListener, buffers: Buffers) -> Result<(TcpListener, SocketAddr), ServerError> {
    let address = listener::prepare(&socket, buffers).and_then(|()| socket.local_addr());
    match address {
        Ok(address) => Ok((socket, address)),
        Err(error) => {
            Err(ServerError::other(format!("cannot serve on the socket that was passed: {error}")))
        }
    }
}

fn cannot_listen(address: SocketAddr, flag: &str, error: &io::Error) -> ServerError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "another program has it; give another one with",
        io::ErrorKind::PermissionDenied => "ports below 1024 are for root; give another one with",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; see",
        _ => "see",
    };
    ServerError::other(format!("cannot listen on {address}: {error}; {hint} {flag}"))
}
