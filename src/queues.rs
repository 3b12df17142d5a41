//! What waits for all clients together, and the bound of it.
//!
//! Each client's queue has a bound of its own, but there is not memory for all of them to be full.
//! When they are too long together, the client that is furthest behind goes first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::places::Occupant;

/// The memory of all queues.
#[derive(Debug)]
pub struct Queues {
    bound: usize,
    held: AtomicUsize,
    turn: Mutex<()>,
}

impl Queues {
    /// Queues that hold at most `bound` bytes together, and for a moment a batch more.
    pub fn new(bound: usize) -> Self {
        Queues { bound, held: AtomicUsize::new(0), turn: Mutex::new(()) }
    }

    /// One queue held `before` bytes and holds `after` now.
    pub fn changed(&self, before: usize, after: usize) {
        if after > before {
            self.held.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.held.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Gives up clients, the one that `furthest_behind` finds first, until the rest fits.
    pub fn relieve(&self, furthest_behind: impl Fn() -> Option<Arc<dyn Occupant>>) {
        if !self.are_too_long() {
            return;
        }
        // One at a time, or two would give up two where one was enough.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        while self.are_too_long() {
            match furthest_behind() {
                Some(client) => client.give_up(),
                None => return,
            }
        }
    }

    fn are_too_long(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Client<'a> {
        queues: &'a Queues,
        waiting: AtomicUsize,
        /// What a client that was given up still holds: the rest of a frame and a close frame.
        rest: usize,
    }

    impl Occupant for Client<'static> {
        fn stop(self: Arc<Self>) {}

        fn cut(&self) {}

        fn lag(&self) -> u64 {
            self.waiting.load(Ordering::Relaxed) as u64
        }

        fn give_up(self: Arc<Self>) {
            let before = self.waiting.load(Ordering::Relaxed);
            let after = if before > self.rest { self.rest } else { 0 };
            self.waiting.store(after, Ordering::Relaxed);
            self.queues.changed(before, after);
        }
    }

    #[test]
    fn the_one_furthest_behind_goes_and_then_the_next() {
        let queues: &Queues = Box::leak(Box::new(Queues::new(1000)));
        let clients: Vec<Arc<dyn Occupant>> = [300, 0, 500, 100, 250]
            .into_iter()
            .map(|waiting| {
                queues.changed(0, waiting);
                Arc::new(Client { queues, waiting: waiting.into(), rest: 10 }) as Arc<dyn Occupant>
            })
            .collect();
        let waiting = || clients.iter().map(|client| client.lag()).collect::<Vec<_>>();
        let furthest = || {
            let behind = clients.iter().filter(|client| client.lag() > 0);
            behind.max_by_key(|client| client.lag()).cloned()
        };
        queues.relieve(furthest);
        assert_eq!(waiting(), [300, 0, 10, 100, 250]);
        queues.relieve(furthest);
        assert_eq!(waiting(), [300, 0, 10, 100, 250], "it fits now");
        queues.changed(0, 800);
        queues.relieve(furthest);
        assert_eq!(waiting(), [10, 0, 10, 100, 10]);
        queues.changed(0, 800);
        queues.relieve(furthest);
        assert_eq!(waiting(), [0; 5], "who is left is given up altogether");
    }
}
