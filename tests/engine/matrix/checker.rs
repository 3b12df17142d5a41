//! Whether what all clients heard fits together: one order, nothing twice, each accepted message heard or
//! told as lost, everybody's leaving once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::matrix::account::{Account, CURTAIN, Fate, Heard, Id, Kind, Place};

/// What the clients saw, in figures.
#[derive(Debug, Default)]
pub struct Seen {
    pub clients: usize,
    /// How many of each kind.
    pub kinds: BTreeMap<String, usize>,
    /// Messages that reached a client.
    pub heard: usize,
    /// Messages that were accepted.
    pub accepted: usize,
    /// Accepted ones that the engine lost, as everybody was told who had heard them.
    pub lost: usize,
    /// Messages that a client did not hear, as it was told; of the one that missed most.
    pub missed: u64,
    /// How often a client was told that something may be missing, though nothing was.
    pub unsure: usize,
    /// Messages of which nobody will ever say whether they were accepted.
    pub unknown: usize,
    /// Epochs after the first.
    pub epochs: usize,
    /// The longest time in which a client heard nothing, while all talked.
    pub silence: Duration,
    pub ends: BTreeMap<String, usize>,
    /// Notices that somebody left while all were there, as one heard them that heard most.
    pub left: usize,
    /// What no client may ever see.
    pub faults: Vec<String>,
}

/// The log as it follows from what was heard.
#[derive(Debug, Default)]
struct Log {
    /// Where each epoch goes on behind those before: the last number that survived.
    begins: BTreeMap<u64, u64>,
    messages: BTreeMap<Place, Id>,
    places: HashMap<Id, Vec<Place>>,
}

impl Log {
    /// The last number of an epoch that is left in a later one.
    fn survives(&self, epoch: u64, later: u64) -> u64 {
        let behind = self.begins.iter().filter(|(other, _)| **other > epoch && **other <= later);
        behind.map(|(_, last)| *last).min().unwrap_or(u64::MAX)
    }

    /// The epoch in which a message was numbered that is told in a later one.
    fn origin(&self, (mut epoch, seq): Place) -> Place {
        while self.begins.get(&epoch).is_some_and(|begin| seq <= *begin) {
            let Some((before, _)) = self.begins.range(..epoch).next_back() else { break };
            epoch = *before;
        }
        (epoch, seq)
    }

    fn last_epoch(&self) -> u64 {
        self.begins.keys().next_back().copied().unwrap_or(0)
    }

    fn is_left(&self, (epoch, seq): Place) -> bool {
        seq <= self.survives(epoch, self.last_epoch())
    }

    /// The places that may follow on this one for somebody who hears everything.
    fn may_follow(&self, (epoch, seq): Place, next: Place) -> bool {
        let survives = self.survives(epoch, next.0);
        next == (epoch, seq + 1) || next.0 > epoch && seq >= survives && next.1 == survives + 1
    }
}

/// Checks all accounts of a run.
pub fn check(accounts: &[Account]) -> Seen {
    let mut seen = Seen { clients: accounts.len(), ..Seen::default() };
    let mut log = Log { begins: begins(accounts), ..Log::default() };
    seen.epochs = log.begins.len().saturating_sub(1);
    for account in accounts {
        seen.silence = seen.silence.max(account.silence);
        seen.faults.extend(account.faults.iter().cloned());
        for (how, count) in &account.ends {
            *seen.ends.entry(how.clone()).or_default() += count;
        }
        for heard in &account.heard {
            if let Heard::Message(place, id) = heard {
                let place = log.origin(*place);
                let first = *log.messages.entry(place).or_insert(*id);
                if first != *id {
                    seen.faults.push(format!("{first:?} and {id:?} are both at {place:?}"));
                }
            }
        }
    }
    for (place, id) in &log.messages {
        log.places.entry(*id).or_default().push(*place);
    }
    // What a lost connection had sent may arrive later than what the next one sends.
    let said = accounts.iter().map(|account| (account.id, &account.said));
    let said: HashMap<u32, &Vec<Fate>> = said.collect();
    let is_late = |client, k: u32| {
        said.get(client).is_some_and(|said| said.get(k as usize - 1) == Some(&Fate::Unknown))
    };
    let mut numbers = HashMap::new();
    for (place, (client, k)) in log.messages.iter().filter(|(place, _)| log.is_left(**place)) {
        if is_late(client, *k) {
            continue;
        }
        let last = numbers.insert(*client, *k).unwrap_or(0);
        if *k <= last {
            seen.faults.push(format!("{client} says {k} at {place:?}, after {last}"));
        }
    }
    let mut gaps = BTreeSet::new();
    for account in accounts {
        match account.kind {
            Kind::Tutorial | Kind::Poster => {}
            _ => numbered(account, &log, &mut gaps, &mut seen),
        }
        fates(account, &log, &mut seen);
    }
    for account in accounts.iter().filter(|account| account.kind == Kind::Tutorial) {
        unnumbered(account, &log, &gaps, &mut seen);
    }
    seen
}

/// Where each epoch begins, by what clients were told of it. Who came while it lasted may have been told of
/// a later number, if the log did not go so far back; who was there was told exactly.
fn begins(accounts: &[Account]) -> BTreeMap<u64, u64> {
    let mut begins: BTreeMap<u64, u64> = BTreeMap::new();
    let mut first = u64::MAX;
    for account in accounts {
        let mut at = None;
        for heard in &account.heard {
            let (from, (epoch, seq)) = match heard {
                Heard::Greeted { since, place, .. } => (*since, *place),
                Heard::Moved { place, .. } => (at, *place),
                Heard::Message(place, _) => (Some(*place), *place),
                _ => continue,
            };
            at = Some((epoch, seq));
            first = first.min(epoch);
            if from.is_some_and(|(before, _)| before != epoch) {
                let begin = begins.entry(epoch).or_insert(seq);
                *begin = seq.min(*begin);
            } else if from.is_none() {
                begins.entry(epoch).or_insert(u64::MAX);
            }
        }
    }
    begins.retain(|epoch, begin| *begin < u64::MAX || *epoch == first);
    begins.entry(first).and_modify(|begin| *begin = 0);
    begins
}

/// Somebody who hears numbers hears each, or is told how many it does not.
fn numbered(account: &Account, log: &Log, gaps: &mut BTreeSet<usize>, seen: &mut Seen) {
    let mut faults = Vec::new();
    let (mut at, mut node, mut missed, mut left, mut is_over) = (None, 0, 0, 0, false);
    let mut here: Option<BTreeSet<String>> = None;
    for heard in &account.heard {
        let (from, to, told) = match heard {
            Heard::Message(place, id) => {
                if at.is_none_or(|(epoch, seq)| (epoch, seq + 1) != *place) {
                    faults.push(format!("{place:?} {id:?} follows on {at:?}"));
                }
                at = Some(*place);
                is_over |= id.0 == CURTAIN;
                continue;
            }
            Heard::Came(by) => {
                if here.as_mut().is_some_and(|here| !here.insert(by.clone())) {
                    faults.push(format!("{by} comes who is here, at {at:?}"));
                }
                continue;
            }
            Heard::Left(by) => {
                left += usize::from(!is_over);
                if here.as_mut().is_some_and(|here| !here.remove(by)) {
                    faults.push(format!("{by} leaves who is not here, at {at:?}"));
                }
                continue;
            }
            Heard::Greeted { node: on, since, place, missed, here: now } => {
                node = *on;
                here = now.as_ref().map(|now| now.iter().cloned().collect());
                (*since, *place, *missed)
            }
            Heard::Moved { place, missed } => (at, *place, *missed),
            Heard::Entered(_) | Heard::Line(_) | Heard::LineLeft(_) => continue,
        };
        at = Some(to);
        let Some((epoch, seq)) = from else { continue };
        let survives = log.survives(epoch, to.0);
        let is_lost = seq > survives;
        let is_live = matches!(heard, Heard::Moved { .. });
        if is_live && (is_lost || told != Some(0)) {
            gaps.insert(node);
        }
        match told {
            _ if to.0 < epoch => faults.push(format!("from {from:?} back to {to:?}")),
            Some(told) if is_lost => faults.push(format!(
                "{from:?} to {to:?}, of which all behind {survives} is lost, and it is told {told}"
            )),
            None if is_lost && to.1 < survives => {
                faults.push(format!("{from:?} to {to:?}, before what survived ({survives})"));
            }
            None if is_lost => missed += to.1 - survives,
            Some(told) if seq.checked_add(told) == Some(to.1) => missed += told,
            Some(told) => faults.push(format!("{from:?} to {to:?}, and it is told {told}")),
            None => {
                seen.unsure += 1;
                missed += to.1.saturating_sub(seq);
            }
        }
    }
    seen.missed = seen.missed.max(missed);
    seen.left = seen.left.max(left);
    let name = format!("client {} ({:?})", account.id, account.kind);
    seen.faults.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
}

/// Somebody of the tutorial's protocol, which has no words for a gap, hears all that others hear on its node.
fn unnumbered(account: &Account, log: &Log, gaps: &BTreeSet<usize>, seen: &mut Seen) {
    let mut at: Option<Place> = None;
    let mut node = 0;
    let mut gone = BTreeSet::new();
    let mut faults = Vec::new();
    for heard in &account.heard {
        match heard {
            Heard::Entered(on) => {
                (at, node) = (None, *on);
                gone.clear();
            }
            Heard::Line(id) => {
                let places = log.places.get(id).map_or(&[][..], |places| places);
                let next = places.iter().find(|place| at.is_none_or(|at| **place > at));
                let Some(next) = next else {
                    faults.push(format!(
                        "{id:?} is heard again, or by nobody else ({places:?}), at {at:?}"
                    ));
                    continue;
                };
                let follows = at.is_none_or(|at| log.may_follow(at, *next));
                if !follows && !gaps.contains(&node) {
                    faults.push(format!("{next:?} {id:?} follows on {at:?}"));
                }
                at = Some(*next);
            }
            Heard::LineLeft(num) if !gone.insert(*num) => {
                faults.push(format!("#{num} leaves twice, at {at:?}"));
            }
            _ => {}
        }
    }
    let name = format!("client {} ({:?})", account.id, account.kind);
    seen.faults.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
}

/// What became of what a client said.
fn fates(account: &Account, log: &Log, seen: &mut Seen) {
    for (k, fate) in (1..).zip(&account.said) {
        let id = (account.id, k);
        let places = log.places.get(&id).map_or(&[][..], |places| places);
        let left = places.iter().filter(|place| log.is_left(**place)).count();
        let mut fault =
            |what: &str| seen.faults.push(format!("{id:?} {what}: {fate:?}, {places:?}"));
        if left > 1 {
            fault("is heard twice");
        }
        if account.id == CURTAIN {
            continue;
        }
        match fate {
            Fate::Pending => fault("has waited in vain"),
            Fate::Unknown => seen.unknown += 1,
            Fate::Accepted | Fate::AcceptedAt(_) if places.is_empty() => {
                fault("was accepted, and nobody heard it");
            }
            Fate::AcceptedAt(place) if !places.contains(&log.origin(*place)) => {
                fault("is elsewhere");
            }
            Fate::Accepted | Fate::AcceptedAt(_) => {
                seen.accepted += 1;
                seen.lost += usize::from(left == 0);
            }
        }
    }
}

/// That it sees what it is there for.
#[cfg(test)]
mod tests {
    use super::*;

    fn greeted(since: Option<Place>, place: Place, missed: Option<u64>) -> Heard {
        Heard::Greeted { node: 0, since, place, missed, here: Some(vec!["ana".into()]) }
    }

    fn said(place: Place) -> Heard {
        Heard::Message(place, (1, place.1 as u32))
    }

    /// One client who heard this, and whose messages 1 to `accepted` were accepted.
    fn account(heard: Vec<Heard>, accepted: usize) -> Account {
        let mut account = Account::new(1, Kind::Person);
        (account.heard, account.said) = (heard, vec![Fate::Accepted; accepted]);
        account
    }

    fn finds(accounts: &[Account], fault: &str) {
        let seen = check(accounts);
        assert!(seen.faults.iter().any(|found| found.contains(fault)), "{fault}: {seen:?}");
    }

    #[test]
    fn what_is_lost_and_missed_is_counted() {
        // Two are lost behind 2, two are missed behind 3.
        let epoch = Heard::Moved { place: (9, 2), missed: None };
        let heard = vec![
            greeted(None, (5, 0), Some(0)),
            said((5, 1)),
            said((5, 2)),
            Heard::Message((5, 3), (1, 3)),
            Heard::Message((5, 4), (1, 4)),
            epoch,
            Heard::Message((9, 3), (1, 5)),
            greeted(Some((9, 3)), (9, 5), Some(2)),
            Heard::Message((9, 6), (1, 6)),
        ];
        let seen = check(&[account(heard, 6)]);
        assert_eq!(seen.faults, Vec::<String>::new());
        assert_eq!((seen.accepted, seen.lost, seen.missed, seen.epochs), (6, 2, 2, 1));
    }

    #[test]
    fn each_fault_is_found() {
        let first = || greeted(None, (5, 0), Some(0));
        let moved = |seq, missed| Heard::Moved { place: (9, seq), missed };
        let came = |by: &str| Heard::Came(by.into());
        let left = |by: &str| Heard::Left(by.into());
        let alone = |heard, accepted| [account(heard, accepted)];
        finds(&alone(vec![first(), said((5, 2))], 0), "follows on");
        finds(&alone(vec![first(), said((5, 1)), Heard::Message((5, 2), (1, 1))], 1), "twice");
        finds(&alone(vec![first(), said((5, 1))], 2), "nobody heard it");
        finds(&alone(vec![first(), left("ana"), left("ana")], 0), "leaves who is not here");
        finds(&alone(vec![first(), came("ana")], 0), "comes who is here");
        finds(&alone(vec![first(), said((5, 1)), moved(0, Some(0))], 1), "is lost, and it is told");
        finds(&alone(vec![first(), said((5, 1)), moved(2, Some(0))], 1), "and it is told 0");
        finds(&alone(vec![first(), greeted(Some((9, 0)), (5, 0), Some(0))], 0), "back to");
        let two = |place| vec![greeted(None, (5, 0), Some(0)), place];
        let other = two(Heard::Message((5, 1), (2, 1)));
        let other = Account { id: 2, ..account(other, 1) };
        finds(&[account(two(said((5, 1))), 1), other], "are both at");
        let waiting = Account { said: vec![Fate::Pending], ..account(vec![first()], 0) };
        finds(&[waiting], "in vain");
        let elsewhere = account(vec![first(), said((5, 1))], 0);
        let elsewhere = Account { said: vec![Fate::AcceptedAt((5, 2))], ..elsewhere };
        finds(&[elsewhere], "is elsewhere");
    }

    #[test]
    fn who_has_no_numbers_misses_nothing() {
        let numbered =
            vec![greeted(None, (5, 0), Some(0)), said((5, 1)), said((5, 2)), said((5, 3))];
        let of = |heard| Account { id: 2, kind: Kind::Tutorial, ..account(heard, 0) };
        let lines = |ks: &[u32]| {
            let lines = ks.iter().map(|k| Heard::Line((1, *k)));
            of([Heard::Entered(0)].into_iter().chain(lines).collect())
        };
        let all = || {
            account(
                vec![greeted(None, (5, 0), Some(0)), said((5, 1)), said((5, 2)), said((5, 3))],
                3,
            )
        };
        assert_eq!(check(&[account(numbered, 3), lines(&[1, 2, 3])]).faults, Vec::<String>::new());
        finds(&[all(), lines(&[1, 3])], "follows on");
        finds(&[all(), lines(&[1, 2, 2])], "heard again");
        let gone = of(vec![Heard::Entered(0), Heard::LineLeft(7), Heard::LineLeft(7)]);
        finds(&[all(), gone], "leaves twice");
    }
}
