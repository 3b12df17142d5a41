//! A room as full as it gets: does a message reach everybody?

use std::time::Instant;

use super::{LENGTH, Outcome, join};
use crate::load::Event;
use crate::message::Message;
use crate::order::Order;
use crate::server::Server;
use crate::stats::{median, millis};
use crate::table::Figure;

const MESSAGES: usize = 5;

pub fn run(server: &Server, clients: usize) -> Outcome {
    let before = server.holding()?;
    let begin = Instant::now();
    let mut load = join(server, clients)?;
    let connecting = begin.elapsed();

    let mut order = Order::new(clients, 1, LENGTH);
    let mut waits = Vec::new();
    for number in 0..MESSAGES {
        let begin = Instant::now();
        load.say(0, &Message::new(0, number).text(LENGTH))?;
        while order.deliveries() < (number + 1) * clients {
            load.turn(|client, event| match event {
                Event::Text(text) => order.hear(client, text).map(drop),
                _ => Ok(()),
            })?;
        }
        waits.push(millis(begin.elapsed()));
    }
    let after = server.holding()?;

    let each = |after: f64, before: f64| (after - before) / clients as f64;
    Ok(vec![
        Figure::new("clients that heard every message", clients as f64),
        Figure::new("all connected, s", connecting.as_secs_f64()),
        Figure::new("last receiver, p50, ms", median(&mut waits)),
        Figure::new("resident memory a client, kB", each(after.resident_kb, before.resident_kb)),
        Figure::new("threads a client", each(after.threads, before.threads)),
        Figure::new("descriptors a client", each(after.descriptors, before.descriptors)),
    ])
}
