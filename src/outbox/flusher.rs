//! The flusher: the thread that sends to the clients that are behind, closes those that hold up
//! their room, and sees that those that leave do.
//!
//! One thread for all of them, which sleeps in `poll` until a socket takes more or a deadline
//! comes. Nobody is behind in the normal case, and then it sleeps for good.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::history::Log;
use crate::history::flow::LOOK;
use crate::metrics::Metrics;
use crate::outbox::frames::Encoder;
use crate::outbox::{Next, Outbox, Transport};

/// Gives clients to the flusher. The thread ends when the last of these is dropped.
#[derive(Debug)]
pub struct Flusher<T, W = Waker> {
    orders: Sender<Order<T>>,
    waker: W,
}

/// What the thread looks after from now on.
#[derive(Debug)]
enum Order<T> {
    /// A client that is behind or leaving, or whose deadline has come nearer.
    Client(Arc<Outbox<T>>),
    /// A room, whose senders wait for readers that are behind.
    Room(Weak<Log>),
}

/// Wakes the flusher: the other end of what it sleeps in.
#[derive(Clone, Debug)]
pub struct Waker(Arc<UnixStream>);

/// What wakes the thread. The thread and those who call it know nothing else of the system, so that
/// a model checker can run them.
pub trait Wake {
    /// Wakes the thread, or lets its next sleep end at once.
    fn wake(&self);
}

/// What the thread sleeps in.
pub trait Sleep<T> {
    /// Sleeps until a socket is ready, a client's deadline or `until` comes, or somebody wakes it.
    /// Says which of `watched` have news; nothing if that cannot be said.
    fn sleep(&self, watched: &[Behind<T>], until: Option<Instant>) -> Vec<bool>;
    /// Forgets who woke it; true if nobody is left who could.
    fn is_over(&self) -> bool;
}

/// A client that is behind or leaving.
#[derive(Debug)]
pub struct Behind<T> {
    outbox: Arc<Outbox<T>>,
    /// What its socket has to be ready for. Nothing: its end alone is news.
    wants: PollFlags,
    deadline: Option<Instant>,
    /// Whether the thread serves it in this round.
    is_due: bool,
    /// Whether there is nothing more to do for it.
    is_done: bool,
}

/// A client is sent so many chunks of the log in a round, at most.
const CHUNKS: usize = 8;

impl<T: Transport + AsFd + Send + Sync + 'static> Flusher<T> {
    /// A flusher, and what its thread runs.
    ///
    /// # Errors
    /// When the system has no socket pair to give.
    pub fn new(metrics: Arc<Metrics>) -> io::Result<(Self, impl FnOnce() + Send + use<T>)> {
        let (waker, sleeper) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        sleeper.set_nonblocking(true)?;
        let (flusher, orders) = Flusher::woken_by(Waker(Arc::new(waker)));
        Ok((flusher, move || run(&orders, &sleeper, &metrics)))
    }
}

impl<T: Transport, W: Wake> Flusher<T, W> {
    fn woken_by(waker: W) -> (Self, Receiver<Order<T>>) {
        // Each outbox is in here at most twice, so the clients bound it.
        let (orders, receiver) = unbounded();
        (Flusher { orders, waker }, receiver)
    }

    /// Hands over a client, or has one that was handed over looked at again.
    pub fn watch(&self, outbox: Arc<Outbox<T>>) {
        self.order(Order::Client(outbox));
    }

    /// Has the room of `log` looked after for as long as there is one.
    pub fn watch_room(&self, log: &Arc<Log>) {
        self.order(Order::Room(Arc::downgrade(log)));
    }

    fn order(&self, order: Order<T>) {
        // The receiver outlives every sender.
        let _ = self.orders.send(order);
        self.waker.wake();
    }

    /// Wakes the thread alone. It keeps the thread as a flusher does.
    pub fn waker(&self) -> &W {
        &self.waker
    }
}

impl<T, W: Clone> Clone for Flusher<T, W> {
    fn clone(&self) -> Self {
        Flusher { orders: self.orders.clone(), waker: self.waker.clone() }
    }
}

fn run<T: Transport>(orders: &Receiver<Order<T>>, sleeper: &impl Sleep<T>, metrics: &Metrics) {
    let mut watched: Vec<Behind<T>> = Vec::new();
    let mut rooms: Vec<Weak<Log>> = Vec::new();
    let mut encoder = Encoder::default();
    let mut look = None;
    loop {
        let mut news = sleeper.sleep(&watched, look).into_iter();
        // Before the queue is emptied, or one who comes between the two would not be noticed.
        let is_over = sleeper.is_over();
        let now = Instant::now();
        for client in &mut watched {
            match news.next() {
                Some(true) if client.wants.is_empty() => {
                    // All is sent, so the news is that the connection has ended.
                    client.outbox.cut();
                    client.is_done = true;
                }
                Some(false) if client.deadline.is_none_or(|deadline| now < deadline) => {}
                _ => client.is_due = true,
            }
        }
        watched.retain(|client| !client.is_done);
        // No more than there are by now: clients that catch up and fall behind again all the time must not keep
        // the thread from those that are behind.
        for order in orders.try_iter().take(orders.len()) {
            match order {
                Order::Client(outbox) => {
                    // It is known already if its deadline has come nearer.
                    watched.retain(|client| !Arc::ptr_eq(&client.outbox, &outbox));
                    watched.push(Behind::new(outbox));
                }
                Order::Room(room) => rooms.push(room),
            }
        }
        sweep(&mut watched, now, &mut encoder);
        let is_pressed = look_at_rooms(&mut rooms, &mut watched, now, &mut encoder);
        look = is_pressed.then(|| now + LOOK);
        metrics.are_behind(watched.iter().filter(|client| !client.wants.is_empty()).count());
        // Whoever is watched holds a flusher, so this does not spin.
        if is_over && watched.is_empty() {
            return;
        }
    }
}

/// Serves those that are due. Whoever is furthest behind comes first, chunk by chunk: so each chunk is encoded
/// once for all who lack it.
fn sweep<T: Transport>(watched: &mut Vec<Behind<T>>, now: Instant, encoder: &mut Encoder) {
    let due = watched.iter().enumerate().filter(|(_, client)| client.is_due);
    let mut next: BinaryHeap<_> =
        due.map(|(n, client)| Reverse((client.outbox.place(), n, CHUNKS))).collect();
    while let Some(Reverse((_, n, chunks))) = next.pop() {
        let client = &mut watched[n];
        client.is_due = false;
        if client.flush(now, encoder) && chunks > 1 {
            next.push(Reverse((client.outbox.place(), n, chunks - 1)));
        }
    }
    watched.retain(|client| !client.is_done);
}

/// Lets senders go on where readers have made room, and evicts readers that hold up their room for too
/// long. Whether to look again soon.
fn look_at_rooms<T: Transport>(
    rooms: &mut Vec<Weak<Log>>,
    watched: &mut Vec<Behind<T>>,
    now: Instant,
    encoder: &mut Encoder,
) -> bool {
    let mut is_pressed = false;
    rooms.retain(|room| {
        let Some(log) = room.upgrade() else { return false };
        let findings = log.flow.look(now);
        is_pressed |= findings.is_pressed;
        if !findings.too_slow.is_empty() {
            for client in &mut *watched {
                if client.outbox.lags_in(&log).is_some_and(|id| findings.too_slow.contains(&id)) {
                    client.outbox.evict();
                    client.is_due = true;
                }
            }
        }
        true
    });
    sweep(watched, now, encoder);
    is_pressed
}

impl<T: Transport> Behind<T> {
    fn new(outbox: Arc<Outbox<T>>) -> Self {
        Behind { outbox, wants: PollFlags::OUT, deadline: None, is_due: true, is_done: false }
    }

    /// Serves the client; true if it does well to go on at once.
    fn flush(&mut self, now: Instant, encoder: &mut Encoder) -> bool {
        let next = self.outbox.flush(now, encoder);
        (self.wants, self.deadline) = match next {
            Next::Done => (PollFlags::empty(), None),
            Next::More(deadline) | Next::Behind(deadline) => (PollFlags::OUT, deadline),
            // Only the end of the connection is news; poll reports it unasked.
            Next::Leaving(deadline) => (PollFlags::empty(), deadline),
        };
        self.is_done = next == Next::Done;
        matches!(next, Next::More(_))
    }
}

impl Wake for Waker {
    fn wake(&self) {
        // A full pipe wakes the thread just as well.
        let _ = (&*self.0).write(&[1]);
    }
}

impl<T: Transport + AsFd> Sleep<T> for UnixStream {
    fn sleep(&self, watched: &[Behind<T>], until: Option<Instant>) -> Vec<bool> {
        let mut fds: Vec<PollFd<'_>> = watched
            .iter()
            .map(|client| PollFd::new(client.outbox.transport(), client.wants))
            .collect();
        fds.push(PollFd::new(self, PollFlags::IN));
        let deadlines = watched.iter().filter_map(|client| client.deadline);
        let timeout = deadlines.chain(until).min().and_then(|deadline| {
            Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok()
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => fds[..watched.len()].iter().map(|fd| !fd.revents().is_empty()).collect(),
            // Interrupted, or no memory: everybody is looked at, and the sends say how it is.
            Err(_) => Vec::new(),
        }
    }

    fn is_over(&self) -> bool {
        let mut bytes = [0; 64];
        let mut stream = self;
        loop {
            match stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, OnceLock};
    use std::thread;
    use std::time::Duration;

    use crossbeam_channel::bounded;

    use super::*;
    use crate::history::chunk::Position;
    use crate::outbox::encoding::Encoding;
    use crate::outbox::fuzz_target::{BOUNDS, Talk};

    impl Wake for () {
        fn wake(&self) {}
    }

    /// A socket that takes nothing, whose client is handed over anew at each attempt.
    #[derive(Debug, Default)]
    struct Restless {
        outbox: OnceLock<Weak<Outbox<Arc<Restless>>>>,
        flusher: Mutex<Option<Flusher<Arc<Restless>, ()>>>,
    }

    impl Restless {
        fn hand_over(&self) {
            let outbox = self.outbox.get().and_then(Weak::upgrade);
            let flusher = self.flusher.lock().unwrap();
            if let (Some(outbox), Some(flusher)) = (outbox, &*flusher) {
                flusher.watch(outbox);
            }
        }
    }

    impl Transport for Arc<Restless> {
        fn send(&self, _: &[u8]) -> io::Result<usize> {
            self.hand_over();
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn half_close(&self) {}

        fn cut(&self) {}

        fn forget(&self) {}

        fn watch(_: &Arc<Outbox<Self>>) {}

        fn evicted(&self) {}
    }

    /// Counts the rounds, and ends the thread after some.
    struct Rounds(AtomicUsize, Arc<Outbox<Arc<Restless>>>);

    impl Sleep<Arc<Restless>> for Rounds {
        fn sleep(&self, watched: &[Behind<Arc<Restless>>], _: Option<Instant>) -> Vec<bool> {
            if self.0.fetch_add(1, Ordering::Relaxed) == 5 {
                *self.1.transport().flusher.lock().unwrap() = None;
                self.1.cut();
            }
            vec![true; watched.len()]
        }

        fn is_over(&self) -> bool {
            self.0.load(Ordering::Relaxed) > 5
        }
    }

    /// A socket that takes everything, and notes how much it had at each send, as all of them do.
    #[derive(Clone, Debug, Default)]
    struct Listener {
        sends: Arc<Mutex<Vec<usize>>>,
        taken: Arc<AtomicUsize>,
    }

    impl Transport for Listener {
        fn send(&self, bytes: &[u8]) -> io::Result<usize> {
            let before = self.taken.fetch_add(bytes.len(), Ordering::Relaxed);
            self.sends.lock().unwrap().push(before);
            Ok(bytes.len())
        }

        fn half_close(&self) {}

        fn cut(&self) {}

        fn forget(&self) {}

        fn watch(_: &Arc<Outbox<Self>>) {}

        fn evicted(&self) {}
    }

    /// One after the other they would have each chunk encoded as often as there are clients.
    #[test]
    fn those_who_are_behind_are_sent_a_chunk_before_any_is_sent_the_next() {
        let mut talk = Talk::new(1 << 20);
        let sends = Arc::default();
        let client = |talk: &Talk| {
            let listener = Listener { sends: Arc::clone(&sends), ..Listener::default() };
            let outbox = Outbox::new(listener, Encoding::Tutorial, vec![b'x'], BOUNDS);
            // What they lack is kept for them.
            outbox.enter(&talk.log, Position::default(), talk.end().entry);
            outbox.open();
            outbox
        };
        talk.say(&[10_000]);
        let clients: Vec<_> = (0..10).map(|_| client(&talk)).collect();
        sends.lock().unwrap().clear();
        for _ in 1..3 * CHUNKS {
            talk.say(&[10_000]);
        }
        let mut watched: Vec<_> = clients.into_iter().map(Behind::new).collect();
        let mut encoder = Encoder::default();
        for round in 1..=3 {
            sweep(&mut watched, Instant::now(), &mut encoder);
            assert_eq!(sends.lock().unwrap().len(), round * 10 * CHUNKS, "a round has its bound");
            watched.iter_mut().for_each(|client| client.is_due = true);
        }
        assert!(watched.is_empty(), "they have caught up");
        assert!(sends.lock().unwrap().is_sorted(), "{sends:?}");
    }

    #[test]
    fn a_restless_client_keeps_the_thread_from_nobody() {
        let (flusher, orders) = Flusher::woken_by(());
        let socket = Arc::new(Restless::default());
        let outbox = Outbox::new(socket.clone(), Encoding::Tutorial, vec![b'x'; 10], BOUNDS);
        socket.outbox.set(Arc::downgrade(&outbox)).expect("the first");
        *socket.flusher.lock().unwrap() = Some(flusher);
        outbox.open();
        let (ended, end) = bounded(1);
        thread::spawn(move || {
            let rounds = Rounds(AtomicUsize::new(0), outbox);
            run(&orders, &rounds, &Metrics::new(1));
            let _ = ended.send(());
        });
        end.recv_timeout(Duration::from_secs(20)).expect("it gets to its rounds");
    }
}
#[cfg(all(test, shuttle))]
mod model;
