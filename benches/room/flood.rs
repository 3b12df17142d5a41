//! Senders who say as much as comes back to them, and everybody checks what is heard.

use std::time::{Duration, Instant};

use crate::load::{Event, Load};
use crate::message::Message;
use crate::order::Order;

/// Whoever says a fixed number of messages a second says some of them at once, so often: what comes together is
/// the same for every server.
const TICK: Duration = Duration::from_millis(8);

pub struct Flood {
    clients: usize,
    length: usize,
    order: Order,
    said: Vec<usize>,
    /// How many messages each sender may say now: one for each that came back to it.
    due: Vec<usize>,
}

impl Flood {
    /// The first `senders` of `clients` will say texts of `length` bytes, and each will have
    /// `window` of them under way.
    pub fn new(clients: usize, senders: usize, window: usize, length: usize) -> Flood {
        Flood {
            clients,
            length,
            order: Order::new(clients, senders, length),
            said: vec![0; senders],
            due: vec![window; senders],
        }
    }

    /// How many messages were said.
    pub fn said(&self) -> usize {
        self.said.iter().sum()
    }

    /// How many times any client has heard a message.
    pub fn deliveries(&self) -> usize {
        self.order.deliveries()
    }

    /// Floods for some time.
    pub fn keep_up(&mut self, load: &mut Load, time: Duration) -> Result<(), String> {
        let begin = Instant::now();
        while begin.elapsed() < time {
            self.proceed(load)?;
        }
        Ok(())
    }

    /// Says what may be said, and hears what has come.
    pub fn proceed(&mut self, load: &mut Load) -> Result<(), String> {
        for sender in 0..self.said.len() {
            self.say_due(load, sender)?;
        }
        self.turn(load)
    }

    /// Waits until everybody has heard everything.
    pub fn finish(&mut self, load: &mut Load) -> Result<(), String> {
        let all = self.said() * self.clients;
        while self.deliveries() < all {
            self.turn(load).map_err(|e| {
                let lost = all - self.deliveries();
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
        let text = |number| Message::new(sender, number).text(self.length);
        load.say_all(sender, numbers.map(text))
    }

    fn turn(&mut self, load: &mut Load) -> Result<(), String> {
        load.turn(|client, event| {
            if let Event::Text(text) = event {
                let message = self.order.hear(client, text)?;
                if message.sender() == client {
                    self.due[client] += 1;
                }
            }
            Ok(())
        })
    }
}

/// Floods all rooms for some time.
pub fn keep_up(rooms: &mut [(Flood, &mut Load)], time: Duration) -> Result<(), String> {
    let begin = Instant::now();
    while begin.elapsed() < time {
        rooms.iter_mut().try_for_each(|(flood, load)| flood.proceed(load))?;
    }
    Ok(())
}

/// Says so many messages a second in each room for some time, whatever comes back: a share of each sender every
/// [`TICK`].
pub fn keep_pace(
    rooms: &mut [(Flood, &mut Load)],
    rate: usize,
    time: Duration,
) -> Result<(), String> {
    let begin = Instant::now();
    for tick in 1..=time.div_duration_f64(TICK) as u32 {
        for (flood, load) in &mut *rooms {
            let share = (rate as f64 * TICK.as_secs_f64()) as usize / flood.said.len();
            flood.due.fill(share);
            flood.proceed(load)?;
        }
        while begin.elapsed() < TICK * tick {
            rooms.iter_mut().try_for_each(|(flood, load)| flood.turn(load))?;
        }
    }
    Ok(())
}
