//! Connection slots: how many connections may be open, from where, and how a stop reaches them.
//!
//! A connection takes a slot when it is accepted and gives it back when its socket is closed. One
//! that becomes a client counts among the clients too.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::config::budget::Capacity;
use crate::config::{ACCEPT_PAUSE, STREAMS_PER_IP};

/// Names one connection for as long as the server runs; never used twice.
pub type ConnId = u64;

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All slots are taken.
    Total,
    /// This address has as many as one may have.
    PerAddress,
    /// The server stops.
    Stopping,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Full::Total => "all places are taken",
            Full::PerAddress => "your address has all the places that one may have",
            Full::Stopping => "the server stops",
        })
    }
}

/// A connection, as a stop sees it.
pub trait Closable: Send + Sync {
    /// The server stops: say goodbye.
    fn stop(self: Arc<Self>);
    /// The time for that is over: end at once.
    fn cut(&self);
}

/// All slots.
#[derive(Clone)]
pub struct Slots(Arc<Shared>);

struct Shared {
    capacity: Capacity,
    evicts_idle: bool,
    state: Mutex<State>,
    /// Notified whenever a slot becomes free.
    freed: Condvar,
}

#[derive(Default)]
struct State {
    last_id: ConnId,
    open: HashMap<ConnId, Open>,
    clients: usize,
    by_ip: HashMap<IpAddr, PerIp>,
    stopping: bool,
}

#[derive(Default)]
struct Open {
    closable: Option<Weak<dyn Closable>>,
    is_client: bool,
    is_stream: bool,
    /// Its request has arrived.
    is_busy: bool,
    is_evicted: bool,
}

#[derive(Debug, Default)]
struct PerIp {
    open: usize,
    clients: usize,
    streams: usize,
}

/// The slot of one connection; freed when dropped.
pub struct Slot {
    slots: Slots,
    id: ConnId,
    /// The address that it counts for, if it is known. None: loopback, which has no limit.
    ip: OnceLock<IpAddr>,
}

impl Slots {
    /// So many slots, all free.
    pub fn new(capacity: Capacity) -> Self {
        Slots::with(capacity, false)
    }

    /// So many slots. When all are taken, the connection that has been idle longest makes room.
    pub fn evicting_idle(capacity: Capacity) -> Self {
        Slots::with(capacity, true)
    }

    fn with(capacity: Capacity, evicts_idle: bool) -> Self {
        let (state, freed) = (Mutex::default(), Condvar::new());
        Slots(Arc::new(Shared { capacity, evicts_idle, state, freed }))
    }

    /// A slot for a connection that counts as this address ([`crate::net::address`]).
    ///
    /// # Errors
    /// Why there is none.
    pub fn acquire(&self, ip: Option<IpAddr>) -> Result<Slot, Full> {
        let Capacity { clients, clients_per_ip, front, front_per_ip } = self.0.capacity;
        if self.0.evicts_idle {
            self.evict_idle(clients + front);
        }
        let mut state = self.lock();
        if state.stopping {
            return Err(Full::Stopping);
        }
        if state.open.len() >= clients + front {
            return Err(Full::Total);
        }
        if let Some(ip) = ip {
            state.open_for(ip, clients_per_ip + front_per_ip)?;
        }
        state.last_id += 1;
        let id = state.last_id;
        state.open.insert(id, Open::default());
        drop(state);
        Ok(Slot { slots: self.clone(), id, ip: ip.map(OnceLock::from).unwrap_or_default() })
    }

    /// If `capacity` connections are open, ends the one that has been idle longest, and waits a moment
    /// for its slot: the oldest without a request, or else the oldest.
    fn evict_idle(&self, capacity: usize) {
        let mut state = self.lock();
        if state.open.len() < capacity {
            return;
        }
        let open = state.open.iter_mut().filter(|(_, open)| !open.is_evicted);
        let idle = open.min_by_key(|(id, open)| (open.is_busy, **id)).and_then(|(_, open)| {
            open.is_evicted = true;
            open.closable.as_ref()?.upgrade()
        });
        drop(state);
        if let Some(conn) = idle {
            conn.cut();
        }
        let is_full = |state: &mut State| state.open.len() >= capacity;
        // The caller looks again, and finds none if this was too short.
        let _ = self.0.freed.wait_timeout_while(self.lock(), ACCEPT_PAUSE, is_full);
    }

    /// From now on there are no slots.
    pub fn close(&self) {
        self.lock().stopping = true;
    }

    /// Tells every connection that is still open to say goodbye.
    pub fn stop(&self) {
        self.closables().into_iter().for_each(Closable::stop);
    }

    /// Cuts every connection that is still open.
    pub fn cut(&self) {
        self.closables().iter().for_each(|closable| closable.cut());
    }

    /// Every connection with a slot. The caller must not hold the lock when it drops them: the last
    /// reference to a connection gives its slot back, which takes the lock.
    fn closables(&self) -> Vec<Arc<dyn Closable>> {
        let state = self.lock();
        state.open.values().filter_map(|open| open.closable.as_ref()?.upgrade()).collect()
    }

    /// Waits until no connection is open, but not longer than `patience`. Returns how many are left.
    pub fn wait_until_empty(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.open.is_empty() || left.is_zero() {
                return state.open.len();
            }
            state = match self.0.freed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can panic half-way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a connection for an address that may have so `many`.
    fn open_for(&mut self, ip: IpAddr, many: usize) -> Result<(), Full> {
        let here = self.by_ip.entry(ip).or_default();
        if here.open >= many {
            return Err(Full::PerAddress);
        }
        here.open += 1;
        Ok(())
    }
}

impl Slot {
    /// Names the connection.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// The address that the connection counts for. None: loopback.
    pub fn address(&self) -> Option<IpAddr> {
        self.ip.get().copied()
    }

    /// Counts the connection for this address, if it counted for none.
    ///
    /// # Errors
    /// When that has as many as one may have.
    pub fn count_for(&self, ip: IpAddr) -> Result<(), Full> {
        let Capacity { clients_per_ip, front_per_ip, .. } = self.slots.0.capacity;
        let mut state = self.slots.lock();
        if self.ip.get().is_none() {
            state.open_for(ip, clients_per_ip + front_per_ip)?;
            // Nobody else sets it: the lock is held.
            let _ = self.ip.set(ip);
        }
        Ok(())
    }

    /// The connection's request has arrived: it is not idle any more.
    pub fn set_busy(&self) {
        self.slots.lock().open.entry(self.id).or_default().is_busy = true;
    }

    /// Counts the connection among the clients.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn become_client(&self) -> Result<(), Full> {
        let Capacity { clients, clients_per_ip, .. } = self.slots.0.capacity;
        let mut state = self.slots.lock();
        let state = &mut *state;
        if state.stopping {
            return Err(Full::Stopping);
        }
        if state.clients >= clients {
            return Err(Full::Total);
        }
        if let Some(here) = self.ip.get().and_then(|ip| state.by_ip.get_mut(ip)) {
            if here.clients >= clients_per_ip {
                return Err(Full::PerAddress);
            }
            here.clients += 1;
        }
        state.clients += 1;
        state.open.entry(self.id).or_default().is_client = true;
        Ok(())
    }

    /// Counts the connection, which is a client, among the streams of its address.
    ///
    /// # Errors
    /// When these are as many as one may have.
    pub fn become_stream(&self) -> Result<(), Full> {
        let mut state = self.slots.lock();
        let state = &mut *state;
        if let Some(here) = self.ip.get().and_then(|ip| state.by_ip.get_mut(ip)) {
            if here.streams >= STREAMS_PER_IP {
                return Err(Full::PerAddress);
            }
            here.streams += 1;
            state.open.entry(self.id).or_default().is_stream = true;
        }
        Ok(())
    }

    /// From now on a stop turns to this `closable`. False if there is a stop already.
    pub fn register(&self, closable: Weak<dyn Closable>) -> bool {
        let mut state = self.slots.lock();
        state.open.entry(self.id).or_default().closable = Some(closable);
        !state.stopping
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        let open = state.open.remove(&self.id).unwrap_or_default();
        state.clients -= usize::from(open.is_client);
        if let Some(ip) = self.ip.get() {
            if let Some(here) = state.by_ip.get_mut(ip) {
                here.open -= 1;
                here.clients -= usize::from(open.is_client);
                here.streams -= usize::from(open.is_stream);
                if here.open == 0 {
                    state.by_ip.remove(ip);
                }
            }
        }
        self.slots.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address;

    const SMALL: Capacity = Capacity { clients: 3, clients_per_ip: 2, front: 2, front_per_ip: 5 };

    fn ip(text: &str) -> Option<IpAddr> {
        address::counted(text.parse().expect("an address"), None)
    }

    #[test]
    fn clients_leave_slots_for_the_page() {
        let slots = Slots::new(SMALL);
        let taken: Vec<_> =
            (0..5).map(|_| slots.acquire(ip("127.0.0.1")).expect("a slot")).collect();
        assert_eq!(slots.acquire(ip("::1")).err(), Some(Full::Total));
        for slot in &taken[..3] {
            assert_eq!(slot.become_client(), Ok(()));
        }
        assert_eq!(taken[3].become_client(), Err(Full::Total));
        drop(taken);
        assert_eq!(slots.wait_until_empty(Duration::ZERO), 0);
        let again = slots.acquire(ip("127.0.0.1")).expect("a slot");
        assert_eq!(again.become_client(), Ok(()));
    }

    #[test]
    fn one_address_has_its_share() {
        let slots = Slots::new(Capacity { clients: 1000, front: 1000, ..SMALL });
        let taken: Vec<_> = (0..2 + SMALL.front_per_ip)
            .map(|_| slots.acquire(ip("192.0.2.1")).expect("a slot"))
            .collect();
        assert_eq!(slots.acquire(ip("::ffff:192.0.2.1")).err(), Some(Full::PerAddress));
        assert!(slots.acquire(ip("192.0.2.2")).is_ok(), "another address has a slot");
        assert_eq!(taken[0].become_client(), Ok(()));
        assert_eq!(taken[1].become_client(), Ok(()));
        assert_eq!(taken[2].become_client(), Err(Full::PerAddress));
        drop(taken);
        let again = slots.acquire(ip("192.0.2.1")).expect("a slot");
        assert_eq!(again.become_client(), Ok(()));
    }

    /// The connections of a proxy count for none, until it has said for whom it asks.
    #[test]
    fn a_slot_counts_for_an_address_that_is_told_later() {
        let slots = Slots::new(Capacity { clients: 1000, front: 1000, ..SMALL });
        let proxied = || slots.acquire(None).expect("a slot");
        let client = ip("192.0.2.1").expect("an address");
        let most = 2 + SMALL.front_per_ip;
        let taken: Vec<_> = (0..most).map(|_| proxied()).collect();
        assert!(taken.iter().all(|slot| slot.count_for(client) == Ok(())));
        let more = proxied();
        assert_eq!(more.count_for(client), Err(Full::PerAddress));
        assert_eq!(more.address(), None);
        assert_eq!(slots.acquire(Some(client)).err(), Some(Full::PerAddress), "it is one address");
        assert_eq!(more.count_for([192, 0, 2, 2].into()), Ok(()));
        assert_eq!(taken[0].become_client(), Ok(()));
        assert_eq!(taken[1].become_client(), Ok(()));
        assert_eq!(taken[2].become_client(), Err(Full::PerAddress));
        drop((taken, more));
        assert!(slots.lock().by_ip.is_empty());
    }

    #[test]
    fn one_address_has_some_streams() {
        let capacity = Capacity { clients: 99, clients_per_ip: 99, ..SMALL };
        let slots = Slots::new(capacity);
        let stream = |address| {
            let slot = slots.acquire(ip(address)).expect("a slot");
            slot.become_client().expect("a client");
            slot.become_stream().map(|()| slot)
        };
        let mut taken: Vec<_> =
            (0..STREAMS_PER_IP).map(|_| stream("192.0.2.1").expect("a stream")).collect();
        assert_eq!(stream("192.0.2.1").err(), Some(Full::PerAddress));
        assert!(stream("192.0.2.2").is_ok(), "another address has its own");
        taken.extend((0..=STREAMS_PER_IP).map(|_| stream("127.0.0.1").expect("no limit")));
        drop(taken);
        assert!(stream("192.0.2.1").is_ok());
    }

    #[test]
    fn a_stop_gives_no_slots() {
        let slots = Slots::new(SMALL);
        let early = slots.acquire(ip("127.0.0.1")).expect("a slot");
        slots.close();
        assert_eq!(early.become_client(), Err(Full::Stopping));
        assert_eq!(slots.acquire(ip("127.0.0.1")).err(), Some(Full::Stopping));
        assert_eq!(slots.wait_until_empty(Duration::from_millis(1)), 1);
    }
}
