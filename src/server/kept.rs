//! The rooms whose history is kept on the disk: restored when the server starts, and written from then on.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::config::{Config, HISTORY_DISK};
use crate::history::Log;
use crate::history::disk::files::SystemFiles;
use crate::history::disk::state::StateFolder;
use crate::history::disk::writer::{Stop, Writer};
use crate::history::disk::{self, Restored};
use crate::history::pool::Pool;
use crate::metrics::Metrics;
use crate::room::event::Moment;
use crate::room::identity::{self, Secret};
use crate::room::name::RoomName;
use crate::server::thread::{ServerThread, cannot_start};
use crate::server::{ServerError, StopReason};
use crate::wire::cursor::Epoch;

/// Restores rooms, and writes them.
pub struct Keeper {
    folder: StateFolder,
    /// Bytes of a room's files.
    limit: u64,
    writer: Writer<SystemFiles>,
    stop: Stop,
    wake: Sender<()>,
    /// The folders of its rooms.
    folders: Vec<PathBuf>,
}

impl Keeper {
    /// For so many rooms, in this folder.
    pub fn new(folder: StateFolder, config: &Config, rooms: usize, metrics: &Arc<Metrics>) -> Self {
        let limit = config.limits.history_disk.unwrap_or(HISTORY_DISK) as u64;
        let (sync, pause) = (config.history_sync, config.limits.disk_retry);
        let (writer, stop, wake) = Writer::new(sync, pause, metrics.clone());
        let limit = disk::share(limit, rooms);
        Keeper { folder, limit, writer, stop, wake, folders: Vec::new() }
    }

    /// The log of a room, which goes on behind what is left of it. `wake` is for readers, as in
    /// [`Log::new`].
    pub fn restore(
        &mut self,
        room: &RoomName,
        epoch: Epoch,
        pool: &Arc<Pool>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Log> {
        let path = disk::folder_of(self.folder.path(), room.as_str());
        let (bounds, now) = (pool.most(), Moment::now().at);
        let Restored { earlier, before, progress, folder } =
            disk::restore(SystemFiles, path.clone(), self.limit, bounds, self.wake.clone(), now);
        let log = Log::continuing(epoch, pool, wake, &earlier, before, progress.clone());
        log::info!("history of {room}: goes on with number {}", log.ring.head() + 1);
        self.writer.add(room.as_str(), log.clone(), progress, folder);
        self.folders.push(path);
        log
    }

    /// Starts the thread that writes. It holds the folder.
    pub fn start(self, stop: &Sender<StopReason>) -> Result<(Stop, ServerThread), ServerError> {
        self.tell_of_others();
        let Keeper { folder, writer, stop: stop_writer, .. } = self;
        let thread = ServerThread::spawn("history", stop, move || {
            writer.run();
            drop(folder);
        })?;
        Ok((stop_writer, thread))
    }

    /// Says which folders are there of rooms that are not kept any more. They stay as they are.
    fn tell_of_others(&self) {
        let entries = fs::read_dir(self.folder.path()).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| path.is_dir()) {
            if !self.folders.contains(&path) {
                let path = path.display();
                log::info!("{path} is of no room of --room: it stays as it is");
            }
        }
    }
}

/// What tags are made with: from the state folder, so that they stay the same, or new.
pub fn secret(folder: Option<&StateFolder>) -> Result<Secret, ServerError> {
    let mut bytes = [0; 32];
    identity::random(&mut bytes).map_err(|error| cannot_start("secret", &error))?;
    match folder {
        Some(folder) => folder.secret(bytes).map(Secret::of).map_err(ServerError::Settings),
        None => Ok(Secret::of(bytes)),
    }
}
