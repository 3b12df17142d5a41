//! One client speaks at a fixed rate: how long does the last one wait for each message?

use std::time::{Duration, Instant};

use crate::load::Load;
use crate::message::Message;
use crate::order::Order;
use crate::stats::{millis, percentile};
use crate::table::Figure;

/// The first messages find cold caches.
const WARM_UP: usize = 10;

pub struct Talk {
    clients: usize,
    length: usize,
    gap: Duration,
    count: usize,
    begin: Instant,
    order: Order,
    said_at: Vec<Instant>,
    /// How many have heard each message.
    heard: Vec<usize>,
    /// How long each message took to the last of them, in milliseconds.
    waits: Vec<f64>,
}

impl Talk {
    /// Client 0 will say so many messages a second for some time.
    pub fn new(clients: usize, length: usize, rate: usize, time: Duration) -> Talk {
        let gap = Duration::from_secs(1) / rate as u32;
        let count = (time.as_secs_f64() * rate as f64) as usize;
        Talk {
            clients,
            length,
            gap,
            count,
            begin: Instant::now(),
            order: Order::new(clients, 1, length),
            said_at: Vec::new(),
            heard: vec![0; count],
            waits: Vec::new(),
        }
    }

    /// How many messages there are in all.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many of them have been said.
    pub fn said(&self) -> usize {
        self.said_at.len()
    }

    /// Whether everybody has heard everything.
    pub fn is_over(&self) -> bool {
        self.waits.len() == self.count
    }

    /// Says the next message if it is time.
    pub fn speak(&mut self, load: &mut Load) -> Result<(), String> {
        let number = self.said();
        let now = Instant::now();
        if number == self.count || now < self.begin + self.gap * number as u32 {
            return Ok(());
        }
        self.said_at.push(now);
        load.say(0, &Message::new(0, number).text(self.length))
    }

    pub fn hear(&mut self, client: usize, text: &[u8]) -> Result<(), String> {
        let number = self.order.hear(client, text)?.number();
        self.heard[number] += 1;
        if self.heard[number] == self.clients {
            self.waits.push(millis(self.said_at[number].elapsed()));
        }
        Ok(())
    }

    pub fn figures(self) -> Vec<Figure> {
        let mut waits = self.waits;
        waits.drain(..WARM_UP);
        vec![
            Figure::new("last receiver, p50, ms", percentile(&mut waits, 50)),
            Figure::new("last receiver, p99, ms", percentile(&mut waits, 99)),
            Figure::new("last receiver, max, ms", percentile(&mut waits, 100)),
        ]
    }
}
