//! Which server takes the writes: always the same, or the one that the Sentinels name.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use redis::ConnectionInfo;

use crate::engine::address::{Address, Login, Peer, Place, Spot};
use crate::engine::connection::Fault;

/// The engine's master.
#[derive(Debug)]
pub struct Master {
    address: Address,
    found: Mutex<Found>,
    /// Counts how often it was another one.
    version: AtomicU64,
}

#[derive(Debug)]
enum Found {
    At(Spot),
    /// Not yet, and why.
    Nowhere(String),
}

impl Master {
    /// The master that this address is about.
    pub fn new(address: Address) -> Master {
        let found = match address.place() {
            Place::At(spot) => Found::At(spot.clone()),
            Place::Watched { .. } => Found::Nowhere("no Sentinel has been asked yet".into()),
        };
        Master { address, found: Mutex::new(found), version: AtomicU64::new(0) }
    }

    /// What the settings say of it.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How to connect to it, and how often it was another one until now.
    pub(super) fn reach(&self) -> Result<(ConnectionInfo, Login, u64), Fault> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.version();
        let spot = match &*found {
            Found::At(spot) => spot.clone(),
            Found::Nowhere(why) => return Err(Fault::Lost(why.clone())),
        };
        drop(found);
        let info = self.address.info(&spot).map_err(Fault::Lost)?;
        let login = self.address.login(Peer::Engine).map_err(Fault::Lost)?;
        Ok((info, login, version))
    }

    /// How often it was another one until now.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// It is here from now on: what is asked of another one does not count any more.
    pub(super) fn moves_to(&self, spot: Spot) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        *found = Found::At(spot);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Nobody knows where it is, and this is why. Whoever knew it goes on there.
    pub(super) fn is_unknown(&self, why: String) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Found::Nowhere(before) = &mut *found {
            *before = why;
        }
    }
}

/// Where it is, or else its name.
impl fmt::Display for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.found.lock().unwrap_or_else(PoisonError::into_inner), self.address.place()) {
            (Found::At(spot), _) | (Found::Nowhere(_), Place::At(spot)) => spot.fmt(f),
            (Found::Nowhere(_), Place::Watched { name, .. }) => f.write_str(name),
        }
    }
}
