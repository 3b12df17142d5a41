//! How many of everything there may be, so that all of it fits the memory and the descriptors.
//!
//! What clients can make the server hold is bounded by `--max-memory`. It is counted as if all of
//! it were held at once: each connection with its thread, its buffers and the kernel's, and beside
//! them what they share: the queues of those who are behind, messages on their way to the room, and
//! long messages that come in. The numbers of an ordinary moment are a tenth of these.

use std::fmt::{self, Write};

use crate::config::{
    DESCRIPTORS_KEPT, FRONT, INBOX, LONG_MESSAGE, Limits, MAX_CLIENTS, PIECE, READ_AHEAD, SLOTS,
    SOCKET_BUFFER, WIDE_PIECE, WIDE_SEND_BUFFER,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The memory when nobody says otherwise: this, or a quarter of what there is if that is less.
const DEFAULT: usize = 256 * MIB;

/// The program without connections: what it touches of itself and of the C library, its own
/// threads, the page, one batch, and whoever looks at the metrics.
const PROGRAM: usize = 2 * MIB;

/// A thread in the kernel: its stack (16 KiB) and what describes it.
const THREAD: usize = 24 * KIB;

/// The pages that the deepest calls touch of a thread's stack; see [`crate::config::STACK`].
const TOUCHED_STACK: usize = 16 * KIB;

/// A socket in the kernel, without what is in its buffers.
const SOCKET: usize = 4 * KIB;

/// On the heap: what is read ahead, a message that is not long, and all that describes a client.
const HEAP: usize = READ_AHEAD + LONG_MESSAGE + 2 * KIB;

/// Connections that are not clients, at the least: so many does a browser open to load the page.
const FRONT_MIN: usize = 6;

const CONNECTION: usize = THREAD + TOUCHED_STACK + SOCKET + HEAP;

/// What the kernel holds of a connection's bytes when its buffers are set to `size`, which it doubles.
/// What is sent may be a piece more, the one with which the buffer gets full.
const fn buffered(size: usize) -> usize {
    2 * size + 2 * size + PIECE
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Clients.
    pub clients: usize,
    /// Clients from one address.
    pub clients_per_ip: usize,
    /// Connections that are not clients: requests that are read, pages that are sent.
    pub front: usize,
}

/// What the memory is for.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Bytes, for all of it.
    pub memory: usize,
    /// Connections.
    pub capacity: Capacity,
    /// Bytes that the kernel's buffers of a connection are set to, one for each direction.
    pub socket_buffer: usize,
    /// Clients whose buffer for what they are sent may be wide.
    pub wide: usize,
    /// Events that wait for the hub; each may be a message of the greatest length.
    pub inbox: usize,
    /// Long messages that come in at the same time.
    pub slots: usize,
    /// Bytes that wait for all clients together.
    pub queues: usize,
    max_message: usize,
}

impl Budget {
    /// What `limits` allow when the system allows `descriptors` and has `memory`.
    ///
    /// # Errors
    /// When it does not fit: the settings and the arithmetic.
    pub fn new(
        limits: &Limits,
        descriptors: usize,
        memory: Option<usize>,
    ) -> Result<Budget, String> {
        if let Some(given) = limits.max_memory {
            return Budget::of(limits, descriptors, given)
                .map_err(|wanted| wanted.refusal(limits, descriptors, "--max-memory"));
        }
        let most = memory.map_or(DEFAULT, |memory| memory / 4);
        let mut given = most.min(DEFAULT);
        loop {
            match Budget::of(limits, descriptors, given) {
                // Who wants more clients than usual, and has the memory, need not say it twice.
                Ok(budget)
                    if given < most && limits.max_clients.is_some() && !budget.is_ample() => {}
                Ok(budget) => return Ok(budget),
                Err(_) if given < most => {}
                Err(wanted) => {
                    let name = "a quarter of the memory of this machine or cgroup,";
                    return Err(wanted.refusal(limits, descriptors, name));
                }
            }
            given = (given + given / 8).min(most);
        }
    }

    /// What fits `memory`; if that is not what was wanted, all that was.
    fn of(limits: &Limits, descriptors: usize, memory: usize) -> Result<Budget, Budget> {
        let Limits { max_message, max_queue, max_clients_per_ip, .. } = *limits;
        let rest = memory.saturating_sub(PROGRAM);
        let mut budget = Budget {
            memory,
            capacity: Capacity { clients: 0, clients_per_ip: max_clients_per_ip, front: 0 },
            socket_buffer: *SOCKET_BUFFER.start(),
            wide: 0,
            inbox: (rest / 16 / max_message).clamp(4, INBOX),
            slots: (rest / 16 / (2 * max_message)).clamp(1, SLOTS),
            queues: (rest / 7).max(max_queue),
            max_message,
        };
        // Of the descriptors, clients get three quarters at most.
        let places = descriptors.saturating_sub(DESCRIPTORS_KEPT).max(2);
        let wanted = limits.max_clients.unwrap_or(MAX_CLIENTS).min(places - places.div_ceil(4));
        budget.capacity.clients = wanted;
        budget.capacity.front = (rest / 16 / budget.connection()).clamp(FRONT_MIN, FRONT);
        let others = budget.sum() - wanted * budget.connection();
        let for_clients = memory.saturating_sub(others);
        let fitting = for_clients / budget.connection();
        if fitting == 0 || limits.max_clients.is_some() && fitting < wanted {
            return Err(budget);
        }
        budget.capacity.clients = fitting.min(wanted);
        let (least, most) = SOCKET_BUFFER.into_inner();
        // The largest with which they all fit.
        let fits = |size: &usize| CONNECTION + buffered(*size) <= for_clients / wanted;
        budget.socket_buffer = (least..=most).rev().step_by(KIB).find(fits).unwrap_or(least);
        // What the clients leave is for wide buffers, and then for more requests.
        budget.wide = memory.saturating_sub(budget.sum()) / budget.wider();
        budget.wide = budget.wide.min(budget.capacity.clients);
        budget.capacity.front = 0;
        let front = memory.saturating_sub(budget.sum()) / budget.connection();
        budget.capacity.front = front.min(FRONT).min(places - budget.capacity.clients);
        Ok(budget)
    }

    /// Whether a quarter of the clients may fall behind at the same time and still be served well.
    fn is_ample(&self) -> bool {
        self.wide >= self.capacity.clients.div_ceil(4)
    }

    /// A connection, be it a client or not.
    fn connection(&self) -> usize {
        CONNECTION + buffered(self.socket_buffer)
    }

    /// How much more it is when the buffer for what is sent is wide.
    fn wider(&self) -> usize {
        2 * WIDE_SEND_BUFFER + WIDE_PIECE - 2 * self.socket_buffer - PIECE
    }

    fn sum(&self) -> usize {
        PROGRAM
            + self.queues
            + self.inbox * self.max_message
            + self.slots * 2 * self.max_message
            + self.wide * self.wider()
            + (self.capacity.front + self.capacity.clients) * self.connection()
    }

    /// Why it does not fit `memory`, which is called `name`, and what would.
    fn refusal(&self, limits: &Limits, descriptors: usize, name: &str) -> String {
        let fits = |memory: &usize| Budget::of(limits, descriptors, *memory).is_ok();
        let enough = (1..1 << 20).map(|mib| mib * MIB).find(fits);
        let mut line = format!(
            "{name} {} is not enough for --max-clients {}, --max-message {} and --max-queue {}: \
             it takes {self}",
            Size(self.memory),
            self.capacity.clients,
            limits.max_message,
            limits.max_queue,
        );
        if let Some(enough) = enough {
            let _ = write!(line, "; give --max-memory {}, or fewer clients", Size(enough));
        }
        line
    }
}

/// The arithmetic.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} for the program, {} for queues, {} for {} messages on their way to the room, \
             {} for {} long ones that come in, {} for {} clients and {} requests of {} each, \
             {} for wide buffers of {} who fall behind: {}",
            Size(PROGRAM),
            Size(self.queues),
            Size(self.inbox * self.max_message),
            self.inbox,
            Size(self.slots * 2 * self.max_message),
            self.slots,
            Size((self.capacity.clients + self.capacity.front) * self.connection()),
            self.capacity.clients,
            self.capacity.front,
            Size(self.connection()),
            Size(self.wide * self.wider()),
            self.wide,
            Size(self.sum()),
        )
    }
}

/// A number of bytes as a person reads it.
struct Size(usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % MIB == 0 => write!(f, "{}M", bytes / MIB),
            bytes if bytes < MIB => write!(f, "{}K", bytes.div_ceil(KIB)),
            bytes => write!(f, "{:.1}M", bytes as f64 / MIB as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: usize = 1 << 20;

    fn budget(limits: &Limits, memory: usize) -> Budget {
        Budget::new(limits, PLENTY, Some(memory)).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_large_machine_has_room_for_the_usual() {
        let budget = budget(&Limits::default(), usize::MAX);
        assert_eq!(budget.memory, DEFAULT);
        assert_eq!(budget.capacity.clients, MAX_CLIENTS);
        assert_eq!(budget.socket_buffer, *SOCKET_BUFFER.end());
        assert!(budget.is_ample() && budget.capacity.front > 150, "{budget}");
        assert!(budget.inbox > 200 && budget.slots > 100, "{budget}");
    }

    #[test]
    fn a_small_machine_has_fewer_clients() {
        let small = budget(&Limits::default(), 32 * MIB);
        assert_eq!(small.memory, 8 * MIB);
        assert!((50..100).contains(&small.capacity.clients), "{small}");
        let smallest = budget(&Limits::default(), 14 * MIB);
        assert!((2..30).contains(&smallest.capacity.clients), "{smallest}");
    }

    #[test]
    fn all_of_it_fits() {
        for memory in (3 * MIB..600 * MIB).step_by(MIB / 3) {
            for max_message in [1, 1000, 65_536, 1 << 20] {
                for max_clients in [None, Some(1), Some(100), Some(2000)] {
                    for descriptors in [64, 1024, PLENTY] {
                        let limits = Limits {
                            max_message,
                            max_clients,
                            max_queue: (256 * KIB).max(max_message + KIB),
                            max_memory: Some(memory),
                            ..Limits::default()
                        };
                        match Budget::new(&limits, descriptors, None) {
                            Ok(budget) => {
                                let Capacity { clients, front, .. } = budget.capacity;
                                assert!(budget.sum() <= memory, "{budget}");
                                assert!(clients > 0 && front > 0, "{budget}");
                                assert!(clients <= max_clients.unwrap_or(MAX_CLIENTS));
                                assert!(
                                    clients + front + DESCRIPTORS_KEPT
                                        <= descriptors.max(DESCRIPTORS_KEPT + 2)
                                );
                            }
                            Err(line) => assert!(line.contains("--max-memory"), "{line}"),
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let mut limits =
            Limits { max_memory: Some(8 * MIB), max_clients: Some(1000), ..Limits::default() };
        let line = Budget::new(&limits, PLENTY, None).expect_err("that is too many");
        for part in ["--max-memory 8M", "--max-clients 1000", "1000 clients and"] {
            assert!(line.contains(part), "{line} lacks {part}");
        }
        let enough = line.split("give --max-memory ").nth(1).expect("what would do");
        let enough = enough.split('M').next().and_then(|mib| mib.parse::<usize>().ok());
        limits.max_memory = enough.map(|mib| mib * MIB);
        assert!(Budget::new(&limits, PLENTY, None).is_ok(), "{line}");
        limits.max_memory = enough.map(|mib| (mib - 1) * MIB);
        assert!(Budget::new(&limits, PLENTY, None).is_err(), "{line}");
    }

    #[test]
    fn who_asks_for_many_clients_gets_the_memory_for_them() {
        let limits = Limits { max_clients: Some(5_000), ..Limits::default() };
        let many = budget(&limits, usize::MAX);
        assert_eq!(many.capacity.clients, 5_000);
        assert!(many.memory > DEFAULT && many.memory < 8 * DEFAULT, "{many}");
        let line = Budget::new(&limits, PLENTY, Some(1 << 30)).expect_err("that is too many");
        assert!(line.starts_with("a quarter of the memory"), "{line}");
    }

    #[test]
    fn places_follow_from_the_descriptors() {
        let places = |max_clients, descriptors| {
            let limits = Limits { max_clients, ..Limits::default() };
            let budget = Budget::new(&limits, descriptors, None).expect("it fits");
            (budget.capacity.clients, budget.capacity.front)
        };
        assert_eq!(places(None, 1024), (726, 242));
        assert_eq!(places(Some(10), 1024), (10, 958));
        assert_eq!(places(None, 64), (6, 2));
    }
}
