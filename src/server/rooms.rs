//! The rooms of a server: those that its settings declare, and how each is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_channel::Sender;

use crate::client::socket::Socket;
use crate::config::Config;
use crate::config::budget::Budget;
use crate::excerpt::excerpt;
use crate::history::Log;
use crate::history::pool::Pool;
use crate::outbox::flusher::{Flusher, Wake};
use crate::room::event::{Event, Moment};
use crate::room::handle::RoomHandle;
use crate::room::identity;
use crate::room::info::RoomInfo;
use crate::room::name::RoomName;
use crate::room::rooms::{Rooms, Settings};
use crate::server::kept::Keeper;
use crate::server::shared::Engine;
use crate::wire::cursor::Epoch;

/// The rooms of `--room`, with what people call them. The lobby is always there, too.
pub type Declared = BTreeMap<RoomName, Option<String>>;

/// The rooms that `config` declares.
///
/// # Errors
/// A line that names the flag, the value and what is accepted.
pub fn declared(config: &Config) -> Result<Declared, String> {
    let mut declared = BTreeMap::new();
    for (name, title) in &config.rooms {
        let room = RoomName::parse(name).ok_or_else(|| no_name(name))?;
        if declared.insert(room, title.clone()).is_some() {
            return Err(format!("--room {}: this room is given twice", excerpt(name)));
        }
    }
    let (count, most) = (count(&declared), config.limits.max_rooms);
    if count > most {
        return Err(format!(
            "--max-rooms {most} is less than the {count} rooms of --room, with the lobby: give \
             --max-rooms {count} or more"
        ));
    }
    Ok(declared)
}

/// How many rooms are always there.
pub fn count(declared: &Declared) -> usize {
    declared.len() + usize::from(!declared.contains_key(&RoomName::lobby()))
}

/// Makes the rooms, spread over the hubs that these inboxes are of. The `keeper` keeps those that are
/// always there.
pub fn make(
    config: &Config,
    declared: Declared,
    budget: &Budget,
    flusher: &Flusher<Socket>,
    inboxes: Vec<Sender<Event<Socket>>>,
    keeper: Option<&mut Keeper>,
    engine: Engine,
) -> Arc<Rooms<Socket>> {
    let settings = Settings { most: budget.rooms, is_open: config.rooms_open, declared };
    let pool = Pool::new(budget.logs);
    let mut always: BTreeSet<RoomName> = settings.declared.keys().cloned().collect();
    always.insert(RoomName::lobby());
    let (max_message, presence) = (config.limits.max_message, config.limits.presence);
    let patience = config.limits.engine_patience;
    let keys = budget.keys;
    let flusher = flusher.clone();
    let wake = |flusher: &Flusher<Socket>| {
        let waker = flusher.waker().clone();
        move || waker.wake()
    };
    let kept: BTreeMap<RoomName, Arc<Log>> = keeper.map_or_else(BTreeMap::new, |keeper| {
        let mut restore = |name: &RoomName| keeper.restore(name, epoch(), &pool, wake(&flusher));
        always.iter().map(|name| (name.clone(), restore(name))).collect()
    });
    Rooms::new(settings, move |id, name, title| {
        let new = || Log::new(epoch(), &pool, always.contains(name), wake(&flusher));
        // These rooms are made once.
        let log = kept.get(name).cloned().unwrap_or_else(new);
        flusher.watch_room(&log);
        let info = RoomInfo {
            id,
            name: name.clone(),
            title: title.map(Into::into),
            log,
            max_message,
            keys,
            presence,
            patience,
            link: engine.link(name.as_str()),
            members: AtomicU64::new(0),
        };
        let inbox = inboxes[id as usize % inboxes.len()].clone();
        let handle = RoomHandle { info: Arc::new(info), inbox };
        engine.add(&handle);
        handle
    })
}

fn no_name(name: &str) -> String {
    format!(
        "--room {}: a room's name has up to 64 of a-z, 0-9, - and _, begins with a letter or a digit, and \
         is none of ws, echo, invite, healthz, metrics and assets",
        excerpt(name)
    )
}

/// A new name for a log. Without random bytes, one of the time.
fn epoch() -> Epoch {
    let mut bits = [0; 8];
    match identity::random(&mut bits) {
        Ok(()) => Epoch::from_random(u64::from_ne_bytes(bits)),
        Err(_) => Epoch::from_random(Moment::now().at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    fn config(rooms: &[&str], max_rooms: usize) -> Config {
        let rooms = rooms.iter().map(|name| ((*name).to_owned(), None)).collect();
        Config { rooms, limits: Limits { max_rooms, ..Limits::default() }, ..Config::default() }
    }

    #[test]
    fn rooms_are_declared_once_by_their_names() {
        let names = |config| declared(&config).map(|all| all.into_keys().collect::<Vec<_>>());
        assert_eq!(names(config(&[], 1)), Ok(vec![]));
        let lab = RoomName::parse("lab").expect("a name");
        assert_eq!(names(config(&["Lab", "lobby"], 2)), Ok(vec![lab, RoomName::lobby()]));
        for (rooms, most, part) in [
            (vec!["a b"], 9, "--room a b: "),
            (vec!["ws"], 9, "is none of ws"),
            (vec!["lab", "LAB"], 9, "--room LAB: this room is given twice"),
            (vec!["lab", "hall"], 2, "give --max-rooms 3"),
        ] {
            let line = names(config(&rooms, most)).expect_err(part);
            assert!(line.contains(part), "{line}");
        }
    }
}
