//! The connection as tungstenite sees it: reads wait for the client, and no longer than its
//! deadlines, and for memory when a long message comes; writes gather, and leave through the
//! client's outbox.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;

use crate::client::permits::{Claimant, Permit, Permits};
use crate::client::reader::{LongMessage, Reader};
use crate::client::socket::Socket;
use crate::config::{ANSWER_BUFFER, LONG_MESSAGE, Limits};
use crate::net::conn::Conn;
use crate::net::slots::Closable;
use crate::outbox::Outbox;
use crate::rate::Pace;
use crate::wire;

/// What a session needs of its client's connection, beside reading: answers to what came together
/// leave together, in order, before the thread waits for the client.
pub trait Answer: Read + Write {
    /// Adds an answer: `write` appends whole frames. What it returns is returned.
    fn answer<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T;
    /// The caller has let go of the message that it had last. True if that was a long one, of
    /// which whoever read it should keep no memory; nothing behind it has been read.
    fn end_message(&mut self) -> bool;
    /// The answers that have not been sent. They are the caller's now.
    fn take_answers(&mut self) -> Vec<u8>;
    /// The code of the close frame that the client has sent.
    fn close_code(&self) -> Option<u16>;
    /// Waits. False if the client is gone meanwhile.
    fn wait(&mut self, time: Duration) -> bool;
    /// Calls `wait`, which may take long, and is not the client's fault. What it is given says whether
    /// the client is still there.
    fn while_waiting<T>(&mut self, wait: impl FnOnce(&mut dyn FnMut() -> bool) -> T) -> T;
}

/// A client's connection.
pub struct Stream {
    outbox: Arc<Outbox<Socket>>,
    reader: Reader,
    /// Of frames that do not end their message. The session counts messages.
    fragments: Option<Pace>,
    permits: Permits,
    /// Held while a long message comes in.
    permit: Option<Permit>,
    /// A long message has come to its end before.
    has_finished_long: bool,
    /// Whole frames, sent before the thread waits for the client: answers to what came together
    /// leave together.
    answers: Vec<u8>,
    /// How many of them are echoes.
    echoes: u32,
    ping_interval: Duration,
    ping_timeout: Duration,
    /// A ping is under way; how many bytes the client had taken late at the time.
    pinged: Option<u64>,
    close_timeout: Duration,
    /// When the client must have said hello, if it has to and has not.
    hello_by: Option<Instant>,
    /// The client was seen to have closed its side, since when it may be waited for.
    half_closed: Option<Instant>,
}

/// A client whose long message comes in.
struct Reading(Arc<Outbox<Socket>>);

impl Closable for Reading {
    fn stop(self: Arc<Self>) {
        self.0.transport().conn.stop_reading();
    }

    fn cut(&self) {
        self.0.cut();
    }
}

impl Stream {
    /// A connection with the `limits`' ping interval and timeout, from which some bytes have been
    /// `received`. Its frames have up to `longest` bytes.
    pub fn new(
        outbox: Arc<Outbox<Socket>>,
        received: Vec<u8>,
        limits: &Limits,
        longest: usize,
        permits: Permits,
    ) -> Self {
        let Limits { ping_interval, ping_timeout, close_timeout, .. } = *limits;
        let fragments = outbox.transport().conn.pace(limits.rate);
        let stream = Stream {
            outbox,
            reader: Reader::new(&received, LONG_MESSAGE, longest),
            fragments,
            permits,
            permit: None,
            has_finished_long: false,
            answers: Vec::new(),
            echoes: 0,
            ping_interval,
            ping_timeout,
            pinged: None,
            close_timeout,
            hello_by: None,
            half_closed: None,
        };
        stream.set_read_timeout(ping_interval);
        stream
    }

    /// The client has to say hello within this time, or reading fails.
    pub fn expect_hello(&mut self, time: Duration) {
        self.hello_by = Some(Instant::now() + time);
    }

    /// The client has said hello.
    pub fn hello_came(&mut self) {
        self.hello_by = None;
        self.set_read_timeout(self.ping_interval);
    }

    /// Adds an answer that is no echo.
    pub fn reply(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.answers);
    }

    /// Fails once the client should have said hello.
    fn await_hello(&self) -> io::Result<()> {
        let Some(by) = self.hello_by else { return Ok(()) };
        let left = by.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.set_read_timeout(left.min(self.ping_interval));
        Ok(())
    }

    fn set_read_timeout(&self, time: Duration) {
        // A socket that is gone says so when it is read.
        let _ = self.outbox.transport().conn.stream.set_read_timeout(Some(time));
    }

    /// Reads, waiting for the client no longer than it may be silent, and for memory when a long message
    /// comes.
    fn read_some(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            self.obtain_permit();
            match self.reader.take(bytes) {
                0 => {}
                taken => return Ok(taken),
            }
            if let Some(read) = self.read_more(bytes)? {
                return Ok(read);
            }
        }
    }

    /// Waits until the client sends something, and not longer than it may be silent. None: that is
    /// nothing to hand out.
    fn read_more(&mut self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        self.send_answers();
        loop {
            self.await_hello()?;
            let mut source = Incoming {
                conn: &self.outbox.transport().conn,
                pinged: &mut self.pinged,
                ping_interval: self.ping_interval,
            };
            match self.reader.read(&mut source, bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.hello_by.is_none() {
                        self.was_silent()?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// A client that sends too many fragments is not read from for a while.
    fn keep_pace(&mut self) -> io::Result<()> {
        let fragments = self.reader.take_fragments();
        let Some(pace) = self.fragments.as_mut().filter(|_| fragments > 0) else { return Ok(()) };
        let time = pace.count_together(fragments);
        if time.is_zero() || self.wait(time) {
            Ok(())
        } else {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }

    /// Waits for a permit when a long message is at hand, or as much of it as can be without one.
    fn obtain_permit(&mut self) {
        let Some(LongMessage { missing, ends }) = self.reader.long_message() else { return };
        self.send_answers();
        let conn = &self.outbox.transport().conn;
        let in_kernel = ioctl_fionread(&conn.stream).unwrap_or(0);
        let claimant = Claimant {
            address: conn.slot.address(),
            is_at_hand: ends && in_kernel >= missing,
            has_finished: self.has_finished_long,
            occupant: Arc::new(Reading(self.outbox.clone())),
        };
        self.permit = Some(self.permits.permit(claimant));
        self.reader.admit();
    }

    /// The client was silent for as long as it may be: pings it, or gives it up.
    fn was_silent(&mut self) -> io::Result<()> {
        let caught_up = self.outbox.late_bytes();
        match self.pinged {
            None => {
                self.outbox.send(wire::PING);
                self.outbox.transport().conn.stream.set_read_timeout(Some(self.ping_timeout))?;
            }
            // The ping waits behind other bytes, but those are being taken.
            Some(before) if before < caught_up => {}
            Some(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        self.pinged = Some(caught_up);
        Ok(())
    }

    /// Whether the memory for its long message is needed elsewhere.
    fn is_revoked(&self) -> bool {
        self.permit.as_ref().is_some_and(Permit::is_revoked)
    }

    /// Sends the answers. As long as the client does not take them, nothing more is read from it.
    fn send_answers(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        self.count_answers();
        self.outbox.send(&self.answers);
        self.answers.clear();
        self.answers.shrink_to(ANSWER_BUFFER / 4);
        self.wait_until_taken();
    }

    /// Waits until the client has taken what is for it alone.
    pub fn wait_until_taken(&self) {
        if !self.outbox.flush_queue() {
            return;
        }
        if let Some(permit) = &self.permit {
            permit.blame();
        }
        // This ends: the flusher sees to it that the client catches up or is cut.
        while self.outbox.flush_queue() && !self.is_revoked() {
            let mut fds = [PollFd::new(&self.outbox.transport().conn.stream, PollFlags::OUT)];
            let _ = poll(&mut fds, Timespec::try_from(TAKING).ok().as_ref());
        }
    }

    fn send_if_many(&mut self) {
        if self.answers.len() >= ANSWER_BUFFER {
            self.send_answers();
        }
    }

    /// Counts the answers, which are about to be sent: together, since others count at the same
    /// place.
    fn count_answers(&mut self) {
        let echoes = std::mem::take(&mut self.echoes);
        self.outbox.transport().conn.metrics.answered(echoes, self.answers.len());
    }
}

/// The reading side of a connection: waits until its timeout, and counts. Any byte will do as the
/// answer to a ping.
struct Incoming<'a> {
    conn: &'a Conn,
    pinged: &'a mut Option<u64>,
    ping_interval: Duration,
}

impl Read for Incoming<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = (&self.conn.stream).read(bytes)?;
        self.conn.metrics.received(read);
        if self.pinged.take().is_some() {
            self.conn.stream.set_read_timeout(Some(self.ping_interval))?;
        }
        Ok(read)
    }
}

impl Answer for Stream {
    fn answer<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let before = self.answers.len();
        let result = write(&mut self.answers);
        self.echoes += u32::from(self.answers.len() > before);
        result
    }

    fn end_message(&mut self) -> bool {
        let was_long = self.reader.end_long_message();
        if was_long {
            // An echo of it takes as much memory until it is taken.
            self.send_answers();
            self.permit = None;
            self.has_finished_long = true;
        }
        self.send_if_many();
        was_long
    }

    fn take_answers(&mut self) -> Vec<u8> {
        self.count_answers();
        std::mem::take(&mut self.answers)
    }

    fn close_code(&self) -> Option<u16> {
        self.reader.close_code()
    }

    fn wait(&mut self, time: Duration) -> bool {
        self.send_answers();
        if let Some(permit) = &self.permit {
            permit.blame();
        }
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now()).min(STEADY);
            let (stream, half_closed) =
                (&self.outbox.transport().conn.stream, &mut self.half_closed);
            if !is_there(stream, half_closed, self.close_timeout, left) {
                return false;
            }
            if Instant::now() >= until {
                return true;
            }
        }
    }

    fn while_waiting<T>(&mut self, wait: impl FnOnce(&mut dyn FnMut() -> bool) -> T) -> T {
        self.send_answers();
        let _waiting = self.permit.as_ref().map(Permit::excuse);
        let (stream, half_closed) = (&self.outbox.transport().conn.stream, &mut self.half_closed);
        let close_timeout = self.close_timeout;
        wait(&mut || is_there(stream, half_closed, close_timeout, Duration::ZERO))
    }
}

/// How long to wait until it is seen again whether the memory of what the client takes is needed elsewhere.
const TAKING: Duration = Duration::from_millis(100);

/// How long to wait until it is seen again whether the client is still there.
const STEADY: Duration = Duration::from_millis(500);

/// Whether the client can still hear what becomes of what it has sent: it has not reset the connection,
/// nor closed its side longer ago than it may be waited for. Looks for up to `time`.
fn is_there(
    stream: &TcpStream,
    half_closed: &mut Option<Instant>,
    close_timeout: Duration,
    time: Duration,
) -> bool {
    // Without being asked, poll reports an error and a reset.
    let wanted = if half_closed.is_none() { PollFlags::RDHUP } else { PollFlags::empty() };
    let mut fds = [PollFd::new(stream, wanted)];
    let _ = poll(&mut fds, Timespec::try_from(time).ok().as_ref());
    let seen = fds[0].revents();
    if seen.contains(PollFlags::RDHUP) {
        *half_closed = Some(Instant::now());
    }
    !seen.intersects(PollFlags::ERR | PollFlags::HUP)
        && half_closed.is_none_or(|since| since.elapsed() < close_timeout)
}

impl Read for Stream {
    /// [`io::ErrorKind::TimedOut`] when the client does not answer a ping,
    /// [`io::ErrorKind::NotConnected`] when it has not said hello in time,
    /// [`io::ErrorKind::OutOfMemory`] when it took too long for a message whose memory others need.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.read_some(bytes);
        // It was stopped, and what looks like its end is that.
        if self.is_revoked() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let read = read?;
        if let Some(permit) = &self.permit {
            permit.heard(read);
        }
        self.keep_pace()?;
        Ok(read)
    }
}

impl Write for Stream {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        self.answers.extend_from_slice(frames);
        self.send_if_many();
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
