//! The lines of a segment: the objects of `roomd.1`, and three of its own.
//!
//! `{"t":"run","v":1,"epoch":"k3f9x2","next":205,"at":1700000000000}` begins each segment and each start
//! of the server: what follows is of this incarnation, from number `next` on.
//! `{"t":"msg",…}` is a message, as on the wire.
//! `{"t":"hole","from":231,"to":240}` stands for messages that were not written.
//! `{"t":"end","next":241}` is a clean stop: nothing follows that was not written.

use std::borrow::Cow;
use std::io::Write;

use crate::config::NAME_BYTES;
use crate::history::chunk::{Author, Entry, Kind};
use crate::wire::cursor::Epoch;
use crate::wire::json::{self, MAX_NUMBER, Malformed, Value};
use crate::wire::roomd1;
use crate::wire::tag::{By, Tag};

/// A message with a greater number cannot be read.
pub const LAST: u64 = MAX_NUMBER / 2;

/// The version of the format. A file of another one cannot be read.
const VERSION: u64 = 1;

/// A line that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// An incarnation begins or goes on here.
    Run {
        /// Its name.
        epoch: Epoch,
        /// The number of the next message.
        next: u64,
    },
    /// A message.
    Message(Message<'a>),
    /// Messages that were not written.
    Hole {
        /// The number of the first.
        from: u64,
        /// The number of the last.
        to: u64,
    },
    /// The incarnation ended, and everything is here.
    End {
        /// The number that the next message would have had.
        next: u64,
    },
    /// An object of a type that is not known here.
    Other,
}

/// A message that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its number.
    pub seq: u64,
    /// When it was said, in milliseconds since 1970.
    pub at: u64,
    /// Who said it.
    pub by: By,
    /// The name of that client.
    pub name: Cow<'a, str>,
    /// What was said.
    pub text: Cow<'a, str>,
    /// The number that its author gave it; 0 if none.
    pub n: u64,
}

/// Appends the line with which an incarnation begins or goes on.
pub fn run(out: &mut Vec<u8>, epoch: Epoch, next: u64, at: u64) {
    // Writing to memory does not fail.
    let _ =
        writeln!(out, r#"{{"t":"run","v":{VERSION},"epoch":"{epoch}","next":{next},"at":{at}}}"#);
}

/// Appends the line of a clean stop.
pub fn end(out: &mut Vec<u8>, next: u64) {
    let _ = writeln!(out, r#"{{"t":"end","next":{next}}}"#);
}

/// Appends the line for messages that are missing, the first and the last of them included.
pub fn hole(out: &mut Vec<u8>, from: u64, to: u64) {
    let _ = writeln!(out, r#"{{"t":"hole","from":{from},"to":{to}}}"#);
}

/// Appends the line of an entry. Entries that are no messages have none.
pub fn message(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let Kind::Message { seq, n } = entry.kind else { return };
    let Author { name, .. } = entry.author;
    roomd1::msg(out, seq, entry.at, entry.author.by(), name, entry.text, (n > 0).then_some(n));
    out.push(b'\n');
}

impl<'a> Line<'a> {
    /// Reads a line without its LF. None: this is not a line of a segment.
    pub fn parse(line: &'a [u8]) -> Option<Line<'a>> {
        let text = std::str::from_utf8(line).ok()?;
        let mut members = Members::default();
        let read = json::read(text, |key, value| {
            let member = match key {
                "t" => &mut members.t,
                "v" => &mut members.v,
                "epoch" => &mut members.epoch,
                "next" => &mut members.next,
                "from" => &mut members.from,
                "to" => &mut members.to,
                "seq" => &mut members.seq,
                "at" => &mut members.at,
                "by" => &mut members.by,
                "name" => &mut members.name,
                "text" => &mut members.text,
                "n" => &mut members.n,
                _ => return Ok(()),
            };
            if member.replace(value).is_some() { Err(Malformed) } else { Ok(()) }
        });
        read.ok()?;
        match &*string(members.t.take())? {
            "run" => members.run(),
            "msg" => members.message().map(Line::Message),
            "hole" => {
                let (from, to) = (place(members.from)?, place(members.to)?);
                (from <= to).then_some(Line::Hole { from, to })
            }
            "end" => Some(Line::End { next: place(members.next)? }),
            _ => Some(Line::Other),
        }
    }

    /// The number of the next message before it, and behind it. None: it has no place.
    pub fn span(&self) -> Option<(u64, u64)> {
        match self {
            Line::Run { next, .. } | Line::End { next } => Some((*next, *next)),
            Line::Message(message) => Some((message.seq, message.seq + 1)),
            Line::Hole { from, to } => Some((*from, to + 1)),
            Line::Other => None,
        }
    }
}

impl Message<'_> {
    /// As an entry of a log.
    pub fn entry(&self) -> Entry<'_> {
        let author = match self.by {
            By::Number(num) => Author::number(num),
            // Nobody who hears of it by a number hears what was said before.
            By::Tag(tag) => Author { num: 0, tag: Some(tag), name: &self.name },
        };
        let kind = Kind::Message { seq: self.seq, n: self.n };
        Entry { kind, at: self.at, author, text: &self.text }
    }
}

#[derive(Default)]
struct Members<'a> {
    t: Option<Value<'a>>,
    v: Option<Value<'a>>,
    epoch: Option<Value<'a>>,
    next: Option<Value<'a>>,
    from: Option<Value<'a>>,
    to: Option<Value<'a>>,
    seq: Option<Value<'a>>,
    at: Option<Value<'a>>,
    by: Option<Value<'a>>,
    name: Option<Value<'a>>,
    text: Option<Value<'a>>,
    n: Option<Value<'a>>,
}

impl<'a> Members<'a> {
    fn run(self) -> Option<Line<'a>> {
        number(self.v).filter(|version| *version == VERSION)?;
        let epoch = Epoch::parse(&string(self.epoch)?)?;
        let next = place(self.next)?;
        Some(Line::Run { epoch, next })
    }

    fn message(self) -> Option<Message<'a>> {
        let seq = place(self.seq)?;
        let name = string(self.name).filter(|name| name.len() <= NAME_BYTES)?;
        let n = match self.n {
            None => 0,
            n => number(n)?,
        };
        let (at, by, text) = (number(self.at)?, by(&string(self.by)?)?, string(self.text)?);
        Some(Message { seq, at, by, name, text, n })
    }
}

fn string(value: Option<Value<'_>>) -> Option<Cow<'_, str>> {
    match value {
        Some(Value::Text(text)) => Some(text.decode()),
        _ => None,
    }
}

fn number(value: Option<Value<'_>>) -> Option<u64> {
    match value {
        Some(Value::Number(number)) => Some(number),
        _ => None,
    }
}

/// The number of a message. With a greater one there would soon be no numbers left.
fn place(value: Option<Value<'_>>) -> Option<u64> {
    number(value).filter(|place| (1..=LAST).contains(place))
}

fn by(text: &str) -> Option<By> {
    match text.strip_prefix('#') {
        Some(number) => number.parse().ok().map(By::Number),
        None => {
            let tag: [u8; 8] = text.as_bytes().try_into().ok()?;
            tag.is_ascii().then_some(By::Tag(Tag(tag)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = Tag(*b"k3f9x2ab");

    fn written(entry: &Entry<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message(&mut out, entry);
        assert_eq!(out.pop(), Some(b'\n'));
        assert!(!out.contains(&b'\n'), "it is one line");
        out
    }

    #[test]
    fn messages_are_read_as_they_are_written() {
        let longest = "n".repeat(NAME_BYTES);
        for author in [
            Author { num: 0, tag: Some(TAG), name: "Żółw \"1\"" },
            Author { num: 0, tag: Some(Tag(*b"~abcdefg")), name: &longest },
            Author::number(i64::MIN),
            Author::number(42),
        ] {
            for (seq, n, text) in [(1, 0, ""), (205, 7, "a\nb\t\"\\ 😀 \u{2028}"), (LAST, 1, "x")]
            {
                let entry = Entry { kind: Kind::Message { seq, n }, at: 1 << 41, author, text };
                let line = written(&entry);
                let Some(Line::Message(read)) = Line::parse(&line) else {
                    panic!("{entry:?} is not read")
                };
                assert_eq!(read.entry(), entry);
            }
        }
        // As on the wire, other control characters are replaced.
        let entry = Entry {
            kind: Kind::Message { seq: 1, n: 0 },
            at: 0,
            author: Author::number(1),
            text: "\0",
        };
        assert!(written(&entry).ends_with("\"text\":\"\u{fffd}\"}".as_bytes()));
    }

    #[test]
    fn the_other_lines_are_read_as_they_are_written() {
        let epoch = Epoch::parse("k3f9x2").expect("an epoch");
        let mut out = Vec::new();
        run(&mut out, epoch, 205, 1_700_000_000_000);
        hole(&mut out, 205, 230);
        end(&mut out, 231);
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(
            text,
            "{\"t\":\"run\",\"v\":1,\"epoch\":\"k3f9x2\",\"next\":205,\"at\":1700000000000}\n\
             {\"t\":\"hole\",\"from\":205,\"to\":230}\n{\"t\":\"end\",\"next\":231}\n"
        );
        let lines: Vec<_> = text.lines().map(|line| Line::parse(line.as_bytes())).collect();
        let expected = [
            Line::Run { epoch, next: 205 },
            Line::Hole { from: 205, to: 230 },
            Line::End { next: 231 },
        ];
        assert_eq!(lines, expected.map(Some));
    }

    #[test]
    fn what_is_no_line() {
        for line in [
            "",
            "\0\0\0",
            "{}",
            r#"{"t":1}"#,
            r#"{"t":"end","next":0}"#,
            r#"{"t":"end"}"#,
            r#"{"t":"end","next":9007199254740991}"#,
            r#"{"t":"end","next":1,"next":2}"#,
            r#"{"t":"hole","from":2,"to":1}"#,
            r#"{"t":"hole","from":0,"to":1}"#,
            r#"{"t":"run","v":2,"epoch":"a","next":1,"at":1}"#,
            r#"{"t":"run","v":1,"epoch":"A","next":1,"at":1}"#,
            r#"{"t":"msg","seq":0,"at":1,"by":"k3f9x2ab","name":"","text":""}"#,
            r#"{"t":"msg","seq":1,"at":1,"by":"k3f9x2a","name":"","text":""}"#,
            r##"{"t":"msg","seq":1,"at":1,"by":"#x","name":"","text":""}"##,
            r#"{"t":"msg","seq":1,"at":1,"by":"k3f9x2ab","name":"","text":"","n":-1}"#,
            r#"{"t":"msg","seq":1,"at":1,"by":"k3f9x2ab","name":""}"#,
        ] {
            assert_eq!(Line::parse(line.as_bytes()), None, "{line}");
        }
        let long = format!(
            r#"{{"t":"msg","seq":1,"at":1,"by":"k3f9x2ab","name":"{}","text":""}}"#,
            "n".repeat(NAME_BYTES + 1)
        );
        assert_eq!(Line::parse(long.as_bytes()), None);
        assert_eq!(Line::parse(br#"{"t":"later","x":[1]}"#), Some(Line::Other));
    }
}
