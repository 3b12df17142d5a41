//! Two rooms, flooded at the same time, for a server that may use two CPUs: each room has a hub of its own.
//!
//! Where there are two CPUs in all, the load takes from the hubs what it needs itself. So most of its clients do
//! not look at what they are sent: they count bytes, which is enough to find a loss.

use std::time::{Duration, Instant};

use super::flood::{SENDERS, WINDOW};
use super::{LENGTH, MEASURED, Meter, Outcome, WARM_UP};
use crate::cpu;
use crate::flood::Flood;
use crate::load::Load;
use crate::protocol::Protocol;
use crate::server::{Server, ThreadUse};
use crate::stats::micros_each;
use crate::table::Figure;

/// More than where the load has a CPU of its own: a hub should never wait for it.
const DEEPER: usize = 16;

pub fn run(server: &Server, clients: usize) -> Outcome {
    let each = clients / 2;
    let mut rooms = Vec::new();
    for room in ["east", "west"] {
        let mut load = Load::sharing(server.address);
        load.open_as(each, |client| (Protocol::Tutorial, format!("/{room}/ws/{client}")))?;
        (SENDERS..each).for_each(|client| load.deafen(client));
        rooms.push((load, Flood::new(each, SENDERS, DEEPER * WINDOW, LENGTH)));
    }
    flood(&mut rooms, WARM_UP)?;

    let heard = |rooms: &[(Load, Flood)]| rooms.iter().map(|it| it.1.deliveries()).sum::<usize>();
    let (warm, load_cpu) = (heard(&rooms), cpu::of_this_thread());
    let (meter, before) = (Meter::start(server)?, server.threads("hub")?);
    flood(&mut rooms, MEASURED)?;
    let (time, cpu) = meter.read()?;
    let load_cpu = cpu::of_this_thread() - load_cpu;
    let deliveries = heard(&rooms) - warm;
    let hubs: Vec<ThreadUse> =
        server.threads("hub")?.iter().zip(&before).map(|(now, then)| now.since(then)).collect();
    if hubs.len() != rooms.len() {
        return Err(format!("there are {} hubs for {} rooms", hubs.len(), rooms.len()));
    }
    for (load, flood) in &mut rooms {
        flood.finish(load)?;
    }

    let percent = |cpu: Duration| 100.0 * cpu.div_duration_f64(time);
    let of_hubs = |figure: fn(f64, f64) -> f64| {
        hubs.iter().map(|hub| percent(hub.cpu)).reduce(figure).unwrap_or_default()
    };
    let sleeps = hubs.iter().map(|hub| hub.sleeps).max().unwrap_or_default();
    Ok(vec![
        Figure::new("server's CPU a delivery, µs", micros_each(cpu, deliveries))
            .over(|floor| floor.micros),
        Figure::new("the busier hub, % of a CPU", of_hubs(f64::max)),
        Figure::new("the other hub, % of a CPU", of_hubs(f64::min)),
        Figure::new("load, % of a CPU", percent(load_cpu)),
        Figure::new("server and load, % of a CPU", percent(cpu + load_cpu)),
        Figure::new("a hub slept, times a second", sleeps as f64 / time.as_secs_f64()),
    ])
}

fn flood(rooms: &mut [(Load, Flood)], time: Duration) -> Result<(), String> {
    let begin = Instant::now();
    while begin.elapsed() < time {
        for (load, flood) in &mut *rooms {
            flood.proceed(load)?;
        }
    }
    Ok(())
}
