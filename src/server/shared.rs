//! What a server that shares its rooms with other machines starts for that.

use std::sync::Arc;

use crossbeam_channel::Sender;
use redis::ConnectionInfo;

use crate::client::socket::Socket;
use crate::config::{Config, ENGINE_MEMORY};
use crate::engine::address;
use crate::engine::node::{Node, Settings};
use crate::engine::reader::Reader;
use crate::engine::writer::Writer;
use crate::metrics::Metrics;
use crate::room::event::Event;
use crate::room::handle::RoomHandle;
use crate::room::identity::{self, Secret};
use crate::server::thread::{ServerThread, cannot_start};
use crate::server::{ServerError, StopReason};

/// A server that shares its rooms.
pub struct Engine {
    pub node: Arc<Node>,
    pub threads: Vec<ServerThread>,
}

/// Where the engine is, if there is one.
///
/// # Errors
/// A line that names the flag and says what is accepted.
pub fn address(config: &Config) -> Result<Option<ConnectionInfo>, String> {
    let password = config.engine_password.as_deref();
    config.engine.as_deref().map(|engine| address::parse(engine, password)).transpose()
}

/// Starts the threads that talk to the engine, which tells the `secret`.
pub fn start(
    config: &Config,
    secret: &Secret,
    metrics: &Arc<Metrics>,
    stop: &Sender<StopReason>,
) -> Result<Option<Engine>, ServerError> {
    let Some(to) = address(config).map_err(ServerError::Settings)? else { return Ok(None) };
    let limits = &config.limits;
    let settings = Settings {
        to,
        memory: limits.engine_memory.unwrap_or(ENGINE_MEMORY),
        history: limits.history,
        age: limits.history_age,
        beat: limits.engine_beat,
        lease: limits.engine_lease,
    };
    let (mut name, mut bytes) = ([0; 8], [0; 32]);
    let random = identity::random(&mut name).and_then(|()| identity::random(&mut bytes));
    random.map_err(|error| cannot_start("engine", &error))?;
    let secret = secret.clone();
    let metrics = metrics.clone();
    let share = move |bytes| secret.share(bytes);
    let (node, woken) = Node::new(name, share, move |is_up| metrics.engine_is(is_up));
    let reader = Reader::new(node.clone(), settings.clone());
    let writer = Writer::new(node.clone(), settings, woken, bytes);
    let threads = vec![
        ServerThread::spawn("engine out", stop, move || writer.run())?,
        ServerThread::spawn("engine in", stop, move || reader.run())?,
    ];
    Ok(Some(Engine { node, threads }))
}

/// Has the engine's threads know a room, if it is shared.
pub fn add(room: &RoomHandle<Socket>) {
    let Some(link) = &room.info.link else { return };
    // A room that is dropped is not kept by this.
    let (info, inbox) = (Arc::downgrade(&room.info), room.inbox.clone());
    link.node.add(link.clone(), room.info.log.clone(), move |news| {
        if let Some(room) = info.upgrade() {
            // Without a hub the server is about to end.
            let _ = inbox.send(Event::News { room, news: Box::new(news) });
        }
    });
}
