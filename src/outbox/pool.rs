//! What waits for all clients together, here and in the kernel, and the bound of it.
//!
//! Each client's queue has a bound of its own, but there is not memory for all of them to be full.
//! When they are too long together, the client that is furthest behind goes first. Nor is there
//! memory for all of the kernel's buffers to be wide: some are, of those who first need it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::net::slots::Closable;

/// The memory of all queues.
#[derive(Debug)]
pub struct Pool {
    bound: usize,
    held: AtomicUsize,
    /// So many more may have a wide buffer.
    wide: AtomicUsize,
    turn: Mutex<()>,
}

/// The part of one client.
#[derive(Debug)]
pub struct Share {
    queues: Arc<Pool>,
    is_wide: AtomicBool,
}

impl Pool {
    /// Pool that hold at most `bound` bytes together, and for a moment a batch more. The kernel's
    /// buffers of so many clients may be `wide`.
    pub fn new(bound: usize, wide: usize) -> Arc<Self> {
        let (held, wide, turn) = (AtomicUsize::new(0), wide.into(), Mutex::new(()));
        Arc::new(Pool { bound, held, wide, turn })
    }

    /// The part of another client.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { queues: self.clone(), is_wide: AtomicBool::new(false) }
    }

    fn are_too_long(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.bound
    }
}

impl Share {
    /// One queue held `before` bytes and holds `after` now.
    pub fn changed(&self, before: usize, after: usize) {
        if after > before {
            self.queues.held.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.queues.held.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// Gives up clients, the one that `furthest_behind` finds first, until the rest fits.
    pub fn relieve(&self, furthest_behind: impl Fn() -> Option<Arc<dyn Closable>>) {
        if !self.queues.are_too_long() {
            return;
        }
        // One at a time, or two would give up two where one was enough.
        let _turn = self.queues.turn.lock().unwrap_or_else(PoisonError::into_inner);
        while self.queues.are_too_long() {
            match furthest_behind() {
                Some(client) => client.give_up(),
                None => return,
            }
        }
    }

    /// Whether the kernel's buffer is wide.
    pub fn is_wide(&self) -> bool {
        self.is_wide.load(Ordering::Relaxed)
    }

    /// Takes a wide buffer, for good. False if it has one, or all are taken.
    pub fn widen(&self) -> bool {
        let one_less = |wide: usize| wide.checked_sub(1);
        let may = !self.is_wide()
            && self
                .queues
                .wide
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
                .is_ok();
        if may {
            self.is_wide.store(true, Ordering::Relaxed);
        }
        may
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if *self.is_wide.get_mut() {
            self.queues.wide.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Client {
        share: Share,
        waiting: AtomicUsize,
        /// What a client that was given up still holds: the rest of a frame and a close frame.
        rest: usize,
    }

    impl Closable for Client {
        fn stop(self: Arc<Self>) {}

        fn cut(&self) {}

        fn lag(&self) -> u64 {
            self.waiting.load(Ordering::Relaxed) as u64
        }

        fn give_up(self: Arc<Self>) {
            let before = self.waiting.load(Ordering::Relaxed);
            let after = if before > self.rest { self.rest } else { 0 };
            self.waiting.store(after, Ordering::Relaxed);
            self.share.changed(before, after);
        }
    }

    #[test]
    fn the_one_furthest_behind_goes_and_then_the_next() {
        let queues = Pool::new(1000, 0);
        let share = queues.share();
        let clients: Vec<Arc<dyn Closable>> = [300, 0, 500, 100, 250]
            .into_iter()
            .map(|waiting| {
                let share = queues.share();
                share.changed(0, waiting);
                Arc::new(Client { share, waiting: waiting.into(), rest: 10 }) as Arc<dyn Closable>
            })
            .collect();
        let waiting = || clients.iter().map(|client| client.lag()).collect::<Vec<_>>();
        let furthest = || {
            let behind = clients.iter().filter(|client| client.lag() > 0);
            behind.max_by_key(|client| client.lag()).cloned()
        };
        share.relieve(furthest);
        assert_eq!(waiting(), [300, 0, 10, 100, 250]);
        share.relieve(furthest);
        assert_eq!(waiting(), [300, 0, 10, 100, 250], "it fits now");
        share.changed(0, 800);
        share.relieve(furthest);
        assert_eq!(waiting(), [10, 0, 10, 100, 10]);
        share.changed(0, 800);
        share.relieve(furthest);
        assert_eq!(waiting(), [0; 5], "who is left is given up altogether");
    }

    #[test]
    fn there_are_so_many_wide_buffers() {
        let queues = Pool::new(0, 2);
        let shares = [queues.share(), queues.share(), queues.share()];
        assert_eq!(shares.each_ref().map(Share::widen), [true, true, false]);
        assert!(!shares[0].widen(), "it has one");
        drop(shares);
        let again = [queues.share(), queues.share(), queues.share()];
        assert_eq!(again.each_ref().map(Share::widen), [true, true, false]);
    }
}
