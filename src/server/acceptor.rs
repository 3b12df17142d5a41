//! A listening socket with its accept thread, its threads for requests and its slots.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::config::network::Network;
use crate::http::overload::Overload;
use crate::http::refusal::Refusal;
use crate::net::conn::Conn;
use crate::net::control::{self, Control, Prober};
use crate::net::listener::Listener;
use crate::net::slots::Slots;
use crate::net::threads::Threads;
use crate::server::thread::{ServerThread, cannot_start};
use crate::server::{ServerError, StopReason};

/// Accepts connections until it is closed.
pub struct Acceptor {
    slots: Slots,
    control: Control,
    thread: ServerThread,
}

impl Acceptor {
    /// Starts accepting on a socket, in a thread of this `name`.
    pub fn start(
        name: &'static str,
        stop: &Sender<StopReason>,
        socket: TcpListener,
        slots: Slots,
        trusted: Vec<Network>,
        threads: Threads<Arc<Conn>>,
        overload: Overload,
    ) -> Result<Self, ServerError> {
        let (control, commands) = control::pair().map_err(|error| cannot_start(name, &error))?;
        let metrics = overload.metrics.clone();
        let reject = move |stream, peer, why| {
            overload.refuse(stream, peer, Refusal::rejected(why));
        };
        let listener =
            Listener { socket, commands, slots: slots.clone(), threads, trusted, reject, metrics };
        let thread = ServerThread::spawn(name, stop, move || listener.run())?;
        Ok(Acceptor { slots, control, thread })
    }

    /// Asks it for signs of life.
    pub fn prober(&self) -> Prober {
        self.control.prober()
    }

    /// Lets nobody in any more. The open connections are in these slots. An accept thread that has
    /// not ended by `deadline` is the error beside them.
    pub fn close(self, deadline: Instant) -> (Slots, Result<(), &'static str>) {
        drop(self.control);
        let joined = self.thread.join_by(deadline);
        self.slots.close();
        (self.slots, joined)
    }
}
