//! Some stop reading: do the others notice, and what becomes of those who stopped?

use std::time::{Duration, Instant};

use super::talk::Talk;
use super::{Outcome, join};
use crate::load::{Event, Load};
use crate::message::{self, Message};
use crate::server::Server;
use crate::table::Figure;

const STALLED: usize = 10;
const RATE: usize = 150;
const LENGTH: usize = 4096;
const TIME: Duration = Duration::from_secs(4);
/// How long a stalled client that reads again may take to find out that it was closed.
const GRACE: Duration = Duration::from_secs(2);
/// "Try again later": what a client that reads too slowly is told.
const TOO_SLOW: u16 = 1013;

pub fn run(server: &Server, healthy: usize) -> Outcome {
    // The dawdler comes after the healthy, and the stalled after it.
    let stalled = healthy + 1..healthy + 1 + STALLED;
    let mut load = join(server, stalled.end)?;
    for client in stalled.clone() {
        load.stall(client)?;
    }
    let before = server.holding()?.resident_kb;

    let mut talk = Talk::new(healthy, LENGTH, RATE, TIME);
    let mut dawdler = Dawdler::new(healthy);
    let mut told = vec![0; healthy];
    let (mut closed, mut too_slow) = (0, 0);
    let (mut to_wake, mut woken_at) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    let mut over = None;
    loop {
        talk.speak(&mut load)?;
        dawdler.dawdle(&mut load, talk.said())?;
        load.turn(|client, event| {
            match event {
                Event::Text(text) if client < healthy => match message::who_left(text) {
                    Some(id) if !stalled.contains(&id) => {
                        return Err(format!("client {id} was dropped, which had not stalled"));
                    }
                    Some(id) => {
                        told[client] += 1;
                        // The first to be told wakes the one that left, which then reads why.
                        if client == 0 {
                            to_wake.push(id);
                        }
                    }
                    None => talk.hear(client, text)?,
                },
                _ if client == dawdler.client => dawdler.hear(&event)?,
                Event::Gone(code) => {
                    closed += 1;
                    too_slow += usize::from(code == Some(TOO_SLOW));
                }
                // A stalled client that was woken reads what it had been sent before.
                _ => {}
            }
            Ok(())
        })?;
        for client in to_wake.drain(..) {
            woken_at.push(begin.elapsed().as_secs_f64());
            load.wake(client)?;
        }
        if talk.is_over() && dawdler.heard == talk.count() {
            let over = *over.get_or_insert_with(Instant::now);
            if closed == STALLED || over.elapsed() > GRACE {
                break;
            }
        }
    }

    let peak = server.peak_resident_kb()?;
    let least_told = told.iter().min().copied().unwrap_or_default();
    let mut figures = talk.figures();
    figures.extend([
        Figure::new("stalled clients closed with 1013", too_slow as f64),
        Figure::new("stalled clients the room was told of", f64::from(least_told)),
        Figure::new("resident memory grew by at most, MB", (peak - before) / 1024.0),
    ]);
    // A server that closes nobody has no time for that.
    figures.extend(woken_at.last().map(|&at| Figure::new("the last was closed after, s", at)));
    Ok(figures)
}

/// A client that reads only half of the time for a while: it must lose nothing.
struct Dawdler {
    client: usize,
    is_reading: bool,
    heard: usize,
}

impl Dawdler {
    /// So many messages long: it falls behind by some 150 kB.
    const PAUSE: usize = 36;
    const PAUSES: usize = 6;

    fn new(client: usize) -> Dawdler {
        Dawdler { client, is_reading: true, heard: 0 }
    }

    fn dawdle(&mut self, load: &mut Load, said: usize) -> Result<(), String> {
        let turn = said / Dawdler::PAUSE;
        let reads = turn % 2 == 1 || turn / 2 >= Dawdler::PAUSES;
        if reads != self.is_reading {
            self.is_reading = reads;
            return match reads {
                true => load.wake(self.client),
                false => load.stall(self.client),
            };
        }
        Ok(())
    }

    fn hear(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Text(text) if message::who_left(text).is_some() => Ok(()),
            Event::Text(text) if Message::find(text) == Some(Message::new(0, self.heard)) => {
                self.heard += 1;
                Ok(())
            }
            Event::Gone(code) => Err(format!("a client that only dawdled was closed: {code:?}")),
            _ => Err(format!("a client that only dawdled has missed message {}", self.heard)),
        }
    }
}
