//! A room between its hub and the engine: what its clients do and the hub has not heard yet.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::command::{Command, Kind, Present};
use crate::engine::entry::{Entry, Raw};
use crate::engine::node::Node;
use crate::history::flow::Credit;
use crate::metrics::engine::WaitingBytes;

/// The link of one room.
#[derive(Debug)]
pub struct Link {
    /// The room's name.
    pub room: String,
    /// What this node is.
    pub node: Arc<Node>,
    queue: Mutex<Queue>,
    /// The writer was not told of some commands yet.
    is_new: AtomicBool,
    /// Bytes from the log that the hub has not taken yet.
    pub undelivered: AtomicU64,
}

/// Commands in their order: first those that the engine has taken, then the others.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// The counter of the last that the writer was given.
    given: u64,
    /// The counter of the last that the engine took.
    sent: u64,
    /// The epoch that the writer has opened.
    opened: u64,
    /// The epoch that the hub has heard of, and how far it has heard it.
    heard: (u64, u64),
    /// Up to this counter everything is taken, and in the log up to this position.
    settled: (u64, (u64, u64)),
    /// What was published before, by the counter of the request.
    known: Vec<(u64, Known)>,
    /// Members to say of in the new epoch.
    present: Option<Vec<Present>>,
    /// Other nodes with members here, of whom the engine may have forgotten.
    doubted: Vec<String>,
    /// What the hub takes first.
    snapshot: Option<Snapshot>,
    /// This node was declared dead, and the hub has not heard it yet.
    is_fenced: bool,
}

/// A command that the hub has not heard yet.
#[derive(Debug)]
pub struct Waiting {
    /// Its place among all of this node.
    pub counter: u64,
    /// What it is.
    pub command: Command,
    /// For the bytes of it.
    pub credit: Option<Credit>,
    /// When the hub had it.
    pub since: Instant,
    /// They are counted as long as it waits.
    _bytes: WaitingBytes,
}

/// A command that the engine has taken, and there is no entry for it; of a request, what was published before.
#[derive(Debug)]
pub struct PassedOver(pub Waiting, pub Option<Known>);

/// What was published before, of a request that came again.
#[derive(Debug)]
pub struct Known {
    /// The epoch in which the script was asked.
    pub epoch: u64,
    /// What it says.
    pub says: String,
}

/// How a room is when a node opens it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The epoch.
    pub epoch: u64,
    /// The position of the last entry.
    pub pos: u64,
    /// The number of the last message.
    pub seq: u64,
    /// The epochs before, with their last numbers that survived.
    pub past: Vec<(u64, u64)>,
    /// Who is here: node, connection, num, tag, name.
    pub members: Vec<String>,
    /// The last messages.
    pub history: Vec<Raw>,
}

impl Snapshot {
    /// The last messages.
    pub fn messages(&self) -> impl Iterator<Item = Entry<'_>> {
        self.history.iter().flat_map(Raw::entries).filter_map(|(_, entry)| entry)
    }
}

/// What the hub of a room hears.
#[derive(Debug)]
pub enum News {
    /// Entries that follow on what it has heard.
    Entries(Vec<Raw>),
    /// Some entries were dropped from the log before this node read them. This is how the room is now.
    Gap(Box<Snapshot>),
    /// Commands may be through, though no entry tells of them.
    Settled,
    /// This node was declared dead under this name: its clients have left.
    Fenced(Arc<str>),
}

/// Commands of one call: so many, and so many bytes.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 64 * 1024;

/// While fewer wait, it may pay to gather more.
const FEW: usize = 128;

/// No more renames, and numbers that are used up, wait for an engine that is away.
pub const MOST_WAITING: usize = 4096;

impl Link {
    /// Of this room.
    pub fn new(room: &str, node: Arc<Node>) -> Arc<Link> {
        let (queue, is_new, undelivered) = Default::default();
        Arc::new(Link { room: room.into(), node, queue, is_new, undelivered })
    }

    /// Adds a command: its counter. The writer is told of it by [`Link::hand_over`].
    pub fn push(&self, command: Command, credit: Option<Credit>) -> u64 {
        let _bytes = self.node.counts.waits(command.size());
        let mut queue = self.lock();
        // In the lock, so that they are in order.
        let (counter, since) = (self.node.next_counter(), self.node.now());
        queue.waiting.push_back(Waiting { counter, command, credit, since, _bytes });
        self.is_new.store(true, Ordering::Relaxed);
        counter
    }

    /// Takes it back that these connections join, since they have gone: those of which the writer was given nothing
    /// yet, and of which nothing else waits. Else others would hear them come and go. Which these are.
    pub fn take_back(&self, conns: &HashSet<u64>) -> HashSet<u64> {
        let queue = &mut *self.lock();
        let mut alone = HashMap::new();
        for Waiting { counter, command, .. } in &queue.waiting {
            if conns.contains(&command.conn) {
                let is_new = command.kind == Kind::Join && *counter > queue.given;
                alone
                    .entry(command.conn)
                    .and_modify(|is_alone| *is_alone = false)
                    .or_insert(is_new);
            }
        }
        alone.retain(|_, is_alone| *is_alone);
        queue.waiting.retain(|waiting| !alone.contains_key(&waiting.command.conn));
        alone.into_keys().collect()
    }

    /// Has the writer look at the commands that were added: of one turn of the hub at once.
    pub fn hand_over(&self) {
        if self.is_new.swap(false, Ordering::Relaxed) {
            self.node.wake();
        }
    }

    /// Whether it pays to wait for more commands before the writer is told of those that were added: entries come
    /// fast, and few commands wait. In a flood many do, and what waits for them is not said.
    pub fn gathers(&self) -> bool {
        let is_new = self.is_new.load(Ordering::Relaxed);
        is_new && self.node.is_fast() && self.waiting() < FEW
    }

    /// The room is dropped.
    pub fn close(self: &Arc<Self>) {
        self.node.remove(self);
    }

    /// Whether the engine could not be reached for so long.
    pub fn is_away_for(&self, time: Duration) -> bool {
        self.node.down_for().is_some_and(|down| down > time)
    }

    /// Waits until the room is open, for `patience` at most. False: the engine cannot be reached, or has not
    /// been for longer than `away`.
    pub fn wait_until_open(self: &Arc<Self>, patience: Duration, away: Duration) -> bool {
        self.node.wait_until_open(self, patience, away)
    }

    /// How many commands wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Whether there is something that the hub takes first.
    pub fn has_snapshot(&self) -> bool {
        self.lock().snapshot.is_some()
    }

    /// What the hub takes first, once.
    pub fn take_snapshot(&self) -> Option<Snapshot> {
        self.lock().snapshot.take()
    }

    /// The hub has heard the log up to the entry with this `id`.
    pub fn has_heard(&self, id: (u64, u64)) {
        self.lock().heard = id;
    }

    /// The hub has heard the entry with this `id` by `now`, which this node's `counter` is for. What it is for,
    /// and what there is no entry for before that.
    pub fn hear(
        &self,
        id: (u64, u64),
        counter: u64,
        now: Instant,
    ) -> (Vec<PassedOver>, Option<Waiting>) {
        let mut queue = self.lock();
        queue.heard = id;
        let mut passed_over = Vec::new();
        while queue.waiting.front().is_some_and(|front| front.counter <= counter) {
            let Some(waiting) = queue.waiting.pop_front() else { break };
            if waiting.counter == counter {
                self.node.counts.heard.took(now.saturating_duration_since(waiting.since));
                return (passed_over, Some(waiting));
            }
            passed_over.push(queue.passed_over(waiting));
        }
        (passed_over, None)
    }

    /// What is through though no entry tells of it, once what was heard is done: whoever was replaced by the last
    /// entry is not there any more.
    pub fn settled(&self) -> Vec<PassedOver> {
        let mut through = Vec::new();
        self.lock().settle(&mut through);
        through
    }

    /// The hub has heard of a new epoch, in which these members of this node are here. There were members of
    /// the nodes `others`, too.
    pub fn begin_epoch(&self, id: (u64, u64), present: Vec<Present>, others: Vec<String>) {
        let mut queue = self.lock();
        (queue.heard, queue.doubted) = (id, others);
        queue.present = Some(present);
        drop(queue);
        self.node.wake();
    }

    /// Forgets all commands: this node was declared dead.
    pub fn clear(&self) -> Vec<Waiting> {
        let mut queue = self.lock();
        queue.is_fenced = false;
        queue.waiting.drain(..).collect()
    }

    /// The hub knows that this node was declared dead, and what waits is from later on.
    pub fn goes_on(&self) {
        self.lock().is_fenced = false;
    }

    /// The writer has opened the room, in this epoch; the engine has taken everything up to `taken`.
    pub(super) fn opened(&self, epoch: u64, taken: u64, snapshot: Option<Snapshot>) {
        let mut queue = self.lock();
        (queue.opened, queue.sent) = (epoch, taken);
        if let Some(snapshot) = snapshot {
            queue.heard = (snapshot.epoch, snapshot.pos);
            queue.snapshot = Some(snapshot);
        }
    }

    /// The epoch that the writer knows; 0 if none.
    pub(super) fn epoch(&self) -> u64 {
        self.lock().opened
    }

    /// Nodes of which the engine may have forgotten that they were there, once.
    pub(super) fn doubted(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().doubted)
    }

    /// Whether the writer knows of an epoch that the hub has not heard of yet.
    pub(super) fn is_unheard(&self) -> bool {
        let queue = self.lock();
        queue.opened > queue.heard.0
    }

    /// The latest epoch of which the writer or the hub knows; 0 if none.
    pub(super) fn latest_epoch(&self) -> u64 {
        let queue = self.lock();
        queue.opened.max(queue.heard.0)
    }

    /// Whether the hub has heard of an epoch that began after the writer opened the room: another node has
    /// found that the log was gone.
    pub(super) fn is_overtaken(&self) -> bool {
        let queue = self.lock();
        queue.heard.0 > queue.opened
    }

    /// The node was declared dead.
    pub(super) fn fence(&self) {
        let mut queue = self.lock();
        queue.is_fenced = true;
        queue.present = None;
    }

    /// Members to say of, before anything else is sent. None: there is nothing to say, or not yet.
    pub(super) fn present(&self) -> Option<Vec<Present>> {
        let queue = self.lock();
        queue.present.clone().filter(|_| queue.is_current())
    }

    /// The counter of the last command that the engine took.
    pub(super) fn sent(&self) -> u64 {
        self.lock().sent
    }

    /// They were said.
    pub(super) fn was_said(&self) {
        self.lock().present = None;
    }

    /// The next commands to send.
    pub(super) fn batch(&self) -> Vec<(u64, Command)> {
        let mut queue = self.lock();
        if !queue.is_current() || queue.present.is_some() {
            return Vec::new();
        }
        let first = queue.waiting.partition_point(|waiting| waiting.counter <= queue.sent);
        let mut bytes = 0;
        let fits = |waiting: &&Waiting| {
            let is_first = bytes == 0;
            bytes += waiting.command.size();
            is_first || bytes <= BATCH_BYTES
        };
        let next = queue.waiting.range(first..).take(BATCH).take_while(fits);
        let command = |waiting: &Waiting| {
            let mut command = waiting.command.clone();
            if command.kind == Kind::Join {
                // By no clock but this one, since others may be wrong.
                command.n = (self.node.now() - waiting.since).as_millis() as u64;
            }
            (waiting.counter, command)
        };
        let batch: Vec<_> = next.map(command).collect();
        queue.given = batch.last().map_or(queue.given, |(counter, _)| queue.given.max(*counter));
        batch
    }

    /// The engine has taken everything up to `taken`, and the log goes to `id`. Whether the hub has to be
    /// told, which has heard that far already.
    pub(super) fn taken(&self, taken: u64, id: (u64, u64), known: Vec<(u64, String)>) -> bool {
        let mut queue = self.lock();
        queue.sent = queue.sent.max(taken);
        queue.settled = (taken, id);
        let known = known.into_iter().map(|(counter, says)| (counter, Known { epoch: id.0, says }));
        queue.known.extend(known);
        queue.is_settled() && queue.waiting.front().is_some_and(|front| front.counter <= taken)
    }

    /// Bytes of the texts that wait.
    #[cfg(test)]
    pub(super) fn text_bytes(&self) -> usize {
        self.lock().waiting.iter().map(|waiting| waiting.command.text.len()).sum()
    }

    /// How it is, for tests.
    #[cfg(test)]
    pub(super) fn tell(&self) -> String {
        let queue = self.lock();
        let Queue { waiting, sent, opened, heard, settled, present, is_fenced, .. } = &*queue;
        let first = waiting.front().map(|waiting| (waiting.counter, waiting.command.kind));
        format!(
            "{} wait from {first:?}, sent {sent}, opened {opened}, heard {heard:?}, settled {settled:?}, \
             present {:?}, fenced {is_fenced}",
            waiting.len(),
            present.as_ref().map(Vec::len),
        )
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Whether the writer and the hub know of the same epoch.
    fn is_current(&self) -> bool {
        self.opened > 0 && self.opened == self.heard.0 && !self.is_fenced
    }

    fn is_settled(&self) -> bool {
        let (_, (epoch, pos)) = self.settled;
        epoch == self.heard.0 && pos <= self.heard.1
    }

    fn settle(&mut self, through: &mut Vec<PassedOver>) {
        if !self.is_settled() {
            return;
        }
        while self.waiting.front().is_some_and(|front| front.counter <= self.settled.0) {
            let Some(waiting) = self.waiting.pop_front() else { return };
            through.push(self.passed_over(waiting));
        }
    }

    fn passed_over(&mut self, waiting: Waiting) -> PassedOver {
        let known = match waiting.command.kind {
            Kind::Publish => {
                let at = self.known.iter().position(|(counter, _)| *counter == waiting.counter);
                at.map(|at| self.known.swap_remove(at).1)
            }
            _ => None,
        };
        PassedOver(waiting, known)
    }
}

impl Link {
    /// The hub has taken so many bytes from the log.
    pub fn delivered(&self, bytes: usize) {
        self.undelivered.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}
