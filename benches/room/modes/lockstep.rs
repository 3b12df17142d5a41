//! One message at a time, the next only when everybody has the last: nothing can be batched, so
//! this is what a delivery costs.

use std::time::{Duration, Instant};

use super::{LENGTH, MEASURED, Meter, Outcome, WARM_UP, join, join_as};
use crate::load::{Event, Load};
use crate::message::Message;
use crate::order::Order;
use crate::server::Server;
use crate::stats::{median, micros_each, millis};
use crate::table::Figure;

pub fn run(server: &Server, clients: usize) -> Outcome {
    measure(join(server, clients)?, server, clients)
}

pub fn by_roomd1(server: &Server, clients: usize) -> Outcome {
    measure(join_as(server, clients, super::by_roomd1)?, server, clients)
}

pub fn mixed(server: &Server, clients: usize) -> Outcome {
    measure(join_as(server, clients, super::mixed)?, server, clients)
}

fn measure(mut load: Load, server: &Server, clients: usize) -> Outcome {
    let mut order = Order::new(clients, 1, LENGTH);
    talk(&mut load, &mut order, clients, WARM_UP)?;

    let warm = order.deliveries();
    let meter = Meter::start(server)?;
    let mut waits = talk(&mut load, &mut order, clients, MEASURED)?;
    let (_, cpu) = meter.read()?;

    let cost = micros_each(cpu, order.deliveries() - warm);
    Ok(vec![
        Figure::new("server's CPU a delivery, µs", cost).over(|floor| floor.micros),
        Figure::new("last receiver, p50, ms", median(&mut waits)).over(|floor| floor.last_millis),
    ])
}

/// Talks for that long, and says how many milliseconds each message took to the last receiver.
fn talk(
    load: &mut Load,
    order: &mut Order,
    clients: usize,
    time: Duration,
) -> Result<Vec<f64>, String> {
    let begin = Instant::now();
    let mut waits = Vec::new();
    while begin.elapsed() < time {
        let due = order.deliveries() + clients;
        let number = order.deliveries() / clients;
        let said_at = Instant::now();
        load.say(0, &Message::new(0, number).text(LENGTH))?;
        while order.deliveries() < due {
            load.turn(|client, event| match event {
                Event::Text(text) => order.hear(client, text).map(drop),
                _ => Ok(()),
            })?;
        }
        waits.push(millis(said_at.elapsed()));
    }
    Ok(waits)
}
