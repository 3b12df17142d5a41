//! Answers the connections for which there is no slot or no thread: 503.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::net::{RecvFlags, recv};

use crate::config::{REFUSAL_TIMEOUT, REFUSALS};
use crate::http::refusal::Refusal;
use crate::metrics::Metrics;
use crate::net::deadline;

/// Takes the connections to refuse.
#[derive(Clone, Debug)]
pub struct Overload {
    refused: Sender<Refused>,
    metrics: Arc<Metrics>,
}

type Refused = (TcpStream, SocketAddr, Refusal);

impl Overload {
    /// This, and what has to run in a thread of its own, which ends when this is dropped.
    pub fn new(metrics: Arc<Metrics>) -> (Overload, impl FnOnce() + Send) {
        let (sender, refused) = bounded(REFUSALS);
        (Overload { refused: sender, metrics }, move || run(&refused))
    }

    /// Answers with `refusal` and closes. In a crowd the connection is just closed.
    pub fn refuse(&self, stream: TcpStream, peer: SocketAddr, refusal: Refusal) {
        self.metrics.refused(refusal.reason());
        let _ = self.refused.try_send((stream, peer, refusal));
    }
}

/// Whether what has arrived begins a HEAD request, to which no body may be sent.
fn is_head(stream: &TcpStream) -> bool {
    let mut start = [0; 5];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    recv(stream, &mut start, flags).is_ok() && start == *b"HEAD "
}

fn run(refused: &Receiver<Refused>) {
    for (stream, peer, refusal) in refused {
        refusal.log(peer);
        // Not after the request, which has been read already if there was a place but no thread.
        // If it comes later it is read and forgotten, so that no reset takes the answer away.
        let deadline = Instant::now() + REFUSAL_TIMEOUT;
        deadline::write_last(&stream, &refusal.response(is_head(&stream)), deadline);
    }
}
