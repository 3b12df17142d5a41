use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use roomd::{Config, Server, ServerError, Stopper};
use rustix::net::{AddressFamily, RecvFlags, SocketType, sockopt};

/// How long anything may take that is expected. Far more than it needs, since the machine may be
/// busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(20);

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

    /// Sends `request` and gives the whole response.
    #[track_caller]
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        let mut peer = self.connect();
        peer.send(request);
        peer.response()
    }

    /// A client of the room.
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

    /// A client of the echo endpoint.
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

/// Names what runs this build where it is for another processor than this machine's (`make
/// test-arm`): the kernel would not start such a program by itself.
const EMULATOR: &str = "ROOMD_TEST_EMULATOR";

/// A program of this build, started by `words`, which come first.
pub fn started_by(words: &[&str], program: impl AsRef<OsStr>) -> Command {
    let emulator = env::var_os(EMULATOR);
    let mut words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    words.extend(emulator.as_deref());
    words.push(program.as_ref());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// Tries until `attempt` gives something: for what follows soon, but of which no message tells.
#[track_caller]
pub fn eventually<T>(awaited: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(Instant::now() < deadline, "waited for {awaited}");
        thread::yield_now();
    }
}

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

    /// Ends the connection with a reset.
    pub fn reset(self) {
        sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("no linger");
    }

    /// Ends the connection also for a twin, even while that is sending.
    pub fn hang_up(&self) {
        // It fails when the server has ended it before.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Says that nothing more is sent.
    #[track_caller]
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a connection");
    }

    /// Asks for a WebSocket.
    #[track_caller]
    pub fn upgrade(mut self, path: &str) -> Client {
        self.send(get(path, UPGRADE));
        self.upgraded()
    }

    /// The client that this is when the handshake that was sent is answered well.
    #[track_caller]
    pub fn upgraded(mut self) -> Client {
        let head = self.head(deadline());
        assert!(head.starts_with("HTTP/1.1 101 "), "no WebSocket: {head}");
        assert_eq!(field(&head, "Sec-WebSocket-Accept"), Some(ACCEPT), "{head}");
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
    fn head_begins_with(&mut self, start: &str) -> bool {
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

/// A whole response.
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

/// A frame from the server, which does not mask.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub first: u8,
    pub payload: Vec<u8>,
}

/// The first bytes of whole messages.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Frame { first, payload } = self;
        write!(f, "frame {first:#x} of {} bytes {:?}", payload.len(), lossy(payload))
    }
}

impl Frame {
    pub fn text(text: &str) -> Self {
        Frame { first: TEXT, payload: text.into() }
    }

    /// The code of a close frame.
    #[track_caller]
    pub fn close_code(&self) -> u16 {
        let Frame { first: CLOSE, payload } = self else { panic!("no close frame: {self:?}") };
        let [hi, lo, reason @ ..] = payload.as_slice() else { panic!("no close code: {self:?}") };
        assert!(std::str::from_utf8(reason).is_ok(), "the reason is not text: {self:?}");
        u16::from_be_bytes([*hi, *lo])
    }
}

/// A frame as clients send them: `first` is FIN, the reserved bits and the opcode.
pub fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let payload = payload.as_ref();
    let mut out = header(first, payload.len());
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// The header of a masked frame, without the mask.
pub fn header(first: u8, len: usize) -> Vec<u8> {
    huge_header(first, len as u64)
}

/// The same with a length that need not fit this processor's memory.
pub fn huge_header(first: u8, len: u64) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    let mut out = vec![first];
    match len {
        0..126 => out.push(MASKED | len as u8),
        126..65_536 => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out
}

/// A frame that no client may send: it is not masked.
pub const UNMASKED: &[u8] = b"\x81\x02hi";

/// A close frame from a client.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// A WebSocket client.
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
    pub fn is_closed_with(&mut self, code: u16) {
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
            if let Some((frame, len)) = read_frame(&self.peer.received) {
                self.peer.received.drain(..len);
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

/// The frame at the start of `bytes` and its length, if it is complete.
#[track_caller]
fn read_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    assert!(second < 0x80, "a server does not mask");
    let extended = match second {
        127 => 8,
        126 => 2,
        _ => 0,
    };
    let len = match extended {
        0 => usize::from(second),
        _ => rest.get(..extended)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
    };
    assert_eq!(header(first, len).len(), 2 + extended, "a length of {len} is told in few bytes");
    let payload = rest.get(extended..extended + len)?;
    Some((Frame { first, payload: payload.into() }, 2 + extended + len))
}

/// What the room hears when client `id` says `text`.
pub fn says(id: i64, text: &str) -> String {
    format!("Client #{id} says: {text}")
}

/// What the room hears when client `id` leaves.
pub fn left(id: i64) -> String {
    format!("Client #{id} left the chat")
}

/// A text of `len` bytes that begins with `n`, so that no two are alike.
pub fn numbered(n: usize, len: usize) -> String {
    let mut text = format!("{n} ");
    let _ = write!(text, "{}", "x".repeat(len.saturating_sub(text.len())));
    text
}
