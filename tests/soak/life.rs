//! What one of the crowd does, from coming to going.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::guest::Guest;
use crate::kit::dice::Dice;
use crate::kit::frame::{BINARY, TEXT, UNMASKED, frame};
use crate::kit::peer::{Peer, get};
use crate::program::{MAX_MESSAGE, PATIENCE};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Talks, listens, and leaves in some way.
    Talk(Leaving),
    Flood,
    /// Does not read for a while.
    Stall,
    /// Reads little at a time, and is behind as long as others talk.
    Trickle,
    /// Is there no more, and nobody is told.
    Vanish,
    /// Never joins: echo, page, half a request, a wrong one.
    Outside(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    Politely,
    Reset,
    Hangup,
    HalfAFrame,
    Fault(u16),
}

pub struct Life {
    pub kind: Kind,
    /// One who was in the room.
    pub guest: Option<Guest>,
}

const LEAVINGS: [Leaving; 8] = [
    Leaving::Politely,
    Leaving::Reset,
    Leaving::Hangup,
    Leaving::HalfAFrame,
    Leaving::Fault(1002),
    Leaving::Fault(1003),
    Leaving::Fault(1007),
    Leaving::Fault(1009),
];

impl Life {
    pub fn live(address: SocketAddr, dice: &mut Dice) -> Self {
        let (kind, guest) = match dice.roll(100) {
            0..55 => {
                let leaving = LEAVINGS[dice.roll(LEAVINGS.len() as u64) as usize];
                (Kind::Talk(leaving), Some(talk(address, leaving, dice)))
            }
            55..58 => (Kind::Flood, Some(flood(address))),
            58..66 => (Kind::Stall, Some(stall(address, dice))),
            66..72 => (Kind::Trickle, Some(trickle(address, dice))),
            72..76 => (Kind::Vanish, Some(vanish(address))),
            76..84 => (Kind::Outside("echoes"), echo(address)),
            84..92 => (Kind::Outside("pages"), load_page(address)),
            92..96 => (Kind::Outside("half requests"), half_a_request(address, dice)),
            96..98 => (Kind::Outside("wrong requests"), wrong_request(address)),
            _ => (Kind::Outside("odd requests"), odd_request(address, dice)),
        };
        Life { kind, guest }
    }

    fn was_cut_short(&self) -> bool {
        self.guest.as_ref().is_some_and(|guest| guest.was_cut_short)
    }

    pub fn outcome(&self) -> &'static str {
        match (self.kind, self.guest.as_ref().and_then(|guest| guest.closed)) {
            (Kind::Outside(what), _) => what,
            (Kind::Stall | Kind::Trickle | Kind::Vanish, Some(1013)) => {
                "stalled and evicted (1013)"
            }
            _ if self.was_cut_short() => "evicted (1013) since the machine is busy",
            (Kind::Talk(Leaving::Politely), _) => "left politely",
            (Kind::Talk(Leaving::Reset), _) => "reset",
            (Kind::Talk(Leaving::Hangup), _) => "hung up",
            (Kind::Talk(Leaving::HalfAFrame), _) => "left within a frame",
            (Kind::Talk(Leaving::Fault(_)), _) => "closed for a fault",
            (Kind::Flood, _) => "flooded",
            (Kind::Stall, _) => "stalled and caught up",
            (Kind::Trickle, _) => "trickled and caught up",
            (Kind::Vanish, _) => "vanished",
        }
    }
}

fn join(address: SocketAddr) -> Guest {
    Guest::join(address).expect("there is room for everybody")
}

fn talk(address: SocketAddr, leaving: Leaving, dice: &mut Dice) -> Guest {
    let mut guest = join(address);
    for _ in 0..=dice.roll(4) {
        match dice.roll(3) {
            0 => guest.say_in_pieces(dice.roll(3000) as usize),
            _ => guest.say(dice.roll(3000) as usize),
        };
        guest.hear(Duration::from_millis(100 + dice.roll(500)), |_| false);
    }
    if !guest.hear_own() {
        guest.was_cut_short = true;
        return guest;
    }
    match leaving {
        Leaving::Politely => guest.leave_politely(),
        Leaving::Reset => guest.reset(),
        Leaving::Hangup => {}
        Leaving::HalfAFrame => {
            let whole = frame(TEXT, [b'x'; 500]);
            guest.send_raw(&whole[..dice.roll(whole.len() as u64) as usize]);
        }
        Leaving::Fault(code) => {
            let fault = match code {
                1002 => UNMASKED.to_vec(),
                1003 => frame(BINARY, b"data"),
                1007 => frame(TEXT, b"\xff\xfe"),
                _ => frame(TEXT, [b'x'; MAX_MESSAGE + 1]),
            };
            guest.send_raw(&fault);
            guest.hear_to_the_end();
            guest.was_cut_short = guest.closed != Some(code);
        }
    }
    over(guest)
}

/// More than the burst that is allowed, so that it is slowed down; all of it is heard.
fn flood(address: SocketAddr) -> Guest {
    let mut guest = join(address);
    for _ in 0..25 {
        for _ in 0..10 {
            guest.say(50);
        }
        guest.hear(Duration::from_millis(5), |_| false);
    }
    if guest.hear_own() {
        guest.leave_politely();
    } else {
        guest.was_cut_short = true;
    }
    over(guest)
}

/// Talks without reading, for a shorter time than it is given to take a last word. Then it either
/// catches up, or has been closed for that at a frame boundary.
fn stall(address: SocketAddr, dice: &mut Dice) -> Guest {
    let mut guest = join(address);
    for _ in 0..=dice.roll(8) {
        guest.say(10);
        thread::sleep(Duration::from_millis(250));
    }
    if guest.hear_own() {
        guest.leave_politely();
    } else {
        guest.was_cut_short = true;
    }
    over(guest)
}

/// Reads a little, again and again, and talks, as somebody on a bad network does.
fn trickle(address: SocketAddr, dice: &mut Dice) -> Guest {
    let mut guest = Guest::join_narrow(address).expect("there is room for everybody");
    for n in 0..10 + dice.roll(50) {
        if n % 20 == 0 {
            guest.say(100);
        }
        guest.hear(Duration::from_millis(1), |_| false);
        thread::sleep(Duration::from_millis(49));
    }
    if guest.hear_own() {
        guest.leave_politely();
    } else {
        guest.was_cut_short = true;
    }
    over(guest)
}

/// Neither reads nor closes, until the server has given it up.
fn vanish(address: SocketAddr) -> Guest {
    let mut guest = Guest::join_narrow(address).expect("there is room for everybody");
    guest.say(10);
    thread::sleep(Duration::from_millis(4500));
    over(guest)
}

/// The socket is closed now, and what was heard stays.
fn over(guest: Guest) -> Guest {
    let _ = guest.socket.get_ref().shutdown(std::net::Shutdown::Both);
    guest
}

fn echo(address: SocketAddr) -> Option<Guest> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/ws"), stream).unwrap();
    for n in 0..5 {
        socket.send(format!("{n}").into()).unwrap();
        assert_eq!(socket.read().unwrap().to_text().unwrap(), format!("Message text was: {n}"));
    }
    None
}

pub fn load_page(address: SocketAddr) -> Option<Guest> {
    let response = Peer::ask(address, get("/", ""));
    assert_eq!(response.status, 200, "{response:?}");
    assert!(response.text().contains("messageText"), "{response:?}");
    None
}

fn half_a_request(address: SocketAddr, dice: &mut Dice) -> Option<Guest> {
    let half = "GET /ws/1 HTTP/1.1\r\nHost: loc";
    if dice.roll(2) == 0 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(half.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(dice.roll(900)));
    } else {
        let response = Peer::ask(address, half);
        assert_eq!(response.status, 408, "{response:?}");
    }
    None
}

fn wrong_request(address: SocketAddr) -> Option<Guest> {
    let response = Peer::ask(address, get("/ws/seven", ""));
    assert_eq!(response.status, 400, "{response:?}");
    None
}

/// Bytes in a field that programs do not send, and methods that few do.
fn odd_request(address: SocketAddr, dice: &mut Dice) -> Option<Guest> {
    const FIELDS: [&str; 6] =
        ["If-None-Match", "Origin", "Connection", "Upgrade", "Accept-Encoding", "X-Other"];
    const VALUES: [&str; 6] = ["é", "\"é\"", ",,,", "*", "\u{1}", "gzip;q=é"];
    let roll = |dice: &mut Dice, sides: usize| dice.roll(sides as u64) as usize;
    let field = FIELDS[roll(dice, FIELDS.len())];
    let value = VALUES[roll(dice, VALUES.len())];
    let method = ["GET", "HEAD", "OPTIONS", "POST"][roll(dice, 4)];
    let request = get("/", &format!("{field}: {value}\r\n")).replacen("GET", method, 1);
    let response = Peer::ask(address, request);
    assert!([200, 204, 304, 400, 405].contains(&response.status), "{response:?}");
    None
}
