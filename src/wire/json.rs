//! JSON (RFC 8259) as `roomd.1` needs it: flat objects, read within bounds and without recursion, and
//! strings, written so that a text at most trebles.
//!
//! Reading copies nothing. A string is checked and measured where it is, so that one that is too long, or
//! that nobody asked for, costs no memory; the others are decoded into memory of exactly their length.

mod string;

pub use self::string::{Text, write};
use self::string::{plain, unescape};

/// A value in a flat object.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A string.
    Text(Text<'a>),
    /// An integer from 0 to 2⁵³ - 1, which every JSON reader takes.
    Number(u64),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// Something else that is well-formed: another number, an array, an object.
    Other,
}

/// This is not one JSON object, or not one that is taken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The greatest integer that is exact in every JSON reader (RFC 8259 section 6).
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// Arrays and objects within each other, at most.
const DEPTH: usize = 16;

/// Reads one object, and gives each member to `take`, in order.
///
/// # Errors
/// If it is malformed, or `take` fails.
pub fn read<'a>(
    text: &'a str,
    mut take: impl FnMut(&str, Value<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut reader = Reader { text, at: 0 };
    reader.expect(b'{')?;
    if !reader.skip(b'}') {
        loop {
            let key = reader.key()?;
            reader.expect(b':')?;
            let value = reader.value()?;
            take(&key.decode(), value)?;
            if reader.skip(b'}') {
                break;
            }
            reader.expect(b',')?;
        }
    }
    reader.space();
    if reader.at == text.len() { Ok(()) } else { Err(Malformed) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Whether this byte comes next; it is taken then.
    fn skip(&mut self, byte: u8) -> bool {
        self.space();
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.skip(byte) { Ok(()) } else { Err(Malformed) }
    }

    fn word(&mut self, word: &str) -> Result<(), Malformed> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Malformed);
        }
        self.at += word.len();
        Ok(())
    }

    fn key(&mut self) -> Result<Text<'a>, Malformed> {
        self.space();
        self.string()
    }

    fn value(&mut self) -> Result<Value<'a>, Malformed> {
        self.space();
        match self.peek().ok_or(Malformed)? {
            b'"' => self.string().map(Value::Text),
            b't' => self.word("true").map(|()| Value::Bool(true)),
            b'f' => self.word("false").map(|()| Value::Bool(false)),
            b'n' => self.word("null").map(|()| Value::Null),
            b'{' | b'[' => self.nested().map(|()| Value::Other),
            _ => self.number(),
        }
    }

    /// A number (RFC 8259 section 6).
    fn number(&mut self) -> Result<Value<'a>, Malformed> {
        let start = self.at;
        let mut is_plain = true;
        if self.peek() == Some(b'-') {
            (self.at, is_plain) = (self.at + 1, false);
        }
        let whole = self.at;
        self.digits()?;
        if self.text.as_bytes()[whole] == b'0' && self.at > whole + 1 {
            return Err(Malformed);
        }
        if self.peek() == Some(b'.') {
            (self.at, is_plain) = (self.at + 1, false);
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            (self.at, is_plain) = (self.at + 1, false);
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let number = self.text[start..self.at].parse().ok();
        let number = number.filter(|number| is_plain && *number <= MAX_NUMBER);
        Ok(number.map_or(Value::Other, Value::Number))
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Malformed) }
    }

    /// An array or an object, of which nothing is kept.
    fn nested(&mut self) -> Result<(), Malformed> {
        let mut open = Vec::new();
        loop {
            self.space();
            match self.peek().ok_or(Malformed)? {
                kind @ (b'{' | b'[') => {
                    if open.len() == DEPTH {
                        return Err(Malformed);
                    }
                    self.at += 1;
                    open.push(if kind == b'{' { b'}' } else { b']' });
                    if !self.skip(open[open.len() - 1]) {
                        self.member(&open)?;
                        continue;
                    }
                    open.pop();
                }
                _ => {
                    self.value()?;
                }
            }
            // A value has ended: another follows, or what it is in ends, too.
            loop {
                let Some(end) = open.last().copied() else { return Ok(()) };
                if self.skip(end) {
                    open.pop();
                } else {
                    self.expect(b',')?;
                    self.member(&open)?;
                    break;
                }
            }
        }
    }

    /// Within an object, the name of what follows.
    fn member(&mut self, open: &[u8]) -> Result<(), Malformed> {
        if open.last() == Some(&b'}') {
            self.key()?;
            self.expect(b':')?;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Text<'a>, Malformed> {
        if self.peek() != Some(b'"') {
            return Err(Malformed);
        }
        let start = self.at + 1;
        let mut len = 0;
        self.at = start;
        loop {
            // A run ends before an ASCII character, and so between two characters.
            let run = plain(&self.text.as_bytes()[self.at..]);
            (self.at, len) = (self.at + run, len + run);
            let end = self.at;
            let special = self.peek().ok_or(Malformed)?;
            self.at += 1;
            match special {
                b'"' => return Ok(Text { raw: &self.text[start..end], len }),
                b'\\' => {
                    let (char, escape) = unescape(&self.text[self.at..]).ok_or(Malformed)?;
                    (self.at, len) = (self.at + escape, len + char.len_utf8());
                }
                _ => return Err(Malformed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    /// The members of an object as another reader has them; null for what is not taken here.
    fn members(text: &str) -> Result<Vec<(String, serde_json::Value)>, Malformed> {
        let mut members = Vec::new();
        read(text, |key, value| {
            let value = match value {
                Value::Text(text) => {
                    let decoded = text.decode().into_owned();
                    assert_eq!((decoded.len(), decoded.capacity()), (text.len(), text.len()));
                    decoded.into()
                }
                Value::Number(number) => number.into(),
                Value::Bool(flag) => flag.into(),
                Value::Null => serde_json::Value::Null,
                Value::Other => "other".into(),
            };
            members.push((key.into(), value));
            Ok(())
        })?;
        Ok(members)
    }

    #[test]
    fn every_kind_of_value() {
        let text = r#" {"a" : "x\u00e9\n\"\\\/\b\f\r\t\ud83d\ude00", "b":12,"c":true,"d":false,"e":null,
            "f":{"x":[1,{"y":[]},"]"],"z":{}},"g":[],"h":-1,"i":1.5e3,"j":9007199254740992} "#;
        let values: Vec<_> =
            members(text).expect("an object").into_iter().map(|(_, value)| value).collect();
        let expected = [
            "xé\n\"\\/\u{8}\u{c}\r\t😀".into(),
            12.into(),
            true.into(),
            false.into(),
            serde_json::Value::Null,
        ];
        assert_eq!(values[..5], expected);
        assert_eq!(values[5..], ["other"; 5]);
        assert_eq!(members("{}"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            "",
            "{",
            "}",
            "[]",
            "1",
            "{}x",
            "{} {}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{,}"#,
            r#"{a:1}"#,
            r#"{"a":01}"#,
            r#"{"a":+1}"#,
            r#"{"a":-}"#,
            r#"{"a":1.}"#,
            r#"{"a":1e}"#,
            r#"{"a":tru}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\ud800\u12g4"}"#,
            r#"{"a":"\ud800\"}"#,
            r#"{"a":"\u+123"}"#,
            r#"{"a":"\U0041"}"#,
            r#"{"a":"\u12g4"}"#,
            r#"{"a":"\u12"#,
            "{\"a\":\"\n\"}",
            r#"{"a":[1,]}"#,
            r#"{"a":[1}"#,
            r#"{"a":{"b"}}"#,
            r#"{"a":{1:2}}"#,
            r#"{"a":'b'}"#,
            "\u{feff}{}",
        ] {
            assert_eq!(members(text), Err(Malformed), "{text}");
        }
        let deep = |depth| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(members(&deep(DEPTH)).is_ok());
        assert_eq!(members(&deep(DEPTH + 1)), Err(Malformed));
    }

    #[test]
    fn every_character_comes_back_or_is_replaced() {
        let chars: Vec<char> = ('\0'..=char::MAX).collect();
        // One by one where something happens, and then many at a time.
        for chars in chars[..256].chunks(1).chain(chars[256..].chunks(999)) {
            let mut out = b"{\"a\":".to_vec();
            let text: String = chars.iter().collect();
            let before = out.len();
            write(&mut out, &text);
            assert!(out.len() - before - 2 <= 3 * text.len());
            out.push(b'}');
            let out = String::from_utf8(out).expect("UTF-8");
            let is_replaced = |char| char < ' ' && !"\t\n\r".contains(char);
            let expected = text.replace(is_replaced, "\u{fffd}");
            assert_eq!(members(&out), Ok(vec![("a".into(), expected.into())]));
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced() {
        for (escaped, expected) in [
            (r"\ud800", "\u{fffd}"),
            (r"\uDFFF", "\u{fffd}"),
            (r"\ud800\u0041", "\u{fffd}A"),
            (r"\ud800\ud800\udc00", "\u{fffd}\u{10000}"),
            (r"\udc00\ud800", "\u{fffd}\u{fffd}"),
            (r"\ud83dé", "\u{fffd}é"),
            (r"\ud83d\\ude00", "\u{fffd}\\ude00"),
            (r"\ud83d\n", "\u{fffd}\n"),
            (r"\u0041\udc00", "A\u{fffd}"),
        ] {
            let text = format!("{{\"a\":\"{escaped}\"}}");
            assert_eq!(members(&text), Ok(vec![("a".into(), expected.into())]), "{escaped}");
        }
    }

    #[test]
    fn random_texts_are_what_another_reader_takes_them_for() {
        const PARTS: [&str; 14] = [
            "x", "é", "😀", "\u{2028}", "\u{7f}", "\0", "\u{1f}", "\t", "\"", "\\", "/",
            "abcdefgh", "\u{ffff}", "u",
        ];
        let mut dice = Rng::new(11);
        for _ in 0..20_000 {
            let text: String = (0..dice.roll(30)).map(|_| PARTS[dice.roll(PARTS.len())]).collect();
            let theirs = format!("{{\"a\":{}}}", serde_json::to_string(&text).expect("JSON"));
            assert_eq!(members(&theirs), Ok(vec![("a".into(), text.clone().into())]));
            let mut ours = Vec::new();
            write(&mut ours, &text);
            let read: String = serde_json::from_slice(&ours).expect("JSON");
            assert_eq!(read, text.replace(['\0', '\u{1f}'], "\u{fffd}"));
        }
    }

    /// What another reader takes, this one takes, and the other way round.
    #[test]
    fn random_objects_are_objects_to_another_reader() {
        const PARTS: [&str; 24] = [
            "{",
            "}",
            "[",
            "]",
            "\"",
            ":",
            ",",
            "\"t\"",
            "\"a\"",
            "1",
            "0",
            "-",
            ".5",
            "e-1",
            "true",
            "null",
            " ",
            "\\n",
            "\\u00e9",
            "\\ud83d\\ude00",
            "\"x\":",
            "é",
            "\"a\":1",
            "\"b\":\"c\"",
        ];
        let (mut dice, mut good) = (Rng::new(7), 0);
        for _ in 0..50_000 {
            let mut text = String::from("{");
            for _ in 0..dice.roll(9) {
                text.push_str(PARTS[dice.roll(PARTS.len())]);
            }
            text.push('}');
            let other: Result<serde_json::Value, _> = serde_json::from_str(&text);
            assert_eq!(members(&text).is_ok(), other.is_ok(), "{text}");
            good += usize::from(other.is_ok());
        }
        assert!(good > 100, "only {good} were objects");
    }
}
