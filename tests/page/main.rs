//! The page in a real browser, with real servers and real clients.
//!
//! Every test waits for what it wants to see; no test waits for time to pass.

#[path = "../kit/mod.rs"]
mod kit;

mod browser;
mod firefox;
mod rig;
mod tab;
mod webkit;

#[cfg(feature = "engine")]
#[path = "../engine/redis.rs"]
#[allow(dead_code)]
mod redis;

mod alerts;
mod connection;
mod each;
mod everybody;
mod inviting;
mod people;
mod pictures;
mod reading;
mod resume;
mod safety;
mod streams;
#[cfg(feature = "engine")]
mod unreachable;
mod writing;
