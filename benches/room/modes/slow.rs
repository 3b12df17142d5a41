//! Some stop reading: do the others notice, and what becomes of those who stopped?

use std::time::{Duration, Instant};

use super::talk::Talk;
use super::{Outcome, join};
use crate::floor::Floor;
use crate::load::Event;
use crate::message;
use crate::server::Server;
use crate::table::Figure;

const STALLED: usize = 10;
const RATE: usize = 150;
const LENGTH: usize = 4096;
const TIME: Duration = Duration::from_secs(6);
/// How long a stalled client that reads again may take to find out that it was closed.
const GRACE: Duration = Duration::from_secs(2);
/// "Try again later": what a client that reads too slowly is told.
const TOO_SLOW: u16 = 1013;

pub fn run(server: &Server, _: Floor, healthy: usize) -> Outcome {
    let mut load = join(server, healthy + STALLED)?;
    for client in healthy..healthy + STALLED {
        load.stall(client)?;
    }
    let before = server.holding()?.resident_kb;

    let mut talk = Talk::new(healthy, LENGTH, RATE, TIME);
    let mut told = vec![0; healthy];
    let (mut closed, mut too_slow) = (0, 0);
    let (mut to_wake, mut woken_at) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    let mut over = None;
    loop {
        talk.speak(&mut load)?;
        load.turn(|client, event| {
            match event {
                Event::Text(text) if client < healthy => match message::who_left(text) {
                    // The first to be told wakes the one that left, which then reads why.
                    Some(id) if client == 0 => {
                        told[0] += 1;
                        to_wake.push(id);
                    }
                    Some(_) => told[client] += 1,
                    None => talk.hear(client, text)?,
                },
                Event::Gone(code) => {
                    closed += 1;
                    too_slow += usize::from(code == Some(TOO_SLOW));
                }
                // A stalled client reads what it had been sent before.
                Event::Text(_) | Event::Open => {}
            }
            Ok(())
        })?;
        for client in to_wake.drain(..) {
            woken_at.push(begin.elapsed().as_secs_f64());
            load.wake(client)?;
        }
        if talk.is_over() {
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
