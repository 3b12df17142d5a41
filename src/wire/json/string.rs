//! Strings of JSON (RFC 8259 section 7): what stands between their quotes, and what it stands for.

use std::borrow::Cow;

/// A string that is well-formed, as it stands between its quotes.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    pub(super) raw: &'a str,
    /// Bytes when decoded.
    pub(super) len: usize,
}

impl<'a> Text<'a> {
    /// How many bytes it decodes to.
    pub fn len(&self) -> usize {
        self.len
    }

    /// What it stands for. Half of a surrogate pair becomes U+FFFD: it is no character, but JavaScript has
    /// strings with it, and what people type or paste should not fail because of it.
    pub fn decode(&self) -> Cow<'a, str> {
        // An escape is longer than its character.
        if self.len == self.raw.len() {
            return Cow::Borrowed(self.raw);
        }
        let mut decoded = String::with_capacity(self.len);
        let mut rest = self.raw;
        while let Some((plain, escaped)) = rest.split_at_checked(plain(rest.as_bytes())) {
            decoded.push_str(plain);
            let Some((char, len)) = escaped.get(1..).and_then(unescape) else { break };
            decoded.push(char);
            rest = &escaped[1 + len..];
        }
        Cow::Owned(decoded)
    }
}

/// What `text` begins with, behind a backslash: the character, and the length of the rest of the escape.
pub(super) fn unescape(text: &str) -> Option<(char, usize)> {
    let escaped = *text.as_bytes().first()?;
    let char = match escaped {
        b'"' | b'\\' | b'/' => escaped.into(),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = unit(text.as_bytes())?;
            if let Some(char) = char::from_u32(first.into()) {
                return Some((char, UNIT));
            }
            let second = text[UNIT..].strip_prefix('\\').and_then(|text| unit(text.as_bytes()));
            let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
            return Some(match pair {
                Some(char) => (char, 2 * UNIT + 1),
                None => (char::REPLACEMENT_CHARACTER, UNIT),
            });
        }
        _ => return None,
    };
    Some((char, 1))
}

/// The length of `u` and four hexadecimal digits.
const UNIT: usize = 5;

fn unit(text: &[u8]) -> Option<u16> {
    let [b'u', digits @ ..] = text.first_chunk::<UNIT>()? else { return None };
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | digit as u16)
    })
}

/// How many bytes may stand in a string as they are, up to the first control character, quote or backslash.
///
/// Eight bytes at a time: this is what takes the time of a long message. A byte of `found` has its highest
/// bit set if the byte of `word` is such a one; a borrow spoils only bytes behind the first that is found.
pub(super) fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*word);
        let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let found = (below(word, b' ') | is(b'"') | is(b'\\')) & (ONES << 7);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_special = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
    bytes[at..].iter().position(is_special).map_or(bytes.len(), |rest| at + rest)
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
    loop {
        let (plain, special) = rest.split_at(plain(rest));
        out.extend_from_slice(plain);
        let Some((special, behind)) = special.split_first() else { break };
        match special {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *special]),
            // Three bytes, where an escape would take six.
            _ => out.extend_from_slice("\u{fffd}".as_bytes()),
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    #[test]
    fn a_run_ends_at_the_first_special_byte() {
        let mut dice = Rng::new(3);
        for _ in 0..50_000 {
            let mut bytes = vec![b' ' + dice.roll(224) as u8; dice.roll(40)];
            for _ in 0..dice.roll(4) {
                let at = dice.roll(bytes.len() + 1);
                let near =
                    [0, 1, 0x1f, b' ', b'!', b'"', b'#', b'[', b'\\', b']', 0x7f, 0x80, 0xff];
                bytes.insert(at, near[dice.roll(near.len())]);
            }
            let expected = bytes.iter().position(|byte| *byte < 32 || b"\"\\".contains(byte));
            assert_eq!(plain(&bytes), expected.unwrap_or(bytes.len()), "{bytes:?}");
        }
    }
}
