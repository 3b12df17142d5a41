//! Somebody in the room, and what they heard.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

use crate::kit::frame::{TEXT, frame};
use crate::program::PATIENCE;

/// What ends a round.
const CURTAIN: &str = "curtain";

/// What stands for a close frame without a code (RFC 6455 section 7.1.5).
const NO_CODE: u16 = 1005;

/// No two guests have the same id, so that no two lines are the same. They are negative, because those of
/// named clients are positive.
static LAST_ID: AtomicI64 = AtomicI64::new(0);

pub struct Guest {
    pub socket: WebSocket<TcpStream>,
    pub id: i64,
    /// Messages that it said.
    pub said: usize,
    /// A mark of each line that it heard.
    pub lines: Vec<u64>,
    /// Lines that are its own messages.
    pub heard_own: usize,
    /// Lines by which others left.
    pub departures: usize,
    pub heard_curtain: bool,
    pub closed: Option<u16>,
    pub is_over: bool,
    /// It ended before the guest was done. Only one who did not keep up may see that.
    pub was_cut_short: bool,
    /// The messages of others, in the order that was heard: who, and the number in the message.
    pub story: Vec<(i64, Option<usize>)>,
}

impl Guest {
    pub fn join(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        Self::join_through(stream, address)
    }

    /// One whose system takes little while it does not read.
    pub fn join_narrow(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        sockopt::set_socket_recv_buffer_size(&stream, 4096).ok()?;
        Self::join_through(stream, address)
    }

    fn join_through(stream: TcpStream, address: SocketAddr) -> Option<Self> {
        let id = LAST_ID.fetch_sub(1, Ordering::Relaxed) - 1;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let config = Some(WebSocketConfig::default().read_buffer_size(16 * 1024));
        let url = format!("ws://{address}/ws/{id}");
        let (socket, _) = tungstenite::client::client_with_config(url, stream, config).ok()?;
        Some(Guest {
            socket,
            id,
            said: 0,
            lines: Vec::new(),
            heard_own: 0,
            departures: 0,
            heard_curtain: false,
            closed: None,
            is_over: false,
            was_cut_short: false,
            story: Vec::new(),
        })
    }

    /// Says a message of about `len` bytes, which has its number in it. Returns whether it could.
    pub fn say(&mut self, len: usize) -> bool {
        let text = format!("{} {}", self.said, "x".repeat(len));
        let frame = frame(TEXT, text);
        let is_sent = self.send_raw(&frame);
        // Of a message that was sent in part nobody hears.
        self.said += usize::from(is_sent);
        is_sent
    }

    /// Says such a message in four fragments. Returns whether it could.
    pub fn say_in_pieces(&mut self, len: usize) -> bool {
        let text = format!("{} {}", self.said, "x".repeat(len));
        let quarter = text.len().div_ceil(4);
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(quarter).collect();
        let last = pieces.len() - 1;
        let frames = pieces.iter().enumerate().map(|(n, piece)| {
            let opcode = if n == 0 { TEXT & 0x0f } else { 0 };
            frame(opcode | if n == last { 0x80 } else { 0 }, piece)
        });
        let is_sent = self.send_raw(&frames.collect::<Vec<_>>().concat());
        self.said += usize::from(is_sent);
        is_sent
    }

    pub fn say_curtain(&mut self) {
        self.send_raw(&frame(TEXT, CURTAIN));
    }

    /// Writes bytes past the WebSocket.
    pub fn send_raw(&mut self, bytes: &[u8]) -> bool {
        self.socket.get_mut().write_all(bytes).is_ok()
    }

    /// Listens until something is so, the connection has ended, or patience has. Returns whether
    /// it is so.
    pub fn hear(&mut self, patience: Duration, is_so: impl Fn(&Guest) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        while !is_so(self) && !self.is_over {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let _ = self.socket.get_mut().set_read_timeout(Some(left));
            self.hear_one();
        }
        is_so(self)
    }

    fn hear_one(&mut self) {
        match self.socket.read() {
            Ok(Message::Text(line)) => self.take(&line),
            Ok(Message::Close(close)) => {
                self.closed = Some(close.map_or(NO_CODE, |close| close.code.into()));
            }
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::Io(_)) => {
                self.is_over = true;
            }
            Err(tungstenite::Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => self.is_over = true,
            Err(error) => panic!("client {} cannot read what it is sent: {error}", self.id),
        }
    }

    fn take(&mut self, line: &str) {
        let rest = line.strip_prefix("Client #").unwrap_or_else(|| panic!("{line}"));
        let (id, rest) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        let id: i64 = id.parse().unwrap_or_else(|_| panic!("{line}"));
        let number = rest.strip_prefix("says: ");
        if number == Some(CURTAIN) {
            self.heard_curtain = true;
            return;
        }
        if id > 0 {
            // A named client, which checks for itself what it hears and says.
            return;
        }
        self.departures += usize::from(number.is_none());
        self.heard_own += usize::from(number.is_some() && id == self.id);
        let number = number.map(|text| {
            text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{line}"))
        });
        assert!(number.is_some() || rest == "left the chat", "{line}");
        let mut mark = DefaultHasher::new();
        (id, number, line.len()).hash(&mut mark);
        self.lines.push(mark.finish());
        self.story.push((id, number));
    }

    /// Hears the rest of what it said itself.
    pub fn hear_own(&mut self) -> bool {
        let said = self.said;
        self.hear(PATIENCE, |guest| guest.heard_own == said)
    }

    pub fn hear_to_the_end(&mut self) {
        self.hear(PATIENCE, |guest| guest.is_over);
        assert!(self.is_over, "client {} is not let go", self.id);
    }

    pub fn leave_politely(&mut self) {
        let _ = self.socket.close(None);
        self.hear_to_the_end();
    }

    pub fn reset(&self) {
        let _ = sockopt::set_socket_linger(self.socket.get_ref(), Some(Duration::ZERO));
    }
}
