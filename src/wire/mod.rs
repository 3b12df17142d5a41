//! What goes over a WebSocket: the texts of the contract, frames, close codes, client ids.
//!
//! Pure functions only. Reading frames is tungstenite's work; writing them is done here, because
//! the hub wants many whole frames in one buffer and each of them encoded once.

pub mod cursor;
pub mod decimal;
pub mod json;
pub mod roomd1;
pub mod stream;
pub mod tag;
pub mod tutorial;

use tungstenite::protocol::frame::coding::CloseCode;

use crate::reasons::CloseReason;

/// The longest frame header that a server sends (RFC 6455 section 5.2; it never masks).
pub const HEADER_MAX: usize = 10;

/// A ping with no payload (RFC 6455 section 5.5.2).
pub const PING: &[u8] = &[FINAL | 0x9, 0];

const FINAL: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;

/// Appends a frame with `text` as it is.
pub fn text(out: &mut Vec<u8>, text: &str) {
    text_frame(out, [text.as_bytes()]);
}

/// Appends a frame with binary `data`.
pub fn binary(out: &mut Vec<u8>, data: &[u8]) {
    header(out, BINARY, data.len());
    out.extend_from_slice(data);
}

/// Appends a frame with the text that `write` appends, which is UTF-8; nothing if that is nothing.
pub fn text_of(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    // Most texts need a header of two or four bytes; a longer one is moved once.
    out.extend_from_slice(&[0; SHORT_HEADER]);
    write(out);
    let text = start + SHORT_HEADER;
    let len = out.len() - text;
    if len == 0 {
        return out.truncate(start);
    }
    if len < 126 {
        out.copy_within(text.., start + 2);
        out.truncate(start + 2 + len);
        out[start + 1] = len as u8;
    } else if let Ok(len) = u16::try_from(len) {
        out[start + 1] = 126;
        out[start + 2..text].copy_from_slice(&len.to_be_bytes());
    } else {
        out.splice(text..text, [0; HEADER_MAX - SHORT_HEADER]);
        out[start + 1] = 127;
        out[start + 2..start + HEADER_MAX].copy_from_slice(&(len as u64).to_be_bytes());
    }
    out[start] = FINAL | TEXT;
}

/// Appends a frame with a text that consists of these `parts`.
fn text_frame<const N: usize>(out: &mut Vec<u8>, parts: [&[u8]; N]) {
    header(out, TEXT, parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// A close frame (RFC 6455 section 5.5.1). A control frame carries at most 125 bytes, so the
/// reason is cut to 123 of them, at a character boundary.
pub fn close(code: CloseCode, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = &reason[..end];
    let mut out = Vec::with_capacity(4 + reason.len());
    header(&mut out, CLOSE, 2 + reason.len());
    out.extend_from_slice(&u16::from(code).to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
    out
}

/// The length of the header of a frame of 126 to 65,535 bytes.
const SHORT_HEADER: usize = 4;

/// Appends the header of an unmasked, unfragmented frame.
fn header(out: &mut Vec<u8>, opcode: u8, len: usize) {
    out.reserve(HEADER_MAX + len);
    out.push(FINAL | opcode);
    if len < 126 {
        out.push(len as u8);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(126);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

/// The first frame boundary in `frames` that is not before `at`.
///
/// `frames` are whole frames as this module writes them. An outbox that has sent `at` bytes of
/// them may say something else only from this boundary on.
pub fn boundary(frames: &[u8], at: usize) -> usize {
    let mut end = 0;
    while end < at && end < frames.len() {
        end += frame_len(&frames[end..]);
    }
    end.min(frames.len())
}

fn frame_len(frame: &[u8]) -> usize {
    match frame {
        [_, 126, hi, lo, ..] => 4 + usize::from(u16::from_be_bytes([*hi, *lo])),
        [_, 127, len @ ..] if len.len() >= 8 => {
            let len = len[..8].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
            usize::try_from(len).map_or(usize::MAX, |len| len.saturating_add(10))
        }
        [_, len, ..] => 2 + usize::from(*len),
        _ => frame.len(),
    }
}

/// The client id that a path segment names, if it is a signed 64-bit integer.
pub fn client_id(segment: &str) -> Option<i64> {
    segment.parse().ok()
}

impl CloseReason {
    /// The close frame that says so.
    pub fn frame(self) -> Vec<u8> {
        let (code, words, _) = self.row();
        close(code, &words)
    }
}

#[cfg(any(test, fuzzing))]
pub mod fuzz_target;
#[cfg(test)]
mod tests {
    use super::tutorial::{echo, left, says};
    use super::*;
    use crate::config::FRAMING;
    use std::io::Cursor;
    use std::time::Duration;
    use tungstenite::Message;
    use tungstenite::protocol::{Role, WebSocket};

    /// What a client reads from `frames`, by tungstenite's own reading.
    fn read(frames: Vec<u8>) -> Vec<Message> {
        let mut client = WebSocket::from_raw_socket(Cursor::new(frames), Role::Client, None);
        std::iter::from_fn(|| client.read().ok()).collect()
    }

    #[test]
    fn texts_are_those_of_the_contract() {
        let mut out = Vec::new();
        says(&mut out, 7, "hello");
        says(&mut out, i64::MIN, "");
        left(&mut out, -3);
        echo(&mut out, " 你好\0 ");
        assert_eq!(
            read(out),
            [
                "Client #7 says: hello",
                "Client #-9223372036854775808 says: ",
                "Client #-3 left the chat",
                "Message text was:  你好\0 ",
            ]
            .map(Message::text)
        );
        let longest = "Client #-9223372036854775808 says: ".len();
        assert!(longest + HEADER_MAX <= FRAMING, "the queue of a client has no room for an echo");
    }

    #[test]
    fn lengths_around_the_header_sizes() {
        for len in [0, 1, 107, 108, 125, 126, 65_535, 65_536, 70_000] {
            let text = "x".repeat(len);
            let mut out = Vec::new();
            echo(&mut out, &text);
            assert_eq!(read(out), [Message::text(format!("Message text was: {text}"))]);
        }
    }

    #[test]
    fn a_frame_of_a_text_that_is_written_in_place() {
        for len in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let text = "é".repeat(len / 2) + &"x".repeat(len % 2);
            let mut out = vec![7; 3];
            text_of(&mut out, |out| out.extend_from_slice(text.as_bytes()));
            let expected: &[Message] = if len == 0 { &[] } else { &[Message::text(text)] };
            assert_eq!(read(out.split_off(3)), expected, "{len}");
            assert_eq!(out, [7; 3]);
        }
    }

    #[test]
    fn boundary_is_the_end_of_the_frame_that_was_begun() {
        let mut frames = Vec::new();
        let mut ends = vec![0];
        for len in [0, 5, 200, 70_000, 3] {
            echo(&mut frames, &"y".repeat(len));
            ends.push(frames.len());
        }
        let mut frames_begun = 0;
        for at in 0..=frames.len() {
            if at > ends[frames_begun] {
                frames_begun += 1;
            }
            assert_eq!(boundary(&frames, at), ends[frames_begun], "at {at}");
        }
    }

    #[test]
    fn a_close_frame_fits_a_control_frame() {
        let frame = close(CloseCode::Again, &"é".repeat(100));
        assert_eq!(frame.len(), 2 + 2 + 122);
        let Message::Close(Some(close)) = read(frame).remove(0) else { panic!("no close frame") };
        assert_eq!(u16::from(close.code), 1013);
        assert_eq!(close.reason.as_str(), "é".repeat(61));
    }

    #[test]
    fn farewells_have_the_codes_of_the_contract() {
        let code = |farewell: CloseReason| {
            let frame = farewell.frame();
            u16::from_be_bytes([frame[2], frame[3]])
        };
        assert_eq!(code(CloseReason::Stopping), 1001);
        assert_eq!(code(CloseReason::Protocol("a fault")), 1002);
        assert_eq!(code(CloseReason::Binary), 1003);
        assert_eq!(code(CloseReason::NotUtf8), 1007);
        assert_eq!(code(CloseReason::TooLong(9)), 1009);
        assert_eq!(code(CloseReason::Silent(Duration::from_secs(10))), 1011);
        assert_eq!(code(CloseReason::TooSlow), 1013);
        assert_eq!(code(CloseReason::Unfinished), 1013);
    }

    #[test]
    fn client_ids_are_signed_64_bit_integers() {
        assert_eq!(client_id("7"), Some(7));
        assert_eq!(client_id("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(client_id("9223372036854775807"), Some(i64::MAX));
        for bad in ["", "x", "7.0", " 7", "7 ", "9223372036854775808", "0x7", "٧", "--7"] {
            assert_eq!(client_id(bad), None, "{bad:?}");
        }
    }
}
