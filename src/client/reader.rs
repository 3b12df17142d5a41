//! Reads from one client on behalf of tungstenite.
//!
//! tungstenite's read buffer is small, since every client has one for good. A client that sends little
//! is read straight into it; one that sends much is read in larger pieces, until it is silent.
//!
//! tungstenite reserves memory for a frame as soon as it has the header, and keeps the memory of a
//! long one for as long as its client is there. So the reader parses each header first (RFC 6455
//! section 5.2): a long message is known before tungstenite knows of it, and kept back until the caller
//! has memory for it; and nothing behind one is handed out with it, so that the caller can drop everything
//! that it took. The caller is not asked for memory before all of the message has arrived, or
//! [`AT_HAND`] bytes of it: who promises much and sends little has none.

use std::io::{self, Cursor, ErrorKind, Read};
use std::ops::Range;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, OpCode};

use crate::config::{AT_HAND, READ_AHEAD, READ_BUFFER};

/// The reading end of one client's connection.
pub struct Reader {
    /// Empty while the client sends no more than tungstenite's buffer takes at once.
    buffer: Box<[u8]>,
    /// Where in the buffer the bytes are that have been read and not handed out.
    waiting: Range<usize>,
    frames: Frames,
}

/// How far the frames of one client have been handed out.
struct Frames {
    /// A message of more payload bytes is long.
    long: usize,
    /// A frame of more payload bytes is refused when its header has been handed out.
    longest: usize,
    /// The frame that waits begins a long message, or makes one of what came before it, and nobody has
    /// admitted that yet.
    held: Option<Held>,
    /// The current message may be long.
    is_admitted: bool,
    /// Bytes of the current frame still to come, header included.
    left: u64,
    /// The current frame is the last of its message.
    ends_message: bool,
    /// Payload of the current message up to the end of the current frame.
    message: u64,
    long_has_ended: bool,
    /// Frames that did not end their message.
    fragments: u32,
    close_code: Option<u16>,
}

/// A frame that is kept back.
#[derive(Clone, Copy)]
struct Held {
    /// Its bytes, header included.
    len: u64,
    ends_message: bool,
}

/// A long message that is kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongMessage {
    /// Bytes of its current frame that have not been read yet.
    pub missing: u64,
    /// This frame is its last one.
    pub ends: bool,
}

/// The longest payload of a control frame.
const CONTROL_MAX: u64 = 125;

impl Reader {
    /// A reader behind the bytes that have been `received` already. A message of more than `long`
    /// bytes is long, and the `longest` frame that is not refused at once has so many.
    pub fn new(received: &[u8], long: usize, longest: usize) -> Self {
        let frames = Frames {
            long,
            longest,
            held: None,
            is_admitted: false,
            left: 0,
            ends_message: false,
            message: 0,
            long_has_ended: false,
            fragments: 0,
            close_code: None,
        };
        let mut reader = Reader { buffer: Box::default(), waiting: 0..0, frames };
        if !received.is_empty() {
            reader.set_buffer(received);
        }
        reader
    }

    /// Hands out bytes that were read before. Returns how many; 0 if it takes a [`read`](Self::read).
    pub fn take(&mut self, out: &mut [u8]) -> usize {
        let waiting = &self.buffer[self.waiting.clone()];
        let taken = self.frames.pass(waiting, out.len());
        out[..taken].copy_from_slice(&waiting[..taken]);
        self.waiting.start += taken;
        taken
    }

    /// Reads from `source` once. Returns how many bytes are handed out; 0 at the end. None: what was read
    /// waits for more, or for [`admit`](Self::admit). [`take`](Self::take) has nothing.
    ///
    /// # Errors
    /// Those of `source`. After [`ErrorKind::WouldBlock`] the buffer is gone: the client is silent.
    pub fn read(&mut self, source: &mut impl Read, out: &mut [u8]) -> io::Result<Option<usize>> {
        if self.long_message().is_some() {
            return Ok(None);
        }
        let (read, passed) = if self.buffer.is_empty() {
            let read = source.read(out)?;
            let passed = self.frames.pass(&out[..read], read);
            // A client that sends little may fill a small rest of tungstenite's buffer, too.
            if passed < read || read == out.len() && read >= READ_BUFFER / 2 {
                self.set_buffer(&out[passed..read]);
            }
            (read, passed)
        } else {
            (self.fill(source)?, self.take(out))
        };
        Ok((passed > 0 || read == 0).then_some(passed))
    }

    /// Reads from `source` once. All that waits is the beginning of a header, or of a frame that is kept
    /// back.
    fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        let begun = self.waiting.len();
        let size = if self.frames.held.is_some() { AT_HAND } else { READ_AHEAD };
        if self.buffer.len() == size || begun >= size {
            self.buffer.copy_within(self.waiting.clone(), 0);
        } else {
            let mut buffer = vec![0; size];
            buffer[..begun].copy_from_slice(&self.buffer[self.waiting.clone()]);
            self.buffer = buffer.into();
        }
        self.waiting = 0..begun;
        match source.read(&mut self.buffer[begun..]) {
            Ok(read) => {
                self.waiting.end += read;
                Ok(read)
            }
            Err(error) => {
                if error.kind() == ErrorKind::WouldBlock && begun == 0 {
                    self.buffer = Box::default();
                }
                Err(error)
            }
        }
    }

    fn set_buffer(&mut self, waiting: &[u8]) {
        self.buffer = vec![0; waiting.len().max(READ_AHEAD)].into();
        self.buffer[..waiting.len()].copy_from_slice(waiting);
        self.waiting = 0..waiting.len();
    }

    /// The long message that is kept back, once enough of it has been read to be worth memory.
    pub fn long_message(&self) -> Option<LongMessage> {
        let Held { len, ends_message } = self.frames.held?;
        let read = self.waiting.len() as u64;
        let is_enough = read >= len || self.waiting.len() >= AT_HAND;
        is_enough.then(|| LongMessage { missing: len.saturating_sub(read), ends: ends_message })
    }

    /// There is memory for the message that is kept back.
    pub fn admit(&mut self) {
        self.frames.held = None;
        self.frames.is_admitted = true;
    }

    /// Whether a long message is under way: its header has been handed out and its end has not.
    #[cfg(test)]
    fn is_in_long_message(&self) -> bool {
        self.frames.message > self.frames.long as u64
    }

    /// Whether the last bytes handed out end a long message. The caller drops what it took of it.
    pub fn end_long_message(&mut self) -> bool {
        std::mem::take(&mut self.frames.long_has_ended)
    }

    /// How many frames began since the last call that do not end their message.
    pub fn take_fragments(&mut self) -> u32 {
        std::mem::take(&mut self.frames.fragments)
    }

    /// The code of the client's first close frame, once that has been handed out.
    pub fn close_code(&self) -> Option<u16> {
        self.frames.close_code
    }
}

impl Frames {
    /// How many of the `bytes` may be handed out at once where there is `room`: up to the end of a
    /// long message or the beginning of a header that is not complete.
    fn pass(&mut self, bytes: &[u8], room: usize) -> usize {
        // So that no long message begins and ends in one piece: whatever comes before it has been
        // dealt with when it ends.
        let most = room.min(bytes.len()).min(self.long);
        let mut at = 0;
        while at < most && (self.left > 0 || self.begin(&bytes[at..])) {
            let here = self.left.min((most - at) as u64);
            self.left -= here;
            // It is at most the length of a slice.
            at += here as usize;
            if self.left == 0 && std::mem::take(&mut self.ends_message) {
                self.is_admitted = false;
                self.long_has_ended = std::mem::take(&mut self.message) > self.long as u64;
                if self.long_has_ended {
                    break;
                }
            }
        }
        at
    }

    /// Begins the frame whose header `bytes` begin with; false if it is not complete, or kept back. A close
    /// code counts as part of the header.
    fn begin(&mut self, bytes: &[u8]) -> bool {
        let mut cursor = Cursor::new(bytes);
        let (header, payload) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return false,
            // tungstenite fails here as well, and reads no further.
            Err(_) => {
                self.left = u64::MAX;
                return true;
            }
        };
        let header_len = cursor.position();
        // tungstenite refuses a control frame that is too long only when it has all of it.
        let counts = matches!(header.opcode, OpCode::Data(_)) || payload > CONTROL_MAX;
        let message = self.message.saturating_add(payload);
        let is_refused = payload > self.longest as u64;
        if counts && message > self.long as u64 && !self.is_admitted && !is_refused {
            let len = payload.saturating_add(header_len);
            self.held = Some(Held { len, ends_message: header.is_final });
            return false;
        }
        if header.opcode == OpCode::Control(Control::Close) && payload >= 2 {
            let mut code = [0; 2];
            if cursor.read_exact(&mut code).is_err() {
                return false;
            }
            let [high, low, ..] = header.mask.unwrap_or_default();
            self.close_code.get_or_insert(u16::from_be_bytes([code[0] ^ high, code[1] ^ low]));
        }
        self.left = payload.saturating_add(header_len);
        if counts {
            self.message = message;
            self.ends_message = header.is_final;
            self.fragments = self.fragments.saturating_add(u32::from(!header.is_final));
        }
        true
    }
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

    /// Gives what is `sent` in pieces, and is silent now and then.
    struct Pieces<'a> {
        sent: &'a [u8],
        dice: Rng,
        /// The most that was asked for since the last silence.
        asked: usize,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.dice.roll(10) == 0 {
                self.asked = 0;
                return Err(ErrorKind::WouldBlock.into());
            }
            self.asked = self.asked.max(out.len());
            let longest = [3, 20, 600, 100_000][self.dice.roll(4)];
            let piece = (1 + self.dice.roll(longest)).min(out.len()).min(self.sent.len());
            self.sent.read(&mut out[..piece])
        }
    }

    /// Messages of all kinds in pieces of all sizes: they come in order and once. Handing out stops
    /// behind the long ones and nowhere else, and those are known when their header is handed out.
    #[test]
    fn long_messages_end_where_they_end() {
        for seed in 0..2000 {
            let mut dice = Rng::new(seed);
            let (mut sent, mut long) = (Vec::new(), Vec::new());
            for _ in 0..1 + dice.roll(5) {
                let fragments = 1 + dice.roll(4);
                let (mut len, mut known) = (0, None);
                for n in 0..fragments {
                    let payload = [0, 1, 125, 126, 199, 201, 70_000][dice.roll(7)];
                    let opcode = if n == 0 { 0x1 } else { 0x0 };
                    let fin = if n + 1 == fragments { 0x80 } else { 0 };
                    let begin = sent.len();
                    sent.extend(frame(fin | opcode, payload));
                    len += payload;
                    if len > LONG {
                        known = known.or(Some(begin..sent.len() - payload));
                    }
                    if dice.roll(3) == 0 && fin == 0 {
                        sent.extend(frame(0x89, dice.roll(126)));
                    }
                }
                long.extend(known.map(|header| (header, sent.len())));
            }
            let (received, rest) = sent.split_at(dice.roll(sent.len()).min(dice.roll(9000)));
            let mut reader = Reader::new(received, LONG, 100_000);
            let mut source = Pieces { sent: rest, dice, asked: 0 };
            let (mut got, mut ends) = (Vec::new(), Vec::new());
            loop {
                let mut out = vec![0; 1 + source.dice.roll(1000)];
                if let Some(LongMessage { missing, ends }) = reader.long_message() {
                    let (_, end) =
                        long.iter().find(|(_, end)| *end > got.len()).expect("a long one");
                    let waiting = reader.waiting.len();
                    assert!(
                        missing == 0 || waiting >= AT_HAND,
                        "seed {seed}: {waiting} are enough"
                    );
                    assert!(!ends || got.len() + waiting + missing as usize >= *end, "seed {seed}");
                    reader.admit();
                }
                let handed = match reader.take(&mut out) {
                    0 => match reader.read(&mut source, &mut out) {
                        Err(_) | Ok(None) => continue,
                        Ok(Some(0)) => break,
                        Ok(Some(read)) => read,
                    },
                    taken => taken,
                };
                got.extend_from_slice(&out[..handed]);
                let at = got.len();
                if reader.end_long_message() {
                    ends.push(at);
                } else if handed < out.len().min(LONG) && reader.frames.held.is_none() {
                    let waiting = sent.len() - source.sent.len() - at;
                    assert!(waiting < 14, "seed {seed}: {waiting} bytes are held back at {at}");
                }
                let is_long = long.iter().any(|(header, end)| (header.end..*end).contains(&at));
                let may_be = long.iter().any(|(header, end)| (header.start..*end).contains(&at));
                let seen = reader.is_in_long_message();
                assert!(!is_long || seen, "seed {seed}: {at} is in a long message");
                assert!(may_be || !seen, "seed {seed}: {at} is in no long message");
            }
            assert!(got == sent, "seed {seed}: something else was handed out");
            assert!(ends.iter().eq(long.iter().map(|(_, end)| end)), "seed {seed}: {ends:?}");
        }
    }

    #[test]
    fn only_a_client_that_sends_much_has_a_buffer_and_not_while_it_is_silent() {
        let mut reader = Reader::new(&[], LONG, LONG);
        let mut out = [0; READ_BUFFER];
        for _ in 0..100 {
            let read = reader.read(&mut &frame(0x81, 100)[..], &mut out).expect("it can be read");
            assert_eq!((read, reader.buffer.len()), (Some(106), 0));
        }
        let much = frame(0x81, 10).repeat(2000);
        let mut full = Reader::new(&[], READ_BUFFER, READ_BUFFER);
        let read = full.read(&mut &much[..], &mut out).expect("it can be read");
        assert_eq!((read, full.buffer.len()), (Some(READ_BUFFER), READ_AHEAD));
        let mut source = Pieces { sent: &much, dice: Rng::new(1), asked: 0 };
        let mut reads_of_much = 0;
        loop {
            if reader.take(&mut out) > 0 {
                continue;
            }
            match reader.read(&mut source, &mut out) {
                Ok(Some(0)) => break,
                Ok(_) if source.asked > READ_BUFFER => reads_of_much += 1,
                Ok(_) => {}
                // Within a header it is about to go on.
                Err(_) => assert!(reader.buffer.is_empty() || !reader.waiting.is_empty()),
            }
        }
        assert!(reads_of_much > 0);
    }

    #[test]
    fn a_control_frame_of_the_length_of_a_long_message_is_one() {
        let mut reader = Reader::new(&frame(0x89, 70_000), LONG, 70_000);
        assert_eq!(reader.take(&mut [0; 14]), 0);
        assert_eq!(reader.long_message(), Some(LongMessage { missing: 0, ends: true }));
        reader.admit();
        assert!(reader.take(&mut [0; 14]) > 0 && reader.is_in_long_message());
    }

    /// A frame that will be refused needs no memory, and its client is told at once.
    #[test]
    fn what_is_too_long_is_not_kept_back() {
        let mut reader = Reader::new(&frame(0x81, 301)[..20], LONG, 300);
        assert!(reader.take(&mut [0; 20]) > 0 && reader.is_in_long_message());
        let mut reader = Reader::new(&frame(0x81, 300)[..20], LONG, 300);
        assert_eq!((reader.take(&mut [0; 20]), reader.long_message()), (0, None));
    }

    #[test]
    fn the_first_close_code_is_known_with_the_header() {
        let sent = [
            frame(0x81, 3),
            b"\x88\x82\x12\x34\x56\x78\x11\xc2".to_vec(),
            b"\x88\x82\x00\x00\x00\x00\x03\xe8".to_vec(),
        ];
        let sent = sent.concat();
        for piece in 1..sent.len() {
            let mut reader = Reader::new(&[], LONG, LONG);
            let mut at = 0;
            for mut piece in sent.chunks(piece) {
                let read = reader.read(&mut piece, &mut [0; 100]).expect("it can be read");
                at += read.unwrap_or(0);
                let expected = if at > 9 { Some(0x03f6) } else { None };
                assert_eq!(reader.close_code(), expected, "{at} of pieces of {piece:?}");
            }
        }
    }

    #[test]
    fn lengths_that_nobody_can_send_do_no_harm() {
        let mut reader = Reader::new(&[], LONG, LONG);
        for _ in 0..3 {
            let bytes = [0x01, 127, 255, 255, 255, 255, 255, 255, 255, 255];
            assert_eq!(reader.frames.pass(&bytes, 10), 10);
            assert!(reader.is_in_long_message());
            reader.frames.left = 0;
        }
    }
}
