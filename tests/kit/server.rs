//! The server, in the process of the test.

use std::net::SocketAddr;
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use roomd::{Config, Server, ServerError, Stopper};

use super::PATIENCE;
use super::peer::{Client, Peer, Response, UPGRADE, get};

/// The longest message that the server takes unless a test says otherwise.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// A server in this process. Dropping it stops it, and fails the test if it does not stop well.
#[derive(Debug)]
pub struct TestServer {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    stopper: Stopper,
    result: Receiver<Result<(), ServerError>>,
}

impl TestServer {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// A server whose settings are the defaults, without the limit on the rate, as `set` changes
    /// them.
    #[track_caller]
    pub fn with(set: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        config.limits.rate = 0;
        set(&mut config);
        let server = Server::bind(config).expect("a port");
        let (address, stopper) = (server.local_addr(), server.stopper());
        let admin_address = server.admin_addr();
        let (ended, result) = bounded(1);
        thread::Builder::new()
            .name("server".into())
            // The receiver is gone when the test has failed already.
            .spawn(move || drop(ended.send(server.run())))
            .expect("a thread");
        TestServer { address, admin_address, stopper, result }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where health and metrics are, if they are at an address of their own.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    pub fn stop(&self) {
        self.stopper.stop();
    }

    /// Waits until the server, which was told to stop, has stopped.
    #[track_caller]
    pub fn ended(&self) {
        match self.result.recv_timeout(PATIENCE) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("the server failed: {error}"),
            Err(error) => panic!("the server has not stopped after {PATIENCE:?} ({error})"),
        }
    }

    #[track_caller]
    pub fn connect(&self) -> Peer {
        Peer::connect(self.address)
    }

    #[track_caller]
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        Peer::ask(self.address, request)
    }

    #[track_caller]
    pub fn join(&self, id: i64) -> Client {
        self.client(&format!("/ws/{id}"))
    }

    /// A client of the room, if there is a place for it.
    #[track_caller]
    pub fn tries_to_join(&self, id: i64) -> Option<Client> {
        let mut peer = self.connect();
        peer.send(get(&format!("/ws/{id}"), UPGRADE));
        peer.upgraded_unless_full()
    }

    #[track_caller]
    pub fn echo(&self) -> Client {
        self.client("/ws")
    }

    #[track_caller]
    fn client(&self, path: &str) -> Client {
        self.connect().upgrade(path)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stopper.stop();
        match self.result.recv_timeout(PATIENCE) {
            // The test has waited for the end already if the sender is gone.
            Ok(Ok(())) | Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {}
            other if thread::panicking() => eprintln!("and the server's end was {other:?}"),
            other => panic!("the server did not stop well: {other:?}"),
        }
    }
}
