//! JSON (RFC 8259) as `roomd.1` needs it: flat objects, read within bounds and without recursion, and
//! strings, written so that a text at most trebles.

/// A value in a flat object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
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
/// If it is malformed, or `take` fails. Half of a surrogate pair is no character, so it is malformed.
pub fn read(
    text: &str,
    mut take: impl FnMut(&str, Value) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut reader = Reader { text, at: 0 };
    reader.expect(b'{')?;
    if !reader.skip(b'}') {
        loop {
            let key = reader.key()?;
            reader.expect(b':')?;
            let value = reader.value()?;
            take(&key, value)?;
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

impl Reader<'_> {
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

    fn key(&mut self) -> Result<String, Malformed> {
        self.space();
        self.string()
    }

    fn value(&mut self) -> Result<Value, Malformed> {
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
    fn number(&mut self) -> Result<Value, Malformed> {
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
                b'"' => drop(self.string()?),
                _ => drop(self.value()?),
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

    fn string(&mut self) -> Result<String, Malformed> {
        if self.peek() != Some(b'"') {
            return Err(Malformed);
        }
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let is_special = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
            let plain = rest.iter().position(is_special).ok_or(Malformed)?;
            // What ends a run is ASCII, so this is between two characters.
            string.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain + 1;
            match rest[plain] {
                b'"' => return Ok(string),
                b'\\' => string.push(self.escape()?),
                _ => return Err(Malformed),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        let escaped = self.peek().ok_or(Malformed)?;
        self.at += 1;
        Ok(match escaped {
            b'"' | b'\\' | b'/' => escaped.into(),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                let is_pair = (0xd800..0xdc00).contains(&first);
                if is_pair {
                    self.word("\\u")?;
                }
                let second = is_pair.then(|| self.unit()).transpose()?;
                let mut decoded = char::decode_utf16([first].into_iter().chain(second));
                decoded.next().and_then(Result::ok).ok_or(Malformed)?
            }
            _ => return Err(Malformed),
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Result<u16, Malformed> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(Malformed)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, digit| {
            let digit = char::from(*digit).to_digit(16).ok_or(Malformed)?;
            Ok(unit << 4 | digit as u16)
        })
    }
}

/// Appends `text` as a string. The control characters of ASCII but for tabs and line ends become U+FFFD, so
/// that it takes at most three times the bytes, and the quotes.
pub fn write(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    write_inner(out, text);
    out.push(b'"');
}

fn write_inner(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    let is_special = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
    while let Some(plain) = rest.iter().position(is_special) {
        out.extend_from_slice(&rest[..plain]);
        match rest[plain] {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            quoted @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', quoted]),
            // Three bytes, where an escape would take six.
            _ => out.extend_from_slice("\u{fffd}".as_bytes()),
        }
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    fn members(text: &str) -> Result<Vec<(String, Value)>, Malformed> {
        let mut members = Vec::new();
        read(text, |key, value| {
            members.push((key.into(), value));
            Ok(())
        })?;
        Ok(members)
    }

    #[test]
    fn every_kind_of_value() {
        let text = r#" {"a" : "x\u00e9\n\"\\\/\b\f\r\t\ud83d\ude00", "b":12,"c":true,"d":false,"e":null,
            "f":{"x":[1,{"y":[]},"]"],"z":{}},"g":[],"h":-1,"i":1.5e3,"j":9007199254740992} "#;
        let values: Vec<Value> =
            members(text).expect("an object").into_iter().map(|(_, value)| value).collect();
        let expected = [
            Value::Text("xé\n\"\\/\u{8}\u{c}\r\t😀".into()),
            Value::Number(12),
            Value::Bool(true),
            Value::Bool(false),
            Value::Null,
        ];
        assert_eq!(values[..5], expected);
        assert_eq!(values[5..], [const { Value::Other }; 5]);
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
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\udc00"}"#,
            r#"{"a":"\ud800\u0041"}"#,
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
        for char in '\0'..=char::MAX {
            let mut out = b"{\"a\":".to_vec();
            let text = format!("x{char}y");
            let before = out.len();
            write(&mut out, &text);
            assert!(out.len() - before - 2 <= 3 * text.len());
            out.push(b'}');
            let out = String::from_utf8(out).expect("UTF-8");
            let is_replaced = char < ' ' && !"\t\n\r".contains(char);
            let expected = if is_replaced { "x\u{fffd}y".into() } else { text };
            assert_eq!(members(&out), Ok(vec![("a".into(), Value::Text(expected))]));
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
