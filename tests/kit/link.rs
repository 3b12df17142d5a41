//! A client of a WebSocket whose connection may end at any time, which is no error.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;
use super::frame::{CLOSE, PING, PONG, TEXT, frame, take};
use super::peer::{UPGRADE, get};
use super::roomd1::{OFFER, check};

#[derive(Debug)]
pub struct Link {
    pub stream: TcpStream,
    /// What an older connection had sent may arrive later elsewhere, its hello as well.
    pub may_be_replaced: bool,
    /// The code of the close frame, once that has come.
    pub closed: Option<u16>,
    received: Vec<u8>,
}

impl Link {
    /// A connection of `roomd.1` to `room` over which no `hello` was sent. One that is refused with 503 is an
    /// error of the kind `Other`.
    pub fn open(address: SocketAddr, room: &str) -> io::Result<Self> {
        let request = get(&format!("/{room}/ws"), &format!("{UPGRADE}{OFFER}"));
        let link = Self::by(address, &request, PATIENCE);
        link.inspect_err(|error| {
            let is_refused = error.kind() == ErrorKind::Other;
            assert!(!is_refused || error.to_string() == "HTTP/1.1 503", "refused: {error}");
        })
    }

    /// A WebSocket that this request opens. One that is refused is an error of the kind `Other`.
    pub fn by(address: SocketAddr, request: &str, patience: Duration) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.write_all(request.as_bytes())?;
        let mut link = Link { stream, may_be_replaced: false, closed: None, received: Vec::new() };
        let deadline = Instant::now() + patience;
        loop {
            let head = link.received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(at) = head {
                let status = String::from_utf8_lossy(&link.received[..at.min(12)]).into_owned();
                if status != "HTTP/1.1 101" {
                    return Err(io::Error::other(status));
                }
                link.received.drain(..at + 4);
                return Ok(link);
            }
            if !link.fill(deadline)? {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    pub fn send(&mut self, object: &Value) -> io::Result<()> {
        self.say(&object.to_string())
    }

    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(&frame(TEXT, text))
    }

    /// The next object, which is well formed, or why there is none.
    pub fn object(&mut self) -> io::Result<Value> {
        let object = self.object_within(PATIENCE)?;
        Ok(object.unwrap_or_else(|| panic!("nothing comes for {PATIENCE:?}")))
    }

    /// The same, if one comes within this time.
    pub fn object_within(&mut self, wait: Duration) -> io::Result<Option<Value>> {
        let text = self.text_within(wait)?;
        Ok(text.map(|text| {
            let object = serde_json::from_slice(&text).expect("JSON");
            check(&object);
            object
        }))
    }

    /// The next text, if one comes within this time.
    pub fn text_within(&mut self, wait: Duration) -> io::Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + wait;
        loop {
            let mut rest = &self.received[..];
            let Some((first, payload)) = take(&mut rest).expect("whole frames") else {
                if !self.fill(deadline)? {
                    return Ok(None);
                }
                continue;
            };
            let payload = payload.to_vec();
            let len = self.received.len() - rest.len();
            self.received.drain(..len);
            match first {
                TEXT => return Ok(Some(payload)),
                PING => self.stream.write_all(&frame(PONG, payload))?,
                CLOSE => {
                    // Going away, silent, slow: it may come back. Another code would be its own fault.
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    let is_good = [1001, 1011, 1012, 1013].contains(&code)
                        || self.may_be_replaced && code == 4409;
                    assert!(is_good, "closed with {code}");
                    self.closed = Some(code);
                    return Err(ErrorKind::ConnectionAborted.into());
                }
                _ => panic!("an unexpected frame: {first:#x}"),
            }
        }
    }

    /// Receives something; false: nothing has come in time.
    fn fill(&mut self, deadline: Instant) -> io::Result<bool> {
        receive(&mut self.stream, &mut self.received, deadline)
    }
}

/// Receives something; false: nothing has come in time. The end of the stream is an error.
pub fn receive(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
    deadline: Instant,
) -> io::Result<bool> {
    let mut chunk = [0; 4096];
    let left = deadline.saturating_duration_since(Instant::now());
    stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
    match stream.read(&mut chunk) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(read) => {
            received.extend_from_slice(&chunk[..read]);
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Instant::now() < deadline),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(error),
    }
}
