//! Memory for long messages while they come in, which all clients share.
//!
//! A message of a few kilobytes costs no more than its client's thread does. For a longer one the
//! client needs a permit until the hub has it or it is answered. When there is none it waits, which
//! slows down the client alone; and a client that has had one for too long meanwhile gives it up.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::config::SLOT_PATIENCE;
use crate::net::slots::Closable;

/// All permits.
#[derive(Clone)]
pub struct Permits(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    free: usize,
    last: u64,
    /// In the order in which they were taken.
    taken: BTreeMap<u64, Holder>,
}

struct Holder {
    /// None while it waits for something that is not its client's fault.
    since: Option<Instant>,
    occupant: Arc<dyn Closable>,
    is_revoked: bool,
}

/// Room for one message; freed when dropped.
pub struct Permit {
    permits: Permits,
    number: u64,
}

impl Permits {
    /// So many permits; at least one.
    pub fn new(permits: usize) -> Self {
        let state = State { free: permits.max(1), last: 0, taken: BTreeMap::new() };
        Permits(Arc::new(Shared { state: Mutex::new(state), freed: Condvar::new() }))
    }

    /// Waits for a permit. Whoever has had one for [`SLOT_PATIENCE`] while others wait is stopped:
    /// `occupant` may be told so later.
    pub fn permit(&self, occupant: Arc<dyn Closable>) -> Permit {
        let mut state = self.lock();
        while state.free == 0 {
            let now = Instant::now();
            state = match self.0.freed.wait_timeout(state, SLOT_PATIENCE) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
            if state.free == 0 && now.elapsed() >= SLOT_PATIENCE {
                state.revoke_oldest();
            }
        }
        state.free -= 1;
        state.last += 1;
        let number = state.last;
        let holder = Holder { since: Some(Instant::now()), occupant, is_revoked: false };
        state.taken.insert(number, holder);
        drop(state);
        Permit { permits: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn revoke_oldest(&mut self) {
        let is_late = |holder: &&mut Holder| {
            !holder.is_revoked && holder.since.is_some_and(|since| since.elapsed() >= SLOT_PATIENCE)
        };
        if let Some(holder) = self.taken.values_mut().find(is_late) {
            holder.is_revoked = true;
            holder.occupant.clone().stop();
        }
    }
}

impl Permit {
    /// Whether its holder has to give it up.
    pub fn is_revoked(&self) -> bool {
        self.permits.lock().taken.get(&self.number).is_some_and(|holder| holder.is_revoked)
    }

    /// Its holder waits for something that is not its client's fault, until this is dropped.
    pub fn excuse(&self) -> Excuse<'_> {
        self.set_since(None);
        Excuse(self)
    }

    fn set_since(&self, since: Option<Instant>) {
        if let Some(holder) = self.permits.lock().taken.get_mut(&self.number) {
            holder.since = since;
        }
    }
}

/// While there is one, a permit is not given up.
pub struct Excuse<'a>(&'a Permit);

impl Drop for Excuse<'_> {
    fn drop(&mut self) {
        self.0.set_since(Some(Instant::now()));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.permits.lock();
        state.free += 1;
        // The holder outlives its permit, so this is not the end of it.
        state.taken.remove(&self.number);
        drop(state);
        self.permits.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Closable for Counted {
        fn stop(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn cut(&self) {}
    }

    #[test]
    fn whoever_waits_gets_the_slot_that_is_freed() {
        let permits = Permits::new(2);
        let somebody = Arc::new(Counted::default());
        let (first, second) = (permits.permit(somebody.clone()), permits.permit(somebody.clone()));
        let waiting = thread::spawn({
            let (permits, somebody) = (permits.clone(), somebody.clone());
            move || drop(permits.permit(somebody))
        });
        drop(first);
        waiting.join().expect("it gets a permit");
        assert!(!second.is_revoked());
        drop(second);
        assert_eq!(permits.lock().free, 2);
        assert_eq!(somebody.0.load(Ordering::Relaxed), 0, "nobody was stopped");
    }

    #[test]
    fn who_holds_on_to_the_last_slot_is_stopped() {
        let permits = Permits::new(1);
        let (slow, other) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
        let held = permits.permit(slow.clone());
        let waiting = thread::spawn({
            let (permits, other) = (permits.clone(), other.clone());
            move || drop(permits.permit(other))
        });
        while !held.is_revoked() {
            thread::yield_now();
        }
        assert_eq!(slow.0.load(Ordering::Relaxed), 1);
        drop(held);
        waiting.join().expect("it gets the permit");
        assert_eq!(other.0.load(Ordering::Relaxed), 0);
    }
}
