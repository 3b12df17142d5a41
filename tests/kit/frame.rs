//! WebSocket frames (RFC 6455 section 5) as a client has them. Nothing here is of the server's code.

use super::peer::lossy;

/// The first bytes of whole messages: FIN and the opcode.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;

/// A frame that no client may send: it is not masked.
pub const UNMASKED: &[u8] = b"\x81\x02hi";

const MASKED: u8 = 0x80;

/// A frame as clients send them: `first` is FIN, the reserved bits and the opcode.
pub fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    // Not zero, which might save the server the work of undoing it.
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let payload = payload.as_ref();
    let mut out = Vec::with_capacity(payload.len() + 14);
    begin(&mut out, first, MASKED, payload.len() as u64);
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

pub fn close(code: u16, reason: &str) -> Vec<u8> {
    frame(CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// The header of a masked frame, without the mask.
pub fn header(first: u8, len: usize) -> Vec<u8> {
    huge_header(first, len as u64)
}

/// The same with a length that need not fit this processor's memory.
pub fn huge_header(first: u8, len: u64) -> Vec<u8> {
    let mut out = Vec::new();
    begin(&mut out, first, MASKED, len);
    out
}

/// A text frame as a server sends it.
pub fn from_server(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 10);
    begin(&mut out, TEXT, 0, text.len() as u64);
    out.extend_from_slice(text);
    out
}

fn begin(out: &mut Vec<u8>, first: u8, masked: u8, len: u64) {
    out.push(first);
    match len {
        0..126 => out.push(masked | len as u8),
        126..65_536 => {
            out.push(masked | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

/// Takes the first frame off what a server has sent: its first byte and its payload, or none if it
/// is not complete.
///
/// # Errors
///
/// The server has masked it, or written its length in more bytes than that needs.
pub fn take<'a>(bytes: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, String> {
    let Some((&[first, second], rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let (extended, least) = match second {
        MASKED.. => return Err(format!("a server does not mask: {first:#04x} {second:#04x}")),
        127 => (8, 65_536),
        126 => (2, 126),
        _ => (0, 0),
    };
    let Some((length, rest)) = rest.split_at_checked(extended) else { return Ok(None) };
    let len = match extended {
        0 => usize::from(second),
        _ => length.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
    };
    if len < least {
        return Err(format!("a length of {len} is told in few bytes, not in {extended}"));
    }
    let Some((payload, rest)) = rest.split_at_checked(len) else { return Ok(None) };
    *bytes = rest;
    Ok(Some((first, payload)))
}

/// A frame from the server.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub first: u8,
    pub payload: Vec<u8>,
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

    /// Why, of a close frame that says it.
    pub fn close_reason(&self) -> String {
        String::from_utf8_lossy(self.payload.get(2..).unwrap_or_default()).into_owned()
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Frame { first, payload } = self;
        write!(f, "frame {first:#x} of {} bytes {:?}", payload.len(), lossy(payload))
    }
}
