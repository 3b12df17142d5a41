//! How many of everything there may be, so that all of it fits the memory and the system.
//!
//! What clients can make the server hold is bounded by `--max-memory`. It is counted as if all of
//! it were held at once: each connection with its thread, its buffers and the kernel's, and beside
//! them what they share: the log of the room, messages on their way to it, and long messages that
//! come in. The numbers of an ordinary moment are a tenth of these.

mod buffers;
mod logs;

use std::fmt::{self, Write};

pub use self::buffers::{Buffers, Pieces};
pub use self::logs::{History, LogBounds, Logs, longest_entry};
use crate::config::{
    ANSWER_BUFFER, CLIENTS_PER_IP, ENGINE_ENTRY, ENTRY, FRONT, FRONT_PER_IP, KEY, KEYS, LOG,
    LONG_MESSAGE, Limits, MAX_CLIENTS, READ_AHEAD, SEND_BUFFER, SLOTS,
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

/// A socket in the kernel, without its buffers' contents.
const SOCKET: usize = 4 * KIB;

/// On the heap: the read-ahead, a message that is not long, answers that the client has not taken,
/// and all that describes it.
const HEAP: usize = READ_AHEAD + LONG_MESSAGE + ANSWER_BUFFER + LONG_MESSAGE + 2 * KIB;

/// Connections that are not clients, at the least: so many does a browser open to load the page.
const FRONT_MIN: usize = 6;

/// Bytes of a frame of `roomd.1` for each byte of its text: as many as an escape has, or, where that leaves
/// fewer than [`MANY_SLOTS`] permits, what quotes and most texts need.
const ESCAPED: [usize; 2] = [6, 2];

/// Where there are so many permits for long messages, nobody waits for long.
const MANY_SLOTS: usize = 16;

const CONNECTION: usize = THREAD + TOUCHED_STACK + SOCKET + HEAP;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Clients.
    pub clients: usize,
    /// Clients from one address.
    pub clients_per_ip: usize,
    /// Connections that are not clients: requests that are read, pages that are sent.
    pub front: usize,
    /// Of these, connections from one address beside its clients.
    pub front_per_ip: usize,
}

impl Capacity {
    /// No clients, and so many requests from anywhere.
    pub const fn of_requests(front: usize) -> Self {
        Capacity { clients: 0, clients_per_ip: 0, front, front_per_ip: front }
    }

    /// The same capacity with half of it at most for one address, unless `clients_per_ip` says
    /// otherwise.
    fn shared_fairly(self, clients_per_ip: Option<usize>) -> Self {
        let half = |all: usize, most| (all / 2).clamp(1, most);
        let clients_per_ip = clients_per_ip.unwrap_or(half(self.clients, CLIENTS_PER_IP));
        Capacity { clients_per_ip, front_per_ip: half(self.front, FRONT_PER_IP), ..self }
    }
}

/// What the memory is for.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Bytes, for all of it.
    pub memory: usize,
    /// Connections.
    pub capacity: Capacity,
    /// The kernel's buffers of a connection.
    pub buffers: Buffers,
    /// The logs of all rooms.
    pub logs: Logs,
    /// How many rooms there may be.
    pub rooms: usize,
    /// Keys of requests that may come again, of which each remembers so many.
    pub keys: usize,
    /// What is read at once of the logs of rooms that machines share.
    pub read: usize,
    /// Long messages that come in, or are answered, at the same time.
    pub slots: usize,
    /// Bytes of a frame for each byte of its text.
    escaped: usize,
    max_message: usize,
}

impl Budget {
    /// What `limits` allow when the system allows `connections` and has `memory`.
    ///
    /// # Errors
    /// When it does not fit: the settings and the arithmetic.
    pub fn new(
        limits: &Limits,
        connections: usize,
        memory: Option<usize>,
    ) -> Result<Budget, String> {
        if let Some(given) = limits.max_memory {
            return Budget::of(limits, connections, given)
                .map_err(|wanted| wanted.refusal(limits, connections, "--max-memory"));
        }
        let most = memory.map_or(DEFAULT, |memory| memory / 4);
        let mut given = most.min(DEFAULT);
        loop {
            match Budget::of(limits, connections, given) {
                // Who wants more clients than usual, and has the memory, need not say it twice.
                Ok(budget)
                    if given < most
                        && limits.max_clients.is_some()
                        && budget.buffers.send < *SEND_BUFFER.end() => {}
                Ok(budget) => return Ok(budget),
                Err(_) if given < most => {}
                Err(wanted) => {
                    let name = "a quarter of the memory of this machine or cgroup,";
                    return Err(wanted.refusal(limits, connections, name));
                }
            }
            given = (given + given / 8).min(most);
        }
    }

    /// What fits `memory`; if that is not what was wanted, all that was.
    fn of(limits: &Limits, connections: usize, memory: usize) -> Result<Budget, Box<Budget>> {
        let Limits { max_message, max_clients_per_ip, max_rooms, declared_rooms, .. } = *limits;
        let rest = memory.saturating_sub(PROGRAM);
        let (least, most) = SEND_BUFFER.into_inner();
        // One room takes so much. Others share half of that, or more where there is much; where there is
        // little, it is for clients.
        let log = (4 * rest / 45).min(LOG);
        let is_short = rest / 12 < MIB;
        let others = if is_short { 0 } else { (rest / 24).min(4 * LOG) };
        let logs = Logs::new(log + others, log, declared_rooms.max(1), limits);
        let rooms = max_rooms.min(logs.total / logs.guaranteed);
        let keys = if is_short { 0 } else { logs.total / 6 / rooms / KEY };
        let mut budget = Budget {
            memory,
            capacity: Capacity::of_requests(0),
            buffers: Buffers::of(least),
            logs,
            rooms,
            keys: keys.clamp(*KEYS.start(), *KEYS.end()),
            read: 0,
            slots: 1,
            escaped: ESCAPED[1],
            max_message,
        };
        if limits.is_shared {
            let longest = longest_entry(max_message.max(ENGINE_ENTRY));
            budget.read = (rest / 8).max(rooms * longest);
        }
        let slots = |escaped: usize| rest / 16 / ((escaped + 1) * max_message);
        let escaped = ESCAPED.into_iter().find(|escaped| slots(*escaped) >= MANY_SLOTS);
        budget.escaped = escaped.unwrap_or(budget.escaped);
        budget.slots = slots(budget.escaped).clamp(1, SLOTS);
        let wanted = limits.max_clients.unwrap_or(MAX_CLIENTS).min(most_clients(connections));
        budget.capacity.clients = wanted;
        budget.capacity.front = (rest / 16 / budget.connection()).clamp(FRONT_MIN, FRONT);
        let others = budget.sum() - wanted * budget.connection();
        let for_clients = memory.saturating_sub(others);
        let fitting = for_clients / budget.connection();
        if fitting == 0 || limits.max_clients.is_some() && fitting < wanted {
            return Err(Box::new(budget));
        }
        budget.capacity.clients = fitting.min(wanted);
        // The largest with which they all fit.
        let fits = |size: &usize| CONNECTION + Buffers::of(*size).held() <= for_clients / wanted;
        let send = (least..=most).rev().step_by(KIB).find(fits).unwrap_or(least);
        budget.buffers = Buffers::of(send);
        // What the clients leave is for more requests.
        budget.capacity.front = 0;
        let front = memory.saturating_sub(budget.sum()) / budget.connection();
        budget.capacity.front = front.min(FRONT).min(connections - budget.capacity.clients);
        budget.capacity = budget.capacity.shared_fairly(max_clients_per_ip);
        Ok(budget)
    }

    /// Bytes of the longest frame of `roomd.1`.
    pub fn max_frame(&self) -> usize {
        self.escaped * self.max_message + KIB
    }

    /// A long message while it comes in: its frame, and its text; or what has come of it, the message itself,
    /// and an echo of it that has not been taken.
    fn slot(&self) -> usize {
        (self.escaped + 1) * self.max_message
    }

    /// A connection, be it a client or not.
    fn connection(&self) -> usize {
        CONNECTION + self.buffers.held()
    }

    /// Messages on their way to the room, and what a batch of them is: the entries, and their frames for one
    /// protocol after the other, in which a text at most triples.
    fn in_flight(&self) -> usize {
        self.logs.bounds(self.logs.most).in_flight + 4 * (ENTRY + self.max_message) + self.read
    }

    /// The logs of all rooms, and the keys that they remember.
    fn rooms(&self) -> usize {
        self.logs.total + self.rooms * self.keys * KEY
    }

    fn sum(&self) -> usize {
        PROGRAM
            + self.rooms()
            + self.in_flight()
            + self.slots * self.slot()
            + (self.capacity.front + self.capacity.clients) * self.connection()
    }

    /// Why it does not fit `memory`, which is called `name`, and what would.
    fn refusal(&self, limits: &Limits, connections: usize, name: &str) -> String {
        let fits = |memory: &usize| Budget::of(limits, connections, *memory).is_ok();
        let enough = (1..1 << 20).map(|mib| mib * MIB).find(fits);
        let mut line = format!(
            "{name} {} is not enough for --max-clients {} and --max-message {}: it takes {self}",
            Size(self.memory),
            self.capacity.clients,
            limits.max_message,
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
            "{} for the program, {} for {} rooms, {} for messages on their way to them, \
             {} for {} long ones that come in, {} for {} clients and {} requests of {} each: {}",
            Size(PROGRAM),
            Size(self.rooms()),
            self.rooms,
            Size(self.in_flight()),
            Size(self.slots * self.slot()),
            self.slots,
            Size((self.capacity.clients + self.capacity.front) * self.connection()),
            self.capacity.clients,
            self.capacity.front,
            Size(self.connection()),
            Size(self.sum()),
        )
    }
}

/// Of so many connections, three quarters may be clients, and two are for requests at the least.
pub fn most_clients(connections: usize) -> usize {
    connections - connections.div_ceil(4).max(2).min(connections)
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
        assert_eq!(budget.buffers, Buffers::of(*SEND_BUFFER.end()));
        assert_eq!((budget.logs.most, budget.rooms), (LOG, 64));
        assert!(budget.capacity.front > 150 && budget.slots > 30, "{budget}");
    }

    #[test]
    fn what_is_read_of_shared_rooms_is_counted() {
        let limits = Limits { is_shared: true, ..Limits::default() };
        let large = budget(&limits, usize::MAX);
        assert_eq!(large.capacity.clients, MAX_CLIENTS, "{large}");
        assert!(large.read > 480 * longest_entry(limits.max_message), "{large}");
        let small = budget(&limits, 32 * MIB);
        assert!(small.read < MIB && small.sum() <= 8 * MIB, "{small}");
        assert!(small.read >= small.rooms * longest_entry(limits.max_message), "{small}");
        assert!(small.capacity.clients >= 40, "{small}");
    }

    #[test]
    fn a_small_machine_has_fewer_clients() {
        let small = budget(&Limits::default(), 32 * MIB);
        assert_eq!(small.memory, 8 * MIB);
        assert!((50..100).contains(&small.capacity.clients), "{small}");
        assert_eq!(small.rooms, 4, "{small}");
        let smallest = budget(&Limits::default(), 14 * MIB);
        assert!((2..30).contains(&smallest.capacity.clients), "{smallest}");
    }

    #[test]
    fn a_small_host_has_places_for_a_classroom() {
        for (memory, clients, rooms) in [(8, 50, 4), (16, 106, 12), (32, 251, 24)] {
            let limits = Limits { max_memory: Some(memory * MIB), ..Limits::default() };
            let budget = Budget::new(&limits, PLENTY, None).expect("it fits");
            assert!(budget.capacity.clients >= clients && budget.rooms >= rooms, "{budget}");
        }
    }

    #[test]
    fn all_of_it_fits() {
        for memory in (3 * MIB..600 * MIB).step_by(MIB / 3) {
            for max_message in [1, 1000, 65_536, 1 << 20] {
                for max_clients in [None, Some(1), Some(100), Some(2000)] {
                    for connections in [3, 8, 1000, PLENTY] {
                        let limits = Limits {
                            is_shared: connections == 1000,
                            max_message,
                            max_clients,
                            max_memory: Some(memory),
                            ..Limits::default()
                        };
                        match Budget::new(&limits, connections, None) {
                            Ok(budget) => {
                                let Capacity { clients, front, .. } = budget.capacity;
                                assert!(budget.sum() <= memory, "{budget}");
                                assert!(clients > 0 && front > 0, "{budget}");
                                assert!(clients <= max_clients.unwrap_or(MAX_CLIENTS));
                                assert!(clients + front <= connections);
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
    fn slots_follow_from_the_connections() {
        let slots = |max_clients, connections| {
            let limits = Limits { max_clients, ..Limits::default() };
            let budget = Budget::new(&limits, connections, None).expect("it fits");
            (budget.capacity.clients, budget.capacity.front)
        };
        assert_eq!(slots(None, 968), (726, 242));
        assert_eq!(slots(Some(10), 968), (10, 958));
        assert_eq!(slots(None, 8), (6, 2));
        assert_eq!(slots(None, 3), (1, 2));
    }

    #[test]
    fn clients_leave_connections_for_requests() {
        for (connections, clients) in [(0, 0), (2, 0), (3, 1), (4, 2), (8, 6), (100, 75)] {
            assert_eq!(most_clients(connections), clients, "{connections}");
        }
    }

    #[test]
    fn one_address_gets_half_at_most_unless_a_flag_says_more() {
        let share = |max_clients_per_ip, memory| {
            let limits = Limits { max_clients_per_ip, ..Limits::default() };
            budget(&limits, memory).capacity
        };
        let large = share(None, usize::MAX);
        assert_eq!((large.clients_per_ip, large.front_per_ip), (CLIENTS_PER_IP, FRONT_PER_IP));
        for memory in (14 * MIB..64 * MIB).step_by(MIB) {
            let Capacity { clients, clients_per_ip, front, front_per_ip } = share(None, memory);
            assert_eq!(clients_per_ip, (clients / 2).clamp(1, CLIENTS_PER_IP));
            assert_eq!(front_per_ip, (front / 2).clamp(1, FRONT_PER_IP));
        }
        assert_eq!(share(Some(1000), 32 * MIB).clients_per_ip, 1000);
    }
}
