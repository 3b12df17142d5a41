//! Every limit of the program that cannot be set, and some of what is used when nobody sets one, each with its
//! reason. A reader can audit what the server may use by reading this page and [`crate::config::Limits`].

use std::ops::RangeInclusive;
use std::time::Duration;

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

/// The burst that `--rate` allows, in seconds of it.
pub const BURST_SECONDS: u32 = 2;

/// The messages of all clients of one address together have so many times `--rate`, with the same burst in
/// seconds: what ten people say who share an address.
pub const ADDRESS_RATE: u32 = 10;

/// Joins a second from one address, unless `--rate` is 0. A page joins once, and again when its
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
/// costs a millisecond, and half of the sends. And its hubs gather what clients say for half a millisecond. People do
/// not talk that fast, so they do not wait for it.
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
