//! Clients that only come and go: connect, handshake, close frame, end of the connection.

use std::time::{Duration, Instant};

use super::{MEASURED, Meter, Outcome, WARM_UP};
use crate::load::{Event, Load};
use crate::server::Server;
use crate::stats::{micros_each, rate};
use crate::table::Figure;

/// Nobody has to be told when an echo ends.
const PATH: &str = "/ws";

pub fn run(server: &Server, at_a_time: usize) -> Outcome {
    let mut load = Load::new(server.address, server.cpus);
    for _ in 0..at_a_time {
        load.begin(PATH)?;
    }
    churn(&mut load, WARM_UP)?;

    let meter = Meter::start(server)?;
    let count = churn(&mut load, MEASURED)?;
    let (time, cpu) = meter.read()?;

    Ok(vec![
        Figure::new("connections a second, k", rate(count, time) / 1e3),
        Figure::new("server's CPU a connection, µs", micros_each(cpu, count))
            .over(|floor| floor.micros),
    ])
}

/// How many connections have come to their end in that time.
fn churn(load: &mut Load, time: Duration) -> Result<usize, String> {
    let begin = Instant::now();
    let (mut opened, mut gone, mut count) = (Vec::new(), Vec::new(), 0);
    while begin.elapsed() < time {
        load.turn(|client, event| {
            match event {
                Event::Open => opened.push(client),
                Event::Gone(_) => gone.push(client),
                _ => return Err("the echo has said something by itself".to_owned()),
            }
            Ok(())
        })?;
        for client in opened.drain(..) {
            load.leave(client)?;
        }
        for client in gone.drain(..) {
            count += 1;
            load.begin_again(client, PATH)?;
        }
    }
    Ok(count)
}
