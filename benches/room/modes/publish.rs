//! Messages that come with POST, so many requests at a time: each with a connection of its own, as the server
//! wants it.

use std::time::{Duration, Instant};

use super::{LENGTH, MEASURED, Meter, Outcome, WARM_UP, room};
use crate::load::{Event, Load};
use crate::message::Message;
use crate::order::Order;
use crate::server::Server;
use crate::stats::{micros_each, percentile, rate};
use crate::table::Figure;

/// Who hears what is published. The clients behind it are requests.
const LISTENER: usize = 0;

pub fn run(server: &Server, at_a_time: usize) -> Outcome {
    let mut load = Load::new(server.address, server.cpus);
    load.open(1, room)?;
    let mut posts = Posts {
        said: vec![0; at_a_time],
        asked_at: vec![Instant::now(); at_a_time],
        waits: Vec::new(),
        // The room knows those who publish by one number.
        order: Order::new(1, at_a_time, LENGTH).with_author(|_| 0),
    };
    for sender in 0..at_a_time {
        load.ask(&posts.next(sender))?;
    }
    posts.keep_up(&mut load, WARM_UP)?;

    let warm = posts.waits.len();
    let meter = Meter::start(server)?;
    posts.keep_up(&mut load, MEASURED)?;
    let (time, cpu) = meter.read()?;
    let mut waits = posts.waits.split_off(warm);

    let lost = posts.finish(&mut load)?;
    Ok(vec![
        Figure::new("published a second, k", rate(waits.len(), time) / 1e3),
        Figure::new("server's CPU a message, µs", micros_each(cpu, waits.len()))
            .over(|floor| floor.micros),
        Figure::new("answered after, p50, ms", percentile(&mut waits, 50)),
        Figure::new("answered after, p99, ms", percentile(&mut waits, 99)),
        Figure::new("lost", lost as f64),
    ])
}

struct Posts {
    /// How many messages each sender has said.
    said: Vec<usize>,
    asked_at: Vec<Instant>,
    /// How long each answer took, in milliseconds.
    waits: Vec<f64>,
    order: Order,
}

impl Posts {
    /// The next request of a sender.
    fn next(&mut self, sender: usize) -> Vec<u8> {
        let text = Message::new(sender, self.said[sender]).text(LENGTH);
        self.said[sender] += 1;
        self.asked_at[sender] = Instant::now();
        let head = format!(
            "POST /lobby HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        [head.into_bytes(), text].concat()
    }

    fn keep_up(&mut self, load: &mut Load, time: Duration) -> Result<(), String> {
        let begin = Instant::now();
        while begin.elapsed() < time {
            for sender in self.turn(load)? {
                load.ask_again(sender + 1, &self.next(sender))?;
            }
        }
        Ok(())
    }

    /// Waits until everything is answered and heard; how much is not.
    fn finish(&mut self, load: &mut Load) -> Result<usize, String> {
        let all: usize = self.said.iter().sum();
        while self.order.deliveries() < all {
            self.turn(load).map_err(|e| {
                format!("{e}, and {} of {all} are missing", all - self.order.deliveries())
            })?;
        }
        Ok(all - self.order.deliveries())
    }

    /// Polls once; which senders were answered.
    fn turn(&mut self, load: &mut Load) -> Result<Vec<usize>, String> {
        let mut answered = Vec::new();
        load.turn(|client, event| {
            match event {
                Event::Text(text) => drop(self.order.hear(LISTENER, text)?),
                Event::Answer(answer) if answer.starts_with(b"HTTP/1.1 201 ") => {
                    let wait = self.asked_at[client - 1].elapsed();
                    self.waits.push(wait.as_secs_f64() * 1e3);
                    answered.push(client - 1);
                }
                Event::Answer(answer) => {
                    return Err(format!("not published: {}", String::from_utf8_lossy(answer)));
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(answered)
    }
}
