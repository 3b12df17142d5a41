//! Reads the body of a request that publishes: within its announced length, a bound and a deadline.

use std::io;

use crate::http::refusal::Refusal;
use crate::http::request::RequestHead;

/// A body that is announced, and can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its length in bytes.
    pub length: usize,
    /// The client waits for 100 before it sends the body (RFC 9110 section 10.1.1).
    pub expects_continue: bool,
}

/// The interim response that asks for the body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Announced {
    /// The body that a request announces, if its text may be a message of `max` bytes.
    ///
    /// # Errors
    /// The refusal of one without a length, or too long.
    pub fn of(head: &RequestHead<'_>, max: usize) -> Result<Announced, Refusal> {
        let length = head.content_length.ok_or_else(Refusal::length_required)?;
        // A number with more digits is too long as well. The line end behind the text is cut.
        let length = length.parse().ok().filter(|length| *length <= max + 1);
        let length = length.ok_or_else(|| Refusal::too_long(max))?;
        let expects_continue = match head.expect {
            None => false,
            // HTTP/1.0 knows no interim responses.
            Some(expect) if expect.eq_ignore_ascii_case("100-continue") => head.is_http_1_1,
            Some(_) => return Err(Refusal::expectation()),
        };
        Ok(Announced { length, expects_continue })
    }

    /// What of the body came with the head.
    pub fn begin(&self, received: &[u8]) -> Vec<u8> {
        // Whatever is behind the body belongs to nothing: the connection ends with the answer.
        received[..received.len().min(self.length)].to_vec()
    }

    /// Goes on with the `body` until it has `most` bytes, or is complete, by what `read` gets.
    ///
    /// # Errors
    /// Those of `read`, and its end before that.
    pub fn read(
        &self,
        body: &mut Vec<u8>,
        most: usize,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let (mut len, most) = (body.len(), most.min(self.length));
        if len < most {
            body.reserve_exact(most - len);
            body.resize(most, 0);
        }
        while len < most {
            match read(&mut body[len..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => len += more,
            }
        }
        Ok(())
    }
}

/// The text that a body is: one line end behind it is cut, as `echo` writes one.
///
/// # Errors
/// The refusal of what is not a message of at most `max` bytes.
pub fn text(mut body: Vec<u8>, max: usize) -> Result<String, Refusal> {
    if body.last() == Some(&b'\n') {
        body.pop();
    }
    if body.is_empty() {
        return Err(Refusal::bad_request("the body is empty, and would be the message"));
    }
    if body.len() > max {
        return Err(Refusal::too_long(max));
    }
    String::from_utf8(body).map_err(|_| Refusal::bad_request("the body is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    fn announced(
        length: Option<&'static str>,
        expect: Option<&'static str>,
    ) -> Result<Announced, Refusal> {
        let head = RequestHead {
            content_length: length,
            expect,
            is_http_1_1: true,
            ..RequestHead::default()
        };
        Announced::of(&head, 10)
    }

    fn status<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
        result.expect_err("a refusal").to_string()[..3].into()
    }

    #[test]
    fn a_body_has_a_length_and_a_bound() {
        assert_eq!(announced(Some("10"), None).unwrap().length, 10);
        assert_eq!(announced(Some("11"), None).unwrap().length, 11, "with a line end");
        assert_eq!(status(announced(Some("12"), None)), "413");
        assert_eq!(status(announced(Some("99999999999999999999999"), None)), "413");
        assert_eq!(status(announced(None, None)), "411");
        assert!(announced(Some("1"), Some("100-Continue")).unwrap().expects_continue);
        assert_eq!(status(announced(Some("1"), Some("tea"))), "417");
    }

    #[test]
    fn a_body_is_read_in_whatever_pieces() {
        let body: Vec<u8> = (0..=255).collect();
        for seed in 0..100 {
            let mut dice = Rng::new(seed);
            let (came, mut rest) = body.split_at(dice.roll(257));
            let announced = Announced { length: dice.roll(257), expects_continue: false };
            let mut read = announced.begin(came);
            for most in [dice.roll(257), usize::MAX] {
                let pieces = |bytes: &mut [u8]| {
                    let len = (1 + dice.roll(9)).min(bytes.len()).min(rest.len());
                    bytes[..len].copy_from_slice(&rest[..len]);
                    rest = &rest[len..];
                    Ok(len)
                };
                announced.read(&mut read, most, pieces).unwrap();
                let len = came.len().max(most).min(announced.length);
                assert_eq!(read, body[..len]);
            }
        }
        let short = Announced { length: 3, expects_continue: false };
        let short = short.read(&mut b"ab".to_vec(), usize::MAX, |_| Ok(0));
        assert_eq!(short.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_text_is_what_was_sent_without_one_line_end() {
        let text = |body: &[u8]| text(body.to_vec(), 4);
        assert_eq!(text(b"ab").unwrap(), "ab");
        assert_eq!(text(b"ab\n\n").unwrap(), "ab\n");
        assert_eq!(text(b"a\r\n").unwrap(), "a\r");
        assert_eq!(text(b"a=b+").unwrap(), "a=b+", "a form is not decoded");
        assert_eq!(text(b"abcd\n").unwrap(), "abcd");
        assert_eq!(status(text(b"abcde")), "413");
        assert_eq!(status(text(b"")), "400");
        assert_eq!(status(text(b"\n")), "400");
        assert_eq!(status(text(b"\xe9")), "400");
    }
}
