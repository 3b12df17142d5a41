//! The locks of what the model checker runs: std's, or under `cfg(shuttle)` shuttle's, which try
//! one order of the threads after another.

#[cfg(not(all(test, shuttle)))]
pub use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(all(test, shuttle))]
pub use shuttle::sync::{Condvar, Mutex, MutexGuard};

/// Has the CPU fetch a lock and what lies right behind it from memory, without taking it.
pub fn prefetch<T>(lock: &Mutex<T>) {
    // It lies beside the lock, and is read without it.
    #[cfg(not(all(test, shuttle)))]
    std::hint::black_box(lock.is_poisoned());
    #[cfg(all(test, shuttle))]
    let _ = lock;
}
