//! Where a client's messages end, from the headers of its frames (RFC 6455 section 5.2).
//!
//! tungstenite reserves memory for a frame as soon as it has the header, and keeps what a long one
//! took for as long as its client is there. So the headers are looked at as they go by: that a long
//! message comes is known before tungstenite knows it, and nothing behind one is handed out with
//! it, so that whoever reads can let go of everything in between.

/// Follows what one client sends.
#[derive(Debug)]
pub struct Framing {
    /// A message of more payload bytes is long.
    long: u64,
    /// The first bytes of a header whose rest has not come.
    header: [u8; HEADER_MAX],
    header_len: usize,
    /// Payload of the frame that has not come.
    left: u64,
    ends_message: bool,
    /// Payload of the message that is being sent, up to the end of its present frame.
    message: u64,
}

/// The longest frame header that a client sends.
const HEADER_MAX: usize = 14;

/// What may be handed out, and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// So many of the bytes.
    pub bytes: usize,
    /// Where these bytes leave the message.
    pub message: Progress,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// None is on its way, or none that is long yet.
    Short,
    /// The end of a long one has not come.
    Long,
    /// The last of these bytes is the last of a long one.
    LongEnds,
}

struct Header {
    len: usize,
    payload: u64,
    is_data: bool,
    is_final: bool,
}

impl Framing {
    /// Messages of more than `long` bytes are long.
    pub fn new(long: usize) -> Self {
        Framing {
            long: long as u64,
            header: [0; HEADER_MAX],
            header_len: 0,
            left: 0,
            ends_message: false,
            message: 0,
        }
    }

    /// Goes through the next `bytes`, up to the end of a long message.
    pub fn pass(&mut self, bytes: &[u8]) -> Passed {
        // So that no long message begins and ends in one piece: whatever comes before it has been
        // dealt with when it ends.
        let most = usize::try_from(self.long).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(most)];
        let mut at = 0;
        while at < bytes.len() {
            if self.left == 0 {
                match self.take_header(&bytes[at..]) {
                    Some(taken) => at += taken,
                    None => at = bytes.len(),
                }
            } else {
                let here = self.left.min((bytes.len() - at) as u64);
                self.left -= here;
                // It is at most the length of a slice.
                at += here as usize;
            }
            if self.left == 0 && self.ends_message {
                self.ends_message = false;
                if std::mem::take(&mut self.message) > self.long {
                    return Passed { bytes: at, message: Progress::LongEnds };
                }
            }
        }
        let message = if self.message > self.long { Progress::Long } else { Progress::Short };
        Passed { bytes: at, message }
    }

    /// Takes what `bytes` have of a header. How many bytes that was; none if all of them were not
    /// enough.
    fn take_header(&mut self, bytes: &[u8]) -> Option<usize> {
        let before = self.header_len;
        let parsed = if before == 0 {
            parse(bytes)
        } else {
            let more = bytes.len().min(HEADER_MAX - before);
            self.header[before..before + more].copy_from_slice(&bytes[..more]);
            parse(&self.header[..before + more])
        };
        let Some(header) = parsed else {
            // Fewer than the longest header has, since they were not enough for one.
            self.header[before..before + bytes.len()].copy_from_slice(bytes);
            self.header_len += bytes.len();
            return None;
        };
        self.header_len = 0;
        self.left = header.payload;
        if header.is_data {
            self.message = self.message.saturating_add(header.payload);
            self.ends_message = header.is_final;
        }
        Some(header.len - before)
    }
}

fn parse(bytes: &[u8]) -> Option<Header> {
    let [first, second, rest @ ..] = bytes else { return None };
    let extension = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let payload = match rest.get(..extension)? {
        [] => u64::from(second & 0x7f),
        extended => extended.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    rest.get(..extension + mask)?;
    Some(Header {
        len: 2 + extension + mask,
        payload,
        is_data: first & 0x8 == 0,
        is_final: first & 0x80 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    const LONG: usize = 200;

    /// A masked frame of a client.
    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut out = vec![first];
        match payload {
            0..126 => out.push(0x80 | payload as u8),
            126..65_536 => {
                out.push(0x80 | 126);
                out.extend((payload as u16).to_be_bytes());
            }
            _ => {
                out.push(0x80 | 127);
                out.extend((payload as u64).to_be_bytes());
            }
        }
        // Payload that looks like headers.
        out.extend(std::iter::repeat_n(0xff, 4 + payload));
        out
    }

    /// Messages of all kinds in pieces of all sizes: handing out stops behind the long ones and
    /// nowhere else, and long ones are known when their header has come.
    #[test]
    fn long_messages_end_where_they_end() {
        let mut dice = Rng::new(7);
        for _ in 0..2000 {
            let (mut sent, mut ends) = (Vec::new(), Vec::new());
            for _ in 0..1 + dice.roll(5) {
                let fragments = 1 + dice.roll(4);
                let mut len = 0;
                for n in 0..fragments {
                    let payload = [0, 1, 125, 126, 199, 201, 70_000][dice.roll(7)];
                    let opcode = if n == 0 { 0x1 } else { 0x0 };
                    let fin = if n + 1 == fragments { 0x80 } else { 0 };
                    sent.extend(frame(fin | opcode, payload));
                    len += payload;
                    if dice.roll(3) == 0 && fin == 0 {
                        sent.extend(frame(0x89, dice.roll(126)));
                    }
                }
                if len > LONG {
                    ends.push(sent.len());
                }
            }
            let mut framing = Framing::new(LONG);
            let (mut at, mut found) = (0, Vec::new());
            while at < sent.len() {
                let longest = [3, 20, 600, 100_000][dice.roll(4)];
                let piece = (1 + dice.roll(longest)).min(sent.len() - at);
                let passed = framing.pass(&sent[at..at + piece]);
                at += passed.bytes;
                if passed.message == Progress::LongEnds {
                    found.push(at);
                } else {
                    assert_eq!(passed.bytes, piece.min(LONG));
                }
            }
            assert_eq!(found, ends);
        }
    }

    #[test]
    fn a_long_message_is_known_by_its_header() {
        let sent = frame(0x81, 70_000);
        let mut framing = Framing::new(LONG);
        assert_eq!(framing.pass(&sent[..13]), Passed { bytes: 13, message: Progress::Short });
        assert_eq!(framing.pass(&sent[13..14]), Passed { bytes: 1, message: Progress::Long });
        assert_eq!(framing.pass(&sent[14..15]).message, Progress::Long);
        for rest in sent[15..].chunks(LONG) {
            let is_last = rest.as_ptr_range().end == sent.as_ptr_range().end;
            let expected = if is_last { Progress::LongEnds } else { Progress::Long };
            assert_eq!(framing.pass(rest).message, expected);
        }
        assert_eq!(framing.pass(&frame(0x81, LONG)).message, Progress::Short);
    }

    #[test]
    fn lengths_that_nobody_can_send_do_no_harm() {
        let mut framing = Framing::new(LONG);
        for _ in 0..3 {
            let bytes = [0x01, 127, 255, 255, 255, 255, 255, 255, 255, 255];
            assert_eq!(framing.pass(&bytes), Passed { bytes: 10, message: Progress::Long });
            framing.left = 0;
        }
    }
}
