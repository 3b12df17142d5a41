//! Clients that send what no library would, and look at each byte of the answer.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SocketType, sockopt};

use super::PATIENCE;
use super::frame::{self, Frame, PING, PONG, TEXT, close, frame};

/// The fields of a WebSocket handshake beside `Host`, with the example key of RFC 6455.
pub const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// What proves that the server has seen that key (RFC 6455 section 1.3).
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request head for `path` with these `fields` (whole lines) behind `Host`.
pub fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

/// One TCP connection to a server, as bytes.
#[derive(Debug)]
pub struct Peer {
    pub stream: TcpStream,
    /// What was received and not yet looked at.
    received: Vec<u8>,
}

impl Peer {
    /// Sends `request` and gives the whole response.
    #[track_caller]
    pub fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Response {
        let mut peer = Self::connect(address);
        peer.send(request);
        peer.response()
    }

    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a connection");
        Self::over(stream)
    }

    /// Connects with a small receive buffer, so that little of what the server sends is on the way.
    #[track_caller]
    pub fn narrow(address: SocketAddr) -> Self {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = rustix::net::socket(family, SocketType::STREAM, None).expect("a socket");
        // Only before connecting does it bound the window.
        sockopt::set_socket_recv_buffer_size(&socket, 4096).expect("a small buffer");
        rustix::net::connect(&socket, &address).expect("a connection");
        Self::over(TcpStream::from(socket))
    }

    /// Connects as from this address of the machine.
    #[track_caller]
    pub fn from_address(from: SocketAddr, address: SocketAddr) -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
        let socket = socket.expect("a socket");
        rustix::net::bind(&socket, &from).expect("an address of this machine");
        rustix::net::connect(&socket, &address).expect("a connection");
        Self::over(TcpStream::from(socket))
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("no delay");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Peer { stream, received: Vec::new() }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server takes bytes");
    }

    /// Sends each byte in a packet of its own.
    #[track_caller]
    pub fn drip(&mut self, bytes: impl AsRef<[u8]>) {
        bytes.as_ref().chunks(1).for_each(|byte| self.send(byte));
    }

    /// Another handle of the same connection, for a thread that only sends.
    pub fn twin(&self) -> Peer {
        Peer::over(self.stream.try_clone().expect("a descriptor"))
    }

    pub fn reset(self) {
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("no linger");
    }

    /// Ends the connection also for a twin, even while that is sending.
    pub fn hang_up(&self) {
        // It fails when the server has ended it before.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    #[track_caller]
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a connection");
    }

    #[track_caller]
    pub fn upgrade(mut self, path: &str) -> Client {
        self.send(get(path, UPGRADE));
        self.upgraded()
    }

    /// The client that this is when the handshake that was sent is answered well.
    #[track_caller]
    pub fn upgraded(self) -> Client {
        self.upgraded_to(None)
    }

    /// The same, where the answer selects this subprotocol, or none.
    #[track_caller]
    pub fn upgraded_to(mut self, protocol: Option<&str>) -> Client {
        let head = self.head(deadline());
        assert!(head.starts_with("HTTP/1.1 101 "), "no WebSocket: {head}");
        assert_eq!(field(&head, "Sec-WebSocket-Accept"), Some(ACCEPT), "{head}");
        assert_eq!(field(&head, "Sec-WebSocket-Protocol"), protocol, "{head}");
        Client { peer: self }
    }

    /// The same, or none if the answer is that there is no place.
    #[track_caller]
    pub fn upgraded_unless_full(mut self) -> Option<Client> {
        if self.head_begins_with("HTTP/1.1 503 ") { None } else { Some(self.upgraded()) }
    }

    /// Whether something has come, or the end.
    pub fn is_answered(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        rustix::net::recv(&self.stream, &mut [0; 1], flags).is_ok()
    }

    /// The response, after which the connection ends without a reset.
    #[track_caller]
    pub fn response(mut self) -> Response {
        let deadline = deadline();
        let head = self.head(deadline);
        while self.fill("the end of the response", deadline) {}
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Response { status: status.expect("a status"), head, body: self.received }
    }

    /// Waits for the end of the connection, before which nothing more comes.
    #[track_caller]
    pub fn ends(&mut self) {
        let more = self.fill("the end of the connection", deadline());
        assert!(!more, "instead of the end came {:?}", lossy(&self.received));
        assert_eq!(lossy(&self.received), "", "before the end");
    }

    /// Whether the response head, which is not taken, begins with this.
    #[track_caller]
    pub fn head_begins_with(&mut self, start: &str) -> bool {
        let deadline = deadline();
        while self.received.len() < start.len() {
            assert!(self.fill("a response", deadline), "the connection ended without a response");
        }
        self.received.starts_with(start.as_bytes())
    }

    #[track_caller]
    fn head(&mut self, deadline: Instant) -> String {
        loop {
            if let Some(at) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = self.received.drain(..at + 4).collect();
                return String::from_utf8(head).expect("a head is text");
            }
            assert!(
                self.fill("a response head", deadline),
                "the connection ended after {:?}",
                lossy(&self.received)
            );
        }
    }

    /// Receives something; false at the end of the stream.
    #[track_caller]
    fn fill(&mut self, awaited: &str, deadline: Instant) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.receive(&mut chunk, deadline) {
            Ok(read) => {
                self.received.extend_from_slice(&chunk[..read]);
                read > 0
            }
            Err(error) => {
                panic!("waited for {awaited}: {error}, after {:?}", lossy(&self.received))
            }
        }
    }

    /// The first frame of what was received, if it is complete.
    #[track_caller]
    fn taken(&mut self) -> Option<Frame> {
        let mut rest = &self.received[..];
        let taken = frame::take(&mut rest).unwrap_or_else(|error| panic!("{error}"));
        let frame = taken.map(|(first, payload)| Frame { first, payload: payload.into() });
        let len = self.received.len() - rest.len();
        self.received.drain(..len);
        frame
    }

    fn receive(&mut self, chunk: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(chunk) {
                Err(error) if is_passing(&error) => {}
                result => return result,
            }
        }
    }
}

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Whether a read is to be tried again. The deadline says whether for too long.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

/// The beginning of `bytes`, for a message.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned()
}

/// The value of a header field, which is there at most once.
#[track_caller]
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut values = head
        .lines()
        .filter_map(|line| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name)));
    let first = values.next();
    assert!(values.next().is_none(), "there are two {name} in {head}");
    first.map(|(_, value)| value.trim())
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// This is an answer with `status` to what does not fit: one clear line, of which this is a
    /// `part`.
    #[track_caller]
    pub fn refuses(&self, status: u16, part: &str) {
        let text = self.text();
        assert_eq!(self.status, status, "{}{text}", self.head);
        assert!(text.ends_with('\n') && text.lines().count() == 1, "not one line: {text:?}");
        assert!(text.contains(part), "{text:?} lacks {part:?}");
        assert_eq!(self.field("Content-Type"), Some("text/plain; charset=utf-8"));
        assert_eq!(self.field("Connection"), Some("close"), "{}", self.head);
        self.is_complete();
    }

    /// The body is as long as the head says.
    #[track_caller]
    pub fn is_complete(&self) {
        let len = self.body.len().to_string();
        assert_eq!(self.field("Content-Length"), Some(len.as_str()), "{}", self.head);
    }
}

#[derive(Debug)]
pub struct Client {
    pub peer: Peer,
}

impl Client {
    #[track_caller]
    pub fn say(&mut self, text: &str) {
        self.peer.send(frame(TEXT, text));
    }

    /// Sends bytes as they are, frames or not.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.peer.send(bytes);
    }

    /// The next frame, whatever it is.
    #[track_caller]
    pub fn next(&mut self, awaited: &str) -> Frame {
        self.frame(awaited, deadline())
    }

    /// The next frame that is no ping. Pings are answered.
    #[track_caller]
    pub fn message(&mut self, awaited: &str) -> Frame {
        let deadline = deadline();
        loop {
            match self.frame(awaited, deadline) {
                Frame { first: PING, payload } => self.send(frame(PONG, payload)),
                other => return other,
            }
        }
    }

    /// The next message is this text, in one frame.
    #[track_caller]
    pub fn hears(&mut self, text: &str) {
        let next = self.message(&format!("{:?}", lossy(text.as_bytes())));
        assert_eq!(next, Frame::text(text));
    }

    #[track_caller]
    pub fn hears_all(&mut self, texts: impl IntoIterator<Item = impl AsRef<str>>) {
        texts.into_iter().for_each(|text| self.hears(text.as_ref()));
    }

    /// Listens to whatever comes until it is this text.
    #[track_caller]
    pub fn hears_at_last(&mut self, text: &str) {
        let (deadline, awaited) = (deadline(), format!("{:?}", lossy(text.as_bytes())));
        while self.frame(&awaited, deadline) != Frame::text(text) {}
    }

    /// Says something and hears it next: nothing else was on the way.
    #[track_caller]
    pub fn says_and_hears(&mut self, id: i64, text: &str) {
        self.say(text);
        self.hears(&says(id, text));
    }

    /// The server closes with `code`, says nothing any more and ends the connection in peace.
    #[track_caller]
    pub fn is_closed_with(&mut self, code: u16) -> String {
        let (deadline, awaited) = (deadline(), format!("a close frame with {code}"));
        let next = loop {
            // Pings are not answered by one who is to be closed.
            match self.frame(&awaited, deadline) {
                Frame { first: PING, .. } => {}
                other => break other,
            }
        };
        assert_eq!(next.close_code(), code, "{next:?}");
        self.peer.ends();
        next.close_reason()
    }

    /// Leaves by a close handshake, after which the connection ends.
    #[track_caller]
    pub fn leave(mut self) {
        self.send(close(1000, ""));
        self.is_closed_with(1000);
    }

    #[track_caller]
    fn frame(&mut self, awaited: &str, deadline: Instant) -> Frame {
        loop {
            if let Some(frame) = self.peer.taken() {
                return frame;
            }
            assert!(
                self.peer.fill(awaited, deadline),
                "waited for {awaited}, but the connection ended after {:?}",
                lossy(&self.peer.received)
            );
        }
    }
}

pub fn says(id: i64, text: &str) -> String {
    format!("Client #{id} says: {text}")
}

pub fn left(id: i64) -> String {
    format!("Client #{id} left the chat")
}

/// A text of `len` bytes that begins with `n`, so that no two are alike.
pub fn numbered(n: usize, len: usize) -> String {
    let mut text = format!("{n} ");
    let _ = write!(text, "{}", "x".repeat(len.saturating_sub(text.len())));
    text
}
