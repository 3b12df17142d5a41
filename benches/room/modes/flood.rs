//! As many messages as the server takes: four senders, each with 16 messages under way.

use std::time::{Duration, Instant};

use super::{LENGTH, MEASURED, Meter, Outcome, WARM_UP, join};
use crate::frame;
use crate::load::{Event, Load};
use crate::message::Message;
use crate::order::Order;
use crate::server::Server;
use crate::stats::{micros_each, rate};
use crate::table::Figure;

const SENDERS: usize = 4;
const WINDOW: usize = 16;

pub fn run(server: &Server, clients: usize) -> Outcome {
    let mut load = join(server, clients)?;
    let mut flood = Flood {
        order: Order::new(clients, SENDERS, LENGTH),
        said: [0; SENDERS],
        due: [WINDOW; SENDERS],
    };
    flood.keep_up(&mut load, WARM_UP)?;

    let (warm, busy) = (flood.order.deliveries(), load.busy());
    let meter = Meter::start(server)?;
    flood.keep_up(&mut load, MEASURED)?;
    let (time, cpu) = meter.read()?;
    let deliveries = flood.order.deliveries() - warm;
    let busy = load.busy() - busy;

    flood.finish(&mut load, clients)?;
    Ok(vec![
        Figure::new("deliveries a second, M", rate(deliveries, time) / 1e6)
            .over(|floor| floor.rate() / 1e6),
        Figure::new("server's CPU a delivery, µs", micros_each(cpu, deliveries))
            .over(|floor| floor.micros),
        Figure::new("load's CPU a delivery, µs", micros_each(busy, deliveries)),
    ])
}

struct Flood {
    order: Order,
    said: [usize; SENDERS],
    /// How many messages each sender may say now: one for each that came back to it.
    due: [usize; SENDERS],
}

impl Flood {
    fn keep_up(&mut self, load: &mut Load, time: Duration) -> Result<(), String> {
        let begin = Instant::now();
        while begin.elapsed() < time {
            for sender in 0..SENDERS {
                self.say_due(load, sender)?;
            }
            self.turn(load)?;
        }
        Ok(())
    }

    /// Waits until everybody has heard everything.
    fn finish(&mut self, load: &mut Load, clients: usize) -> Result<(), String> {
        let all = self.said.iter().sum::<usize>() * clients;
        while self.order.deliveries() < all {
            self.turn(load).map_err(|e| {
                let lost = all - self.order.deliveries();
                format!("{e}, and {lost} of {all} deliveries are missing")
            })?;
        }
        Ok(())
    }

    fn say_due(&mut self, load: &mut Load, sender: usize) -> Result<(), String> {
        let due = std::mem::take(&mut self.due[sender]);
        if due == 0 {
            return Ok(());
        }
        let numbers = self.said[sender]..self.said[sender] + due;
        self.said[sender] = numbers.end;
        let say = |number| frame::text(&Message::new(sender, number).text(LENGTH));
        load.send(sender, &numbers.flat_map(say).collect::<Vec<u8>>())
    }

    fn turn(&mut self, load: &mut Load) -> Result<(), String> {
        load.turn(|client, event| {
            if let Event::Text(text) = event {
                let message = self.order.hear(client, text)?;
                if client < SENDERS && message.sender() == client {
                    self.due[client] += 1;
                }
            }
            Ok(())
        })
    }
}
