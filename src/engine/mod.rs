//! Rooms that several machines share: their order, log and members are in Valkey or Redis Streams.
//!
//! A node hands what its clients do to its writer thread, and hears it back, with what others do, from its
//! reader thread: there is one order for everybody, its own clients included. Scripts in the engine decide
//! what is accepted, who has which name, and who replaces whom, each batch as a whole.
//!
//! - [`address`] and [`connection`]: where the engine is; [`calls`]: what it is asked. [`master`] and
//!   [`sentinel`]: which server it is at the moment.
//! - [`command`]: what clients do, for the scripts. [`entry`]: what the log has of it.
//! - [`link`]: a room's commands that are not heard yet, between its hub and the writer.
//! - [`node`]: what this node is to the others. [`writer`], [`reader`]: its two threads; [`pace`]: when the
//!   latter gathers.

pub mod address;
mod calls;
pub mod command;
mod connection;
pub mod entry;
mod keys;
pub mod link;
pub mod master;
#[cfg(test)]
mod model;
pub mod node;
mod pace;
pub mod reader;
pub mod sentinel;
pub mod writer;

use std::sync::Arc;

pub use link::News;

/// What a room has that several machines share.
pub type SharedLink = Arc<link::Link>;
