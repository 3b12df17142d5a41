//! Everybody talks to the echo: round trips a second.

use std::time::{Duration, Instant};

use super::{LENGTH, MEASURED, Meter, Outcome, WARM_UP};
use crate::load::{Event, Load};
use crate::message::Message;
use crate::server::Server;
use crate::stats::{micros_each, rate};
use crate::table::Figure;

pub fn one_at_a_time(server: &Server, clients: usize) -> Outcome {
    run(server, clients, 1)
}

pub fn pipelined(server: &Server, clients: usize) -> Outcome {
    run(server, clients, 16)
}

fn run(server: &Server, clients: usize, in_flight: usize) -> Outcome {
    let mut load = Load::new(server.address, server.cpus);
    load.open(clients, |_| "/ws".to_owned())?;
    let mut echo = Echo {
        said: vec![0; clients],
        heard: vec![0; clients],
        due: vec![in_flight; clients],
        round_trips: 0,
    };
    for client in 0..clients {
        echo.say_due(&mut load, client)?;
    }
    echo.keep_up(&mut load, WARM_UP)?;

    let warm = echo.round_trips;
    let meter = Meter::start(server)?;
    echo.keep_up(&mut load, MEASURED)?;
    let (time, cpu) = meter.read()?;
    let round_trips = echo.round_trips - warm;

    Ok(vec![
        Figure::new("round trips a second, k", rate(round_trips, time) / 1e3)
            .over(|floor| floor.rate() / 1e3),
        Figure::new("server's CPU a round trip, µs", micros_each(cpu, round_trips))
            .over(|floor| floor.micros),
    ])
}

struct Echo {
    said: Vec<usize>,
    heard: Vec<usize>,
    /// How many messages each client may say now: one for each that came back.
    due: Vec<usize>,
    round_trips: usize,
}

impl Echo {
    fn keep_up(&mut self, load: &mut Load, time: Duration) -> Result<(), String> {
        let begin = Instant::now();
        let mut answered = Vec::new();
        while begin.elapsed() < time {
            load.turn(|client, event| {
                if let Event::Text(text) = event {
                    self.hear(client, text)?;
                    // What came in one read is answered with one send.
                    if answered.last() != Some(&client) {
                        answered.push(client);
                    }
                }
                Ok(())
            })?;
            for client in answered.drain(..) {
                self.say_due(load, client)?;
            }
        }
        Ok(())
    }

    fn say_due(&mut self, load: &mut Load, client: usize) -> Result<(), String> {
        let due = std::mem::take(&mut self.due[client]);
        let numbers = self.said[client]..self.said[client] + due;
        self.said[client] = numbers.end;
        load.say_all(client, numbers.map(|number| Message::new(client, number).text(LENGTH)))
    }

    fn hear(&mut self, client: usize, text: &[u8]) -> Result<(), String> {
        let due = Message::new(client, self.heard[client]);
        if !text.starts_with(b"Message text was: ") || Message::find(text) != Some(due) {
            let text = String::from_utf8_lossy(text);
            return Err(format!("client {client} heard {text:.80?} instead of {due}"));
        }
        self.heard[client] += 1;
        self.due[client] += 1;
        self.round_trips += 1;
        Ok(())
    }
}
