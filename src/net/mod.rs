//! TCP connections about which nothing is known yet: accepted, counted, and given a thread.

pub mod address;
pub mod conn;
pub mod control;
pub mod deadline;
pub mod listener;
pub mod rates;
pub mod slots;
pub mod threads;
