//! A client of `roomd.1` whose connection may end at any time, which is no error.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

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
    received: Vec<u8>,
}

impl Link {
    /// A connection to `room` over which no `hello` was sent.
    pub fn open(address: SocketAddr, room: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(get(&format!("/{room}/ws"), &format!("{UPGRADE}{OFFER}")).as_bytes())?;
        let mut link = Link { stream, may_be_replaced: false, received: Vec::new() };
        loop {
            let head = link.received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(at) = head {
                assert!(link.received.starts_with(b"HTTP/1.1 101 "));
                link.received.drain(..at + 4);
                return Ok(link);
            }
            link.fill()?;
        }
    }

    pub fn send(&mut self, object: &Value) -> io::Result<()> {
        self.stream.write_all(&frame(TEXT, object.to_string()))
    }

    /// The next object, which is well formed, or why there is none.
    pub fn object(&mut self) -> io::Result<Value> {
        loop {
            let mut rest = &self.received[..];
            let Some((first, payload)) = take(&mut rest).expect("whole frames") else {
                self.fill()?;
                continue;
            };
            let payload = payload.to_vec();
            let len = self.received.len() - rest.len();
            self.received.drain(..len);
            match first {
                TEXT => {
                    let object = serde_json::from_slice(&payload).expect("JSON");
                    check(&object);
                    return Ok(object);
                }
                PING => self.stream.write_all(&frame(PONG, payload))?,
                CLOSE => {
                    // Going away, silent, slow: it may come back. Another code would be its own fault.
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    let is_good = [1001, 1011, 1012, 1013].contains(&code)
                        || self.may_be_replaced && code == 4409;
                    assert!(is_good, "closed with {code}");
                    return Err(ErrorKind::ConnectionAborted.into());
                }
                _ => panic!("an unexpected frame: {first:#x}"),
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.received.extend_from_slice(&chunk[..read]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                panic!("nothing comes for {PATIENCE:?}")
            }
            Err(error) => Err(error),
        }
    }
}
