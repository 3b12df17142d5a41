//! All rooms by their names: which there are, who keeps one open, and when one is dropped.
//!
//! A room is there from the first seat in it. One that was declared stays; another is dropped when it is
//! empty and has no history any more, or when it has been empty longest and a place is needed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::room::event::Moment;
use crate::room::handle::RoomHandle;
use crate::room::info::RoomId;
use crate::room::name::RoomName;

/// The rooms of a server. `T` is what outboxes send through.
pub struct Rooms<T> {
    settings: Settings,
    make: Box<Make<T>>,
    state: Mutex<State<T>>,
}

/// Makes a room with this id and title.
type Make<T> = dyn Fn(RoomId, &RoomName, Option<&str>) -> RoomHandle<T> + Send + Sync;

/// Which rooms there may be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many, the lobby and those that are declared counted.
    pub most: usize,
    /// Whether others than those that are declared may be made.
    pub is_open: bool,
    /// Those that are always there and listed, with what people call them. The lobby is always there, too.
    pub declared: BTreeMap<RoomName, Option<String>>,
}

struct State<T> {
    rooms: HashMap<RoomName, Place<T>>,
    last_id: RoomId,
    /// When the rooms that an address made would have come at the rate that is allowed.
    makers: HashMap<IpAddr, Instant>,
}

struct Place<T> {
    room: Arc<RoomHandle<T>>,
    seats: usize,
    /// When the last seat was given back.
    empty_since: Instant,
}

/// A room that is kept open, for as long as this is held.
pub struct Seat<T> {
    rooms: Arc<Rooms<T>>,
    room: Arc<RoomHandle<T>>,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// There is no such room, and none may be made.
    Closed,
    /// There are as many rooms as there may be, and somebody is in each of them; or their readers are so
    /// far behind that there is no memory for another one.
    TooMany,
    /// This address has made too many rooms; it may make another one after this time.
    TooFast(Duration),
}

/// An address may make so many rooms at once, and then one in each [`PAUSE`].
const AT_ONCE: u32 = 8;
const PAUSE: Duration = Duration::from_secs(60);

/// Loopback, where programs of the host and proxies are, may make so many times as many.
const FROM_LOOPBACK: u32 = 10;

/// So many addresses are remembered that have made rooms lately.
const MAKERS: usize = 1024;

impl<T> Rooms<T> {
    /// The rooms that are always there, and others as they are needed. `make` makes each.
    pub fn new(
        settings: Settings,
        make: impl Fn(RoomId, &RoomName, Option<&str>) -> RoomHandle<T> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let state = State { rooms: HashMap::new(), last_id: 0, makers: HashMap::new() };
        let rooms = Rooms { settings, make: Box::new(make), state: Mutex::new(state) };
        let lobby = RoomName::lobby();
        let others = rooms.settings.declared.keys().filter(|name| !name.is_lobby());
        for name in [&lobby].into_iter().chain(others) {
            let mut state = rooms.lock();
            rooms.make(&mut state, name, Instant::now());
            if let Some(place) = state.rooms.get(name) {
                // The budget has memory for it.
                place.room.info.log.occupy();
            }
        }
        Arc::new(rooms)
    }

    /// A seat in this room, for somebody who counts as this `address`; none is loopback. The room is made
    /// if it is not there.
    ///
    /// # Errors
    /// Why there is none.
    pub fn seat(
        self: &Arc<Self>,
        name: &RoomName,
        address: Option<IpAddr>,
        at: Moment,
    ) -> Result<Seat<T>, NoRoom> {
        let mut dropped = Vec::new();
        let mut state = self.lock();
        self.sweep(&mut state, at.at, &mut dropped);
        let is_new = !state.rooms.contains_key(name);
        if is_new {
            if !self.settings.is_open {
                return Err(NoRoom::Closed);
            }
            // Before the address is counted, which gets nothing for it.
            let is_full = state.rooms.len() >= self.settings.most;
            let oldest = is_full.then(|| self.longest_empty(&state).ok_or(NoRoom::TooMany));
            let oldest = oldest.transpose()?;
            state.count(address, at.received)?;
            dropped.extend(oldest.and_then(|oldest| state.rooms.remove(&oldest)));
            self.make(&mut state, name, at.received);
        }
        let place = state.rooms.get_mut(name).ok_or(NoRoom::Closed)?;
        let is_first = place.seats == 0 && !self.is_permanent(name);
        if is_first && !place.room.info.log.occupy() {
            dropped.extend(is_new.then(|| state.rooms.remove(name)).flatten());
            return Err(NoRoom::TooMany);
        }
        place.seats += 1;
        let room = place.room.clone();
        drop(state);
        // Their hubs are told, which may take a moment.
        drop(dropped);
        Ok(Seat { rooms: self.clone(), room })
    }

    /// The room with this name, if it is there.
    pub fn find(&self, name: &RoomName) -> Option<Arc<RoomHandle<T>>> {
        self.lock().rooms.get(name).map(|place| place.room.clone())
    }

    /// Whether there is, or may be, a room with this name.
    pub fn may_be(&self, name: &RoomName) -> bool {
        self.settings.is_open || self.is_permanent(name)
    }

    fn is_permanent(&self, name: &RoomName) -> bool {
        name.is_lobby() || self.settings.declared.contains_key(name)
    }

    /// The rooms that were declared, in the order of their names.
    pub fn declared(&self) -> Vec<Arc<RoomHandle<T>>> {
        self.settings.declared.keys().filter_map(|name| self.find(name)).collect()
    }

    /// All rooms that there are.
    pub fn all(&self) -> Vec<Arc<RoomHandle<T>>> {
        self.lock().rooms.values().map(|place| place.room.clone()).collect()
    }

    fn make(&self, state: &mut State<T>, name: &RoomName, now: Instant) {
        state.last_id += 1;
        let title = self.settings.declared.get(name).and_then(Option::as_deref);
        let room = Arc::new((self.make)(state.last_id, name, title));
        state.rooms.insert(name.clone(), Place { room, seats: 0, empty_since: now });
    }

    /// The room to drop if a place is needed.
    fn longest_empty(&self, state: &State<T>) -> Option<RoomName> {
        let rooms =
            state.rooms.iter().filter(|(name, place)| place.seats == 0 && !self.is_permanent(name));
        rooms.min_by_key(|(_, place)| place.empty_since).map(|(name, _)| name.clone())
    }

    /// A seat is given back.
    fn leave(&self, name: &RoomName) {
        let (mut dropped, now) = (Vec::new(), Moment::now());
        let mut state = self.lock();
        let Some(place) = state.rooms.get_mut(name) else { return };
        place.seats -= 1;
        place.empty_since = now.received;
        if place.seats == 0 && !self.is_permanent(name) {
            place.room.info.log.vacate();
        }
        self.sweep(&mut state, now.at, &mut dropped);
        drop(state);
        drop(dropped);
    }

    /// Drops the rooms that are empty and, at this time in milliseconds since 1970, without history.
    fn sweep(&self, state: &mut State<T>, now: u64, dropped: &mut Vec<Place<T>>) {
        let is_over = |name: &RoomName, place: &Place<T>| {
            place.seats == 0 && !self.is_permanent(name) && place.room.info.log.is_empty(now)
        };
        let over = state.rooms.iter().filter(|(name, place)| is_over(name, place));
        let over: Vec<RoomName> = over.map(|(name, _)| name.clone()).collect();
        dropped.extend(over.iter().filter_map(|name| state.rooms.remove(name)));
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// Counts a room that this address makes.
    fn count(&mut self, address: Option<IpAddr>, now: Instant) -> Result<(), NoRoom> {
        let pause = if address.is_some() { PAUSE } else { PAUSE / FROM_LOOPBACK };
        let address = address.unwrap_or(Ipv4Addr::LOCALHOST.into());
        self.makers.retain(|_, due| *due > now);
        let due = self.makers.get(&address).map_or(now, |due| *due) + pause;
        let wait = due.saturating_duration_since(now + PAUSE * AT_ONCE);
        if !wait.is_zero() {
            return Err(NoRoom::TooFast(wait));
        }
        if self.makers.len() >= MAKERS {
            let soonest = self.makers.iter().min_by_key(|(_, due)| **due);
            if let Some(soonest) = soonest.map(|(address, _)| *address) {
                self.makers.remove(&soonest);
            }
        }
        self.makers.insert(address, due);
        Ok(())
    }
}

impl<T> Deref for Seat<T> {
    type Target = RoomHandle<T>;

    fn deref(&self) -> &RoomHandle<T> {
        &self.room
    }
}

impl<T> Drop for Seat<T> {
    fn drop(&mut self) {
        self.rooms.leave(&self.room.info.name);
    }
}

impl<T> fmt::Debug for Rooms<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, unbounded};

    use super::*;
    use crate::room::event::Event;
    use crate::room::hub::fuzz_target::room_named;

    fn rooms(most: usize, is_open: bool) -> (Arc<Rooms<()>>, Receiver<Event<()>>) {
        let (inbox, events) = unbounded();
        let lab = (RoomName::parse("lab").expect("a name"), Some("The lab".into()));
        let settings = Settings { most, is_open, declared: BTreeMap::from([lab]) };
        let rooms = Rooms::new(settings, move |id, name, title| RoomHandle {
            info: room_named(id, name.clone(), title),
            inbox: inbox.clone(),
        });
        (rooms, events)
    }

    fn name(text: &str) -> RoomName {
        RoomName::parse(text).expect("a name")
    }

    fn now() -> Moment {
        Moment::now()
    }

    fn ip(n: u8) -> Option<IpAddr> {
        Some([192, 0, 2, n].into())
    }

    #[test]
    fn a_room_is_there_while_somebody_has_a_seat() {
        let (rooms, events) = rooms(9, true);
        let now = now();
        let seat = rooms.seat(&name("a"), None, now).expect("a seat");
        let other = rooms.seat(&name("a"), None, now).expect("a seat");
        assert_eq!(seat.info.id, other.info.id);
        drop(seat);
        assert!(rooms.find(&name("a")).is_some() && events.is_empty());
        drop(other);
        assert!(rooms.find(&name("a")).is_none());
        assert!(matches!(events.try_recv(), Ok(Event::Drop { .. })));
        let again = rooms.seat(&name("a"), None, now).expect("a seat");
        assert_eq!(again.info.id, 4, "another incarnation");
        drop(rooms.seat(&name("lab"), None, now));
        let declared: Vec<_> = rooms.declared().iter().map(|room| room.info.name.clone()).collect();
        assert_eq!(declared, [name("lab")]);
        assert_eq!(rooms.declared()[0].info.title.as_deref(), Some("The lab"));
    }

    #[test]
    fn closed_rooms_are_those_that_were_declared() {
        let (rooms, _events) = rooms(9, false);
        let now = now();
        assert_eq!(rooms.seat(&name("a"), None, now).err(), Some(NoRoom::Closed));
        assert!(rooms.seat(&name("lab"), None, now).is_ok() && rooms.may_be(&name("lobby")));
        assert!(!rooms.may_be(&name("a")));
    }

    #[test]
    fn the_one_that_has_been_empty_longest_makes_room() {
        let (rooms, _events) = rooms(4, true);
        let now = now();
        let take = |of: &str| {
            let seat = rooms.seat(&name(of), None, now)?;
            // With something in its log, it is not dropped at once.
            crate::room::hub::fuzz_target::note(&seat.info);
            Ok::<_, NoRoom>(seat)
        };
        drop(take("a").expect("a seat"));
        let kept = take("b").expect("a seat");
        assert!(rooms.find(&name("a")).is_some());
        let c = take("c").expect("the place of a");
        assert!(rooms.find(&name("a")).is_none());
        assert_eq!(take("d").err(), Some(NoRoom::TooMany));
        drop(c);
        assert!(take("d").is_ok());
        drop(kept);
    }

    #[test]
    fn an_address_makes_a_few_rooms_at_once() {
        let (rooms, _events) = rooms(1000, true);
        let now = now();
        let make = |n: usize, address, now| rooms.seat(&name(&format!("r{n}")), address, now);
        for n in 0..8 {
            assert!(make(n, ip(1), now).is_ok());
        }
        assert_eq!(make(9, ip(1), now).err(), Some(NoRoom::TooFast(PAUSE)));
        assert!(make(9, ip(2), now).is_ok(), "another address may");
        assert!(rooms.seat(&name("lab"), ip(1), now).is_ok(), "a declared room is there");
        let later = Moment { received: now.received + PAUSE, ..now };
        assert!(make(10, ip(1), later).is_ok());
        assert!(make(11, ip(1), later).is_err());
        assert!((0..80).all(|n| make(100 + n, None, now).is_ok()), "loopback has more");
        assert_eq!(make(200, None, now).err(), Some(NoRoom::TooFast(PAUSE / 10)));
    }
}
