//! The objects of the protocol `roomd.1`: what a client sends is read by [`command`], what it is sent is
//! written here. Each is the text of one WebSocket frame.

pub mod command;

use std::io::Write;

pub use self::command::{Command, Fault, Hello};
use crate::wire::cursor::Cursor;
use crate::wire::decimal::Decimal;
use crate::wire::json;
use crate::wire::tag::{By, Tag};

/// The code of a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// This is malformed.
    Bad,
    /// There is no such type.
    Unknown,
    /// The text is too long.
    Long,
    /// The name cannot be had.
    Name,
}

/// The answer to a client's hello.
#[derive(Clone, Copy, Debug)]
pub struct Welcome<'a> {
    /// The room's name.
    pub room: &'a str,
    /// What people call it.
    pub title: Option<&'a str>,
    /// The position before what follows.
    pub cursor: Cursor,
    /// The number of the last message.
    pub head: u64,
    /// How many messages it missed, if that is known.
    pub missed: Option<u64>,
    /// Its tag.
    pub you: Tag,
    /// Its name.
    pub name: &'a str,
    /// The greatest number of its messages that was accepted, if the server remembers.
    pub n: Option<u64>,
    /// The server's clock, in milliseconds since 1970.
    pub now: u64,
    /// Bytes of the longest message.
    pub max: usize,
    /// How many are here.
    pub count: u64,
    /// Who is here, as [`members`] writes it.
    pub who: Option<&'a str>,
}

impl Code {
    /// As it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Bad => "bad",
            Code::Unknown => "unknown",
            Code::Long => "long",
            Code::Name => "name",
        }
    }
}

/// An object that is being written.
struct Object<'a>(&'a mut Vec<u8>);

impl<'a> Object<'a> {
    fn new(out: &'a mut Vec<u8>, t: &str) -> Self {
        out.extend_from_slice(b"{\"t\":\"");
        out.extend_from_slice(t.as_bytes());
        out.push(b'"');
        Object(out)
    }

    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
        self.0
    }

    fn text(&mut self, key: &str, text: &str) -> &mut Self {
        json::write(self.key(key), text);
        self
    }

    /// A value that needs no escapes.
    fn plain(&mut self, key: &str, value: impl std::fmt::Display) -> &mut Self {
        // Writing to memory does not fail.
        let _ = write!(self.key(key), "\"{value}\"");
        self
    }

    fn number(&mut self, key: &str, number: u64) -> &mut Self {
        self.key(key).extend_from_slice(Decimal::new(number).as_bytes());
        self
    }

    fn number_or_null(&mut self, key: &str, number: Option<u64>) -> &mut Self {
        match number {
            Some(number) => self.number(key, number),
            None => self.raw(key, "null"),
        }
    }

    fn number_if(&mut self, key: &str, number: Option<u64>) -> &mut Self {
        match number {
            Some(number) => self.number(key, number),
            None => self,
        }
    }

    fn raw(&mut self, key: &str, json: &str) -> &mut Self {
        self.key(key).extend_from_slice(json.as_bytes());
        self
    }

    fn by(&mut self, by: By, name: &str) -> &mut Self {
        quote(self.key("by"), by);
        match by {
            By::Tag(_) => json::write(self.key("name"), name),
            By::Number(_) => quote(self.key("name"), by),
        }
        self
    }

    fn end(&mut self) {
        self.0.push(b'}');
    }
}

/// Appends the answer to a hello.
pub fn hello(out: &mut Vec<u8>, welcome: &Welcome<'_>) {
    let Welcome { room, title, cursor, head, missed, you, name, n, now, max, count, who } =
        *welcome;
    let mut object = Object::new(out, "hello");
    object.text("room", room);
    if let Some(title) = title {
        object.text("title", title);
    }
    object.plain("cursor", cursor).number("head", head).number_or_null("missed", missed);
    object.plain("you", you).text("name", name).number_or_null("n", n).number("now", now);
    object.number("max", max as u64).number("count", count);
    if let Some(who) = who {
        object.raw("who", who);
    }
    object.end();
}

/// Appends a message.
pub fn msg(out: &mut Vec<u8>, seq: u64, at: u64, by: By, name: &str, text: &str, n: Option<u64>) {
    let mut object = Object::new(out, "msg");
    object.number("seq", seq).number("at", at).by(by, name).text("text", text);
    object.number_if("n", n).end();
}

/// Appends that somebody came, and how many are here now.
pub fn join(out: &mut Vec<u8>, by: By, name: &str, count: u64) {
    Object::new(out, "join").by(by, name).number("count", count).end();
}

/// Appends that somebody left, maybe without a goodbye, and how many are here now.
pub fn leave(out: &mut Vec<u8>, by: By, count: u64, is_lost: bool) {
    let mut object = Object::new(out, "leave");
    object.plain("by", by).number("count", count);
    if is_lost {
        object.raw("lost", "true");
    }
    object.end();
}

/// Appends how many are here.
pub fn count(out: &mut Vec<u8>, count: u64) {
    Object::new(out, "count").number("count", count).end();
}

/// Appends how many are here, and who, as [`members`] writes it.
pub fn who(out: &mut Vec<u8>, count: u64, list: &str) {
    Object::new(out, "who").number("count", count).raw("who", list).end();
}

/// Appends a list of members, each with its name.
pub fn members<'a>(out: &mut Vec<u8>, members: impl Iterator<Item = (By, &'a str)>) {
    out.push(b'[');
    for (n, (by, name)) in members.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.push(b'[');
        quote(out, by);
        out.push(b',');
        match by {
            By::Tag(_) => json::write(out, name),
            By::Number(_) => quote(out, by),
        }
        out.push(b']');
    }
    out.push(b']');
}

/// Appends an author as a JSON string. It needs no escapes.
fn quote(out: &mut Vec<u8>, by: By) {
    out.push(b'"');
    match by {
        By::Tag(tag) => out.extend_from_slice(tag.as_str().as_bytes()),
        By::Number(number) => {
            out.push(b'#');
            out.extend_from_slice(Decimal::signed(number).as_bytes());
        }
    }
    out.push(b'"');
}

/// Appends a room of the list of rooms.
pub fn listed(out: &mut Vec<u8>, name: &str, title: Option<&str>, count: u64) {
    out.extend_from_slice(b"{\"name\":");
    json::write(out, name);
    let mut object = Object(out);
    if let Some(title) = title {
        object.text("title", title);
    }
    object.number("count", count).end();
}

/// Appends that somebody has this name from now on.
pub fn name(out: &mut Vec<u8>, by: By, name: &str) {
    Object::new(out, "name").by(by, name).end();
}

/// Appends that the log has a new incarnation, which goes on at this cursor, and how many messages are missed
/// by that if anybody knows.
pub fn epoch(out: &mut Vec<u8>, cursor: &str, missed: Option<u64>) {
    Object::new(out, "epoch").plain("cursor", cursor).number_or_null("missed", missed).end();
}

/// Appends that the engine of the room cannot be reached (`is_away`), or can again.
pub fn reach(out: &mut Vec<u8>, is_away: bool) {
    Object::new(out, if is_away { "away" } else { "back" }).end();
}

/// Appends that a client's message was accepted, as this number of the room if it is told.
pub fn ack(out: &mut Vec<u8>, n: u64, seq: Option<u64>) {
    Object::new(out, "ack").number("n", n).number_if("seq", seq).end();
}

/// Appends what was wrong.
pub fn err(out: &mut Vec<u8>, code: Code, n: Option<u64>, text: &str) {
    let mut object = Object::new(out, "err");
    object.plain("code", code.as_str()).number_if("n", n).text("text", text).end();
}

/// Appends that message `n` of the client waits for the room's readers.
pub fn wait(out: &mut Vec<u8>, n: Option<u64>) {
    Object::new(out, "wait").number_if("n", n).end();
}

/// Appends the answer to a ping.
pub fn pong(out: &mut Vec<u8>, x: Option<&str>) {
    let mut object = Object::new(out, "pong");
    if let Some(x) = x {
        object.text("x", x);
    }
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::cursor::Epoch;

    #[test]
    fn what_clients_are_sent() {
        let by = By::Tag(Tag(*b"k3f9x2ab"));
        let cursor = Cursor { epoch: Epoch::from_random(35), seq: 4 };
        let mut list = Vec::new();
        members(&mut list, [(by, "Ana \"A\""), (By::Number(-7), "")].into_iter());
        let list = String::from_utf8(list).expect("text");
        assert_eq!(list, r##"[["k3f9x2ab","Ana \"A\""],["#-7","#-7"]]"##);
        let welcome = Welcome {
            room: "lab",
            title: None,
            cursor,
            head: 9,
            missed: Some(0),
            you: Tag(*b"k3f9x2ab"),
            name: "Ana",
            n: None,
            now: 5,
            max: 65_536,
            count: 2,
            who: Some(&list),
        };
        let text = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            serde_json::from_slice::<serde_json::Value>(&out).expect("JSON");
            String::from_utf8(out).expect("text")
        };
        let said = text(&|out| hello(out, &welcome));
        assert!(said.starts_with(r#"{"t":"hello","room":"lab","cursor":""#), "{said}");
        assert!(said.contains(
            r#".4","head":9,"missed":0,"you":"k3f9x2ab","name":"Ana","n":null,"now":5,"#
        ));
        assert!(said.ends_with(&format!(r#""max":65536,"count":2,"who":{list}}}"#)), "{said}");
        let said = text(&|out| {
            hello(out, &Welcome { title: Some("L"), missed: None, who: None, ..welcome })
        });
        assert!(said.contains(r#""title":"L""#) && said.contains(r#""missed":null"#), "{said}");
        assert!(said.ends_with(r#""count":2}"#), "{said}");
        for (said, expected) in [
            (
                text(&|out| msg(out, 3, 4, by, "Ana", "a\u{1}\n", Some(5))),
                "{\"t\":\"msg\",\"seq\":3,\"at\":4,\"by\":\"k3f9x2ab\",\"name\":\"Ana\",\"text\":\"a\u{fffd}\\n\",\"n\":5}",
            ),
            (
                text(&|out| msg(out, 3, 4, By::Number(42), "", "", None)),
                r##"{"t":"msg","seq":3,"at":4,"by":"#42","name":"#42","text":""}"##,
            ),
            (
                text(&|out| join(out, by, "Ana", 2)),
                r#"{"t":"join","by":"k3f9x2ab","name":"Ana","count":2}"#,
            ),
            (text(&|out| leave(out, by, 1, false)), r#"{"t":"leave","by":"k3f9x2ab","count":1}"#),
            (
                text(&|out| leave(out, by, 1, true)),
                r#"{"t":"leave","by":"k3f9x2ab","count":1,"lost":true}"#,
            ),
            (text(&|out| count(out, 101)), r#"{"t":"count","count":101}"#),
            (text(&|out| who(out, 1, "[]")), r#"{"t":"who","count":1,"who":[]}"#),
            (text(&|out| name(out, by, "B")), r#"{"t":"name","by":"k3f9x2ab","name":"B"}"#),
            (text(&|out| ack(out, 7, None)), r#"{"t":"ack","n":7}"#),
            (text(&|out| ack(out, 7, Some(8))), r#"{"t":"ack","n":7,"seq":8}"#),
            (
                text(&|out| err(out, Code::Long, Some(2), "x")),
                r#"{"t":"err","code":"long","n":2,"text":"x"}"#,
            ),
            (text(&|out| wait(out, Some(5))), r#"{"t":"wait","n":5}"#),
            (text(&|out| wait(out, None)), r#"{"t":"wait"}"#),
            (text(&|out| pong(out, None)), r#"{"t":"pong"}"#),
            (text(&|out| pong(out, Some("\""))), r#"{"t":"pong","x":"\""}"#),
        ] {
            assert_eq!(said, expected);
        }
    }
}
