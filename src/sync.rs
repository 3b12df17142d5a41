//! The locks of what the model checker runs: std's, or under `cfg(shuttle)` shuttle's, which try
//! one order of the threads after another.

#[cfg(not(all(test, shuttle)))]
pub use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(all(test, shuttle))]
pub use shuttle::sync::{Condvar, Mutex, MutexGuard};
