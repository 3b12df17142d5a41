//! Memory for long messages while they come in, which all clients share.
//!
//! A message of a few kilobytes costs no more than its client's thread does. For a longer one the
//! client needs a permit until the hub has it or it is answered. When there is none it waits, which
//! slows down the client alone.
//!
//! How long that is must not depend on how many promise long messages and do not send them. So nobody
//! asks for a permit before the message, or the beginning of it, has arrived. One that is at hand as a
//! whole needs it for a moment; some permits are for those alone. Others hold theirs while bytes come:
//! when somebody waits, whoever is silent or too slow gives it up, the latest first and as many as are
//! waiting. Those whose address has just lost one wait behind others, and so do those who have not sent
//! a long message to its end before. An address has at most half of the permits of either kind.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::config::{SLOT_PACE, SLOT_PATIENCE, SLOT_PENALTY, SLOT_SILENCE};
use crate::net::slots::Closable;

/// All permits.
#[derive(Clone)]
pub struct Permits(Arc<Shared>);

struct Shared {
    origin: Instant,
    state: Mutex<State>,
}

struct State {
    permits: usize,
    /// Of these, permits for messages that are at hand.
    reserved: usize,
    last: u64,
    taken: BTreeMap<u64, Holder>,
    waiting: BTreeMap<u64, Waiting>,
    /// Of those that are taken, how many are for messages that are at hand and how many are not.
    count: Count,
    /// The same for each address. Loopback is not counted.
    by_address: HashMap<IpAddr, Count>,
    /// Until when an address waits behind others, in milliseconds since the server began.
    penalties: HashMap<IpAddr, u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    at_hand: usize,
    arriving: usize,
}

/// Who wants a permit.
#[derive(Clone)]
pub struct Claimant {
    /// The address that it counts for. None: loopback, which may have all permits.
    pub address: Option<IpAddr>,
    /// All of the message has arrived.
    pub is_at_hand: bool,
    /// Whether it has sent a long message to its end before.
    pub has_finished: bool,
    /// Is stopped when it has to give the permit up.
    pub occupant: Arc<dyn Closable>,
}

struct Waiting {
    thread: Thread,
    claimant: Claimant,
}

struct Holder {
    claimant: Claimant,
    progress: Arc<Progress>,
}

/// How a holder's message comes on. Times are milliseconds since the server began.
#[derive(Default)]
struct Progress {
    /// Since when its client has been waited for.
    since: AtomicU64,
    /// When something came of it last.
    heard: AtomicU64,
    /// How much came since then.
    bytes: AtomicU64,
    /// It waits for something that is not its client's fault.
    is_excused: AtomicBool,
    is_revoked: AtomicBool,
}

/// Room for one message; freed when dropped.
pub struct Permit {
    permits: Permits,
    number: u64,
    progress: Arc<Progress>,
}

impl Permits {
    /// So many permits; at least one. A quarter of them is for messages that are at hand.
    pub fn new(permits: usize) -> Self {
        let permits = permits.max(1);
        let state = State {
            permits,
            reserved: if permits > 1 { (permits / 4).max(1) } else { 0 },
            last: 0,
            taken: BTreeMap::new(),
            waiting: BTreeMap::new(),
            count: Count::default(),
            by_address: HashMap::new(),
            penalties: HashMap::new(),
        };
        Permits(Arc::new(Shared { origin: Instant::now(), state: Mutex::new(state) }))
    }

    /// Waits for a permit. While others wait, whoever has one and is silent for [`SLOT_SILENCE`], or slower
    /// than [`SLOT_PACE`] after [`SLOT_PATIENCE`], is stopped: this `claimant` may be told so later.
    pub fn permit(&self, claimant: Claimant) -> Permit {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.waiting.insert(number, Waiting { thread: thread::current(), claimant });
        state.hand_out(self.now());
        loop {
            if let Some(holder) = state.taken.get(&number) {
                let progress = holder.progress.clone();
                return Permit { permits: self.clone(), number, progress };
            }
            let look_again = state.revoke(self.now(), number);
            drop(state);
            thread::park_timeout(look_again);
            state = self.lock();
        }
    }

    /// Milliseconds since the server began.
    fn now(&self) -> u64 {
        self.0.origin.elapsed().as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can panic half-way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives free permits to those whose turn it is.
    fn hand_out(&mut self, now: u64) {
        self.penalties.retain(|_, until| *until > now);
        while self.taken.len() < self.permits {
            let can = self.waiting.iter().filter(|(_, waiting)| self.can_have(&waiting.claimant));
            let next = can.min_by_key(|(number, waiting)| self.rank(&waiting.claimant, **number));
            let Some(number) = next.map(|(number, _)| *number) else { return };
            let Some(Waiting { thread, claimant }) = self.waiting.remove(&number) else { return };
            self.counts(&claimant).for_each(|count| *count.of(&claimant) += 1);
            let progress = Arc::new(Progress::default());
            progress.begin(now);
            // Nobody has to wait for its client.
            progress.is_excused.store(claimant.is_at_hand, Relaxed);
            self.taken.insert(number, Holder { claimant, progress });
            thread.unpark();
            // Whoever is first now looks more often.
            if let Some(first) = self.waiting.values().next() {
                first.thread.unpark();
            }
        }
    }

    /// Whose turn it is: the lowest first.
    fn rank(&self, claimant: &Claimant, number: u64) -> (bool, bool, bool, u64) {
        let address = claimant.address.as_ref();
        let is_penalised = address.is_some_and(|ip| self.penalties.contains_key(ip));
        (!claimant.is_at_hand, is_penalised, !claimant.has_finished, number)
    }

    fn can_have(&self, claimant: &Claimant) -> bool {
        let is_reserved =
            !claimant.is_at_hand && self.count.arriving >= self.permits - self.reserved;
        !is_reserved && self.has_share(claimant, &self.by_address)
    }

    /// Whether the address may have one permit more of this kind.
    fn has_share(&self, claimant: &Claimant, taken: &HashMap<IpAddr, Count>) -> bool {
        let all = self.permits - if claimant.is_at_hand { 0 } else { self.reserved };
        let taken = claimant.address.and_then(|address| taken.get(&address));
        taken.is_none_or(|taken| *taken.clone().of(claimant) < all.div_ceil(2))
    }

    /// What a holder is counted in.
    fn counts(&mut self, claimant: &Claimant) -> impl Iterator<Item = &mut Count> {
        let of_address =
            claimant.address.map(|address| self.by_address.entry(address).or_default());
        [&mut self.count].into_iter().chain(of_address)
    }

    /// Has as many holders that are late give up their permits as there are waiting for one. Returns
    /// when the one with this `number` looks again: the first as soon as another holder is late.
    fn revoke(&mut self, now: u64, number: u64) -> Duration {
        let is_revoked = |holder: &&Holder| holder.progress.is_revoked.load(Relaxed);
        let coming = self.taken.values().filter(is_revoked).count();
        let (waiting, mut beyond_share) = self.demand();
        let mut wanted = waiting.saturating_sub(coming);
        let mut late: Vec<_> = self
            .taken
            .values()
            .filter(|holder| !is_revoked(holder))
            .filter_map(|holder| Some((holder.progress.deadline()?, holder)))
            .collect();
        late.sort_by_key(|(deadline, _)| *deadline);
        let next = late.iter().map(|(deadline, _)| *deadline).find(|deadline| *deadline > now);
        late.retain(|(deadline, _)| *deadline <= now);
        for (_, Holder { claimant, progress }) in late {
            let own = claimant.address.and_then(|address| beyond_share.get_mut(&address));
            match own.filter(|own| **own > 0) {
                _ if wanted > 0 => wanted -= 1,
                Some(own) => *own -= 1,
                None => continue,
            }
            // Before the stop, which the client's thread would else take for its client's end.
            progress.is_revoked.store(true, Relaxed);
            claimant.occupant.clone().stop();
            if let Some(address) = claimant.address {
                self.penalties.insert(address, now + SLOT_PENALTY.as_millis() as u64);
            }
        }
        let is_first = self.waiting.keys().next() == Some(&number);
        let until_next = next.filter(|_| is_first).map(|next| Duration::from_millis(next - now));
        until_next.map_or(SLOT_SILENCE, |time| time.min(SLOT_SILENCE))
    }

    /// How many that wait have a share left, and how many of each address have none.
    fn demand(&self) -> (usize, HashMap<IpAddr, usize>) {
        let (mut waiting, mut beyond_share) = (0, HashMap::new());
        let mut taken = self.by_address.clone();
        for claimant in self.waiting.values().map(|waiting| &waiting.claimant) {
            let has_share = self.has_share(claimant, &taken);
            waiting += usize::from(has_share);
            let Some(address) = claimant.address else { continue };
            match has_share {
                true => *taken.entry(address).or_default().of(claimant) += 1,
                false => *beyond_share.entry(address).or_default() += 1,
            }
        }
        (waiting, beyond_share)
    }
}

impl Count {
    /// The number that this one is counted in.
    fn of(&mut self, claimant: &Claimant) -> &mut usize {
        if claimant.is_at_hand { &mut self.at_hand } else { &mut self.arriving }
    }
}

impl Progress {
    fn begin(&self, now: u64) {
        self.since.store(now, Relaxed);
        self.heard.store(now, Relaxed);
        self.bytes.store(0, Relaxed);
    }

    /// When it is late. None: its client cannot help it.
    fn deadline(&self) -> Option<u64> {
        let silence = self.heard.load(Relaxed) + SLOT_SILENCE.as_millis() as u64;
        let earned = 1000 * self.bytes.load(Relaxed) / SLOT_PACE;
        let patience = self.since.load(Relaxed) + SLOT_PATIENCE.as_millis() as u64 + earned;
        (!self.is_excused.load(Relaxed)).then_some(silence.min(patience))
    }
}

impl Permit {
    /// Whether its holder has to give it up.
    pub fn is_revoked(&self) -> bool {
        self.progress.is_revoked.load(Relaxed)
    }

    /// So many bytes of the message have come.
    pub fn heard(&self, bytes: usize) {
        self.progress.bytes.fetch_add(bytes as u64, Relaxed);
        self.progress.heard.store(self.permits.now(), Relaxed);
    }

    /// From now on its client is waited for, who has to take what it is sent or was too fast.
    pub fn blame(&self) {
        self.progress.begin(self.permits.now());
        self.progress.is_excused.store(false, Relaxed);
    }

    /// Its holder waits for something that is not its client's fault, until this is dropped.
    pub fn excuse(&self) -> Excuse<'_> {
        self.progress.is_excused.store(true, Relaxed);
        Excuse(self)
    }
}

/// While there is one, a permit is not given up.
pub struct Excuse<'a>(&'a Permit);

impl Drop for Excuse<'_> {
    fn drop(&mut self) {
        self.0.blame();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.permits.lock();
        let holder = state.taken.remove(&self.number);
        if let Some(claimant) = holder.as_ref().map(|holder| &holder.claimant) {
            state.counts(claimant).for_each(|count| *count.of(claimant) -= 1);
            if let Some(address) = claimant.address {
                if state.by_address.get(&address) == Some(&Count::default()) {
                    state.by_address.remove(&address);
                }
            }
        }
        state.hand_out(self.permits.now());
        drop(state);
        // Not under the lock: it may be the last reference to a connection.
        drop(holder);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Counted {
        fn stops(&self) -> usize {
            self.0.load(Relaxed)
        }
    }

    impl Closable for Counted {
        fn stop(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }

        fn cut(&self) {}
    }

    /// One whose message is still arriving.
    fn from(address: Option<[u8; 4]>, has_finished: bool, occupant: &Arc<Counted>) -> Claimant {
        let (address, occupant) = (address.map(IpAddr::from), occupant.clone());
        Claimant { address, is_at_hand: false, has_finished, occupant }
    }

    fn at_hand(address: Option<[u8; 4]>, occupant: &Arc<Counted>) -> Claimant {
        Claimant { is_at_hand: true, ..from(address, false, occupant) }
    }

    /// One that waits in a thread of its own, and what it gets.
    fn waiting(permits: &Permits, claimant: Claimant) -> thread::JoinHandle<Permit> {
        let before = permits.lock().last;
        let thread = thread::spawn({
            let permits = permits.clone();
            move || permits.permit(claimant)
        });
        while permits.lock().last == before {
            thread::yield_now();
        }
        thread
    }

    fn got(thread: thread::JoinHandle<Permit>) -> Permit {
        thread.join().expect("it gets a permit")
    }

    #[test]
    fn some_permits_are_for_messages_that_are_at_hand() {
        for (all, reserved) in [(2, 1), (3, 1), (8, 2), (36, 9)] {
            let permits = Permits::new(all);
            let somebody = Arc::new(Counted::default());
            let arriving = from(None, true, &somebody);
            let held: Vec<_> =
                (0..all - reserved).map(|_| permits.permit(arriving.clone())).collect();
            let late = waiting(&permits, arriving.clone());
            // Here and now, however many come after each other.
            (0..100).for_each(|_| drop(permits.permit(at_hand(None, &somebody))));
            let at_once: Vec<_> =
                (0..reserved).map(|_| permits.permit(at_hand(None, &somebody))).collect();
            assert!(!late.is_finished());
            drop(held);
            drop((got(late), at_once));
            assert_eq!(permits.lock().count, Count::default());
        }
        // There is one at least, for whoever comes.
        let permits = Permits::new(0);
        let somebody = Arc::new(Counted::default());
        drop(permits.permit(from(None, false, &somebody)));
        drop(permits.permit(at_hand(None, &somebody)));
    }

    #[test]
    fn whoever_has_finished_a_long_message_comes_first() {
        let permits = Permits::new(1);
        let somebody = Arc::new(Counted::default());
        let held = permits.permit(at_hand(None, &somebody));
        let unproven = [(); 5].map(|()| waiting(&permits, from(None, false, &somebody)));
        let proven = waiting(&permits, from(None, true, &somebody));
        let first = waiting(&permits, at_hand(None, &somebody));
        drop(held);
        let first = got(first);
        assert!(!proven.is_finished(), "it has overtaken one that is at hand");
        drop(first);
        let proven = got(proven);
        assert!(unproven.iter().all(|thread| !thread.is_finished()), "one has overtaken it");
        drop(proven);
        unproven.into_iter().for_each(|thread| drop(got(thread)));
        assert_eq!(somebody.stops(), 0);
    }

    #[test]
    fn whoever_is_silent_is_stopped_and_whoever_goes_on_is_not() {
        let permits = Permits::new(3);
        let [silent, busy, other] = [(); 3].map(|()| Arc::new(Counted::default()));
        let busy_permit = permits.permit(from(None, false, &busy));
        let silent_permit = permits.permit(from(None, false, &silent));
        let waiting = waiting(&permits, from(None, false, &other));
        // The stop comes right behind the revocation.
        while silent.stops() == 0 {
            busy_permit.heard(10_000);
            thread::yield_now();
        }
        assert!(silent_permit.is_revoked() && !busy_permit.is_revoked());
        drop(silent_permit);
        drop(got(waiting));
        assert_eq!((busy.stops(), other.stops()), (0, 0));
    }

    /// A byte now and then is not enough, and one whose message is complete is in no hurry until its
    /// client is waited for again.
    #[test]
    fn whoever_drips_is_stopped() {
        let permits = Permits::new(2);
        let [slow, whole, other] = [(); 3].map(|()| Arc::new(Counted::default()));
        let whole_permit = permits.permit(at_hand(None, &whole));
        let dripping = permits.permit(from(None, true, &slow));
        let next = waiting(&permits, from(None, false, &other));
        while slow.stops() == 0 {
            dripping.heard(1);
            thread::sleep(Duration::from_millis(1));
        }
        drop(dripping);
        let next = got(next);
        let third = waiting(&permits, at_hand(None, &other));
        assert_eq!(whole.stops(), 0);
        whole_permit.blame();
        while whole.stops() == 0 {
            next.heard(10_000);
            thread::yield_now();
        }
        drop(whole_permit);
        drop(got(third));
        assert_eq!(other.stops(), 0);
    }

    #[test]
    fn progress_at_the_pace_is_enough() {
        let progress = Progress::default();
        progress.begin(1000);
        let patience = SLOT_PATIENCE.as_millis() as u64;
        progress.heard.store(u64::MAX / 2, Relaxed);
        assert_eq!(progress.deadline(), Some(1000 + patience));
        progress.bytes.store(2 * SLOT_PACE, Relaxed);
        assert_eq!(progress.deadline(), Some(3000 + patience));
        progress.heard.store(1500, Relaxed);
        assert_eq!(progress.deadline(), Some(1500 + SLOT_SILENCE.as_millis() as u64));
    }

    /// However many have stalled, they are stopped at once and not one after the other.
    #[test]
    fn as_many_are_stopped_as_there_are_waiting() {
        let permits = Permits::new(40);
        let (stalled, other) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
        let held: Vec<_> = (0..30).map(|_| permits.permit(from(None, false, &stalled))).collect();
        let waiting: Vec<_> =
            (0..10).map(|_| waiting(&permits, from(None, false, &other))).collect();
        while stalled.stops() < 10 {
            thread::yield_now();
        }
        held.into_iter().filter(Permit::is_revoked).for_each(drop);
        waiting.into_iter().for_each(|thread| drop(got(thread)));
        assert_eq!((stalled.stops(), other.stops()), (10, 0));
    }

    /// Those beyond the share of their address are no reason to stop clients of another.
    #[test]
    fn an_address_has_half_of_the_permits_and_stops_its_own() {
        let permits = Permits::new(5);
        let [own, others] = [(); 2].map(|()| Arc::new(Counted::default()));
        let (greedy, modest) = (Some([192, 0, 2, 1]), Some([192, 0, 2, 2]));
        let mut held = Vec::from([(); 2].map(|()| permits.permit(from(greedy, false, &own))));
        let next = waiting(&permits, from(greedy, true, &own));
        let foreign = [(); 2].map(|()| permits.permit(from(modest, false, &others)));
        while own.stops() == 0 {
            thread::yield_now();
        }
        held.retain(|permit| !permit.is_revoked());
        drop(got(next));
        assert_eq!((held.len(), others.stops()), (1, 0));
        drop((held, foreign));
        assert!(permits.lock().by_address.is_empty());
    }

    #[test]
    fn whoever_has_lost_one_waits_behind_others() {
        let permits = Permits::new(1);
        let [bad, good] = [(); 2].map(|()| Arc::new(Counted::default()));
        let (greedy, modest) = (Some([192, 0, 2, 1]), Some([192, 0, 2, 2]));
        let stalled = permits.permit(from(greedy, false, &bad));
        let again: Vec<_> = (0..5).map(|_| waiting(&permits, from(greedy, true, &bad))).collect();
        while !stalled.is_revoked() {
            thread::yield_now();
        }
        let next = waiting(&permits, from(modest, false, &good));
        drop(stalled);
        drop(got(next));
        again.into_iter().for_each(|thread| drop(got(thread)));
        assert_eq!(good.stops(), 0);
    }
}
