//! The texts of the tutorial's protocol.

use crate::wire::decimal::Decimal;
use crate::wire::text_frame;

const CLIENT: &[u8] = b"Client #";

/// Appends the frame by which everybody in the room hears `text` from client `id`.
pub fn says(out: &mut Vec<u8>, id: i64, text: &str) {
    text_frame(out, [CLIENT, Decimal::signed(id).as_bytes(), b" says: ", text.as_bytes()]);
}

/// Appends the frame by which everybody in the room hears that client `id` is gone.
pub fn left(out: &mut Vec<u8>, id: i64) {
    text_frame(out, [CLIENT, Decimal::signed(id).as_bytes(), b" left the chat"]);
}

/// Appends the frame that answers `text` on the echo endpoint.
pub fn echo(out: &mut Vec<u8>, text: &str) {
    text_frame(out, [b"Message text was: ", text.as_bytes()]);
}
