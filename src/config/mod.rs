//! What can be set, and with what it begins. [`Config::check`] holds the settings against each other; what
//! is fixed is in `limits`.

pub mod budget;
mod cgroup;
pub mod flags;
pub mod host_memory;
mod limits;
pub mod network;
pub mod system_limits;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use crate::config::network::Network;

pub use self::limits::*;

/// What a person can set; [`crate::config::flags`] has the flags. A test sets the rest too.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen. Port 0 lets the system choose one.
    pub listen: SocketAddr,
    /// Where health and metrics are found.
    pub admin: AdminListen,
    /// Origins, beside the page's own, whose pages may connect: `https://chat.example`, or `*`.
    pub allow_origin: Vec<String>,
    /// Names under which the server may be asked for, beside those that are surely its own.
    pub allow_host: Vec<String>,
    /// Proxies that are trusted to say for whom they ask.
    pub trust_proxy: Vec<Network>,
    /// What the echo endpoint answers.
    pub echo: Echo,
    /// Whether the greeting has a QR code of the page's URL.
    pub qr: bool,
    /// Rooms that are always there, and what people call them.
    pub rooms: Vec<DeclaredRoom>,
    /// Whether other rooms are made by whoever comes.
    pub rooms_open: bool,
    /// Where the history of the lobby and of [`Config::rooms`] is kept. None: nowhere.
    pub state_dir: Option<PathBuf>,
    /// When the disk has to have it.
    pub history_sync: HistorySync,
    /// Where the Valkey or Redis is through which several machines share their rooms. None: they do not.
    pub engine: Option<String>,
    /// A file whose first line is the password for it, the second that for its Sentinels, and the third whom
    /// these know this server as, if that is not their default user.
    pub engine_password_file: Option<PathBuf>,
    /// Such lines, in place of a file.
    pub engine_password: Option<Hidden>,
    /// A file with the certificates of those who may vouch for it. None: the system's.
    pub engine_ca: Option<PathBuf>,
    /// A file with the certificate that is shown to it, and its key.
    pub engine_cert: Option<PathBuf>,
    /// What is logged.
    pub log_level: LevelFilter,
    /// How much of everything.
    pub limits: Limits,
}

/// What must not be shown.
#[derive(Clone)]
pub struct Hidden(pub String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hidden")
    }
}

/// A room's name as it was given, and what people call it.
pub type DeclaredRoom = (String, Option<String>);

/// When what was written has to survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistorySync {
    /// Whenever the system likes.
    Off,
    /// After each write.
    Always,
    /// This long after it was said.
    Every(Duration),
}

/// Where `/healthz` and `/metrics` are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// At [`Config::listen`], beside everything else.
    WithTheRoom,
    /// At an address of their own, and nothing else there.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

/// What the echo endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// `Message text was: ` and the text; binary data closes the connection.
    Tutorial,
    /// What came, text or binary. No flag sets this: it is for conformance suites, which want to
    /// see the same session code echo everything.
    Verbatim,
}

/// How much of everything, and how long.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of all that clients can make the server hold. None: what
    /// [`crate::config::budget::Budget::new`] finds.
    pub max_memory: Option<usize>,
    /// Clients at once. None: as many as the memory and the system allow, at most [`MAX_CLIENTS`].
    pub max_clients: Option<usize>,
    /// Clients at once from one address, as `net::address` counts. None: [`CLIENTS_PER_IP`],
    /// at most half of the clients. Loopback is exempt.
    pub max_clients_per_ip: Option<usize>,
    /// Rooms that are always there, the lobby counted. Follows from [`Config::rooms`].
    pub declared_rooms: usize,
    /// Rooms are shared with other machines. Follows from [`Config::engine`].
    pub is_shared: bool,
    /// Rooms at once, the lobby counted; fewer if the memory is not enough.
    pub max_rooms: usize,
    /// Up to so many members of a room are told who comes and goes.
    pub presence: usize,
    /// Messages that a room keeps for those who come.
    pub history: usize,
    /// How old these may be.
    pub history_age: Duration,
    /// Bytes of them in the log. None: half of it.
    pub history_size: Option<usize>,
    /// Bytes of a room's history on the disk. None: [`HISTORY_DISK`].
    pub history_disk: Option<usize>,
    /// How long the disk is left alone after a fault.
    pub disk_retry: Duration,
    /// Bytes of a room's log in the engine. None: [`ENGINE_MEMORY`].
    pub engine_memory: Option<usize>,
    /// How often a machine that shares rooms shows that it lives.
    pub engine_beat: Duration,
    /// One that has not done so for this long is dead for the others.
    pub engine_lease: Duration,
    /// How long a client that says something waits for an engine that is away; then it is closed with 1013. Others
    /// who come wait for a third of that.
    pub engine_patience: Duration,
    /// Bytes in one message from a client.
    pub max_message: usize,
    /// Bytes for one client alone (echoes, pongs) that it has not taken; see [`Limits::queue`].
    pub max_queue: usize,
    /// Messages a second from one client, before it is slowed down; 0 is no limit.
    /// [`BURST_SECONDS`] of it may come at once.
    pub rate: u32,
    /// How long a client may be silent before it is pinged.
    pub ping_interval: Duration,
    /// How long it then has to show that it lives.
    pub ping_timeout: Duration,
    /// How long a request head may take in all.
    pub head_timeout: Duration,
    /// How long a body may take in all, once its head has arrived.
    pub body_timeout: Duration,
    /// How long a request that publishes waits for the readers of its room.
    pub room_patience: Duration,
    /// How long it then waits for the number of its message.
    pub hub_patience: Duration,
    /// How long what is for one client alone may wait.
    pub catch_up: Duration,
    /// How long a peer has to take a last word (a close frame, a refusal) and to close.
    pub close_timeout: Duration,
    /// How long everybody together has to leave when the server stops; after it, connections
    /// are cut.
    pub stop_timeout: Duration,
}

impl Limits {
    /// [`Limits::max_queue`], or more if an answer to the longest message needs it.
    pub fn queue(&self) -> usize {
        self.max_queue.max(self.max_message + FRAMING + ANSWER_BUFFER)
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: (Ipv4Addr::LOCALHOST, 8000).into(),
            admin: AdminListen::WithTheRoom,
            allow_origin: Vec::new(),
            allow_host: Vec::new(),
            trust_proxy: Vec::new(),
            echo: Echo::Tutorial,
            qr: false,
            rooms: Vec::new(),
            rooms_open: true,
            state_dir: None,
            history_sync: HistorySync::Every(Duration::from_secs(10)),
            engine: None,
            engine_password_file: None,
            engine_password: None,
            engine_ca: None,
            engine_cert: None,
            log_level: LevelFilter::Info,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_memory: None,
            max_clients: None,
            max_clients_per_ip: None,
            declared_rooms: 1,
            is_shared: false,
            max_rooms: 64,
            presence: 100,
            history: 500,
            history_age: Duration::from_secs(12 * 3600),
            history_size: None,
            history_disk: None,
            disk_retry: Duration::from_secs(60),
            engine_memory: None,
            engine_beat: Duration::from_secs(1),
            engine_lease: Duration::from_secs(10),
            engine_patience: Duration::from_secs(30),
            max_message: 64 * 1024,
            max_queue: 128 * 1024,
            rate: 100,
            // Together under the 60 s after which proxies and phones drop a silent connection.
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(20),
            room_patience: Duration::from_secs(10),
            hub_patience: Duration::from_secs(2),
            catch_up: Duration::from_secs(30),
            close_timeout: Duration::from_secs(3),
            // A service manager is told that a stop takes less than five seconds.
            stop_timeout: Duration::from_secs(3),
        }
    }
}

impl Config {
    /// Holds the settings against each other.
    ///
    /// # Errors
    /// A line that names the flags, the values and what is accepted.
    pub fn check(&self) -> Result<(), String> {
        if self.engine.is_some() && !HAS_ENGINE {
            return Err(
                "--engine: this roomd was built without it; build with --features engine, or \
                        leave the flag out"
                    .into(),
            );
        }
        if self.engine.is_some() && self.state_dir.is_some() {
            return Err(
                "--engine and --state-dir: the history is in the engine or on the disk; give \
                        one of them"
                    .into(),
            );
        }
        if self.admin == AdminListen::At(self.listen) && self.listen.port() != 0 {
            return Err(format!(
                "--admin-listen {} is the address of --listen: give another port, or leave it out \
                 to have health and metrics beside the room",
                self.listen
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_each_other() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn the_admin_address_is_another_one() {
        let listen = Config::default().listen;
        let config = |admin| Config { admin, ..Config::default() };
        let error = config(AdminListen::At(listen)).check().expect_err("the same address");
        assert!(error.contains("--admin-listen 127.0.0.1:8000"), "{error}");
        assert_eq!(config(AdminListen::At(([127, 0, 0, 1], 8001).into())).check(), Ok(()));
    }

    #[test]
    fn an_engine_needs_a_build_with_it_and_no_state_folder() {
        let engine = Some("redis://localhost".to_owned());
        let alone = Config { engine: engine.clone(), ..Config::default() }.check();
        assert_eq!(alone.is_ok(), HAS_ENGINE, "{alone:?}");
        let both = Config { engine, state_dir: Some("/tmp".into()), ..Config::default() };
        let error = both.check().expect_err("both");
        assert!(error.starts_with("--engine") && error.lines().count() == 1, "{error}");
    }

    #[test]
    fn a_queue_has_room_for_an_answer() {
        let limits = Limits { max_message: 65_536, max_queue: 40_000, ..Limits::default() };
        assert!(limits.queue() > 65_536 + ANSWER_BUFFER);
        assert_eq!(Limits { max_queue: 1 << 20, ..limits }.queue(), 1 << 20);
    }
}
