use std::thread;

use super::*;
use crate::wire::cursor::Epoch;

const LONGEST: usize = 64 * 1024;
const SIZE: usize = 1 << 20;

/// A room with so many members, whose time is told.
struct Room {
    log: Arc<Log>,
    end: u64,
    start: Instant,
    now: Duration,
}

impl Room {
    fn new(members: usize) -> Self {
        let log = Log::alone(Epoch::from_random(1), LogBounds::new(SIZE, LONGEST), || {});
        log.flow.set_members(members);
        Room { start: log.flow.started, log, end: 0, now: Duration::ZERO }
    }

    fn says(&mut self, bytes: u64) {
        self.end += bytes;
        self.log.flow.appended(self.position(0), None, self.start + self.now);
    }

    /// The place so many bytes before the end.
    fn position(&self, before: u64) -> Position {
        Position { entry: 0, bytes: self.end - before }
    }

    fn takes(&self, lag: &Lag, left: u64, bytes: usize) {
        lag.advance_at(self.position(left), bytes, self.now);
    }

    fn falls_behind(&self) -> Lag {
        self.log.lag_at(self.position(0), self.now)
    }

    fn look(&self) -> Findings {
        self.log.flow.look(self.start + self.now)
    }

    /// Whether somebody who wants to say something has to wait.
    fn is_held(&self) -> bool {
        !self.log.flow.fits(&self.log.flow.lock(), 100)
    }
}

#[test]
fn nobody_waits_while_all_keep_up() {
    let mut room = Room::new(4);
    for _ in 0..100 {
        let credit = room.log.credit(LONGEST, &mut Turn::default(), || false);
        drop(credit.expect("credit at once"));
        room.says(LONGEST as u64);
    }
    assert_eq!(room.look(), Findings::default());
}

#[test]
fn one_reader_may_be_nearly_a_log_behind() {
    let mut room = Room::new(3);
    let lag = room.falls_behind();
    room.says(SIZE as u64 / 2);
    room.takes(&lag, SIZE as u64 / 2, 1);
    room.look();
    assert!(!room.is_held(), "one of three is no crowd");
    room.says(SIZE as u64 / 2 - SIZE as u64 / 8);
    room.look();
    assert!(room.is_held());
    room.takes(&lag, 0, SIZE);
    room.look();
    assert!(!room.is_held());
}

/// The flusher sends what is in the ring, which may be a moment before the flow counts it.
#[test]
fn a_reader_may_be_ahead_of_what_is_counted() {
    let mut room = Room::new(4);
    let ahead: Vec<_> = (0..3).map(|_| room.falls_behind()).collect();
    for lag in &ahead {
        lag.advance_at(Position { entry: 1, bytes: 1000 }, 1000, room.now);
    }
    assert_eq!(room.look(), Findings::default());
    assert!(!room.is_held());
    room.now += PATIENCE_WITH_CROWD;
    assert_eq!(room.look(), Findings::default());
    room.says(1000);
    assert_eq!(room.log.flow.lock().lacking(), 0);
}

#[test]
fn a_crowd_that_is_behind_holds_the_room_at_once() {
    let mut room = Room::new(8);
    let lags = [room.falls_behind(), room.falls_behind()];
    room.says(100_000);
    room.look();
    assert!(room.is_held(), "both took something when they fell behind");
    room.now += Duration::from_secs(3);
    room.look();
    assert!(!room.is_held(), "both have vanished");
    room.takes(&lags[0], 100_000, 10);
    room.look();
    assert!(!room.is_held(), "one that is alive is no crowd");
    room.takes(&lags[1], 100_000, 10);
    room.look();
    assert!(room.is_held());
    // They take a megabyte a second, so this is not far behind.
    room.now += Duration::from_secs(1);
    lags.iter().for_each(|lag| room.takes(lag, 100_000, 1 << 20));
    room.look();
    assert!(!room.is_held());
    // Whoever takes nothing for a while is not a part of it.
    room.now += Duration::from_secs(3);
    room.says(400_000);
    room.look();
    assert!(!room.is_held());
}

#[test]
fn a_reader_that_takes_nothing_goes_when_the_log_is_nearly_full() {
    let mut room = Room::new(20);
    let (stalled, slow) = (room.falls_behind(), room.falls_behind());
    room.says(300_000);
    room.now += Duration::from_secs(60);
    assert_eq!(room.look(), Findings::default(), "nobody waits for it");
    room.says(450_000);
    room.takes(&slow, 300_000, 100_000);
    assert_eq!(room.look(), Findings { too_slow: vec![stalled.id()], is_pressed: true });
    drop(stalled);
    assert_eq!(room.look(), Findings::default());
}

#[test]
fn a_reader_has_its_patience_from_falling_behind() {
    let mut room = Room::new(20);
    let stalled = room.falls_behind();
    room.says(400_000);
    room.now += PATIENCE / 2;
    room.says(450_000);
    room.now += PATIENCE / 2 - Duration::from_millis(1);
    assert_eq!(room.look(), Findings { too_slow: vec![], is_pressed: true });
    room.now += Duration::from_millis(1);
    assert_eq!(room.look().too_slow, [stalled.id()]);
}

#[test]
fn readers_in_a_crowd_are_compared_with_each_other() {
    let mut room = Room::new(10);
    let lags: Vec<Lag> = (0..10).map(|_| room.falls_behind()).collect();
    room.says(800_000);
    // Nine have 12 kB a second each, and one a few bytes.
    for _ in 0..20 {
        room.now += Duration::from_millis(500);
        lags[..9].iter().for_each(|lag| room.takes(lag, 700_000, 6_000));
        room.takes(&lags[9], 790_000, 100);
    }
    assert_eq!(room.look().too_slow, [lags[9].id()]);
}

/// Neither of those whose last bytes came first, nor of those who took the last of all.
#[test]
fn a_link_that_dies_is_nobodys_fault() {
    let mut room = Room::new(10);
    let lags: Vec<Lag> = (0..10).map(|_| room.falls_behind()).collect();
    room.says(800_000);
    for taking in (0..20).map(|_| 10).chain([7, 3]) {
        room.now += STEP;
        lags[..taking].iter().for_each(|lag| room.takes(lag, 700_000, 6_000));
    }
    let until = room.now + 2 * PATIENCE_WITH_CROWD;
    while room.now < until {
        room.now += LOOK;
        assert_eq!(room.look().too_slow, [0; 0], "after {:?}", room.now);
    }
}

#[test]
fn senders_take_turns_by_bytes() {
    let room = Room::new(2);
    let lag = room.falls_behind();
    let flow = &room.log.flow;
    // The log is full.
    let filled = Position { entry: 0, bytes: flow.lock().bound };
    flow.appended(filled, None, Instant::now());
    let heard = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (name, said_before) in [("loud", 500_000), ("quiet", 0)] {
            let (log, heard) = (&room.log, &heard);
            let waiting = flow.lock().waiting.len();
            scope.spawn(move || {
                let mut turn = Turn(said_before);
                let credit = log.credit(1000, &mut turn, || true).expect("credit");
                heard.lock().unwrap().push(name);
                drop(credit);
            });
            while flow.lock().waiting.len() == waiting {
                thread::yield_now();
            }
        }
        // There is room for one of them at a time.
        let in_flight = flow.lock().most_in_flight - 1000;
        flow.lock().in_flight = in_flight;
        lag.advance(filled, 1);
        flow.look(Instant::now());
    });
    assert_eq!(*heard.lock().unwrap(), ["quiet", "loud"]);
}

#[test]
fn a_sender_whose_client_is_gone_gives_up_its_turn() {
    let room = Room::new(2);
    let _lag = room.falls_behind();
    let flow = &room.log.flow;
    let full = Position { entry: 0, bytes: flow.lock().bound };
    flow.appended(full, None, Instant::now());
    assert!(room.log.credit(1000, &mut Turn::default(), || false).is_none());
    assert!(flow.lock().waiting.is_empty());
    // The end of the room is the end of all waiting.
    flow.open();
    assert!(room.log.credit(1000, &mut Turn::default(), || false).is_some());
}

/// A session that waits sends to its client, for which it needs the outbox; and whoever has that says here how far
/// the client is.
#[test]
fn readers_go_on_while_a_sender_is_asked_whether_it_is_there() {
    let room = Room::new(2);
    let _lag = room.falls_behind();
    let flow = &room.log.flow;
    let full = Position { entry: 0, bytes: flow.lock().bound };
    flow.appended(full, None, Instant::now());
    let mut is_locked = None;
    let credit = room.log.credit(1000, &mut Turn::default(), || {
        is_locked = Some(flow.state.try_lock().is_err());
        false
    });
    assert!(credit.is_none());
    assert_eq!(is_locked, Some(false));
}

/// One that takes something just when the room begins to wait, and then nothing, has no more time than
/// one that never took anything: what is usual cannot be told from a room that waits.
#[test]
fn a_reader_that_stalls_after_the_room_began_to_wait_goes() {
    for (members, others, patience, is_elsewhere) in [
        (20, 0, PATIENCE, false),
        (3, 0, PATIENCE, false),
        (20, 6, PATIENCE_WITH_CROWD, false),
        (20, 0, PATIENCE, true),
        (3, 0, PATIENCE, true),
    ] {
        let mut room = Room::new(members);
        let lag = room.falls_behind();
        let others: Vec<Lag> = (0..others).map(|_| room.falls_behind()).collect();
        let bound = room.log.flow.lock().bound;
        room.now = Duration::from_secs(4);
        room.says(bound);
        others.iter().for_each(|other| room.takes(other, 0, bound as usize));
        room.takes(&lag, bound - 40_000, 40_000);
        room.says(40_000);
        others.iter().for_each(|other| room.takes(other, 0, 40_000));
        if is_elsewhere {
            assert!(!room.log.flow.has_room(4000));
        } else {
            let (has_credit, news) = (AtomicBool::new(false), Condvar::new());
            let waiter = Arc::new(Waiter { bytes: 4000, has_credit, news });
            room.log.flow.lock().waiting.insert((0, 0), waiter);
        }
        let until = room.now + patience + 2 * STEP;
        while room.look().too_slow != [lag.id()] {
            assert!(room.now < until, "{members} members wait for one that took nothing");
            room.now += LOOK;
        }
    }
}

/// However far a crowd is behind, one who says little is heard; one who says much is not, in whatever
/// pieces.
#[test]
fn a_short_line_of_a_quiet_sender_does_not_wait_for_a_crowd() {
    let mut room = Room::new(8);
    let _lags = [room.falls_behind(), room.falls_behind()];
    room.log.flow.lock().turn = 5_000;
    room.says(100_000);
    room.look();
    assert!(room.is_held());
    let mut loud = Turn(9_000);
    assert!(room.log.credit(100, &mut loud, || false).is_none());
    let mut quiet = Turn::default();
    assert!(room.log.credit(2_000, &mut Turn::default(), || false).is_none(), "it is long");
    // Some lines, as a person types them meanwhile, and no more.
    for _ in 0..=SHORT / 100 {
        drop(room.log.credit(100, &mut quiet, || false).expect("credit at once"));
    }
    assert!(room.log.credit(100, &mut quiet, || false).is_none(), "the next one waits its turn");
    // When the log is full, all wait.
    room.says(SIZE as u64 - SIZE as u64 / 8 - 100_000);
    assert!(room.log.credit(100, &mut Turn::default(), || false).is_none());
}
