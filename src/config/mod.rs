//! Every setting and every limit of the program, each with its reason.
//!
//! A reader can audit what the server may use by reading this page. [`Config::check`] holds the
//! settings against each other.

pub mod budget;
mod cgroup;
pub mod flags;
pub mod host_memory;
pub mod network;
pub mod system_limits;

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use crate::config::network::Network;

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

/// What people call a room: so many bytes.
pub const TITLE_BYTES: usize = 96;

/// Up to so many members can be told who comes and goes: the list of them all is sent as one message.
pub const MAX_PRESENCE: usize = 1000;

/// Clients at once when nobody says otherwise and the descriptors allow it.
pub const MAX_CLIENTS: usize = 1024;

/// Clients at once from one address when no flag says otherwise, at most half of the clients.
pub const CLIENTS_PER_IP: usize = 64;

/// A request head: this many bytes. Browsers send less than 2 KiB, cookies of other programs on
/// the same host included.
pub const HEAD_BYTES: usize = 8 * 1024;

/// A request head: this many header fields.
pub const HEAD_FIELDS: usize = 64;

/// A request may have come through so many trusted proxies.
pub const FORWARDED_HOPS: usize = 16;

/// How long the list of this host's own IPv6 networks is good, by which addresses are counted.
pub const OWN_NETWORKS_AGE: Duration = Duration::from_secs(5);

/// How long a request that publishes waits because its address does so too often; one that would have to
/// wait longer gets 429.
pub const PUBLISH_PATIENCE: Duration = Duration::from_secs(1);

/// Streams over HTTP from one address. A browser opens six to one host at most; a page that opens more in
/// many tabs should not take all the slots of its address.
pub const STREAMS_PER_IP: usize = 16;

/// A page's URL, as it comes in a link and its code: long enough for a name and a path, short
/// enough for a code that a camera reads from a screen and that is no larger than the page's files.
pub const PAGE_URL_BYTES: usize = 200;

/// Connections that are not clients: requests that are being read, pages that are being sent.
/// So many that a thousand half-open connections leave room for people.
pub const FRONT: usize = 1280;

/// Of [`FRONT`], so many may come from one address beside its clients, and at most half of them: what
/// a few browsers open to load the page.
pub const FRONT_PER_IP: usize = 32;

/// Connections at the address of health and metrics: one monitor or a few, and people who look.
pub const ADMIN_PLACES: usize = 8;

/// How long the hub may take to answer a question, or to send a batch, when somebody asks for its health.
/// It is less than the ten seconds that a monitor waits.
pub const HEALTH_PATIENCE: Duration = Duration::from_secs(1);

/// Connections that wait to be turned away, when there is no place or no thread for them.
pub const REFUSALS: usize = 32;

/// How long turning one of them away may take.
pub const REFUSAL_TIMEOUT: Duration = Duration::from_millis(250);

/// Descriptors that are not connections with a slot: standard streams, listeners and wakers,
/// connections that are turned away, and requests at the admin address.
pub const DESCRIPTORS_KEPT: usize = 16 + REFUSALS + ADMIN_PLACES;

/// The burst that [`Limits::rate`] allows, in seconds of it.
pub const BURST_SECONDS: u32 = 2;

/// The messages of all clients of one address together have so many times [`Limits::rate`], with the
/// same burst in seconds: what ten people say who share an address.
pub const ADDRESS_RATE: u32 = 10;

/// Joins a second from one address, unless [`Limits::rate`] is 0. A page joins once, and again when its
/// connection is lost.
pub const JOIN_RATE: u32 = 50;

/// Joins that one address may make at once: everybody behind it comes again after a restart.
pub const JOIN_BURST: u32 = 200;

/// Loopback has so many times the rates of an address, because a local proxy is the peer of all its
/// clients.
pub const LOOPBACK_RATE: u32 = 10;

/// How long a join above the rate waits for its turn, at most; then it gets 429. The slot of its
/// request is taken meanwhile.
pub const JOIN_PATIENCE: Duration = Duration::from_secs(5);

/// Addresses without connections whose rates are remembered, at most. One takes about 200 bytes.
pub const ADDRESSES: usize = 1024;

/// Threads that serve rooms, at most. A room is served by one of them.
pub const HUBS: usize = 4;

/// Events that wait for a hub, at most; the bytes of messages among them are bounded by credit
/// (`history::flow`). A sender that finds the inbox full waits, which slows its client down.
pub const INBOX: usize = 256;

/// The hub sends what it has once a batch has this many bytes.
pub const BATCH_BYTES: usize = 16 * 1024;

/// tungstenite's read buffer, which every client holds for good and which is cleared at every read.
/// A longer message gets a buffer of its own while it is read, and who sends much is read in larger pieces
/// anyway. What musl's allocator adds to this makes a block of 256 bytes.
pub const READ_BUFFER: usize = 252;

/// What is read at once from a client that sends more than that, until it is silent.
pub const READ_AHEAD: usize = 4 * 1024;

/// A message of more bytes is a long one. It is read only while its client has a slot for it; a
/// shorter one costs little beside the client's thread.
pub const LONG_MESSAGE: usize = 4 * 1024;

/// Slots for long messages, at most.
pub const SLOTS: usize = 256;

/// What is kept of a long message until its client has a slot for it. It is in place of other messages
/// of the client, of up to [`LONG_MESSAGE`] bytes.
pub const AT_HAND: usize = 8 * 1024;

/// How long nothing may come of a long message while others wait for its slot: longer than a phone needs
/// that is far away, sends as much as its window, and has to send some of it again.
pub const SLOT_SILENCE: Duration = Duration::from_secs(1);

/// How long a client may have a slot for a long message while others wait for one, and one second more for
/// each [`SLOT_PACE`] bytes of it.
pub const SLOT_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes a second of a long message.
pub const SLOT_PACE: u64 = 32 * 1024;

/// How long an address waits behind others for a slot after one of its clients had to give one up.
pub const SLOT_PENALTY: Duration = Duration::from_secs(5);

/// Answers of a session (echoes, pongs) are sent together once they are this many bytes, or
/// before the session would wait for its client.
pub const ANSWER_BUFFER: usize = 4 * 1024;

/// How long a client of `roomd.1` may take to say hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(15);

/// Characters of a client's name, at most.
pub const NAME_CHARS: usize = 32;

/// Bytes of a client's name, at most.
pub const NAME_BYTES: usize = 96;

/// What a frame is longer than the text from a client that it is made of, at most.
pub const FRAMING: usize = 64;

/// Keys of requests that may come again, of which a room remembers so many at most; the fewer are for where
/// memory is short, and are remembered whatever time has passed.
pub const KEYS: RangeInclusive<usize> = 64..=1024;

/// Memory that one of [`KEYS`] takes.
pub const KEY: usize = 48;

/// Memory that an entry of a log takes beside its author's name and its text.
pub const ENTRY: usize = 48;

/// Bytes of a room's history on the disk when nobody says otherwise.
pub const HISTORY_DISK: usize = 4 * 1024 * 1024;

/// The history on the disk takes as much as that of so many rooms, at most.
pub const DISK_ROOMS: usize = 16;

/// The history is written once so many bytes of the log are not on the disk, or after [`WRITE_DELAY`].
/// A flash card writes no less than such a block.
pub const WRITE_BYTES: u64 = 4 * 1024;

/// What was said in this time is lost if the process is killed.
pub const WRITE_DELAY: Duration = Duration::from_secs(1);

/// Whether rooms can be shared. What asks for this takes nothing in a build where they cannot.
pub const HAS_ENGINE: bool = cfg!(feature = "engine");

/// Bytes of a room's log in the engine when nobody says otherwise.
pub const ENGINE_MEMORY: usize = 64 * 1024 * 1024;

/// Messages of one call share an entry of the engine's log of so many bytes at most, as in `log.lua`: of 16 short
/// ones, what an entry costs a node is little beside what it costs to send them.
pub const ENGINE_ENTRY: usize = 2048;

/// From so many messages a second on, a node that reads the engine gathers some before its hubs send them: that
/// costs a millisecond, and half of the sends. People do not talk that fast, so they do not wait for it.
pub const ENGINE_FAST: usize = 800;

/// How long whoever comes waits for a room to be opened.
pub const ENGINE_OPENS: Duration = Duration::from_secs(5);

/// The members of a room are told of an engine that is away for longer, and whoever would be a member is
/// refused, or closed with 1013, since clients of `roomd.1` come again by themselves.
pub const ENGINE_NOTICE: Duration = Duration::from_secs(1);

/// The variable with the password for the engine.
pub const ENGINE_PASSWORD: &str = "ROOMD_ENGINE_PASSWORD";

/// The log of a room, unless memory is short.
pub const LOG: usize = 4 * 1024 * 1024;

/// What the kernel's buffer for what a connection is sent is set to; the least is for where memory is
/// short. The kernel doubles it for its own bookkeeping, and would else let the buffer grow to
/// megabytes. A small one slows down a client that is far away; a large one holds what people
/// on a slow link should have read by now.
pub const SEND_BUFFER: RangeInclusive<usize> = 4 * 1024..=8 * 1024;

/// What the kernel's buffer for what a connection sends is set to, at most.
pub const RECEIVE_BUFFER: usize = 8 * 1024;

/// Connections that the kernel may hold until they are accepted.
pub const BACKLOG: i32 = 1024;

/// Stack of a thread that lives as long as the server. Debug builds need more than release builds.
pub const SERVER_STACK: usize = 256 * 1024;

/// Stack of a thread that reads requests, and of one that serves a client. Only the pages that
/// are touched count: about two for a client.
pub const STACK: usize = 128 * 1024;

/// How long a thread waits for another connection before it ends.
pub const THREAD_LINGER: Duration = Duration::from_millis(100);

/// Log lines in the queue of the log thread. A line that finds it full is left out and counted.
pub const LOG_LINES: usize = 256;

/// Bytes of the lines in that queue.
pub const LOG_BYTES: usize = 64 * 1024;

/// Bytes of one line; the rest is cut. What a client sent is a hundred characters of it at most.
pub const LOG_LINE_BYTES: usize = 2 * 1024;

/// Log lines a second, for long: a flash card should survive a flood of connections.
pub const LOG_RATE: u32 = 200;

/// Of these, lines about refusals.
pub const REFUSAL_LOG_RATE: u32 = 10;

/// How long after the last line the number of those that were left out is told.
pub const LOG_SUMMARY: Duration = Duration::from_secs(1);

/// How long the end of the program waits for the log to be written.
pub const LOG_FLUSH: Duration = Duration::from_millis(300);

/// How long a service manager may take to take a notice.
pub const NOTICE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long accepting pauses when the system has no descriptor or memory for a connection.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
