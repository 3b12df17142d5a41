//! A chat room and message hub for small hosts: rooms, an echo endpoint, a page, one port.
//!
//! ```no_run
//! let server = roomd::Server::bind(roomd::Config::default())?;
//! println!("open http://{}/", server.local_addr());
//! server.run()?;
//! # Ok::<(), roomd::ServerError>(())
//! ```
//!
//! # Tour
//!
//! The folders in the order in which a connection meets them. Imports point downwards only, and
//! ARCHITECTURE.md has the whole picture.
//!
//! `server` binds the sockets, starts the threads and stops them in order, each step under a
//! deadline. It also talks to the service manager: passed sockets, readiness, watchdog.
//!
//! `net` is TCP. The accept loop gives each connection a slot and a thread, or rejects it; reads,
//! writes and closes have deadlines.
//!
//! `http` serves the one request of a connection: reads the head, checks `Host` and `Origin`, and
//! answers with the page, an invitation, health, metrics or a refusal. A good handshake becomes a
//! session.
//!
//! `client` is one WebSocket client, reading: its session, pings and rate, and permits for the
//! memory of long messages. Before it hands a message to the hub, it waits for credit.
//!
//! `room` takes events in one order and makes batches of frames. It has members and a log, and no
//! sockets. The hub is the thread that runs it.
//!
//! `engine`, with the feature of that name, lets several servers share their rooms through Valkey or Redis
//! Streams: commands go out on one thread, and what comes back from another has the order of all servers.
//!
//! `outbox` is the sending side of one client, which never blocks. A client that keeps up is sent
//! each batch by the hub; one that is behind has a cursor, and the flusher thread sends to it from
//! the log.
//!
//! `history` is the log: a ring of shared chunks, bounded in bytes, and the flow control that lets
//! the room run at the pace of its readers.
//!
//! `wire` encodes the texts of the contract as frames.
//!
//! `metrics` counts, and writes the counts in Prometheus' text format.
//!
//! [`lan`] finds the addresses of this machine and draws QR codes of them.
//!
//! [`config`] has every setting and limit with its reason, the table of flags, and the arithmetic of
//! `--max-memory`.
#![forbid(unsafe_code)]
// Without rooms that are shared, what only those need is not used. The build with the feature says what is dead.
#![cfg_attr(not(feature = "engine"), allow(dead_code))]
mod client;
pub mod config;
#[cfg_attr(not(feature = "engine"), path = "engine/absent.rs")]
mod engine;
mod history;
mod http;
pub mod lan;
mod metrics;
mod net;
mod outbox;
mod room;
mod server;
mod wire;

pub mod logger;

mod excerpt;
mod rate;
mod reasons;
mod sync;

#[cfg(all(test, not(fuzzing)))]
mod fuzzing;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(any(test, fuzzing))]
mod testing;

pub use config::{AdminListen, Config, Echo, Limits};
pub use server::{Server, ServerError, Stopper};
pub use server::{allocator, systemd};
