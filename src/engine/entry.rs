//! The entries of a room's log, and what they tell of.

use redis::Value;

use crate::engine::connection::{Fault, list, odd, text};
use crate::wire::tag::Tag;

/// An entry as it is in the log: something that happened, or several messages, each with a position of its own.
///
/// Messages that are handed over together share an entry, because whoever reads it pays for each list and each
/// string of the engine's answer.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The epoch, and the position of the last.
    pub id: (u64, u64),
    /// How many things happened.
    pub count: usize,
    /// A line for each.
    pub(super) heads: String,
    /// Their texts, with [`BETWEEN`] between them.
    pub(super) texts: Vec<u8>,
}

/// No text has this byte, since none is UTF-8 that has it (RFC 3629, section 1).
pub(super) const BETWEEN: u8 = 0xff;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What happened.
    pub what: What,
    /// The number of the last message, this one included.
    pub seq: u64,
    /// The number that its author gave it; of a join the greatest that was accepted, -1 if nobody knows.
    pub n: i64,
    /// When, in milliseconds since 1970 by the engine's clock.
    pub at: u64,
    /// The node on which it happened.
    pub node: &'a str,
    /// The connection there.
    pub conn: u64,
    /// The node's counter for it.
    pub counter: u64,
    /// What clients of the tutorial's protocol see of its author.
    pub num: i64,
    /// What others see of it; none for a client of the tutorial's protocol.
    pub tag: Option<Tag>,
    /// Its name.
    pub name: &'a str,
    /// What was said; of a join whom it replaced, of a leave how.
    pub text: &'a str,
}

/// What a new epoch goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// The end of the epoch before; the epoch is 0 if the log was not known.
    pub end: (u64, u64),
    /// The log was removed: there is nothing in it from before.
    pub is_removed: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Somebody came.
    Joined,
    /// A message.
    Said,
    /// Somebody has another name.
    Renamed,
    /// Somebody left.
    Left,
    /// Somebody is here, as its node says in a new epoch.
    Present,
    /// Somebody has come again elsewhere meanwhile.
    Replaced,
    /// A node has said of all its members that they are here, or has left with all of them.
    Node,
    /// A new epoch.
    Epoch,
}

impl Raw {
    /// The entry that the engine gives.
    pub fn of(value: Value) -> Result<Raw, Fault> {
        let mut parts = list(value)?.into_iter();
        let (id, fields) = (parts.next().ok_or_else(odd)?, parts.next().ok_or_else(odd)?);
        let id = text(id)?;
        let (epoch, pos) = id.split_once('-').ok_or_else(odd)?;
        let id = (epoch.parse().map_err(|_| odd())?, pos.parse().map_err(|_| odd())?);
        let mut fields = list(fields)?.into_iter();
        let (Some(heads), Some(Value::BulkString(texts))) = (fields.next(), fields.next()) else {
            return Err(odd());
        };
        let heads = text(heads)?;
        let count = 1 + heads.matches('\n').count();
        Ok(Raw { id, count, heads, texts })
    }

    /// Bytes of it.
    pub fn size(&self) -> usize {
        self.heads.len() + self.texts.len()
    }

    /// The position of the first.
    pub fn first(&self) -> u64 {
        (self.id.1 + 1).saturating_sub(self.count as u64)
    }

    /// What happened, with the position of each. None: it is damaged.
    pub fn entries(&self) -> impl Iterator<Item = (u64, Option<Entry<'_>>)> {
        let mut texts = self.texts.split(|byte| *byte == BETWEEN);
        (self.first()..).zip(self.heads.split('\n')).map(move |(pos, head)| {
            let text = texts.next().and_then(|text| std::str::from_utf8(text).ok());
            (pos, text.and_then(|text| Entry::of(head, text)))
        })
    }

    /// The first of them.
    pub fn entry(&self) -> Option<Entry<'_>> {
        self.entries().next()?.1
    }
}

impl<'a> Entry<'a> {
    fn of(head: &'a str, text: &'a str) -> Option<Entry<'a>> {
        let mut words = Words(head);
        let what = match words.next()? {
            "j" => What::Joined,
            "s" => What::Said,
            "r" => What::Renamed,
            "l" => What::Left,
            "p" => What::Present,
            "x" => What::Replaced,
            "d" => What::Node,
            "e" => What::Epoch,
            _ => return None,
        };
        Some(Entry {
            what,
            seq: words.next()?.parse().ok()?,
            n: words.next()?.parse().ok()?,
            at: words.next()?.parse().ok()?,
            node: words.next()?,
            conn: words.next()?.parse().ok()?,
            counter: words.next()?.parse().ok()?,
            num: words.next()?.parse().ok()?,
            tag: tag(words.next()?),
            name: words.0,
            text,
        })
    }

    /// What it goes on with, if it is a new epoch.
    pub fn before(&self) -> Option<Before> {
        let mut words = self.text.split(' ').filter(|_| self.what == What::Epoch);
        let end = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Before { end, is_removed: words.next().is_some() })
    }
}

/// Words with a space behind each, and the rest. They are short, so looking for the space byte by byte is faster than
/// what `str::split` does.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let end = self.0.bytes().position(|byte| byte == b' ')?;
        let (word, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Some(word)
    }
}

/// The tag that this is.
pub fn tag(text: &str) -> Option<Tag> {
    text.as_bytes().try_into().ok().map(Tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(head: &str) -> Raw {
        Raw { id: (1, 2), count: 1, heads: head.into(), texts: "hello".into() }
    }

    #[test]
    fn what_the_scripts_write() {
        let raw_entry = raw("s 7 3 1700 k3f9x2ab 5 9 42 abcdefgh Ana B.");
        let entry = raw_entry.entry().expect("an entry");
        assert_eq!((entry.what, entry.seq, entry.n, entry.at), (What::Said, 7, 3, 1700));
        assert_eq!((entry.node, entry.conn, entry.counter), ("k3f9x2ab", 5, 9));
        assert_eq!(
            (entry.tag, entry.name, entry.text),
            (Some(Tag(*b"abcdefgh")), "Ana B.", "hello")
        );
        let raw_entry = raw("j 0 -1 1 node 1 1 -7 - ");
        let entry = raw_entry.entry().expect("an entry");
        assert_eq!((entry.tag, entry.name, entry.num, entry.n), (None, "", -7, -1));
    }

    #[test]
    fn what_a_new_epoch_goes_on_with() {
        let before = |head: &str, text: &str| {
            let raw = Raw { texts: text.into(), ..raw(head) };
            raw.entry().expect("an entry").before()
        };
        let of = |end, is_removed| Some(Before { end, is_removed });
        assert_eq!(before("e 7 0 1700 node 0 0 0 - ", "1699 12"), of((1699, 12), false));
        assert_eq!(before("e 7 0 1700 node 0 0 0 - ", "1699 12 removed"), of((1699, 12), true));
        assert_eq!(before("e 7 0 1700 node 0 0 0 - ", "1699"), None);
        assert_eq!(before("s 7 0 1700 node 0 0 0 - ", "1699 12"), None);
    }

    #[test]
    fn messages_that_share_an_entry() {
        let heads = "s 7 3 1700 node 5 9 42 abcdefgh Ana B.\ns 8 0 1700 node 6 10 -7 - ".to_owned();
        let raw = |texts: &[u8]| {
            let entry = vec![heads.clone().into_bytes(), texts.into()];
            let fields = Value::Array(entry.into_iter().map(Value::BulkString).collect());
            Raw::of(Value::Array(vec![Value::SimpleString("1-12".into()), fields]))
                .expect("an entry")
        };
        let raw_entry = raw(b"hello\nthere\xff");
        let entries: Vec<_> = raw_entry.entries().collect();
        let [(11, Some(one)), (12, Some(other))] = entries[..] else { panic!("{entries:?}") };
        assert_eq!((one.seq, one.name, one.text), (7, "Ana B.", "hello\nthere"));
        assert_eq!((other.seq, other.num, other.name, other.text), (8, -7, "", ""));
        assert_eq!((raw_entry.first(), raw_entry.count, raw_entry.entry()), (11, 2, Some(one)));
        for texts in [&b"hello"[..], b"hello\xff\xc3"] {
            let raw_entry = raw(texts);
            let last = raw_entry.entries().last();
            assert_eq!(last, Some((12, None)), "there is no text for it");
        }
    }

    #[test]
    fn what_is_damaged() {
        for head in ["", "s", "? 1 1 1 n 1 1 1 - ", "s 1 1 1 n 1 1 1", "s 1 1 1 n -1 1 1 - "] {
            assert_eq!(raw(head).entry(), None, "{head}");
        }
    }
}
