//! Several servers in one room, through a real Redis or Valkey: `cargo test --features engine --test engine`.
//!
//! It needs redis-server (or valkey-server) and redis-cli, which `make test` installs.
#![forbid(unsafe_code)]

/// One order, names, the fence, resume and publishing, on whatever node.
mod sharing;

/// An engine that is killed, stopped, emptied or not there, and nodes that die.
mod faults;

/// What newcomers and late readers get once the engine has lost something.
mod losses;

/// People on three nodes, whose connections are cut at random while the engine has its faults.
mod cuts;

/// A replica takes over, as Sentinels say.
mod failover;

/// Passwords, what the engine's user may do, and TLS.
mod access;

/// The production configuration of the manual, with and without TLS, passwords everywhere.
mod production;

/// Behind nginx and HAProxy, as the manual sets them up.
mod proxies;

/// The alarms of the manual, in a real Prometheus.
mod alarms;

/// What clients see of each fault: `make test-engine`.
mod matrix;

mod certificates;
mod pair;
mod redis;
mod sentinels;

#[path = "../kit/mod.rs"]
mod kit;
