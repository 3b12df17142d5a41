//! Clients of `roomd.1`, the JSON protocol of docs/protocol.md.
//!
//! A [`Member`] checks what holds on every connection, whatever a test looks at: each object is of a
//! known type and has the fields of that type, and messages are numbered without a gap.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::frame::{Frame, TEXT, close};
use super::peer::{Client, Peer, UPGRADE, get, lossy};

/// The header field that offers the protocol.
pub const OFFER: &str = "Sec-WebSocket-Protocol: roomd.1\r\n";

/// The secret of the client with this number: 16 bytes in base64url.
pub fn me(n: u64) -> String {
    format!("{n:021}A")
}

/// A connection to `room` over which no `hello` was sent.
#[track_caller]
pub fn knock(address: SocketAddr, room: &str) -> Client {
    knock_over(Peer::connect(address), room)
}

#[track_caller]
pub fn knock_over(mut peer: Peer, room: &str) -> Client {
    peer.send(get(&format!("/{room}/ws"), &format!("{UPGRADE}{OFFER}")));
    peer.upgraded_to(Some("roomd.1"))
}

/// A client that has said `hello` and was answered.
#[derive(Debug)]
pub struct Member {
    pub client: Client,
    /// The server's `hello`.
    pub hello: Value,
    /// Its own tag.
    pub you: String,
    epoch: String,
    /// The number of the last message that it was sent, or the position from which it started.
    seq: u64,
}

impl Member {
    /// Joins `room` with these fields of a `hello`.
    #[track_caller]
    pub fn join(address: SocketAddr, room: &str, fields: Value) -> Self {
        Self::greet(knock(address, room), fields)
    }

    /// Client `n`, which asks for a name and for no history.
    #[track_caller]
    pub fn named(address: SocketAddr, room: &str, n: u64, name: &str) -> Self {
        Self::join(address, room, json!({"me": me(n), "name": name, "history": 0}))
    }

    /// Says `hello` with these fields over a connection that it was not said over yet.
    #[track_caller]
    pub fn greet(mut client: Client, fields: Value) -> Self {
        client.say(&of_type("hello", fields).to_string());
        let hello = object(client.message("hello"));
        check(&hello);
        assert_eq!(hello["t"], "hello", "{hello}");
        let (epoch, seq) = position(&hello["cursor"]);
        let you = hello["you"].as_str().expect("a tag").to_owned();
        Member { client, you, epoch, seq, hello }
    }

    pub fn name(&self) -> &str {
        self.hello["name"].as_str().expect("a name")
    }

    /// Behind the last message that it was sent.
    pub fn cursor(&self) -> String {
        format!("{}.{}", self.epoch, self.seq)
    }

    pub fn seq(&self) -> u64 {
        self.seq
    }

    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Sends an object with these fields.
    #[track_caller]
    pub fn send(&mut self, t: &str, fields: Value) {
        self.client.say(&of_type(t, fields).to_string());
    }

    /// Publishes without a number.
    #[track_caller]
    pub fn say(&mut self, text: &str) {
        self.send("msg", json!({"text": text}));
    }

    /// Publishes message `n` of this client.
    #[track_caller]
    pub fn publish(&mut self, n: u64, text: &str) {
        self.send("msg", json!({"text": text, "n": n}));
    }

    /// The next object, which is in order.
    #[track_caller]
    pub fn next(&mut self, awaited: &str) -> Value {
        let frame = self.client.message(awaited);
        self.take(frame)
    }

    /// What the server says with this frame, which is in order.
    #[track_caller]
    pub fn take(&mut self, frame: Frame) -> Value {
        let object = object(frame);
        check(&object);
        match object["t"].as_str() {
            Some("msg") => {
                assert_eq!(object["seq"], self.seq + 1, "a gap before {}", shown(&object));
                self.seq += 1;
            }
            Some("epoch") => (self.epoch, self.seq) = position(&object["cursor"]),
            Some("hello") => panic!("a second hello: {object}"),
            _ => {}
        }
        object
    }

    /// The next object is this one, apart from the number and the time of a message.
    #[track_caller]
    pub fn hears(&mut self, expected: Value) {
        let next = self.next(&shown(&expected));
        assert!(timeless(&next) == expected, "{} instead of {}", shown(&next), shown(&expected));
    }

    /// The next object is a message with this text from that client.
    #[track_caller]
    pub fn hears_message(&mut self, by: &str, name: &str, text: &str) {
        self.hears(message(by, name, text));
    }

    /// The next message, whatever else comes before it.
    #[track_caller]
    pub fn message(&mut self, awaited: &str) -> Value {
        self.skip_to("msg", awaited)
    }

    /// The next object of this type, whatever else comes before it.
    #[track_caller]
    pub fn skip_to(&mut self, t: &str, awaited: &str) -> Value {
        self.skip_any(&[t], awaited)
    }

    /// The next object of one of these types, whatever else comes before it.
    #[track_caller]
    pub fn skip_any(&mut self, types: &[&str], awaited: &str) -> Value {
        loop {
            let next = self.next(awaited);
            if types.iter().any(|t| next["t"] == *t) {
                return next;
            }
        }
    }

    /// The next `n` objects are messages; their texts.
    #[track_caller]
    pub fn texts(&mut self, n: usize) -> Vec<String> {
        let text = |_| {
            let next = self.next("a message");
            assert_eq!(next["t"], "msg", "{}", shown(&next));
            next["text"].as_str().expect("a text").to_owned()
        };
        (0..n).map(text).collect()
    }

    /// What is replayed to it: the texts up to `hello.head`.
    #[track_caller]
    pub fn replay(&mut self) -> Vec<String> {
        let head = self.hello["head"].as_u64().expect("a number");
        let behind = head.checked_sub(self.seq).expect("head is not before the cursor");
        self.texts(usize::try_from(behind).expect("a few"))
    }

    /// Asks for a `pong`, which comes next: nothing else was on the way to this client.
    #[track_caller]
    pub fn pings(&mut self) {
        self.send("ping", json!({"x": "quiet"}));
        self.hears(json!({"t": "pong", "x": "quiet"}));
    }

    /// Publishes something and hears it next, so the room has told this client nothing else.
    #[track_caller]
    pub fn says_and_hears(&mut self, text: &str) {
        self.say(text);
        let (you, name) = (self.you.clone(), self.name().to_owned());
        self.hears_message(&you, &name, text);
    }

    /// The next object is an `err` with this code, and this `n` or none.
    #[track_caller]
    pub fn is_refused(&mut self, code: &str, n: Option<u64>) {
        let next = self.next(&format!("err {code}"));
        assert_eq!((&next["t"], &next["code"]), (&json!("err"), &json!(code)), "{next}");
        assert_eq!(next.get("n"), n.map(Value::from).as_ref(), "{next}");
    }

    #[track_caller]
    pub fn is_closed_with(&mut self, code: u16) {
        self.client.is_closed_with(code);
    }

    /// The same, whatever else it is told before that.
    #[track_caller]
    pub fn is_closed_at_last_with(&mut self, code: u16) {
        loop {
            let frame = self.client.message("a close frame");
            if frame.first != TEXT {
                assert_eq!(frame.close_code(), code, "{frame:?}");
                return self.client.peer.ends();
            }
            self.take(frame);
        }
    }

    /// Says goodbye, and is told all that was said before that.
    #[track_caller]
    pub fn leave(mut self) {
        self.client.send(close(1000, ""));
        loop {
            let frame = self.client.message("the end");
            if frame.first != TEXT {
                assert_eq!(frame.close_code(), 1000);
                return;
            }
            self.take(frame);
        }
    }

    pub fn reset(self) {
        self.client.peer.reset();
    }
}

/// A message without a number of its sender, its own number and its time.
pub fn message(by: &str, name: &str, text: &str) -> Value {
    json!({"t": "msg", "by": by, "name": name, "text": text})
}

/// An object of type `t` with these fields.
pub fn of_type(t: &str, mut fields: Value) -> Value {
    fields.as_object_mut().expect("fields").insert("t".into(), t.into());
    fields
}

/// Without what no test can foresee: the number and the time of a message, the words of an error.
pub fn timeless(object: &Value) -> Value {
    let mut object = object.clone();
    let fields = object.as_object_mut().expect("an object");
    match fields["t"].as_str() {
        Some("msg") => ["seq", "at"].map(|field| fields.remove(field)),
        Some("err") => ["text", ""].map(|field| fields.remove(field)),
        _ => [None, None],
    };
    object
}

/// Epoch and number of a cursor.
#[track_caller]
pub fn position(cursor: &Value) -> (String, u64) {
    let parts = cursor.as_str().and_then(|cursor| cursor.split_once('.'));
    let (epoch, seq) = parts.unwrap_or_else(|| panic!("no cursor: {cursor}"));
    assert!((1..=12).contains(&epoch.len()), "{cursor}");
    assert!(epoch.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9')), "{cursor}");
    let number = seq.parse().unwrap_or_else(|_| panic!("no cursor: {cursor}"));
    assert_eq!(seq, u64::to_string(&number), "{cursor}");
    (epoch.into(), number)
}

#[track_caller]
fn object(frame: Frame) -> Value {
    assert_eq!(frame.first, TEXT, "{frame:?}");
    let object = serde_json::from_slice(&frame.payload);
    object.unwrap_or_else(|error| panic!("{error}: {:?}", lossy(&frame.payload)))
}

fn shown(object: &Value) -> String {
    lossy(object.to_string().as_bytes())
}

type Check = fn(&Value) -> bool;

/// The fields of each type of object, the optional ones with a `?`.
#[rustfmt::skip]
const FIELDS: [(&str, &[(&str, Check)]); 14] = [
    ("hello", &[
        ("room", is_text), ("title?", is_text), ("cursor", is_cursor), ("head", is_number),
        ("missed", is_number_or_null), ("you", is_tag), ("name", is_name), ("n", is_number_or_null),
        ("now", is_time), ("max", is_number), ("count", is_number), ("who?", is_list),
    ]),
    ("epoch", &[("cursor", is_cursor), ("missed", is_number_or_null)]),
    ("msg", &[
        ("seq", is_number), ("at", is_time), ("by", is_by), ("name", is_name), ("text", is_text),
        ("n?", is_number),
    ]),
    ("join", &[("by", is_by), ("name", is_name), ("count", is_number)]),
    ("leave", &[("by", is_by), ("count", is_number), ("lost?", is_true)]),
    ("count", &[("count", is_number)]),
    ("who", &[("count", is_number), ("who", is_list)]),
    ("name", &[("by", is_by), ("name", is_name)]),
    ("ack", &[("n", is_number), ("seq?", is_number)]),
    ("wait", &[("n?", is_number)]),
    ("away", &[]),
    ("back", &[]),
    ("err", &[("code", is_code), ("n?", is_number), ("text", is_text)]),
    ("pong", &[("x?", is_text)]),
];

/// The object is of a known type, has all of its fields that are not optional and no other.
#[track_caller]
pub fn check(object: &Value) {
    let fields = object.as_object().unwrap_or_else(|| panic!("no object: {}", shown(object)));
    let types = BTreeMap::from(FIELDS);
    let t = fields.get("t").and_then(Value::as_str).unwrap_or_default();
    let known = types.get(t).unwrap_or_else(|| panic!("an unknown type: {}", shown(object)));
    let mut left: Map<String, Value> = fields.clone();
    left.remove("t");
    for (name, is_well_formed) in *known {
        let required = !name.ends_with('?');
        match left.remove(name.trim_end_matches('?')) {
            Some(value) => assert!(is_well_formed(&value), "{name} of {}", shown(object)),
            None => assert!(!required, "{name} is not in {}", shown(object)),
        }
    }
    assert!(left.is_empty(), "fields that are not documented: {left:?}");
}

fn is_text(value: &Value) -> bool {
    value.is_string()
}

fn is_true(value: &Value) -> bool {
    *value == true
}

/// An integer that every program with 64-bit floating point numbers has exactly.
fn is_number(value: &Value) -> bool {
    value.as_u64().is_some_and(|number| number < 1 << 53)
}

fn is_number_or_null(value: &Value) -> bool {
    value.is_null() || is_number(value)
}

/// Milliseconds since 1970, in this century.
fn is_time(value: &Value) -> bool {
    value.as_u64().is_some_and(|ms| (946_684_800_000..4_102_444_800_000).contains(&ms))
}

fn is_cursor(value: &Value) -> bool {
    position(value);
    true
}

/// Eight letters or digits, the first of which is `~` if they come from no secret.
pub fn is_tag(value: &Value) -> bool {
    let is_letter = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    value.as_str().is_some_and(|tag| {
        tag.len() == 8 && tag.strip_prefix('~').unwrap_or(tag).bytes().all(is_letter)
    })
}

/// A tag, or the number of a tutorial client.
fn is_by(value: &Value) -> bool {
    let number = value.as_str().and_then(|by| by.strip_prefix('#'));
    number.map_or_else(|| is_tag(value), |number| number.parse::<i64>().is_ok())
}

fn is_name(value: &Value) -> bool {
    value.as_str().is_some_and(|name| {
        (1..=32).contains(&name.chars().count()) && name.len() <= 96 && name.trim() == name
    })
}

fn is_list(value: &Value) -> bool {
    let is_entry = |entry: &Value| {
        entry.as_array().is_some_and(
            |entry| matches!(entry.as_slice(), [by, name] if is_by(by) && is_name(name)),
        )
    };
    value.as_array().is_some_and(|list| list.iter().all(is_entry))
}

fn is_code(value: &Value) -> bool {
    ["bad", "unknown", "long", "name"].iter().any(|code| value == code)
}
