//! The connections that are open, and how many there may be.
//!
//! A connection takes a place when it is accepted and gives it back when its socket is closed. One
//! that becomes a client takes one of the clients' places too. The list is also how a stop reaches
//! everybody.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::config::budget::Capacity;

/// Names one connection for as long as the server runs; never used twice.
pub type ConnId = u64;

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All places are taken.
    Everywhere,
    /// This address has as many as it may.
    Here,
    /// The server stops.
    Stopping,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Full::Everywhere => "all places are taken",
            Full::Here => "your address has all the places that one may have",
            Full::Stopping => "the server stops",
        })
    }
}

/// Whoever has a place, as a stop sees it.
pub trait Closable: Send + Sync {
    /// The server stops: say goodbye.
    fn stop(self: Arc<Self>);
    /// The time for that is over: end at once.
    fn cut(&self);
}

/// All places.
#[derive(Clone)]
pub struct Slots(Arc<Shared>);

struct Shared {
    capacity: Capacity,
    book: Mutex<Book>,
    empty: Condvar,
}

#[derive(Default)]
struct Book {
    last_key: ConnId,
    open: HashMap<ConnId, Open>,
    clients: usize,
    by_ip: HashMap<IpAddr, PerIp>,
    stopping: bool,
}

#[derive(Default)]
struct Open {
    occupant: Option<Weak<dyn Closable>>,
    is_client: bool,
}

#[derive(Debug, Default)]
struct PerIp {
    open: usize,
    clients: usize,
}

/// The place of one connection; freed when dropped.
pub struct Slot {
    places: Slots,
    key: ConnId,
    /// Who counts against the limit per address.
    ip: Option<IpAddr>,
}

impl Slots {
    /// So many places, all free.
    pub fn new(capacity: Capacity) -> Self {
        Slots(Arc::new(Shared { capacity, book: Mutex::default(), empty: Condvar::new() }))
    }

    /// A place for a connection that counts as this address ([`crate::net::address`]).
    ///
    /// # Errors
    /// Why there is none.
    pub fn take(&self, ip: Option<IpAddr>) -> Result<Slot, Full> {
        let Capacity { clients, clients_per_ip, front, front_per_ip } = self.0.capacity;
        let mut book = self.book();
        if book.stopping {
            return Err(Full::Stopping);
        }
        if book.open.len() >= clients + front {
            return Err(Full::Everywhere);
        }
        if let Some(ip) = ip {
            let here = book.by_ip.entry(ip).or_default();
            if here.open >= clients_per_ip + front_per_ip {
                return Err(Full::Here);
            }
            here.open += 1;
        }
        book.last_key += 1;
        let key = book.last_key;
        book.open.insert(key, Open::default());
        drop(book);
        Ok(Slot { places: self.clone(), key, ip })
    }

    /// From now on nobody gets a place.
    pub fn close(&self) {
        self.book().stopping = true;
    }

    /// Has everybody who is still there say goodbye.
    pub fn stop(&self) {
        self.occupants().into_iter().for_each(Closable::stop);
    }

    /// Cuts every connection that is still open.
    pub fn cut(&self) {
        self.occupants().iter().for_each(|occupant| occupant.cut());
    }

    /// Everybody who has a place. The caller must not hold the lock of the book when it lets go of
    /// them: the last one who does gives the place back, which takes that lock.
    fn occupants(&self) -> Vec<Arc<dyn Closable>> {
        let book = self.book();
        book.open.values().filter_map(|open| open.occupant.as_ref()?.upgrade()).collect()
    }

    /// Waits until no connection is open, but not longer than `patience`. How many are left.
    pub fn wait_until_empty(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut book = self.book();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if book.open.is_empty() || left.is_zero() {
                return book.open.len();
            }
            book = match self.0.empty.wait_timeout(book, left) {
                Ok((book, _)) => book,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing that is done under the lock can panic half-way.
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Names the connection.
    pub fn key(&self) -> ConnId {
        self.key
    }

    /// Takes one of the clients' places as well.
    ///
    /// # Errors
    /// Why there is none.
    pub fn become_client(&self) -> Result<(), Full> {
        let Capacity { clients, clients_per_ip, .. } = self.places.0.capacity;
        let mut book = self.places.book();
        let book = &mut *book;
        if book.stopping {
            return Err(Full::Stopping);
        }
        if book.clients >= clients {
            return Err(Full::Everywhere);
        }
        if let Some(here) = self.ip.and_then(|ip| book.by_ip.get_mut(&ip)) {
            if here.clients >= clients_per_ip {
                return Err(Full::Here);
            }
            here.clients += 1;
        }
        book.clients += 1;
        book.open.entry(self.key).or_default().is_client = true;
        Ok(())
    }

    /// Says whom a stop has to turn to. False if there is a stop already.
    pub fn occupy(&self, occupant: Weak<dyn Closable>) -> bool {
        let mut book = self.places.book();
        book.open.entry(self.key).or_default().occupant = Some(occupant);
        !book.stopping
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut book = self.places.book();
        let open = book.open.remove(&self.key).unwrap_or_default();
        book.clients -= usize::from(open.is_client);
        if let Some(ip) = self.ip {
            if let Some(here) = book.by_ip.get_mut(&ip) {
                here.open -= 1;
                here.clients -= usize::from(open.is_client);
                if here.open == 0 {
                    book.by_ip.remove(&ip);
                }
            }
        }
        if book.open.is_empty() {
            self.places.0.empty.notify_all();
        }
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
    fn clients_leave_places_for_the_page() {
        let places = Slots::new(SMALL);
        let taken: Vec<_> =
            (0..5).map(|_| places.take(ip("127.0.0.1")).expect("a place")).collect();
        assert_eq!(places.take(ip("::1")).err(), Some(Full::Everywhere));
        for place in &taken[..3] {
            assert_eq!(place.become_client(), Ok(()));
        }
        assert_eq!(taken[3].become_client(), Err(Full::Everywhere));
        drop(taken);
        assert_eq!(places.wait_until_empty(Duration::ZERO), 0);
        let again = places.take(ip("127.0.0.1")).expect("a place");
        assert_eq!(again.become_client(), Ok(()));
    }

    #[test]
    fn one_address_has_its_share() {
        let places = Slots::new(Capacity { clients: 1000, front: 1000, ..SMALL });
        let taken: Vec<_> = (0..2 + SMALL.front_per_ip)
            .map(|_| places.take(ip("192.0.2.1")).expect("a place"))
            .collect();
        assert_eq!(places.take(ip("::ffff:192.0.2.1")).err(), Some(Full::Here));
        assert!(places.take(ip("192.0.2.2")).is_ok(), "another address has a place");
        assert_eq!(taken[0].become_client(), Ok(()));
        assert_eq!(taken[1].become_client(), Ok(()));
        assert_eq!(taken[2].become_client(), Err(Full::Here));
        drop(taken);
        let again = places.take(ip("192.0.2.1")).expect("a place");
        assert_eq!(again.become_client(), Ok(()));
    }

    #[test]
    fn a_stop_gives_no_places() {
        let places = Slots::new(SMALL);
        let early = places.take(ip("127.0.0.1")).expect("a place");
        places.close();
        assert_eq!(early.become_client(), Err(Full::Stopping));
        assert_eq!(places.take(ip("127.0.0.1")).err(), Some(Full::Stopping));
        assert_eq!(places.wait_until_empty(Duration::from_millis(1)), 1);
    }
}
