//! What a program hears of a room over HTTP: the objects of `roomd.1` as lines of JSON or as server-sent
//! events, and messages as lines of text.
//!
//! The objects come from the functions that write them for WebSockets; this adds what goes around them.

use std::fmt::Display;
use std::io::Write;

/// How objects follow each other in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `name: text`, one line for each message, and nothing else.
    Text,
    /// One JSON object in each line (NDJSON).
    Json,
    /// Server-sent events, as the HTML standard defines them (section 9.2).
    Sse,
}

/// How soon an EventSource comes again when its connection has ended.
const RETRY: &str = "retry: 2000\n";

/// What an EventSource gets in place of 503, after which it would never come again.
pub const FULL: &[u8] = b"retry: 15000\nevent: full\ndata: {}\n\n";

impl Format {
    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; charset=utf-8",
            Format::Json => "application/x-ndjson",
            Format::Sse => "text/event-stream",
        }
    }

    /// Appends the first object, which `write` writes; its place is `cursor`.
    pub fn hello(self, out: &mut Vec<u8>, cursor: impl Display, write: impl FnOnce(&mut Vec<u8>)) {
        match self {
            Format::Text => {}
            Format::Json => line(out, write),
            Format::Sse => {
                out.extend_from_slice(RETRY.as_bytes());
                event(out, Some("hello"), Some(&cursor), write);
            }
        }
    }

    /// Appends an object that is no message and that `write` writes. `name` is its type.
    pub fn notice(self, out: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        match self {
            Format::Text => {}
            Format::Json => line(out, write),
            Format::Sse => event(out, Some(name), None, write),
        }
    }

    /// Appends a message that ends at `cursor`: `write` writes its object, and `name` said `text`.
    pub fn message(
        self,
        out: &mut Vec<u8>,
        cursor: impl Display,
        (name, text): (impl Display, &str),
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        match self {
            Format::Text => said(out, name, text),
            Format::Json => line(out, write),
            Format::Sse => event(out, None, Some(&cursor), write),
        }
    }

    /// What is sent after some time of silence, so that whoever waits can tell it from a lost connection.
    /// Nothing shows in a file of text.
    pub fn ping(self) -> &'static [u8] {
        match self {
            Format::Text => b"",
            Format::Json => b"{\"t\":\"ping\"}\n",
            Format::Sse => b"event: ping\ndata: {}\n\n",
        }
    }
}

/// An object of JSON has no line end in it, whatever the texts are.
fn line(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    write(out);
    out.push(b'\n');
}

fn event(
    out: &mut Vec<u8>,
    name: Option<&str>,
    id: Option<&dyn Display>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    // Writing to memory does not fail.
    if let Some(name) = name {
        let _ = writeln!(out, "event: {name}");
    }
    if let Some(id) = id {
        let _ = writeln!(out, "id: {id}");
    }
    out.extend_from_slice(b"data: ");
    write(out);
    out.extend_from_slice(b"\n\n");
}

/// Appends `name: text` as one line that no terminal obeys.
fn said(out: &mut Vec<u8>, name: impl Display, text: &str) {
    let name = name.to_string().replace(':', "·");
    plain(out, &name);
    out.extend_from_slice(b": ");
    plain(out, text);
    out.push(b'\n');
}

/// Appends `text` with a space for each line end, and U+FFFD for each other control: those of C1 are as
/// good as an escape to some terminals.
fn plain(out: &mut Vec<u8>, text: &str) {
    let is_special = |character: char| character.is_control() || is_separator(character);
    let mut rest = text;
    while let Some(at) = rest.find(is_special) {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before.as_bytes());
        let mut characters = from.chars();
        let control = characters.next();
        rest = characters.as_str();
        match control {
            Some('\r') if rest.starts_with('\n') => {}
            Some('\r' | '\n') => out.push(b' '),
            Some(separator) if is_separator(separator) => out.push(b' '),
            _ => out.extend_from_slice("\u{fffd}".as_bytes()),
        }
    }
    out.extend_from_slice(rest.as_bytes());
}

/// Unicode's line and paragraph separators, at which Python's `splitlines` splits.
fn is_separator(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    fn object(out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"t\":\"x\"}");
    }

    #[test]
    fn lines_of_json() {
        let json = written(|out| {
            Format::Json.hello(out, "k3.4", object);
            Format::Json.message(out, "k3.5", ("ana", "hi"), object);
            Format::Json.notice(out, "join", object);
            out.extend_from_slice(Format::Json.ping());
        });
        assert_eq!(json, "{\"t\":\"x\"}\n{\"t\":\"x\"}\n{\"t\":\"x\"}\n{\"t\":\"ping\"}\n");
    }

    #[test]
    fn server_sent_events() {
        let sse = written(|out| {
            Format::Sse.hello(out, "k3.4", object);
            Format::Sse.message(out, "k3.5", ("ana", "hi"), object);
            Format::Sse.notice(out, "join", object);
            out.extend_from_slice(Format::Sse.ping());
        });
        let expected = "retry: 2000\nevent: hello\nid: k3.4\ndata: {\"t\":\"x\"}\n\n\
            id: k3.5\ndata: {\"t\":\"x\"}\n\n\
            event: join\ndata: {\"t\":\"x\"}\n\n\
            event: ping\ndata: {}\n\n";
        assert_eq!(sse, expected);
    }

    #[test]
    fn text_has_messages_alone() {
        let text = written(|out| {
            Format::Text.hello(out, "k3.4", object);
            Format::Text.message(out, "k3.5", ("ana", "hi"), object);
            Format::Text.notice(out, "join", object);
            out.extend_from_slice(Format::Text.ping());
        });
        assert_eq!(text, "ana: hi\n");
    }

    #[test]
    fn a_line_of_text_is_one_line_and_no_terminal_obeys_it() {
        let said = |name: &str, text: &str| written(|out| said(out, name, text));
        assert_eq!(said("a:b", "c: d"), "a·b: c: d\n");
        assert_eq!(said("a", "1\n2\r3\r\n4\u{2028}5\u{2029}6"), "a: 1 2 3 4 5 6\n");
        let escapes = said("a", "\u{1b}[31m\0\t\u{7f}\u{85}\u{9b}é\u{a0}");
        assert_eq!(escapes, "a: ?[31m?????é\u{a0}\n".replace('?', "\u{fffd}"));
        assert_eq!(said("\u{1b}", "\n"), "\u{fffd}:  \n");
        assert_eq!(said("a", ""), "a: \n");
        for code in (0..=0x2100).filter_map(char::from_u32) {
            let line = said("a", &code.to_string());
            let shown = line.strip_suffix('\n').expect("a line");
            assert!(!shown.contains(char::is_control), "{code:?}");
        }
    }
}
