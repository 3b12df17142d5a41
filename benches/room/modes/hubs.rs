//! Two rooms, flooded at the same time, by a server that may use two CPUs: each room has a hub of its own.
//!
//! Where there are two CPUs in all, the load takes from the hubs what it needs itself. So it sleeps between
//! what it does, and what the crowd is sent lies in the kernel until it is read now and then, many messages
//! at once, and without being looked at: the count of the bytes finds a loss.

use std::time::{Duration, Instant};

use super::{LENGTH, Meter, Outcome, WARM_UP};
use crate::cpu;
use crate::kit::frame::from_server;
use crate::load::{Event, Load};
use crate::message::Message;
use crate::order::{Order, said};
use crate::protocol::Protocol;
use crate::server::{Server, ThreadUse};
use crate::stats::micros_each;
use crate::table::Figure;

/// How often somebody says something in each room: more often than a hub can send to all, so that it always
/// finds something to send.
const PACE: Duration = Duration::from_millis(4);
/// How often the crowd is read: what comes meanwhile has to fit the kernel's buffers.
const READING: Duration = Duration::from_secs(1);
/// The kernel counts a thread's CPU time in hundredths of a second.
const MEASURED: Duration = Duration::from_secs(3);

/// A room in which one talks, and a crowd hears it.
struct Room {
    talker: Load,
    order: Order,
    said: usize,
    next: Instant,
    crowd: Load,
    clients: usize,
    /// Bytes that the crowd has heard.
    heard: usize,
}

pub fn run(server: &Server, clients: usize) -> Outcome {
    let cpus = server.cpus;
    cpu::allow(&[cpus.server, cpus.load]);
    let outcome = measure(server, clients);
    cpu::pin(cpus.load);
    outcome
}

fn measure(server: &Server, clients: usize) -> Outcome {
    let open = |name| Room::open(server, name, clients / 2);
    let mut rooms = vec![open("east")?];
    let alone = flood(server, &mut rooms)?;
    rooms.push(open("west")?);
    let both = flood(server, &mut rooms)?;
    rooms.iter_mut().try_for_each(Room::finish)?;
    if both.hubs.len() != rooms.len() {
        return Err(format!("there are {} hubs for {} rooms", both.hubs.len(), rooms.len()));
    }

    let percent = |cpu: Duration| 100.0 * cpu.div_duration_f64(both.time);
    let of_hubs = |figure: fn(f64, f64) -> f64| {
        both.hubs.iter().map(|hub| percent(hub.cpu)).reduce(figure).unwrap_or_default()
    };
    let sleeps = both.hubs.iter().map(|hub| hub.sleeps).max().unwrap_or_default();
    Ok(vec![
        Figure::new("one room alone: server's CPU a delivery, µs", alone.micros),
        Figure::new("both: server's CPU a delivery, µs", both.micros),
        Figure::new("the same, × one room alone", both.micros / alone.micros),
        Figure::new("both: the busier hub, % of a CPU", of_hubs(f64::max)),
        Figure::new("both: the other hub, % of a CPU", of_hubs(f64::min)),
        Figure::new("both: load, % of a CPU", percent(both.load)),
        Figure::new("both: hubs, % of what the load left", {
            let hubs: Duration = both.hubs.iter().map(|hub| hub.cpu).sum();
            100.0 * hubs.div_duration_f64(2 * both.time - both.load)
        }),
        Figure::new("both: a hub slept, times a second", sleeps as f64 / both.time.as_secs_f64()),
    ])
}

/// What a flood has cost.
struct Cost {
    time: Duration,
    /// The server's CPU time a delivery.
    micros: f64,
    load: Duration,
    hubs: Vec<ThreadUse>,
}

fn flood(server: &Server, rooms: &mut [Room]) -> Result<Cost, String> {
    keep_up(rooms, WARM_UP)?;
    let said = |rooms: &[Room]| rooms.iter().map(|it| it.said * it.clients).sum::<usize>();
    let (warm, load) = (said(rooms), cpu::of_this_thread());
    let (meter, before) = (Meter::start(server)?, server.threads("hub")?);
    keep_up(rooms, MEASURED)?;
    let (time, cpu) = meter.read()?;
    let load = cpu::of_this_thread() - load;
    let now = server.threads("hub")?;
    let hubs = now.iter().zip(&before).map(|(now, then)| now.since(then)).collect();
    Ok(Cost { time, micros: micros_each(cpu, said(rooms) - warm), load, hubs })
}

fn keep_up(rooms: &mut [Room], time: Duration) -> Result<(), String> {
    let begin = Instant::now();
    rooms.iter_mut().for_each(|room| room.next = begin);
    while begin.elapsed() < time {
        let reading = Instant::now();
        while reading.elapsed() < READING {
            rooms.iter_mut().try_for_each(Room::talk)?;
        }
        rooms.iter_mut().try_for_each(Room::read)?;
    }
    Ok(())
}

impl Room {
    fn open(server: &Server, name: &str, clients: usize) -> Result<Room, String> {
        let path = |client| (Protocol::Tutorial, format!("/{name}/ws/{client}"));
        let mut talker = Load::sleeping(&[server.address]);
        talker.open_as(1, path)?;
        let mut crowd = Load::sleeping(&[server.address]);
        crowd.open_as(clients - 1, |client| path(1 + client))?;
        (0..clients - 1).for_each(|client| crowd.deafen(client));
        let order = Order::new(1, 1, LENGTH);
        Ok(Room { talker, order, said: 0, next: Instant::now(), crowd, clients, heard: 0 })
    }

    /// Says what is due by the clock, and hears what has come back.
    fn talk(&mut self) -> Result<(), String> {
        let first = self.said;
        while self.next <= Instant::now() {
            self.next += PACE;
            self.said += 1;
        }
        if self.said > first {
            let text = |number| Message::new(0, number).text(LENGTH);
            self.talker.say_all(0, (first..self.said).map(text))?;
        }
        self.hear()
    }

    fn hear(&mut self) -> Result<(), String> {
        self.talker.turn(|client, event| match event {
            Event::Text(text) => self.order.hear(client, text).map(drop),
            _ => Ok(()),
        })
    }

    /// Reads what has come for the crowd.
    fn read(&mut self) -> Result<(), String> {
        loop {
            let before = self.heard;
            self.turn()?;
            if self.heard == before {
                return Ok(());
            }
        }
    }

    fn turn(&mut self) -> Result<(), String> {
        self.crowd.turn(|_, event| {
            if let Event::Bytes(bytes) = event {
                self.heard += bytes;
            }
            Ok(())
        })
    }

    /// Waits until everybody has heard everything.
    fn finish(&mut self) -> Result<(), String> {
        while self.order.deliveries() < self.said {
            self.hear()?;
        }
        let frame = from_server(&said(0, &[b'.'; LENGTH])).len();
        let all = self.said * (self.clients - 1) * frame;
        while self.heard < all {
            self.turn().map_err(|e| format!("{e}, and {} bytes are missing", all - self.heard))?;
        }
        Ok(())
    }
}
