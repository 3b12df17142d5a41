//! What a client of `roomd.1` sends, read.

use std::borrow::Cow;

use crate::config::NAME_BYTES;
use crate::wire::cursor::CURSOR_BYTES;
use crate::wire::json::{self, MAX_NUMBER, Malformed, Text, Value};
use crate::wire::roomd1::Code;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The first frame: who it is, and what it wants to hear.
    Hello(Box<Hello>),
    /// A message.
    Msg {
        /// What is said.
        text: String,
        /// The number that the client gave it.
        n: Option<u64>,
    },
    /// It wants this name.
    Name(String),
    /// It wants a pong.
    Ping {
        /// What the pong repeats, at most [`PING_BYTES`].
        x: Option<String>,
    },
}

/// How a client wants to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its secret, from which its tag follows.
    pub me: Option<[u8; 16]>,
    /// The name that it wants.
    pub name: Option<String>,
    /// The cursor from which it goes on.
    pub since: Option<String>,
    /// So many messages at most, if it does not go on from somewhere.
    pub history: u32,
    /// Whether it wants to know who is here.
    pub who: bool,
    /// Whether it hears the room.
    pub hear: bool,
}

/// What is wrong with what a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For programs.
    pub code: Code,
    /// The number of the message that it is about.
    pub n: Option<u64>,
    /// For people.
    pub text: Cow<'static, str>,
}

/// Bytes that a pong repeats, at most.
pub const PING_BYTES: usize = 32;

/// Bytes of a name that may be good: spaces may be around it.
const WISH_BYTES: usize = 4 * NAME_BYTES;

/// Messages that a hello may ask for.
const MOST_HISTORY: u64 = 1000;
/// Messages for a hello that asks for none.
const HISTORY: u32 = 50;

/// The members of an object that some type has. Others are ignored.
#[derive(Default)]
struct Members<'a> {
    t: Option<Value<'a>>,
    me: Option<Value<'a>>,
    name: Option<Value<'a>>,
    since: Option<Value<'a>>,
    history: Option<Value<'a>>,
    who: Option<Value<'a>>,
    hear: Option<Value<'a>>,
    text: Option<Value<'a>>,
    n: Option<Value<'a>>,
    x: Option<Value<'a>>,
}

impl Command {
    /// Reads what a client sent, whose texts have up to `max` bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, max: usize) -> Result<Command, Fault> {
        let mut members = Members::default();
        let read = json::read(text, |key, value| {
            let member = match key {
                "t" => &mut members.t,
                "me" => &mut members.me,
                "name" => &mut members.name,
                "since" => &mut members.since,
                "history" => &mut members.history,
                "who" => &mut members.who,
                "hear" => &mut members.hear,
                "text" => &mut members.text,
                "n" => &mut members.n,
                "x" => &mut members.x,
                _ => return Ok(()),
            };
            // Two readers of the same text should not take it differently.
            if member.replace(value).is_some() { Err(Malformed) } else { Ok(()) }
        });
        read.map_err(|Malformed| Fault::bad("a frame is one JSON object, each member of it once"))?;
        match members.t.take() {
            Some(Value::Text(t)) => match &*t.decode() {
                "msg" => members.message(max),
                "hello" => members.hello().map(|hello| Command::Hello(Box::new(hello))),
                "name" => {
                    let name = string(members.name, "name")?;
                    let name = name.map(|name| bounded(name, WISH_BYTES));
                    name.map(Command::Name).ok_or_else(|| Fault::bad("'name' is missing"))
                }
                "ping" => {
                    let x = string(members.x, "x")?;
                    if x.is_some_and(|x| x.len() > PING_BYTES) {
                        return Err(Fault::bad("'x' has at most 32 bytes"));
                    }
                    Ok(Command::Ping { x: x.map(|x| x.decode().into_owned()) })
                }
                _ => Err(Fault::new(Code::Unknown, "there is no such 't'")),
            },
            _ => Err(Fault::bad("'t' says what a frame is for, as a string")),
        }
    }
}

impl Members<'_> {
    fn message(self, max: usize) -> Result<Command, Fault> {
        let n = match number(self.n, MAX_NUMBER, "'n' is a number from 1 on")? {
            Some(0) => return Err(Fault::bad("'n' is a number from 1 on")),
            n => n,
        };
        // A message that is refused has used up its number, whatever is wrong with it.
        let refuse = |fault| Fault { n, ..fault };
        let text = string(self.text, "text").map_err(refuse)?;
        let text = text.ok_or_else(|| refuse(Fault::bad("'text' is missing")))?;
        if text.len() > max {
            let words = format!("a text has at most {max} bytes");
            return Err(refuse(Fault::new(Code::Long, words)));
        }
        Ok(Command::Msg { text: text.decode().into_owned(), n })
    }

    fn hello(self) -> Result<Hello, Fault> {
        let me = string(self.me, "me")?;
        let me = me.map(|me| secret(&me.decode()).ok_or_else(|| Fault::bad(ME))).transpose()?;
        let words = "'history' is a number up to 1000";
        let history = number(self.history, MOST_HISTORY, words)?;
        Ok(Hello {
            me,
            name: string(self.name, "name")?.map(|name| bounded(name, WISH_BYTES)),
            since: string(self.since, "since")?.map(|since| bounded(since, CURSOR_BYTES)),
            history: history.map_or(HISTORY, |history| history as u32),
            who: flag(self.who, "who")?,
            hear: flag(self.hear, "hear")?,
        })
    }
}

const ME: &str = "'me' is 16 bytes in base64url: 22 characters";

fn string<'a>(value: Option<Value<'a>>, name: &str) -> Result<Option<Text<'a>>, Fault> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(_) => Err(Fault::new(Code::Bad, format!("'{name}' is a string"))),
    }
}

/// A text of which no more than `most` bytes can be good. A longer one is cut, and stays too long.
fn bounded(text: Text<'_>, most: usize) -> String {
    let text = text.decode();
    let end = (most + 1..text.len()).find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(text.len())].to_owned()
}

fn number(value: Option<Value<'_>>, most: u64, words: &'static str) -> Result<Option<u64>, Fault> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) if number <= most => Ok(Some(number)),
        Some(_) => Err(Fault::bad(words)),
    }
}

fn flag(value: Option<Value<'_>>, name: &str) -> Result<bool, Fault> {
    match value {
        None | Some(Value::Null) => Ok(true),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(_) => Err(Fault::new(Code::Bad, format!("'{name}' is true or false"))),
    }
}

/// 16 bytes in base64url (RFC 4648 section 5), without signs to fill up.
fn secret(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 22 {
        return None;
    }
    let (mut bytes, mut bits, mut len) = ([0; 16], 0u32, 0);
    for (n, digit) in digits.iter().enumerate() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        if n % 4 != 0 {
            bytes[len] = (bits >> (6 - 2 * (n % 4))) as u8;
            len += 1;
            if len == 16 {
                break;
            }
        }
    }
    // The last digit has four bits to spare.
    (bits & 0xf == 0).then_some(bytes)
}

impl Fault {
    /// What is malformed.
    pub fn bad(text: &'static str) -> Self {
        Fault::new(Code::Bad, text)
    }

    fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Fault { code, n: None, text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Result<Command, (Code, Option<u64>)> {
        Command::parse(text, 10).map_err(|fault| (fault.code, fault.n))
    }

    #[test]
    fn what_clients_send() {
        let plain = Hello { me: None, name: None, since: None, history: 50, who: true, hear: true };
        assert_eq!(command(r#"{"t":"hello"}"#), Ok(Command::Hello(Box::new(plain.clone()))));
        let all = r#"{"t":"hello","me":"AAECAwQFBgcICQoLDA0ODw","name":"Ana","since":"x.1",
            "history":0,"who":false,"hear":false,"more":{"a":[1]}}"#;
        let hello = Hello {
            me: Some(std::array::from_fn(|n| n as u8)),
            name: Some("Ana".into()),
            since: Some("x.1".into()),
            history: 0,
            who: false,
            hear: false,
        };
        assert_eq!(command(all), Ok(Command::Hello(Box::new(hello))));
        let msg = |text: &str, n| Ok(Command::Msg { text: text.into(), n });
        assert_eq!(command(r#"{"text":"a\u00e9","t":"msg"}"#), msg("aé", None));
        assert_eq!(
            command(r#"{"t":"msg","text":"","n":9007199254740991}"#),
            msg("", Some(MAX_NUMBER))
        );
        assert_eq!(command(r#"{"t":"name","name":"B"}"#), Ok(Command::Name("B".into())));
        assert_eq!(command(r#"{"t":"ping"}"#), Ok(Command::Ping { x: None }));
        let x = "x".repeat(PING_BYTES);
        assert_eq!(
            command(&format!(r#"{{"t":"ping","x":"{x}"}}"#)),
            Ok(Command::Ping { x: Some(x) })
        );
    }

    #[test]
    fn what_is_wrong_has_a_code() {
        for bad in [
            "",
            "x",
            "[]",
            "{}",
            r#"{"t":1}"#,
            r#"{"t":"msg"}"#,
            r#"{"t":"msg","text":1}"#,
            r#"{"t":"msg","text":"a","text":"b"}"#,
            r#"{"t":"msg","text":"a","n":0}"#,
            r#"{"t":"msg","text":"a","n":1.5}"#,
            r#"{"t":"msg","text":"a","n":"1"}"#,
            r#"{"t":"msg","text":"a","n":9007199254740992}"#,
            r#"{"t":"name"}"#,
            r#"{"t":"hello","me":"short"}"#,
            r#"{"t":"hello","me":"AAECAwQFBgcICQoLDA0OD1"}"#,
            r#"{"t":"hello","me":"AAECAwQFBgcICQoLDA0O+w"}"#,
            r#"{"t":"hello","history":1001}"#,
            r#"{"t":"hello","who":1}"#,
            r#"{"t":"hello","since":5}"#,
            r#"{"t":"ping","x":"123456789012345678901234567890123"}"#,
            r#"{"t":"msg","text":"\ud80"}"#,
        ] {
            assert_eq!(command(bad), Err((Code::Bad, None)), "{bad}");
        }
        assert_eq!(command(r#"{"t":"dance"}"#), Err((Code::Unknown, None)));
        for bad in [r#"{"t":"msg","n":4}"#, r#"{"n":4,"text":1,"t":"msg"}"#] {
            assert_eq!(command(bad), Err((Code::Bad, Some(4))), "{bad}");
        }
        // Ten bytes are not too long, however they are written.
        let escaped = r#"{"t":"msg","text":"\u00e9\u00e9\u00e9\u00e9\u00e9","n":4}"#;
        assert!(command(escaped).is_ok());
        assert_eq!(command(r#"{"t":"msg","text":"éééééa","n":4}"#), Err((Code::Long, Some(4))));
    }

    #[test]
    fn names_and_cursors_of_any_length_are_kept_only_in_part() {
        for (len, kept) in [(384, 384), (385, 385), (50_000, 385)] {
            let name = "x".repeat(len);
            let expected = Ok(Command::Name("x".repeat(kept)));
            assert_eq!(command(&format!(r#"{{"t":"name","name":"{name}"}}"#)), expected);
        }
        let cursor = format!("{}.{}", "z".repeat(12), u64::MAX);
        for (since, name) in [(cursor.clone(), "é".repeat(192)), (cursor + "0", "é".repeat(193))]
        {
            let hello = command(&format!(
                r#"{{"t":"hello","since":"{since}{}","name":"{name}{}"}}"#,
                "0".repeat(50_000 * usize::from(since.len() > CURSOR_BYTES)),
                "\\u00e9".repeat(50_000 * usize::from(name.len() > WISH_BYTES)),
            ));
            let Ok(Command::Hello(hello)) = hello else { panic!("{hello:?}") };
            assert_eq!((hello.since, hello.name), (Some(since), Some(name)));
        }
    }
}
