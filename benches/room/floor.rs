//! The floor: what a delivery costs if all that the server does is `send()`.
//!
//! A thread on the server's CPU sends one ready frame to each of N loopback sockets, and again
//! when all have arrived. On loopback the kernel does most of the receiver's work inside that
//! call, so nobody who sends to N sockets one by one can be cheaper.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::cpu::{self, Cpus};
use crate::kit::frame::from_server;
use crate::load::{Event, Load};
use crate::message::Message;
use crate::modes::LENGTH;
use crate::{order, stats};

const WARM_UP: Duration = Duration::from_millis(100);
const MEASURED: Duration = Duration::from_millis(400);

#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// CPU time a delivery.
    pub micros: f64,
    /// From before the first `send()` until the last receiver has read the message.
    pub last_millis: f64,
}

impl Floor {
    /// What is likely to have held between two measurements.
    pub fn between(self, later: Floor) -> Floor {
        Floor {
            micros: f64::midpoint(self.micros, later.micros),
            last_millis: f64::midpoint(self.last_millis, later.last_millis),
        }
    }

    /// How far either measurement is from what lies between them, as a share of that.
    pub fn drift(self, later: Floor) -> f64 {
        (self.micros - later.micros).abs() / (self.micros + later.micros)
    }

    /// How many deliveries a second one CPU could make.
    pub fn rate(self) -> f64 {
        1e6 / self.micros
    }
}

pub fn measure(receivers: usize, cpus: Cpus) -> Result<Floor, String> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binding a loopback port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let mut load = Load::new(address, cpus);
    let mut sockets = Vec::with_capacity(receivers);
    for _ in 0..receivers {
        let socket = TcpStream::connect(address).map_err(|e| format!("connecting: {e}"))?;
        load.adopt_open(socket)?;
        let (socket, _) = listener.accept().map_err(|e| format!("accepting: {e}"))?;
        sockets.push(socket);
    }

    let received = AtomicUsize::new(0);
    let mut sender = Sender { sockets, received: &received, cpus };
    thread::scope(|scope| {
        let thread = scope.spawn(|| sender.run());
        let mut count = 0;
        while !thread.is_finished() {
            let heard = load.turn(|_, event| {
                count += usize::from(matches!(event, Event::Text(_)));
                Ok(())
            });
            // If nothing more can come, the sender must not wait for it.
            let arrived = if heard.is_ok() { count } else { usize::MAX };
            received.store(arrived, Ordering::Release);
            heard?;
        }
        Ok(thread.join().expect("the floor's thread only sends"))
    })
}

struct Sender<'a> {
    sockets: Vec<TcpStream>,
    received: &'a AtomicUsize,
    cpus: Cpus,
}

impl Sender<'_> {
    fn run(&mut self) -> Floor {
        cpu::pin(self.cpus.server);
        let text = order::said(0, &Message::new(0, 0).text(LENGTH));
        let frame = from_server(&text);

        let mut sent = 0;
        let begin = Instant::now();
        while begin.elapsed() < WARM_UP {
            self.sweep(&frame, &mut sent);
        }

        let warm = sent;
        let (mut busy, mut last) = (Duration::ZERO, Vec::new());
        // One sweep at least, even if somebody else takes the CPU for all that time.
        while last.is_empty() || begin.elapsed() < WARM_UP + MEASURED {
            let begin = Instant::now();
            busy += self.sweep(&frame, &mut sent);
            last.push(stats::millis(begin.elapsed()));
        }
        Floor {
            micros: stats::micros_each(busy, sent - warm),
            last_millis: stats::median(&mut last),
        }
    }

    /// Sends the frame to everybody, waits until all have it, and says what the sending cost.
    fn sweep(&mut self, frame: &[u8], sent: &mut usize) -> Duration {
        let begin = cpu::of_this_thread();
        for socket in &mut self.sockets {
            socket.write_all(frame).expect("sending to a loopback socket");
        }
        let cost = cpu::of_this_thread() - begin;
        *sent += self.sockets.len();
        while self.received.load(Ordering::Acquire) < *sent {
            if self.cpus.are_shared() {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        cost
    }
}
