//! The listening sockets: opened as the flags say, or passed by the service manager.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::config::budget::Buffers;
use crate::net::listener;
use crate::server::ServerError;

/// A listening socket and its address, with the port that the system chose.
pub type Listening = (TcpListener, SocketAddr);

/// Listens at the `address` that `flag` gives.
pub fn open(address: SocketAddr, flag: &str, buffers: Buffers) -> Result<Listening, ServerError> {
    TcpListener::bind(address)
        .and_then(|socket| {
            listener::set_backlog(&socket)?;
            prepared(socket, buffers)
        })
        .map_err(|error| cannot_listen(address, flag, &error))
}

/// Prepares a socket that was passed. Its backlog is up to the service manager.
pub fn adopt(socket: TcpListener, buffers: Buffers) -> Result<Listening, ServerError> {
    prepared(socket, buffers).map_err(|error| {
        ServerError::System(format!("cannot serve on the socket that was passed: {error}"))
    })
}

fn prepared(socket: TcpListener, buffers: Buffers) -> io::Result<Listening> {
    listener::prepare(&socket, buffers)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

fn cannot_listen(address: SocketAddr, flag: &str, error: &io::Error) -> ServerError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "another program has it; give another one with",
        io::ErrorKind::PermissionDenied => "ports below 1024 are for root; give another one with",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; see",
        _ => "see",
    };
    ServerError::System(format!("cannot listen on {address}: {error}; {hint} {flag}"))
}
