//! As many messages as the server takes: four senders, each with 16 messages under way.

use super::{LENGTH, MEASURED, Meter, Outcome, WARM_UP, join, join_as};
use crate::flood::Flood;
use crate::load::Load;
use crate::server::Server;
use crate::stats::{micros_each, rate};
use crate::table::Figure;

pub const SENDERS: usize = 4;
pub const WINDOW: usize = 16;

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
    let mut flood = Flood::new(clients, SENDERS, WINDOW, LENGTH);
    flood.keep_up(&mut load, WARM_UP)?;

    let (warm, busy) = (flood.deliveries(), load.busy());
    let meter = Meter::start(server)?;
    flood.keep_up(&mut load, MEASURED)?;
    let (time, cpu) = meter.read()?;
    let deliveries = flood.deliveries() - warm;
    let busy = load.busy() - busy;

    flood.finish(&mut load)?;
    Ok(vec![
        Figure::new("deliveries a second, M", rate(deliveries, time) / 1e6)
            .over(|floor| floor.rate() / 1e6),
        Figure::new("server's CPU a delivery, µs", micros_each(cpu, deliveries))
            .over(|floor| floor.micros),
        Figure::new("load's CPU a delivery, µs", micros_each(busy, deliveries)),
    ])
}
