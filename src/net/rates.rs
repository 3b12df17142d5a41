//! How fast one address may join and talk, whatever number of connections it makes for that.
//!
//! A client has a pace of its own, but connections are free: who comes again has a fresh one. So an
//! address has a pace for the messages of all its clients, and one for joins. It is remembered for as
//! long as it matters, which is some seconds after the last message, and then forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{
    ADDRESS_RATE, ADDRESSES, BURST_SECONDS, JOIN_BURST, JOIN_PATIENCE, JOIN_RATE, LOOPBACK_RATE,
};
use crate::rate::SharedPace;

/// The paces of all addresses. There is no thread: whoever adds an address forgets others.
#[derive(Debug)]
pub struct Rates {
    /// [`Limits::rate`](crate::config::Limits::rate), which is not 0.
    rate: u32,
    /// Loopback has one as well, of ten times as much: the peer of a local proxy's clients.
    loopback: Arc<AddressRates>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    addresses: HashMap<IpAddr, Arc<AddressRates>>,
    /// How many addresses there are when the next look is due at which of them can be forgotten.
    full_at: usize,
}

/// The paces of one address. Each of its connections holds them.
#[derive(Debug)]
pub struct AddressRates {
    /// Of handshakes, for the room and the echo alike.
    joins: SharedPace,
    /// Of messages, pings and pongs, and of fragments those that come together as one.
    pub messages: Arc<SharedPace>,
}

/// What becomes of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has its turn.
    Now,
    /// Its client is gone.
    Gone,
    /// Its address joins too often.
    TooMany,
}

impl Rates {
    /// Paces that follow from the `rate` of one client; none if that is 0.
    pub fn new(rate: u32) -> Option<Self> {
        (rate > 0).then(|| Rates {
            rate,
            loopback: Arc::new(AddressRates::new(rate, LOOPBACK_RATE)),
            table: Mutex::default(),
        })
    }

    /// The paces of an address, as [`crate::net::address`] counts. None is loopback.
    pub fn of(&self, address: Option<IpAddr>) -> Arc<AddressRates> {
        let Some(address) = address else { return self.loopback.clone() };
        // Nothing that is done under the lock can panic half-way.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rates) = table.addresses.get(&address) {
            return rates.clone();
        }
        table.make_room();
        let rates = Arc::new(AddressRates::new(self.rate, 1));
        table.addresses.insert(address, rates.clone());
        rates
    }
}

impl Table {
    /// Forgets addresses without connections whose paces are unused, once there are [`ADDRESSES`] more
    /// than have connections. If those are too few, all without connections are forgotten: whoever has
    /// that many addresses does not come again from one of them.
    fn make_room(&mut self) {
        if self.addresses.len() < self.full_at.max(ADDRESSES) {
            return;
        }
        let now = Instant::now();
        let is_held = |rates: &Arc<AddressRates>| Arc::strong_count(rates) > 1;
        self.addresses.retain(|_, rates| is_held(rates) || !rates.is_unused(now));
        let held = self.addresses.values().filter(|rates| is_held(rates)).count();
        if self.addresses.len() - held > ADDRESSES / 2 {
            self.addresses.retain(|_, rates| is_held(rates));
        }
        self.full_at = held + ADDRESSES;
    }
}

impl AddressRates {
    fn new(rate: u32, times: u32) -> Self {
        let messages = rate.saturating_mul(ADDRESS_RATE).saturating_mul(times);
        AddressRates {
            joins: SharedPace::new(JOIN_RATE * times, JOIN_BURST * times),
            messages: SharedPace::new(messages, messages.saturating_mul(BURST_SECONDS)).into(),
        }
    }

    /// Counts a join, and has it `wait` for its turn: for so long, and false if the client is gone
    /// meanwhile. One whose turn would come after [`JOIN_PATIENCE`] waits so long in vain.
    pub fn join(&self, wait: impl FnOnce(Duration) -> bool) -> Turn {
        let time = self.joins.count(Instant::now());
        if time.is_zero() {
            return Turn::Now;
        }
        let has_turn = time <= JOIN_PATIENCE;
        if !has_turn {
            self.joins.take_back();
        }
        match (wait(time.min(JOIN_PATIENCE)), has_turn) {
            (true, true) => Turn::Now,
            (true, false) => Turn::TooMany,
            (false, true) => {
                self.joins.take_back();
                Turn::Gone
            }
            (false, false) => Turn::Gone,
        }
    }

    /// Whether a join at this time would be one too many.
    pub fn has_too_many_joins(&self) -> bool {
        self.joins.next_wait(Instant::now()) > JOIN_PATIENCE
    }

    fn is_unused(&self, now: Instant) -> bool {
        self.joins.is_unused(now) && self.messages.is_unused(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: usize) -> Option<IpAddr> {
        Some(IpAddr::from((n as u32).to_be_bytes()))
    }

    fn len(rates: &Rates) -> usize {
        rates.table.lock().expect("no panic").addresses.len()
    }

    #[test]
    fn an_address_is_remembered_while_it_matters() {
        let rates = Rates::new(100).expect("a rate");
        rates.of(ip(1)).joins.count(Instant::now());
        let held = rates.of(ip(2));
        (3..ADDRESSES + 10).for_each(|n| drop(rates.of(ip(n))));
        assert!(len(&rates) < 20, "{} are remembered", len(&rates));
        assert!(!rates.of(ip(1)).joins.is_unused(Instant::now()), "its joins are forgotten");
        assert!(Arc::ptr_eq(&held, &rates.of(ip(2))));
    }

    /// However many addresses join, the table has a bound.
    #[test]
    fn a_flood_of_addresses_fills_no_memory() {
        let rates = Rates::new(100).expect("a rate");
        let now = Instant::now();
        let held: Vec<_> = (0..2 * ADDRESSES).map(|n| rates.of(ip(n))).collect();
        for n in 2 * ADDRESSES..20 * ADDRESSES {
            // So often that it matters for longer than this takes.
            let rates = rates.of(ip(n));
            (0..200).for_each(|_| assert!(rates.joins.count(now).is_zero()));
        }
        assert!(len(&rates) <= held.len() + ADDRESSES, "{} are remembered", len(&rates));
        assert!(held.iter().enumerate().all(|(n, held)| Arc::ptr_eq(held, &rates.of(ip(n)))));
    }

    #[test]
    fn a_join_above_the_rate_has_its_turn_or_none_and_one_that_is_gone_takes_none() {
        let rates = Rates::new(100).expect("a rate").of(ip(1));
        let mut waits = Vec::new();
        let mut join = |is_there| {
            rates.join(|time| {
                waits.push(time);
                is_there
            })
        };
        assert!((0..JOIN_BURST).all(|_| join(true) == Turn::Now));
        assert_eq!(join(false), Turn::Gone);
        let in_time = JOIN_PATIENCE.as_secs() as u32 * JOIN_RATE;
        let turns: Vec<_> = (0..in_time + 20).map(|_| join(true)).collect();
        let has_turn = turns.iter().filter(|turn| **turn == Turn::Now).count() as u32;
        // The time that this takes gives some a turn.
        assert!((in_time..in_time + 10).contains(&has_turn), "{has_turn}");
        assert_eq!((join(true), join(false)), (Turn::TooMany, Turn::Gone));
        assert!(rates.has_too_many_joins());
        assert!(waits[0] <= Duration::from_millis(20), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= JOIN_PATIENCE), "{waits:?}");
    }

    #[test]
    fn loopback_has_ten_times_the_rate_and_0_is_none() {
        let rates = Rates::new(100).expect("a rate");
        let now = Instant::now();
        let burst = |address| {
            let rates = rates.of(address);
            let joins = (0..).take_while(|_| rates.joins.count(now).is_zero()).count();
            (joins, (0..).take_while(|_| rates.messages.count(now).is_zero()).count())
        };
        assert_eq!(burst(ip(1)), (200, 2000));
        assert_eq!(burst(None), (2000, 20_000));
        assert!(Rates::new(0).is_none());
    }
}
