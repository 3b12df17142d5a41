//! What is measured: one module for each way to use a room.

use std::time::{Duration, Instant};

use crate::load::Load;
use crate::options::NODES;
use crate::protocol::Protocol;
use crate::server::Server;
use crate::table::Figure;

mod churn;
mod crowd;
mod echo;
mod flood;
mod hubs;
mod latency;
mod leave;
mod lockstep;
mod memory;
mod nodes;
mod publish;
mod slow;
mod talk;

/// The length of a message in bytes, unless a mode says otherwise.
pub const LENGTH: usize = 64;
const WARM_UP: Duration = Duration::from_millis(300);
const MEASURED: Duration = Duration::from_millis(1500);

/// The figures, or which check has failed.
pub type Outcome = Result<Vec<Figure>, String>;

/// A mode with a number of clients.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub key: &'static str,
    pub title: &'static str,
    pub clients: usize,
    /// The server may use the load's CPU, too.
    pub on_both_cpus: bool,
    /// Two servers that share the room through an engine are measured, too.
    pub is_shared: bool,
    /// So many servers without an engine are measured together, each with as many clients and a room of its own.
    pub servers: usize,
    pub run: fn(&Server, usize) -> Outcome,
}

impl Step {
    /// Its name may leave out the number of clients.
    pub fn is_called(&self, name: &str) -> bool {
        let rest = self.key.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// All steps in their order: memory comes before what leaves the kernel with closed connections
/// to remember, which it forgets while the next step runs.
pub fn steps() -> Vec<Step> {
    let step = |key, title, clients, run| Step {
        key,
        title,
        clients,
        on_both_cpus: false,
        is_shared: false,
        servers: 1,
        run,
    };
    let shared = |step| Step { on_both_cpus: true, is_shared: true, ..step };
    let steady = |step| Step { servers: NODES, ..shared(step) };
    vec![
        step("memory", "1,000 idle clients", 1000, memory::run),
        step("lockstep-100", "one message at a time, 100 clients", 100, lockstep::run),
        step("lockstep-1000", "one message at a time, 1,000 clients", 1000, lockstep::run),
        step(
            "lockstep-roomd1",
            "one message at a time, 1,000 clients of roomd.1",
            1000,
            lockstep::by_roomd1,
        ),
        step(
            "lockstep-mixed",
            "one message at a time, 333 each of tutorial, JSON, SSE",
            1000,
            lockstep::mixed,
        ),
        step("latency-100", "200 messages a second, 100 clients", 100, latency::run),
        step("latency-1000", "20 messages a second, 1,000 clients", 1000, latency::run),
        step("flood-100", "flood by 4 senders, 100 clients", 100, flood::run),
        step("flood-1000", "flood by 4 senders, 1,000 clients", 1000, flood::run),
        step(
            "flood-roomd1",
            "flood by 4 senders, 1,000 clients of roomd.1",
            1000,
            flood::by_roomd1,
        ),
        step(
            "flood-mixed",
            "flood by 4 senders, 333 each of tutorial, JSON, SSE",
            1000,
            flood::mixed,
        ),
        Step {
            on_both_cpus: true,
            ..step("hubs", "two flooded rooms of 1,000, server on both CPUs", 2000, hubs::run)
        },
        step("publish", "POST, 32 at a time", 32, publish::run),
        step("echo-100", "echo, 100 clients, one at a time", 100, echo::one_at_a_time),
        step("echo-1000", "echo, 1,000 clients, one at a time", 1000, echo::one_at_a_time),
        step("pipeline-100", "echo, 100 clients, 16 in flight each", 100, echo::pipelined),
        step("slow", "10 of 110 clients stop reading", 100, slow::run),
        step("leave", "1,000 clients leave at once, 10 stay", 1000, leave::run),
        step("churn", "32 at a time connect and leave", 32, churn::run),
        step(CROWD, "10,000 clients in one room", 10_000, crowd::run),
        shared(step(
            "engine-latency",
            "500 messages a second, 10 clients, all on two CPUs",
            10,
            nodes::latency,
        )),
        shared(step(
            "engine-flood-10",
            "flood by 8 senders, 10 clients, all on two CPUs",
            10,
            nodes::flood,
        )),
        shared(step(
            "engine-flood-200",
            "flood by 8 senders, 200 clients, all on two CPUs",
            200,
            nodes::flood,
        )),
        steady(step(
            "engine-flood-each",
            "flood by 8 senders a room, 100 clients on each of two servers",
            100,
            nodes::flood_each,
        )),
        steady(step(
            "engine-steady-1k",
            "1,000 messages a second, 100 clients on each of two servers",
            100,
            nodes::steady_1k,
        )),
        steady(step(
            "engine-steady-5k",
            "5,000 messages a second, 100 clients on each of two servers",
            100,
            nodes::steady_5k,
        )),
        steady(step(
            "engine-steady-20k",
            "20,000 messages a second, 100 clients on each of two servers",
            100,
            nodes::steady_20k,
        )),
    ]
}

/// The step that runs only when it is asked for, since many machines are too small for it. The steps with an
/// engine do so, too, since they need one, and a build with that feature.
pub const CROWD: &str = "crowd";

/// Lets so many clients into the room; each has its number as its id.
fn join(server: &Server, clients: usize) -> Result<Load, String> {
    join_as(server, clients, |client| (Protocol::Tutorial, room(client)))
}

fn room(client: usize) -> String {
    format!("/ws/{client}")
}

/// Lets so many clients into the room, each as `how` says of its number.
fn join_as(server: &Server, clients: usize, how: How) -> Result<Load, String> {
    let mut load = Load::new(server.address, server.cpus);
    load.open_as(clients, how)?;
    Ok(load)
}

/// By which protocol the client with this number hears the room, and at which path.
type How = fn(usize) -> (Protocol, String);

fn by_roomd1(_: usize) -> (Protocol, String) {
    (Protocol::Roomd1, "/lobby/ws".to_owned())
}

/// A third each, but that those who say something are the tutorial's.
fn mixed(client: usize) -> (Protocol, String) {
    match client % 3 {
        1 if client >= flood::SENDERS => (Protocol::Json, "/lobby/json".to_owned()),
        2 if client >= flood::SENDERS => (Protocol::Sse, "/lobby/sse".to_owned()),
        _ => (Protocol::Tutorial, room(client)),
    }
}

/// What passes between its start and its reading.
struct Meter<'a> {
    server: &'a Server,
    begin: Instant,
    cpu: Duration,
}

impl<'a> Meter<'a> {
    fn start(server: &'a Server) -> Result<Meter<'a>, String> {
        Ok(Meter { server, cpu: server.cpu()?, begin: Instant::now() })
    }

    /// The time and the server's CPU time since the start.
    fn read(&self) -> Result<(Duration, Duration), String> {
        let time = self.begin.elapsed();
        Ok((time, self.server.cpu()? - self.cpu))
    }
}
