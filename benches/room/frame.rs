//! WebSocket frames as a client needs them (RFC 6455, section 5).

/// A whole frame from the server; what it carries is borrowed from the read buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Close(Option<u16>),
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Takes the first frame off the bytes, or nothing if it is not whole yet.
///
/// A message is one frame, so a fragment is as wrong as a frame that no server may send.
pub fn take<'a>(bytes: &mut &'a [u8]) -> Result<Option<Frame<'a>>, String> {
    let &[first, length, ..] = *bytes else {
        return Ok(None);
    };
    let (head, length) = match length {
        126 => match bytes.get(2..4) {
            Some(l) => (4, usize::from(u16::from_be_bytes([l[0], l[1]]))),
            None => return Ok(None),
        },
        127.. => return Err(format!("a frame is masked or longer than 64 KiB ({length})")),
        length => (2, usize::from(length)),
    };
    let Some(payload) = bytes.get(head..head + length) else {
        return Ok(None);
    };
    let frame = match first ^ FINAL {
        TEXT => Frame::Text(payload),
        PING => Frame::Ping(payload),
        CLOSE => Frame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
        _ => return Err(format!("a frame begins with {first:#04x}: no whole text")),
    };
    *bytes = &bytes[head + length..];
    Ok(Some(frame))
}

pub fn text(payload: &[u8]) -> Vec<u8> {
    masked(TEXT, payload)
}

pub fn pong(payload: &[u8]) -> Vec<u8> {
    masked(PONG, payload)
}

/// "Going away": what a browser says when its page is closed.
pub fn close() -> Vec<u8> {
    masked(CLOSE, &1001_u16.to_be_bytes())
}

/// A text frame as a server sends it.
pub fn from_server(payload: &[u8]) -> Vec<u8> {
    let mut frame = head(TEXT, payload.len(), 0);
    frame.extend(payload);
    frame
}

fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    // A mask protects proxies from what browsers let strangers send. Here any will do, except
    // zero, which might save the server the work of undoing it.
    const MASK: [u8; 4] = [0x5A, 0xC3, 0x96, 0x0F];
    let mut frame = head(opcode, payload.len(), MASKED);
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

fn head(opcode: u8, length: usize, masked: u8) -> Vec<u8> {
    let mut head = Vec::with_capacity(length + 8);
    head.push(FINAL | opcode);
    match u16::try_from(length).expect("the benchmark's messages are shorter than 64 KiB") {
        short @ ..126 => head.push(masked | short as u8),
        long => {
            head.push(masked | 126);
            head.extend(long.to_be_bytes());
        }
    }
    head
}
