//! From where a client goes on in a room's log, and what it has missed. Pure.

use crate::history::before::Past;
use crate::metrics::Resumed;
use crate::wire::cursor::{Cursor, Epoch};

/// What a log has.
#[derive(Clone, Debug)]
pub struct Kept<'a> {
    /// Its present incarnation.
    pub epoch: Epoch,
    /// The number of its last message; 0 before the first.
    pub head: u64,
    /// The number of the first message that somebody who comes may be given; one more than `head` if none.
    pub first: u64,
    /// Earlier incarnations of it, whose numbers it has continued.
    pub past: &'a [Past],
    /// The last number of these that is missing between others; 0 if none is.
    pub hole: u64,
}

/// Where a client wants to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// It is new here.
    New,
    /// Behind this place.
    At(Cursor),
    /// Somewhere, but what it said is no cursor.
    Nowhere,
}

/// What a client is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The number of the first message.
    pub start: u64,
    /// How many it has missed, if that is known.
    pub missed: Option<u64>,
    /// For the metrics. None: it is new.
    pub result: Option<Resumed>,
}

impl Since {
    /// What a client said.
    pub fn parse(text: Option<&str>) -> Since {
        match text {
            None => Since::New,
            Some(text) => Cursor::parse(text).map_or(Since::Nowhere, Since::At),
        }
    }
}

/// Where a client starts that wants to go on `since`; a new one is given `history` messages at most.
pub fn resume(kept: &Kept<'_>, since: Since, history: u64) -> Resume {
    let Kept { epoch, head, first, past, hole } = *kept;
    let unknown = |start| Resume { start, missed: None, result: Some(Resumed::Unknown) };
    let Cursor { epoch: of, seq } = match since {
        Since::New => {
            let start = first.max((head + 1).saturating_sub(history));
            return Resume { start, missed: Some(0), result: None };
        }
        Since::Nowhere => return unknown(first),
        Since::At(cursor) => cursor,
    };
    let over = past.iter().position(|past| past.epoch == Some(of));
    let last = match over {
        _ if of == epoch => head,
        // A damaged log may know of more messages than it has.
        Some(n) => past[n].last.min(head),
        None => return unknown(first),
    };
    if seq > last {
        // A number that was never assigned; or the client saw messages that were lost.
        return unknown(if of == epoch { first } else { first.max(last + 1) });
    }
    let start = first.max(seq + 1);
    // What was lost with the end of an incarnation had numbers that were assigned again.
    let is_whole = |n: usize| seq >= hole && past[n..].iter().all(|past| past.is_clean);
    if over.is_some_and(|n| !is_whole(n)) {
        return unknown(start);
    }
    let missed = start - (seq + 1);
    let result = if missed == 0 { Resumed::Complete } else { Resumed::Partial };
    Resume { start, missed: Some(missed), result: Some(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    fn epoch(n: u64) -> Epoch {
        Epoch::from_random(n + 1)
    }

    fn at(epoch: Epoch, seq: u64) -> Since {
        Since::At(Cursor { epoch, seq })
    }

    #[test]
    fn each_row_of_the_protocol() {
        let past = [
            Past { epoch: Some(epoch(1)), last: 50, is_clean: false },
            Past { epoch: Some(epoch(2)), last: 80, is_clean: true },
        ];
        let kept = Kept { epoch: epoch(3), head: 100, first: 61, past: &past, hole: 0 };
        let given = |since, history| {
            let Resume { start, missed, .. } = resume(&kept, since, history);
            (start, missed)
        };
        assert_eq!(given(Since::New, 10), (91, Some(0)));
        assert_eq!(given(Since::New, 1000), (61, Some(0)));
        assert_eq!(given(Since::New, 0), (101, Some(0)));
        assert_eq!(given(at(epoch(3), 100), 0), (101, Some(0)));
        assert_eq!(given(at(epoch(3), 90), 0), (91, Some(0)));
        assert_eq!(given(at(epoch(3), 40), 0), (61, Some(20)));
        assert_eq!(given(at(epoch(3), 101), 0), (61, None), "never assigned");
        assert_eq!(given(at(epoch(9), 90), 0), (61, None), "another room");
        assert_eq!(given(Since::Nowhere, 0), (61, None));
        assert_eq!(given(at(epoch(2), 80), 0), (81, Some(0)), "a clean restart");
        assert_eq!(given(at(epoch(2), 70), 0), (71, Some(0)));
        assert_eq!(given(at(epoch(2), 55), 0), (61, Some(5)));
        assert_eq!(given(at(epoch(2), 82), 0), (81, None), "it saw what was lost");
        assert_eq!(given(at(epoch(1), 50), 0), (61, None), "there may have been a 51st");
        assert_eq!(given(at(epoch(3), u64::MAX), 0), (61, None));
        for (hole, missed) in [(70, Some(0)), (71, None)] {
            let resume = resume(&Kept { hole, ..kept.clone() }, at(epoch(2), 70), 0);
            assert_eq!((resume.start, resume.missed), (71, missed), "{hole} is missing");
        }
        let past = [Past { epoch: Some(epoch(2)), last: u64::MAX, is_clean: true }];
        let damaged = Kept { past: &past, ..kept };
        assert_eq!(resume(&damaged, at(epoch(2), 200), 0).start, 101);
    }

    /// A room that talks, forgets, restarts and is born again, against the list of all its messages. A reader
    /// who was somewhere is given what there is behind it, in order; and when it is told a number, that is
    /// exactly what it has missed. It is told one unless something may have been lost since.
    #[test]
    fn a_reader_is_told_exactly_what_it_missed() {
        for seed in 0..300 {
            let mut dice = Rng::new(seed);
            // All messages of all incarnations that anybody may have seen, each by a name of its own.
            let (mut epochs, mut past, mut names) = (1, Vec::new(), 0);
            // The log: numbers with the names of the messages.
            let (mut log, mut first): (Vec<u64>, u64) = (Vec::new(), 1);
            let mut hole = 0;
            // What readers have seen: a cursor, all messages up to there, and whether all that were said
            // since are in the log.
            let mut readers: Vec<(Cursor, Vec<u64>, bool)> = Vec::new();
            for _ in 0..200 {
                let (present, head) = (epoch(epochs), log.len() as u64);
                match dice.roll(12) {
                    0..6 => {
                        names += 1;
                        log.push(names);
                    }
                    6 => first = (first + dice.roll(4) as u64).min(head + 1),
                    7 => {
                        // Nobody is given a place before a hole.
                        let seq = hole + dice.roll((head - hole) as usize + 1) as u64;
                        let seen = log[..seq as usize].to_vec();
                        readers.push((Cursor { epoch: present, seq }, seen, true));
                    }
                    8 => {
                        // A restart, maybe with a loss at the end.
                        let lost = dice.roll(3).min(log.len() + 1 - first as usize);
                        let is_clean = dice.roll(2) == 0;
                        let last = if is_clean { head } else { head - lost as u64 };
                        log.truncate(last as usize);
                        for before in
                            past.iter_mut().filter(|before: &&mut Past| before.last > last)
                        {
                            (before.last, before.is_clean) = (last, false);
                        }
                        past.push(Past { epoch: Some(present), last, is_clean });
                        readers.iter_mut().for_each(|reader| reader.2 &= is_clean);
                        if dice.roll(3) == 0 {
                            // Another in the middle.
                            hole = hole.max(dice.roll(last as usize + 1) as u64);
                            first = first.max(hole + 1);
                            let before = readers.iter_mut().filter(|it| it.0.seq < hole);
                            before.for_each(|reader| reader.2 = false);
                        }
                        epochs += 1;
                    }
                    9 if dice.roll(8) == 0 => {
                        // The room is dropped, and comes again.
                        (log, past, first, hole) = (Vec::new(), Vec::new(), 1, 0);
                        readers.iter_mut().for_each(|reader| reader.2 = false);
                        epochs += 1;
                    }
                    _ => {
                        let kept = Kept { epoch: present, head, first, past: &past, hole };
                        let Some((cursor, seen, is_whole)) =
                            readers.get(dice.roll(readers.len().max(1)))
                        else {
                            continue;
                        };
                        let given = resume(&kept, Since::At(*cursor), 0);
                        assert!((first..=head + 1).contains(&given.start), "seed {seed}");
                        assert_eq!(given.missed.is_some(), *is_whole, "seed {seed}");
                        let Some(missed) = given.missed else { continue };
                        // It has seen a beginning of this log, and misses so many behind it.
                        assert!(log.starts_with(seen), "seed {seed}: it saw another log");
                        let next = seen.len() as u64 + 1;
                        assert_eq!(given.start - next, missed, "seed {seed}");
                        assert_eq!(given.start, next.max(first), "seed {seed}: too late a start");
                    }
                }
            }
        }
    }
}
