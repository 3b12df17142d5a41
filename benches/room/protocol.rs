//! The protocols of a room's clients: how each joins, speaks, and is told what was said.

use crate::frame::{self, Frame};
use crate::kit::frame::{TEXT, frame};
use crate::kit::peer::{ACCEPT, UPGRADE, get};
use crate::kit::roomd1::OFFER;

/// How a client hears the room, or what else it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// The tutorial's texts, in WebSocket frames.
    Tutorial,
    /// `roomd.1`: JSON objects, in WebSocket frames.
    Roomd1,
    /// A JSON object in each line.
    Json,
    /// Server-sent events.
    Sse,
    /// No client of a room: one request, and its answer.
    Request,
}

/// What has come from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A message, with what the protocol puts around it in a text.
    Text(&'a [u8]),
    /// The answer to having joined.
    Hello,
    /// Who comes and goes, and how many there are.
    Notice,
    Ping(&'a [u8]),
    Close(Option<u16>),
}

/// The longest object that is looked for before its kind is known.
const MESSAGE: &[u8] = b"{\"t\":\"msg\",";
const HELLO: &[u8] = b"{\"t\":\"hello\",";

impl Protocol {
    /// The request head for a path.
    pub fn request(self, path: &str) -> String {
        match self {
            Protocol::Tutorial => get(path, UPGRADE),
            Protocol::Roomd1 => get(path, &format!("{UPGRADE}{OFFER}")),
            Protocol::Json | Protocol::Sse | Protocol::Request => get(path, ""),
        }
    }

    /// Whether this head answers it well.
    pub fn is_answered_by(self, head: &str) -> bool {
        match self {
            Protocol::Tutorial | Protocol::Roomd1 => {
                head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT)
            }
            Protocol::Json | Protocol::Sse | Protocol::Request => head.starts_with("HTTP/1.1 200 "),
        }
    }

    /// What a client says behind a good answer.
    pub fn greeting(self) -> Option<Vec<u8>> {
        let hello = br#"{"t":"hello","history":0,"who":false}"#;
        (self == Protocol::Roomd1).then(|| frame(TEXT, hello))
    }

    /// Whether the server says hello before it says anything else.
    pub fn has_hello(self) -> bool {
        matches!(self, Protocol::Roomd1 | Protocol::Json | Protocol::Sse)
    }

    /// A text, as a client says it. It needs no escapes.
    pub fn says(self, text: &[u8]) -> Vec<u8> {
        match self {
            Protocol::Roomd1 => frame(TEXT, [br#"{"t":"msg","text":""#, text, br#""}"#].concat()),
            _ => frame::text(text),
        }
    }

    /// Takes what came first off the bytes, or nothing if it is not whole yet. `usual` is the length of what
    /// came before, where the end is looked for first: that is cheap, and if it is wrong a message is missing.
    pub fn take<'a>(
        self,
        bytes: &mut &'a [u8],
        usual: &mut usize,
    ) -> Result<Option<Heard<'a>>, String> {
        match self {
            Protocol::Tutorial | Protocol::Roomd1 => match frame::take(bytes)? {
                Some(Frame::Text(text)) if self == Protocol::Roomd1 => object(text).map(Some),
                Some(Frame::Text(text)) => Ok(Some(Heard::Text(text))),
                Some(Frame::Ping(payload)) => Ok(Some(Heard::Ping(payload))),
                Some(Frame::Close(code)) => Ok(Some(Heard::Close(code))),
                None => Ok(None),
            },
            Protocol::Json => match whole(bytes, b"\n", usual) {
                Some(line) => object(line).map(Some),
                None => Ok(None),
            },
            Protocol::Sse => match whole(bytes, b"\n\n", usual) {
                Some(event) if event.starts_with(b"id: ") => {
                    let data = event.iter().position(|byte| *byte == b'\n').unwrap_or_default();
                    let data = event[data..].strip_prefix(b"\ndata: ");
                    object(data.ok_or_else(|| unknown(event))?).map(Some)
                }
                Some(event) if event.starts_with(b"retry: ") => Ok(Some(Heard::Hello)),
                Some(event) if event.starts_with(b"event: ") => Ok(Some(Heard::Notice)),
                Some(event) => Err(unknown(event)),
                None => Ok(None),
            },
            Protocol::Request => Ok(None),
        }
    }
}

/// Takes what ends with `end` off the bytes, without that.
fn whole<'a>(bytes: &mut &'a [u8], end: &[u8], usual: &mut usize) -> Option<&'a [u8]> {
    let is_end = |at: usize| bytes.get(at..at + end.len()) == Some(end);
    let at = if is_end(*usual) {
        *usual
    } else {
        bytes.windows(end.len()).position(|some| some == end)?
    };
    *usual = at;
    let (first, rest) = (&bytes[..at], &bytes[at + end.len()..]);
    *bytes = rest;
    Some(first)
}

fn object(object: &[u8]) -> Result<Heard<'_>, String> {
    match object {
        _ if object.starts_with(MESSAGE) => Ok(Heard::Text(object)),
        _ if object.starts_with(HELLO) => Ok(Heard::Hello),
        _ if object.starts_with(b"{\"t\":\"err\"") => Err(unknown(object)),
        _ if object.starts_with(b"{\"t\":") => Ok(Heard::Notice),
        _ => Err(unknown(object)),
    }
}

fn unknown(what: &[u8]) -> String {
    format!("this is no object: {:.200?}", String::from_utf8_lossy(what))
}
