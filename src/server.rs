//! The whole server: binds, starts the threads, and stops them in order.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::access::Access;
use crate::assembly::Assembly;
use crate::config::{Config, INBOX};
use crate::doorman::Doorman;
use crate::drain::Drain;
use crate::event::Event;
use crate::gate::Gate;
use crate::http::Page;
use crate::hub::Hub;
use crate::listener::{self, Listener};
use crate::places::Places;
use crate::refusal::Refusal;
use crate::session::{Host, Session};
use crate::workers::Workers;

/// A server that listens, and serves once it is [`run`](Server::run).
#[derive(Debug)]
pub struct Server {
    socket: TcpListener,
    address: SocketAddr,
    config: Config,
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
pub struct ServerError(String);

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServerError {}

/// How long threads may take to end once their connections have.
const LAST_MOMENT: Duration = Duration::from_millis(500);

impl Server {
    /// Listens where `config` says. Connections wait until the server runs.
    ///
    /// # Errors
    /// When the settings do not fit each other or the address cannot be had.
    pub fn bind(config: Config) -> Result<Server, ServerError> {
        config.check().map_err(ServerError)?;
        let socket = TcpListener::bind(config.listen)
            .and_then(|socket| listener::prepare(&socket).map(|()| socket))
            .map_err(|error| cannot_listen(config.listen, &error))?;
        let address = socket.local_addr().map_err(|error| cannot_listen(config.listen, &error))?;
        Ok(Server { socket, address, config, stop: unbounded() })
    }

    /// Where the server listens; the port that the system chose, if it was to choose.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
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
        let Server { socket, address, config, stop: (notices, news) } = self;
        let limits = config.limits;
        let capacity = limits.capacity(raise_descriptor_limit());
        if let Some(wanted) = limits.max_clients.filter(|wanted| *wanted > capacity.clients) {
            log::warn!(
                "only {} clients of --max-clients {wanted} fit the descriptor limit; raise it with ulimit -n",
                capacity.clients
            );
        }
        let start = |what, error: io::Error| ServerError(format!("cannot start {what}: {error}"));
        let places = Places::new(capacity);
        let (page, page_thread) =
            Page::start(limits.max_message).map_err(|error| start("the page side", error))?;
        let (drain, drain_thread) =
            Drain::start().map_err(|error| start("the drain thread", error))?;
        let (inbox, events) = bounded(INBOX);
        let hub_thread = spawn("hub", &notices, move || Hub::new().run(&events))?;
        let (doorman, refuse) = Doorman::new();
        let doorman_thread = spawn("doorman", &notices, refuse)?;

        let (alive, all_ended) = bounded::<Infallible>(0);
        let host = Host {
            limits: limits.clone(),
            echo: config.echo,
            inbox: inbox.clone(),
            assembly: Assembly::new(16),
        };
        let sessions = Workers::new("client", alive.clone(), move |session: Session| {
            session.run(&host);
        });
        let gate = Gate {
            access: Access::new(&config.allow_origin, &config.allow_host),
            limits: limits.clone(),
            page: page.clone(),
        };
        let gates = Workers::new("gate", alive, move |conn| {
            if let Some(session) = gate.admit(conn) {
                if let Err((session, error)) = sessions.serve(session) {
                    log::warn!("no thread for {}: {error}", session.conn.peer);
                    gate.refuse(&session.conn, &Refusal::no_thread());
                }
            }
        });
        let (stop_accepting, stop) =
            UnixStream::pair().map_err(|error| start("accepting", error))?;
        let listener = Listener { socket, stop, places: places.clone(), gates, drain, doorman };
        let accept_thread = spawn("accept", &notices, move || listener.run())?;
        log::info!("serving on {address}: {} clients at most", capacity.clients);

        let result = match news.recv() {
            Ok(Notice::Ended(name)) => {
                Err(ServerError(format!("the {name} thread failed, and nothing goes without it")))
            }
            Ok(Notice::Stop) | Err(_) => Ok(()),
        };

        log::info!("stopping: everybody gets close code 1001");
        drop(stop_accepting);
        join(accept_thread);
        places.close();
        // Behind everything that has been said, so that it still goes out.
        let (done, room_is_told) = bounded(0);
        let _ = inbox.send(Event::Shutdown { done });
        drop(inbox);
        let _ = room_is_told.recv_timeout(LAST_MOMENT);
        places.stop();
        if places.wait_until_empty(limits.stop_timeout) > 0 {
            places.cut();
            let left = places.wait_until_empty(LAST_MOMENT);
            log::warn!("some did not leave in time and were cut off ({left} are still there)");
        }
        page.stop();
        // Only a thread that does not come back could still hold one of these.
        if all_ended.recv_timeout(LAST_MOMENT) == Err(RecvTimeoutError::Disconnected) {
            for thread in [hub_thread, drain_thread, doorman_thread, page_thread] {
                join(thread);
            }
        }
        log::info!("stopped");
        result
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
        .map_err(|error| ServerError(format!("cannot start the {name} thread: {error}")))
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

fn cannot_listen(address: SocketAddr, error: &io::Error) -> ServerError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "another program has it; give another one with --listen",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are for root; give another one with --listen"
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; see --listen",
        _ => "see --listen",
    };
    ServerError(format!("cannot listen on {address}: {error}; {hint}"))
}
