//! One room on two servers that share it through an engine, beside the same load on one server without.
//!
//! Engine, servers and load share all CPUs. Clients are dealt to the servers in turn. Where a fixed rate is
//! measured, there are as many servers without an engine, each with a room of its own, so that the machine is as
//! busy: next to one server alone, a delivery of the same server costs a fifth less.

use std::time::{Duration, Instant};

use super::talk::Talk;
use super::{LENGTH, MEASURED, Meter, Outcome, WARM_UP, room};
use crate::cpu;
use crate::flood::{Flood, keep_pace, keep_up};
use crate::load::{Event, Load};
use crate::server::Server;
use crate::stats::{micros_each, rate};
use crate::table::Figure;

/// Messages a second while there is time to spare.
const RATE: usize = 500;
const TIME: Duration = Duration::from_secs(6);

/// Clients of each server at first, where what a client more costs is measured.
const FEW: usize = 10;

/// Half of them on each of two servers.
const SENDERS: usize = 8;
/// Messages that each has under way: a batch on its way through the engine must not be all there is.
const WINDOW: usize = 256;

/// One message at a time, to clients that are dealt to all servers.
pub fn latency(server: &Server, clients: usize) -> Outcome {
    let mut load = join(server, clients)?;
    let mut talk = Talk::new(clients, LENGTH, RATE, TIME);
    let costs = Costs::start(server)?;
    while !talk.is_over() {
        talk.speak(&mut load)?;
        load.turn(|client, event| match event {
            Event::Text(text) => talk.hear(client, text),
            _ => Ok(()),
        })?;
    }
    let count = talk.count();
    let costs = costs.read(count, count * clients)?;
    Ok(talk.figures().into_iter().chain(costs).collect())
}

/// As many messages as there can be.
pub fn flood(server: &Server, clients: usize) -> Outcome {
    let mut load = join(server, clients)?;
    let mut flood = Flood::new(clients, SENDERS, WINDOW, LENGTH);
    flood.keep_up(&mut load, 2 * WARM_UP)?;

    let (warm, load_cpu, begin) = (flood.deliveries(), cpu::of_this_thread(), Instant::now());
    let costs = Costs::start(server)?;
    flood.keep_up(&mut load, 2 * MEASURED)?;
    let deliveries = flood.deliveries() - warm;
    let (time, load_cpu) = (begin.elapsed(), cpu::of_this_thread() - load_cpu);
    let costs = costs.read(deliveries / clients, deliveries)?;

    flood.finish(&mut load)?;
    let mut figures =
        vec![Figure::new("messages a second, k", rate(deliveries, time) / clients as f64 / 1e3)];
    figures.extend(costs);
    figures.push(Figure::new("load's CPU a delivery, µs", micros_each(load_cpu, deliveries)));
    Ok(figures)
}

/// So many messages a second as all servers carry, to so many clients of each of them: what a delivery costs when
/// the load is the same.
pub fn steady_1k(server: &Server, clients: usize) -> Outcome {
    steady(server, clients, 1_000)
}

/// The same, with more of them.
pub fn steady_5k(server: &Server, clients: usize) -> Outcome {
    steady(server, clients, 5_000)
}

/// The same, with more of them.
pub fn steady_20k(server: &Server, clients: usize) -> Outcome {
    steady(server, clients, 20_000)
}

/// As many messages as there can be, in a room on both servers or in one on each: so the machine is as busy with
/// either, and each server has as many clients.
pub fn flood_each(server: &Server, clients: usize) -> Outcome {
    let (mut loads, of_each) = loads(server);
    let all = measure(server, &mut loads, clients * of_each, WINDOW, keep_up)?;
    Ok(vec![
        Figure::new("deliveries a second, M", rate(all.deliveries, all.time) / 1e6),
        Figure::new("server's CPU a delivery, µs", micros_each(all.cpu, all.deliveries)),
        Figure::new("messages a batch", all.each_batch),
    ])
}

/// First to a few clients, then to all: what a message costs is the same for both, so the rest is what a client
/// more costs.
fn steady(server: &Server, clients: usize, rate: usize) -> Outcome {
    let (mut loads, of_each) = loads(server);
    let at_rate = |rooms: &mut Rooms<'_>, time| keep_pace(rooms, rate, time);
    let few = measure(server, &mut loads, FEW * of_each, 0, at_rate)?;
    let all = measure(server, &mut loads, clients * of_each, 0, at_rate)?;
    let more = all.deliveries - few.deliveries;
    let mut figures = vec![
        Figure::new("server's CPU a delivery, µs", micros_each(all.cpu, all.deliveries)),
        Figure::new("a client more: CPU a delivery, µs", {
            micros_each(all.cpu.saturating_sub(few.cpu), more)
        }),
    ];
    figures.extend(all.engine);
    figures.push(Figure::new("messages a batch", all.each_batch));
    Ok(figures)
}

/// The load of each room, and on how many servers each room is.
fn loads(server: &Server) -> (Vec<Load>, usize) {
    cpu::allow(&[server.cpus.server, server.cpus.load]);
    let addresses = server.addresses();
    let rooms = if server.is_shared() { 1 } else { addresses.len() };
    let of_each = addresses.len() / rooms;
    (addresses.chunks(of_each).map(Load::sleeping).collect(), of_each)
}

/// What is said in each room, and to whom.
type Rooms<'a> = [(Flood, &'a mut Load)];

/// What it has cost to deliver messages.
struct Cost {
    cpu: Duration,
    time: Duration,
    deliveries: usize,
    engine: Option<Figure>,
    each_batch: f64,
}

/// Lets more clients in, up to so many in each room, where each sender has a `window` of messages under way, and has
/// them `talk` for some time.
fn measure(
    server: &Server,
    loads: &mut [Load],
    clients: usize,
    window: usize,
    talk: impl Fn(&mut Rooms<'_>, Duration) -> Result<(), String>,
) -> Result<Cost, String> {
    let mut rooms = Vec::new();
    for load in loads {
        load.open(clients - load.clients(), room)?;
        rooms.push((Flood::new(clients, SENDERS, window, LENGTH), load));
    }
    let heard =
        |rooms: &Rooms<'_>| rooms.iter().map(|(flood, _)| flood.deliveries()).sum::<usize>();
    talk(&mut rooms, 2 * WARM_UP)?;
    rooms.iter_mut().try_for_each(|(flood, load)| flood.finish(load))?;

    let (warm, batches, begin) = (heard(&rooms), server.batches()?, Instant::now());
    let costs = Costs::start(server)?;
    talk(&mut rooms, 2 * MEASURED)?;
    rooms.iter_mut().try_for_each(|(flood, load)| flood.finish(load))?;
    let (deliveries, time) = (heard(&rooms) - warm, begin.elapsed());
    let (_, cpu) = costs.meter.read()?;
    let engine = costs.of_engine(deliveries / clients)?;
    // Each server sends a message to its part of the room's clients.
    let sent = deliveries * server.addresses().len() / (clients * rooms.len());
    let each_batch = sent as f64 / (server.batches()? - batches) as f64;
    Ok(Cost { cpu, time, deliveries, engine, each_batch })
}

fn join(server: &Server, clients: usize) -> Result<Load, String> {
    cpu::allow(&[server.cpus.server, server.cpus.load]);
    let mut load = Load::sleeping(&server.addresses());
    load.open(clients, room)?;
    Ok(load)
}

/// The CPU time of servers and engine.
struct Costs<'a> {
    meter: Meter<'a>,
    engine: Option<Duration>,
}

impl<'a> Costs<'a> {
    fn start(server: &'a Server) -> Result<Costs<'a>, String> {
        Ok(Costs { engine: server.engine_cpu()?, meter: Meter::start(server)? })
    }

    fn read(&self, messages: usize, deliveries: usize) -> Outcome {
        let (_, cpu) = self.meter.read()?;
        let mut figures =
            vec![Figure::new("server's CPU a delivery, µs", micros_each(cpu, deliveries))];
        figures.extend(self.of_engine(messages)?);
        Ok(figures)
    }

    fn of_engine(&self, messages: usize) -> Result<Option<Figure>, String> {
        let Some(then) = self.engine else { return Ok(None) };
        let cpu = self.meter.server.engine_cpu()?.unwrap_or_default().saturating_sub(then);
        Ok(Some(Figure::new("engine's CPU a message, µs", micros_each(cpu, messages))))
    }
}
