//! An engine, nodes, and a crowd on them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kit::peer::{Peer, get};
use crate::kit::proc::{self, Holding};
use crate::kit::program::{Program, ROOMD, free_address, started_by};
use crate::matrix::account::{Account, CURTAIN, Heard, Kind, text};
use crate::matrix::checker::{self, Seen};
use crate::matrix::client::{Client, post};
use crate::matrix::stage::{Phase, Stage, Status};
use crate::redis::Redis;

/// For what follows soon, on a machine that does much else, beside what people wait before they talk.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node with an address of its own, which it has again when it is started again.
#[derive(Debug)]
pub struct Node {
    pub address: SocketAddr,
    /// What starts it, before its own name.
    by: Vec<String>,
    flags: Vec<String>,
    program: Option<Program>,
}

impl Node {
    fn start(engine: &str, flags: &[&str]) -> Self {
        Self::started_by(&[], engine, flags)
    }

    /// One that these words start.
    pub fn started_by(words: &[&str], engine: &str, flags: &[&str]) -> Self {
        // Whoever comes back is given all that the log has.
        let common = ["--log-level=warn", "--presence=1000", "--history=100000", "--rate=0"];
        let flags = common
            .iter()
            .chain(&["--engine", engine])
            .chain(flags)
            .map(|flag| (*flag).to_owned())
            .collect();
        let by = words.iter().map(|word| (*word).to_owned()).collect();
        let mut node = Node { address: free_address(), by, flags, program: None };
        node.start_again();
        node
    }

    pub fn start_again(&mut self) {
        let by: Vec<&str> = self.by.iter().map(String::as_str).collect();
        let mut command = started_by(&by, ROOMD);
        command.env_clear().args(&self.flags).arg(format!("--listen={}", self.address));
        self.program = Some(Program::of(&mut command));
    }

    pub fn signal(&self, signal: Signal) {
        self.program.as_ref().expect("it runs").signal(signal);
    }

    /// Ends at once.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Is told to end, and does.
    pub fn ends(&mut self) {
        self.signal(Signal::TERM);
        let status = self.program.take().map(|mut program| program.ends());
        assert!(status.is_some_and(|status| status.success()), "a node ends with {status:?}");
    }

    pub fn runs(&self) -> bool {
        self.program.is_some()
    }

    pub fn holding(&self) -> Holding {
        let id = self.program.as_ref().expect("it runs").process.0.id();
        proc::holding(id).expect("it runs")
    }

    pub fn peak_kb(&self) -> f64 {
        let id = self.program.as_ref().expect("it runs").process.0.id();
        proc::peak_resident_kb(id).expect("it runs")
    }

    pub fn says(&self) -> Vec<String> {
        self.program.iter().flat_map(|program| program.lines()).collect()
    }

    pub fn health(&self) -> String {
        Peer::ask(self.address, get("/healthz", "")).text().to_owned()
    }
}

/// So many of each kind at each node.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    pub people: usize,
    pub tutorial: usize,
    pub streams: usize,
    pub posters: usize,
    /// Whether they go to another node when they cannot reach theirs.
    pub roams: bool,
    /// The mean time between two messages of one of them.
    pub pace: Duration,
}

/// For the faults, one at a time.
pub const FEW: Crowd = Crowd {
    people: 3,
    tutorial: 1,
    streams: 1,
    posters: 1,
    roams: true,
    pace: Duration::from_millis(120),
};

struct Guest {
    kind: Kind,
    status: Arc<Status>,
    thread: JoinHandle<Account>,
}

pub struct Scene {
    guests: Vec<Guest>,
    patience: Duration,
    pub stage: Arc<Stage>,
    pub nodes: Vec<Node>,
    pub engine: Redis,
}

impl Scene {
    /// Three nodes, and everybody talks.
    pub fn of(engine: Redis) -> Self {
        let url = engine.url();
        Self::with(engine, &[url.clone(), url.clone(), url], &[], FEW)
    }

    /// A node for each of these addresses of the engine.
    pub fn with(engine: Redis, urls: &[String], flags: &[&str], crowd: Crowd) -> Self {
        Self::on(engine, urls.iter().map(|url| Node::start(url, flags)).collect(), crowd)
    }

    /// Everybody talks on these nodes.
    pub fn on(engine: Redis, nodes: Vec<Node>, crowd: Crowd) -> Self {
        let addresses = Arc::new(nodes.iter().map(|node| node.address).collect::<Vec<_>>());
        let stage = Arc::new(Stage::new(crowd.pace));
        let kinds = [
            (Kind::Witness, 1),
            (Kind::Person, crowd.people.saturating_sub(1)),
            (Kind::Tutorial, crowd.tutorial),
            (Kind::Stream, crowd.streams),
            (Kind::Poster, crowd.posters),
        ];
        let mut guests = Vec::new();
        for home in 0..nodes.len() {
            let of_node = kinds.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count));
            for kind in of_node {
                let (id, status) = (guests.len() as u32 + 1, Arc::new(Status::default()));
                let client = Client::new(
                    id,
                    kind,
                    home,
                    crowd.roams,
                    addresses.clone(),
                    stage.clone(),
                    status.clone(),
                );
                // Most of it is never touched.
                let thread = thread::Builder::new().stack_size(512 * 1024);
                let thread = thread.spawn(move || client.live()).expect("a thread");
                guests.push(Guest { kind, status, thread });
            }
        }
        let patience = PATIENCE + 4 * crowd.pace;
        let scene = Scene { guests, patience, stage, nodes, engine };
        scene.flows();
        scene
    }

    /// Waits until everybody has heard something that is said from now on, and whoever talks has been heard.
    #[track_caller]
    pub fn flows(&self) {
        let generation = self.stage.next_generation();
        self.waits("a message of everybody, for everybody", |guest| {
            let has_heard = guest.status.heard.load(Relaxed) >= generation;
            let has_said = guest.status.proven.load(Relaxed) >= generation;
            has_heard && (has_said || guest.kind == Kind::Stream)
        });
    }

    #[track_caller]
    fn waits(&self, awaited: &str, is_so: impl Fn(&Guest) -> bool) {
        let deadline = Instant::now() + self.patience;
        loop {
            let late = self.guests.iter().zip(1..).filter(|(guest, _)| !is_so(guest));
            let late: Vec<_> = late.map(|(guest, id)| (id, guest.kind, &guest.status)).collect();
            if late.is_empty() {
                return;
            }
            // A client that has panicked says why.
            let is_broken = self
                .guests
                .iter()
                .any(|guest| guest.thread.is_finished() && !guest.status.is_over.load(Relaxed));
            if is_broken || Instant::now() > deadline {
                self.tell();
                panic!("waited for {awaited}: {} lack it, such as {:?}", late.len(), late.first());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until so many more messages were said.
    #[track_caller]
    pub fn hears_more(&self, count: u64) {
        let goal = self.stage.head.load(Relaxed) + count;
        let deadline = Instant::now() + self.patience;
        while self.stage.head.load(Relaxed) < goal {
            assert!(Instant::now() < deadline, "waited for {count} more messages");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the nodes have said, for whoever looks for a fault.
    pub fn tell(&self) {
        for (n, node) in self.nodes.iter().enumerate() {
            node.says().iter().for_each(|line| eprintln!("node {}: {line}", n + 1));
        }
    }

    /// Whoever talks waits for what is under way, hears the curtain and goes; what they all saw. `rest` looks
    /// at the nodes when nobody is there any more.
    #[track_caller]
    pub fn close(mut self, rest: impl FnOnce(&mut Scene)) -> Seen {
        self.stage.set_phase(Phase::Hush);
        self.waits("what is under way", |guest| guest.status.is_settled.load(Relaxed));
        self.stage.set_phase(Phase::Curtain);
        let deadline = Instant::now() + self.patience;
        let mut k = 0;
        while self.guests.iter().any(|guest| !guest.thread.is_finished()) {
            assert!(Instant::now() < deadline, "somebody does not go");
            k += 1;
            let (generation, key) = (self.stage.generation(), format!("curtain-{k}"));
            for node in self.nodes.iter().filter(|node| node.runs()) {
                if post(node.address, &key, &text((CURTAIN, k), generation, 0)).is_ok() {
                    break;
                }
            }
            thread::sleep(Duration::from_millis(300));
        }
        let mut accounts = Vec::new();
        for guest in self.guests.drain(..) {
            accounts.push(guest.thread.join().expect("a client"));
        }
        rest(&mut self);
        let mut seen = checker::check(&accounts);
        if let (true, Ok(path)) = (!seen.faults.is_empty(), std::env::var("ACCOUNTS")) {
            let lines = accounts.iter().map(|account| format!("{account:#?}\n"));
            let _ = std::fs::write(path, lines.collect::<String>());
        }
        if !seen.faults.is_empty() {
            self.tell();
        }
        let kinds = accounts.iter().fold(BTreeMap::new(), |mut kinds, account| {
            *kinds.entry(format!("{:?}", account.kind)).or_insert(0) += 1;
            kinds
        });
        seen.heard = accounts.iter().map(|account| of_messages(&account.heard)).sum();
        seen.kinds = kinds;
        seen
    }
}

fn of_messages(heard: &[Heard]) -> usize {
    heard.iter().filter(|heard| matches!(heard, Heard::Message(..) | Heard::Line(_))).count()
}
