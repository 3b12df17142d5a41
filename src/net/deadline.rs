//! Reading and writing with a deadline for the whole of it.
//!
//! The timeout of a socket counts per call, so that a peer could put it off forever with a byte
//! now and then. Here each call gets the time that is left.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv, sockopt};

/// How long the kernel tries to deliver the rest on a connection that is closed.
const CLOSED_TIMEOUT: Duration = Duration::from_secs(3);

/// Reads the bytes that have arrived, without waiting.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if that is nothing.
fn read_now(stream: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    Ok(recv(stream, bytes, RecvFlags::DONTWAIT)?.0)
}

/// Reads the bytes that have arrived, or waits for some until `deadline`.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] after the deadline.
pub fn read(mut stream: &TcpStream, bytes: &mut [u8], deadline: Instant) -> io::Result<usize> {
    // Mostly something is there already, and then no timeout has to be set.
    if let Ok(read) = read_now(stream, bytes) {
        return Ok(read);
    }
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(bytes) {
            Err(error) if is_passing(&error) => {}
            result => return result,
        }
    }
}

/// Writes all of `bytes`. Not for a WebSocket client, which has an outbox.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] if the peer has not taken them by `deadline`.
pub fn write_all(mut stream: &TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes `bytes` as the last thing and gives the peer until `deadline` to take them
/// and to close. After that the kernel drops what the peer has not taken.
pub fn write_last(stream: &TcpStream, bytes: &[u8], deadline: Instant) {
    let is_taken = write_all(stream, bytes, deadline).is_ok()
        && stream.shutdown(Shutdown::Write).is_ok()
        && wait_for_end(stream, deadline);
    if !is_taken {
        abort_on_close(stream);
    }
}

/// Reads and discards until the peer closes; false if it does not. Closing at once
/// instead could make the kernel reset the connection before the peer has read the last word.
// Not inlined: its buffer would deepen the stack of every idle client by a page.
#[inline(never)]
pub fn wait_for_end(stream: &TcpStream, deadline: Instant) -> bool {
    let mut rest = [0; 1024];
    loop {
        match read(stream, &mut rest, deadline) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// Bounds how long the kernel keeps bytes for the peer, and sends them again, once the socket is closed.
/// It would else try for minutes and keep the memory.
pub fn bound_close(stream: &TcpStream) {
    // It fails only when the connection is gone already.
    let _ = sockopt::set_tcp_user_timeout(stream, CLOSED_TIMEOUT.as_millis() as u32);
}

/// Makes the kernel find out that the peer is gone although nothing is sent to it, or what is sent is not
/// acknowledged: after `silence`, it is asked, and has `patience` to answer.
pub fn detect_loss(stream: &TcpStream, silence: Duration, patience: Duration) {
    // They fail only when the connection is gone already.
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, silence.max(Duration::from_secs(1)));
    let _ = sockopt::set_tcp_keepintvl(stream, patience.max(Duration::from_secs(1)));
    let _ = sockopt::set_tcp_user_timeout(stream, (silence + patience).as_millis() as u32);
}

/// Makes closing the socket drop the bytes that the peer has not taken. The kernel would else try on
/// for minutes and keep the memory.
pub fn abort_on_close(stream: &TcpStream) {
    // It fails only when the connection is gone already.
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// The time left until `deadline`, as a socket takes a timeout: whole microseconds, of which 0 would be
/// none.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left.max(Duration::from_micros(1)))
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
