//! A chat room and message hub for small hosts: one room, one echo endpoint, one page, one port.
//!
//! ```no_run
//! let server = roomd::Server::bind(roomd::Config::default())?;
//! println!("open http://{}/", server.local_addr());
//! server.run()?;
//! # Ok::<(), roomd::ServerError>(())
//! ```
//!
//! The modules are listed in the order in which a connection meets them; ARCHITECTURE.md has the
//! whole picture.
#![forbid(unsafe_code)]
mod client;
pub mod config;
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
