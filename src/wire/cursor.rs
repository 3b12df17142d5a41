//! Places in a room's log, as clients name them: `EPOCH.SEQ`.

use std::fmt;

/// One incarnation of one room's log: 1 to 12 of `a-z` and `0-9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch([u8; EPOCH]);

/// A place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The incarnation.
    pub epoch: Epoch,
    /// The number of the message before it; 0 at the beginning.
    pub seq: u64,
}

/// Bytes of the longest cursor.
pub const CURSOR_BYTES: usize = EPOCH + 1 + 20;

const EPOCH: usize = 12;

impl Epoch {
    /// Twelve characters, of random bits.
    pub fn from_random(mut bits: u64) -> Self {
        let mut digits = [0; EPOCH];
        for digit in &mut digits {
            *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(bits % 36) as usize];
            bits /= 36;
        }
        Epoch(digits)
    }

    /// The epoch that an engine numbers so, in base 36.
    pub fn from_number(mut number: u64) -> Self {
        let (mut digits, mut len) = ([0; EPOCH], 0);
        while len < EPOCH && (number > 0 || len == 0) {
            digits[len] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize];
            number /= 36;
            len += 1;
        }
        digits[..len].reverse();
        Epoch(digits)
    }

    /// The number that an engine gave it, if one has.
    pub fn number(self) -> Option<u64> {
        u64::from_str_radix(&self.to_string(), 36).ok()
    }

    /// The epoch that this is.
    pub fn parse(text: &str) -> Option<Epoch> {
        let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut bytes = [0; EPOCH];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        (!text.is_empty() && text.bytes().all(is_good)).then_some(Epoch(bytes))
    }
}

impl Cursor {
    /// The cursor that this is.
    pub fn parse(text: &str) -> Option<Cursor> {
        let (epoch, seq) = text.split_once('.')?;
        let is_number = seq.bytes().all(|byte| byte.is_ascii_digit());
        let seq =
            seq.parse().ok().filter(|_| is_number && (seq == "0" || !seq.starts_with('0')))?;
        Some(Cursor { epoch: Epoch::parse(epoch)?, seq })
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.iter().position(|byte| *byte == 0).unwrap_or(EPOCH);
        f.write_str(std::str::from_utf8(&self.0[..len]).unwrap_or_default())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_they_are_written() {
        let longest = format!("{}.{}", Epoch::from_random(u64::MAX), u64::MAX);
        for text in ["k3f9x2.205", "0.0", "a.1", &longest] {
            assert_eq!(Cursor::parse(text).expect(text).to_string(), text);
        }
        assert_eq!(longest.len(), CURSOR_BYTES);
    }

    #[test]
    fn what_is_no_cursor() {
        for text in [
            "",
            ".",
            "a",
            "a.",
            ".1",
            "A.1",
            "a.01",
            "a.-1",
            "a.+1",
            "a.1.2",
            "abcdefghijklm.1",
            "é.1",
            "a.18446744073709551616",
            "a. 1",
        ] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }
}
