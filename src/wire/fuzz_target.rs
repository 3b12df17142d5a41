//! Frames of `roomd.1` from anybody: whatever they are, they are read or refused within bounds, and what is
//! read can be written and read again.

use crate::config::NAME_BYTES;
use crate::wire::cursor::{CURSOR_BYTES, Cursor};
use crate::wire::json;
use crate::wire::roomd1::{self, Command, Fault};

/// The longest text.
const MAX: usize = 1000;

/// Reads `bytes` as a frame from a client.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Command::parse(text, MAX) {
        Ok(Command::Msg { text, n }) => {
            assert!(text.len() <= MAX && n.is_none_or(|n| (1..=json::MAX_NUMBER).contains(&n)));
            written_again(&text);
        }
        Ok(Command::Hello(hello)) => {
            assert!(hello.history <= 1000);
            // What is longer is no name and no cursor, and is not kept.
            assert!(hello.name.is_none_or(|name| name.len() <= 4 * NAME_BYTES + 4));
            assert!(hello.since.as_ref().is_none_or(|since| since.len() <= CURSOR_BYTES + 4));
            if let Some(cursor) = hello.since.as_deref().and_then(Cursor::parse) {
                assert_eq!(Some(cursor.to_string()), hello.since, "a cursor has one form");
            }
        }
        Ok(Command::Name(name)) => {
            assert!(name.len() <= 4 * NAME_BYTES + 4);
            written_again(&name);
        }
        Ok(Command::Ping { x }) => {
            let x = x.unwrap_or_default();
            assert!(x.len() <= roomd1::command::PING_BYTES);
            written_again(&x);
        }
        Err(Fault { code, n, text }) => {
            let mut out = Vec::new();
            roomd1::err(&mut out, code, n, &text);
            assert!(out.len() < 200, "an error shows nothing of what was sent");
        }
    }
}

/// What is written of a text is JSON, and means the same but for control characters.
fn written_again(text: &str) {
    let mut out = b"{\"a\":".to_vec();
    json::write(&mut out, text);
    out.push(b'}');
    assert!(out.len() <= 3 * text.len() + 8);
    let out = String::from_utf8(out).expect("UTF-8");
    let replace = |char| if char < ' ' && !"\t\n\r".contains(char) { '\u{fffd}' } else { char };
    let expected: String = text.chars().map(replace).collect();
    let read = json::read(&out, |_, value| {
        assert!(matches!(value, json::Value::Text(text) if text.decode() == expected));
        Ok(())
    });
    assert_eq!(read, Ok(()));
}
