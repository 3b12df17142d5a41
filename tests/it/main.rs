//! The integration tests: the real server on a port of its own, spoken to through real sockets.
//!
//! A test waits for what the protocol says next, never for time to pass; every wait has a deadline
//! that tells what was awaited.
#![forbid(unsafe_code)]

/// What is sent before there is a WebSocket, and what it earns.
mod handshake;

/// Whose pages may connect, and under which names.
mod origin;

mod http;

/// Requests as other people's clients write them.
mod dialects;

/// The page's files compressed.
mod gzip;

/// The room: who hears what, in which order.
mod chat;

/// `roomd.1`, frame by frame.
mod roomd1;

/// Tags, names and the fence.
mod identity;

/// Joins, leaves and counts.
mod presence;

/// Rooms by path.
mod rooms;

/// Messages that are published with POST.
mod publish;

/// Streams and polls over HTTP.
mod follow;

/// Cursors, and what was missed.
mod resume;

/// People whose connections are cut all the time: each text arrives once.
mod cuts;

/// What metrics and the log tell of named clients.
mod telling;

/// What a room keeps, and slow readers of it.
mod history;

/// History on the disk: what a restart keeps.
mod restart;

/// Disks that are full, read-only or gone.
mod faults;

/// A server that is killed in the middle of a flood.
mod kills;

mod echo;

/// What a client is closed for, with which code, and how the connection ends.
mod close;

/// Every code with which a client may close, and those with which it may not.
mod close_codes;

/// Clients that read slowly or not at all.
mod slow;

/// How many clients, from where, and how fast they may talk.
mod limits;

/// Behind a proxy that is trusted.
mod proxied;

/// Connections for which there is no slot.
mod overload;

/// Clients that mean harm: odd and long values, and answers that are not read.
mod abuse;

/// Clients from elsewhere: what loopback can't show, in a network of the test's own.
mod network;

/// A thin link between the server and many readers.
mod thin;

/// What the server says about itself, and where.
mod metrics;

/// The memory that all clients share, when there is little of it.
mod memory;

mod stop;

/// The program: its command line, its log and the signals and shortages that it meets.
mod cli;

/// The program under a service manager: what it is passed, and what it tells.
mod supervision;

/// The limits and the failures of the system that the program meets.
mod system;

/// What `make install` puts where.
mod install;

mod support;

#[path = "../kit/mod.rs"]
mod kit;
