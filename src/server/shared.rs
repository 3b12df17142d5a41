//! What a server that shares its rooms with other machines starts for that.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::client::socket::Socket;
use crate::config::budget::{Budget, longest_entry};
use crate::config::{Config, ENGINE_ENTRY, ENGINE_FAST, ENGINE_MEMORY};
use crate::engine::SharedLink;
use crate::engine::address::{Address, Given};
use crate::engine::link::Link;
use crate::engine::master::Master;
use crate::engine::node::{Node, Settings};
use crate::engine::reader::Reader;
use crate::engine::sentinel::Watch;
use crate::engine::writer::Writer;
use crate::metrics::Metrics;
use crate::room::event::Event;
use crate::room::handle::RoomHandle;
use crate::room::identity::{self, Secret};
use crate::server::thread::{ServerThread, cannot_start};
use crate::server::{ServerError, StopReason};

/// What the server has of the engine, if there is one.
#[derive(Clone, Debug)]
pub struct Engine(Option<Arc<Node>>);

impl Engine {
    /// Starts the threads that talk to the engine, which tells the `secret`.
    pub fn start(
        config: &Config,
        budget: &Budget,
        secret: &Secret,
        metrics: &Arc<Metrics>,
        stop: &Sender<StopReason>,
    ) -> Result<(Engine, Vec<ServerThread>), ServerError> {
        let Some(to) = address(config).map_err(ServerError::Settings)? else {
            return Ok((Engine(None), Vec::new()));
        };
        let (to, limits) = (Arc::new(Master::new(to)), &config.limits);
        let settings = Settings {
            to,
            memory: limits.engine_memory.unwrap_or(ENGINE_MEMORY),
            history: limits.history,
            age: limits.history_age,
            entries: budget.read / longest_entry(limits.max_message.max(ENGINE_ENTRY)),
            fast: ENGINE_FAST,
            beat: limits.engine_beat,
            lease: limits.engine_lease,
        };
        let (mut name, mut bytes) = ([0; 8], [0; 32]);
        let random = identity::random(&mut name).and_then(|()| identity::random(&mut bytes));
        random.map_err(|error| cannot_start("engine", &error))?;
        let secret = secret.clone();
        let share = move |bytes| secret.share(bytes);
        let (node, woken) = Node::new(name, share, metrics.engine.clone(), Instant::now);
        let watch = Watch::new(settings.to.clone(), node.clone(), settings.beat);
        let reader = Reader::new(node.clone(), settings.clone());
        let writer = Writer::new(node.clone(), settings, woken, bytes);
        let mut threads = vec![
            ServerThread::spawn("engine out", stop, move || writer.run())?,
            ServerThread::spawn("engine in", stop, move || reader.run())?,
        ];
        if let Some(watch) = watch {
            threads.push(ServerThread::spawn("engine watch", stop, move || watch.run())?);
        }
        Ok((Engine(Some(node)), threads))
    }

    /// What a room has that is to be shared.
    pub fn link(&self, room: &str) -> Option<SharedLink> {
        self.0.clone().map(|node| Link::new(room, node))
    }

    /// Has the engine's threads know a room, if it is shared.
    pub fn add(&self, room: &RoomHandle<Socket>) {
        let Some(link) = &room.info.link else { return };
        // A room that is dropped is not kept by this.
        let (info, inbox) = (Arc::downgrade(&room.info), room.inbox.clone());
        link.node.add(link.clone(), room.info.log.clone(), move |news| {
            if let Some(room) = info.upgrade() {
                // Without a hub the server is about to end.
                let _ = inbox.send(Event::News { room, news });
            }
        });
    }

    /// The server stops: what waits is sent, and the others are told.
    pub fn stop(&self) {
        if let Some(node) = &self.0 {
            node.stop();
        }
    }
}

/// Whether the engine's address is one.
///
/// # Errors
/// A line that names the flag and says what is accepted.
pub fn check(config: &Config) -> Result<(), String> {
    address(config).map(drop)
}

fn address(config: &Config) -> Result<Option<Address>, String> {
    let Some(url) = config.engine.as_deref() else { return Ok(None) };
    let given = Given {
        url,
        password_file: config.engine_password_file.as_deref(),
        password: config.engine_password.as_ref().map(|password| &*password.0),
        authority: config.engine_ca.as_deref(),
        certificate: config.engine_cert.as_deref(),
    };
    Address::parse(given).map(Some)
}
