//! One message at a time, the next only when everybody has the last: nothing can be batched, so
//! this is what a delivery costs.

use std::time::{Duration, Instant};

use super::{LENGTH, MEASURED, Meter, Outcome, WARM_UP, join};
use crate::floor::Floor;
use crate::load::{Event, Load};
use crate::message::Message;
use crate::order::Order;
use crate::server::Server;
use crate::stats::micros_each;
use crate::table::Figure;

pub fn run(server: &Server, floor: Floor, clients: usize) -> Outcome {
    let mut load = join(server, clients)?;
    let mut order = Order::new(clients, 1, LENGTH);
    talk(&mut load, &mut order, clients, WARM_UP)?;

    let warm = order.deliveries();
    let meter = Meter::start(server)?;
    talk(&mut load, &mut order, clients, MEASURED)?;
    let (_, cpu) = meter.read()?;

    let cost = micros_each(cpu, order.deliveries() - warm);
    Ok(vec![Figure::new("server's CPU a delivery, µs", cost).over(floor.micros)])
}

fn talk(load: &mut Load, order: &mut Order, clients: usize, time: Duration) -> Result<(), String> {
    let begin = Instant::now();
    while begin.elapsed() < time {
        let due = order.deliveries() + clients;
        let number = order.deliveries() / clients;
        load.say(0, &Message::new(0, number).text(LENGTH))?;
        while order.deliveries() < due {
            load.turn(|client, event| match event {
                Event::Text(text) => order.hear(client, text).map(drop),
                _ => Ok(()),
            })?;
        }
    }
    Ok(())
}
