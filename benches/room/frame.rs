//! The frames of the benchmark: a server that sends any other is at fault.

use crate::kit::frame::{self, CLOSE, PING, PONG, TEXT, frame};

/// A whole frame from the server; what it carries is borrowed from the read buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Close(Option<u16>),
}

/// Takes the first frame off the bytes, or nothing if it is not whole yet.
///
/// A message is one frame, so a fragment is as wrong as a frame that no server may send.
pub fn take<'a>(bytes: &mut &'a [u8]) -> Result<Option<Frame<'a>>, String> {
    let Some((first, payload)) = frame::take(bytes)? else { return Ok(None) };
    match first {
        TEXT => Ok(Some(Frame::Text(payload))),
        PING => Ok(Some(Frame::Ping(payload))),
        CLOSE => {
            let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            Ok(Some(Frame::Close(code)))
        }
        _ => Err(format!("a frame begins with {first:#04x}: no whole text")),
    }
}

pub fn text(payload: &[u8]) -> Vec<u8> {
    frame(TEXT, payload)
}

pub fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload)
}

/// "Going away": what a browser says when its page is closed.
pub fn close() -> Vec<u8> {
    frame::close(1001, "")
}
