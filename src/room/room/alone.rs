//! In a build without the engine each room is this server's alone. See `shared.rs` for the others.

use std::convert::Infallible;
use std::marker::PhantomData;

use crate::history::before::Past;
use crate::metrics::HubCounters;
use crate::net::slots::ConnId;
use crate::outbox::Transport;
use crate::room::room::Room;

/// What a shared room has beside what every room has: there is none.
#[derive(Debug)]
pub struct Shared<T>(Infallible, PhantomData<T>);

impl<T: Transport> Room<T> {
    pub(super) fn share(&mut self) {}

    /// Hands over what its members want to whom it is shared with: to nobody.
    pub fn hand_over(&self) {}

    pub(super) fn part_if_away(&mut self, _tally: &mut HubCounters) {}
}

impl<T> Shared<T> {
    pub(super) fn lost(&mut self, _conn: ConnId) {
        match self.0 {}
    }

    pub(super) fn is_moving(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn past(&self) -> &[Past] {
        match self.0 {}
    }

    pub(super) fn people(&self) -> u64 {
        match self.0 {}
    }

    pub(super) fn list(&self, _out: &mut Vec<u8>) {
        match self.0 {}
    }
}
