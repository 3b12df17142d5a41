//! In a build without the engine no server shares its rooms. See `shared.rs` for the others.

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::client::socket::Socket;
use crate::config::Config;
use crate::config::budget::Budget;
use crate::engine::SharedLink;
use crate::metrics::Metrics;
use crate::room::handle::RoomHandle;
use crate::room::identity::Secret;
use crate::server::thread::ServerThread;
use crate::server::{ServerError, StopReason};

/// What the server has of the engine: nothing.
#[derive(Clone, Debug)]
pub struct Engine;

impl Engine {
    pub fn start(
        _config: &Config,
        _budget: &Budget,
        _secret: &Secret,
        _metrics: &Arc<Metrics>,
        _stop: &Sender<StopReason>,
    ) -> Result<(Engine, Vec<ServerThread>), ServerError> {
        Ok((Engine, Vec::new()))
    }

    pub fn link(&self, _room: &str) -> Option<SharedLink> {
        None
    }

    pub fn add(&self, _room: &RoomHandle<Socket>) {}

    pub fn stop(&self) {}
}

/// Settings with an engine do not get as far as this.
pub fn check(_config: &Config) -> Result<(), String> {
    Ok(())
}
