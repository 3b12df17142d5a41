//! What a room remembers of those who are or were here: their names, and which of their messages were
//! accepted.
//!
//! Those who are here are bounded by the clients. Of those who have gone, the ones who went last are
//! remembered, as far as [`ABSENT`] bytes go.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::history::before::Accepted;
use crate::room::identity::Identity;
use crate::room::names;
use crate::wire::tag::Tag;

/// Everybody whom a room remembers.
#[derive(Debug, Default)]
pub struct Participants {
    /// By key; those that are free are none.
    records: Vec<Option<Record>>,
    free: Vec<u32>,
    by_mac: HashMap<[u8; 32], Key>,
    /// By what their names are compared by, and by their tags, which are nobody else's names.
    by_name: HashMap<String, Key>,
    /// Those who have gone, the first of them first. One who came again is left in here until it goes again, and passed over.
    gone: VecDeque<(Key, Instant)>,
    /// Bytes that the absent take.
    absent: usize,
    /// How many are here.
    here: usize,
    /// What was accepted in earlier runs from those who have not come since, by their tags.
    accepted: HashMap<Tag, u64>,
}

/// Names somebody who is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u32);

#[derive(Debug)]
struct Record {
    mac: [u8; 32],
    tag: Tag,
    name: Arc<str>,
    /// The greatest number of a message that was accepted.
    n: u64,
    /// When it went, if it is not here.
    gone: Option<Instant>,
    /// When its renames so far would have come, each [`RENAME`] after the one before.
    renamed: Instant,
}

impl Key {
    /// Names nobody: in a room that several machines share, the engine remembers.
    pub const NOBODY: Key = Key(u32::MAX);
}

/// What a room has for somebody who comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// From now on, until it goes.
    pub key: Key,
    /// Its name.
    pub name: Arc<str>,
    /// The greatest number of its messages that was accepted; none if the room does not remember it.
    pub n: Option<u64>,
    /// Why it does not have the name that it wanted, if that is no name.
    pub rejected: Option<&'static str>,
}

/// Memory for those who have gone, in bytes.
pub const ABSENT: usize = 16 * 1024;

/// How long a name is kept for one who has gone.
const KEPT: Duration = Duration::from_secs(600);

/// How long a name is kept at least, but for the first few.
const RENAME: Duration = Duration::from_secs(10);
const RENAMES: u32 = 5;

/// How many of one name there are before the next one is given its tag.
const SAME_NAMES: u32 = 99;

/// Once nobody is here, tables that were made for more than this are given back. Fewer are absent.
const SPARE: usize = 128;

/// What a record and its places in the tables take beside its name.
const RECORD: usize = size_of::<Record>() + 3 * 48 + 40;

impl Participants {
    /// Nobody yet, but the greatest numbers of messages that were accepted in earlier runs.
    pub fn remembering(accepted: Accepted) -> Self {
        Participants { accepted: accepted.into_iter().collect(), ..Participants::default() }
    }

    /// Whom this identity is known as, be it here or not.
    pub fn find(&self, identity: &Identity) -> Option<Key> {
        self.by_mac.get(&identity.mac).copied()
    }

    /// Somebody comes, who wants this name. One who is here already comes again.
    pub fn come(&mut self, identity: &Identity, wish: Option<&str>, now: Instant) -> Welcome {
        let known = self.find(identity);
        let n = match known.and_then(|key| self.record(key)) {
            Some(record) => Some(record.n),
            // Once only: it is out of date as soon as it says something.
            None => self.accepted.remove(&identity.tag),
        };
        let key = known.unwrap_or_else(|| self.add(identity, n.unwrap_or(0), now));
        if let Some(record) = self.record_mut(key) {
            if record.gone.take().is_some() {
                let size = record.size();
                self.absent -= size;
                self.here += 1;
            }
        }
        let own = self.record(key).map_or_else(Arc::default, |record| record.name.clone());
        let (wish, rejected) = match wish {
            // It may be one that only the server gives.
            Some(wish) if wish == &*own => (wish.to_owned(), None),
            Some(wish) => match names::check(wish) {
                Ok(name) => (name, None),
                Err(why) => (identity.tag.to_string(), Some(why)),
            },
            None => (own.to_string(), None),
        };
        let name = self.give(key, &wish, now);
        Welcome { key, name, n, rejected }
    }

    /// Somebody who is here wants another name: the one that it gets.
    ///
    /// # Errors
    /// Why it keeps its name.
    pub fn rename(&mut self, key: Key, wish: &str, now: Instant) -> Result<Arc<str>, &'static str> {
        let record = self.record_mut(key).ok_or("you are not here")?;
        if wish == &*record.name {
            return Ok(record.name.clone());
        }
        let name = names::check(wish)?;
        let renamed = record.renamed.max(now) + RENAME;
        if renamed > now + RENAME * RENAMES {
            return Err("a name may be changed every ten seconds");
        }
        record.renamed = renamed;
        Ok(self.give(key, &name, now))
    }

    /// Whether a message of somebody who is here is new, by the number `n` that it gave it.
    pub fn accept(&mut self, key: Key, n: u64) -> bool {
        let Some(record) = self.record_mut(key) else { return false };
        let is_new = n > record.n;
        record.n = record.n.max(n);
        is_new
    }

    /// Somebody goes.
    pub fn go(&mut self, key: Key, now: Instant) {
        let Some(record) = self.record_mut(key).filter(|record| record.gone.is_none()) else {
            return;
        };
        record.gone = Some(now);
        let (size, is_nobody) = (record.size(), record.is_nobody());
        self.absent += size;
        self.here -= 1;
        match is_nobody {
            true => self.forget(key, now),
            false => self.keep(key, now),
        }
        if self.here == 0 && self.records.len() > SPARE {
            self.shrink();
        }
    }

    /// Keeps what is known of somebody who has gone, and forgets those who went first.
    fn keep(&mut self, key: Key, now: Instant) {
        // It may have gone before; there are few of them.
        self.gone.retain(|(other, _)| *other != key);
        self.gone.push_back((key, now));
        // Those who come and go all the time are in here once for each time.
        if self.gone.len() > 2 * self.records.len() + 64 {
            let Participants { gone, records, .. } = self;
            gone.retain(|(key, when)| {
                let record = records.get(key.0 as usize).and_then(Option::as_ref);
                record.is_some_and(|record| record.gone == Some(*when))
            });
        }
        while self.absent > ABSENT {
            let Some((key, when)) = self.gone.pop_front() else { return };
            self.forget(key, when);
        }
    }

    /// Gives a name, or the next one to it that is free, or the tag.
    fn give(&mut self, key: Key, name: &str, now: Instant) -> Arc<str> {
        let free = self.free_name(name, Some(key), now);
        let Some(record) = self.records.get_mut(key.0 as usize).and_then(Option::as_mut) else {
            return name.into();
        };
        let name = free.unwrap_or_else(|| record.tag.as_str().into());
        let before = std::mem::replace(&mut record.name, name.clone());
        if *before != *record.tag.as_str() && self.by_name.get(&names::fold(&before)) == Some(&key)
        {
            self.by_name.remove(&names::fold(&before));
        }
        self.by_name.insert(names::fold(&name), key);
        name
    }

    fn free_name(&self, name: &str, of: Option<Key>, now: Instant) -> Option<Arc<str>> {
        let is_free = |name: &str| match self.by_name.get(&names::fold(name)) {
            Some(owner) if Some(*owner) == of => true,
            Some(owner) => self
                .record(*owner)
                .and_then(|record| record.gone)
                .is_some_and(|gone| now.saturating_duration_since(gone) >= KEPT),
            None => true,
        };
        let numbered = (2..=SAME_NAMES).map(|n| names::numbered(name, n));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        names.find(|name| is_free(name)).map(Arc::from)
    }

    fn add(&mut self, identity: &Identity, n: u64, now: Instant) -> Key {
        let Identity { mac, tag, .. } = *identity;
        let name = tag.as_str().into();
        let record = Some(Record { mac, tag, name, n, gone: None, renamed: now });
        let key = match self.free.pop() {
            Some(key) => {
                self.records[key as usize] = record;
                Key(key)
            }
            None => {
                self.records.push(record);
                Key(self.records.len() as u32 - 1)
            }
        };
        self.here += 1;
        self.by_mac.insert(mac, key);
        self.by_name.entry(names::fold(tag.as_str())).or_insert(key);
        key
    }

    /// Forgets somebody who went at this time and has not come again.
    fn forget(&mut self, key: Key, when: Instant) {
        let Some(record) = self.record(key).filter(|record| record.gone == Some(when)) else {
            return;
        };
        let (size, mac) = (record.size(), record.mac);
        let its_names = [names::fold(&record.name), names::fold(record.tag.as_str())];
        self.absent -= size;
        self.by_mac.remove(&mac);
        for name in its_names {
            if self.by_name.get(&name) == Some(&key) {
                self.by_name.remove(&name);
            }
        }
        self.records[key.0 as usize] = None;
        self.free.push(key.0);
    }

    /// Makes the tables anew for those who are known. Only who is here has a key, so nobody misses the old ones.
    fn shrink(&mut self) {
        let mut keys = HashMap::new();
        let mut records = Vec::new();
        for (old, record) in std::mem::take(&mut self.records).into_iter().enumerate() {
            if record.is_some() {
                keys.insert(Key(old as u32), Key(records.len() as u32));
                records.push(record);
            }
        }
        let new = |key: Key| keys.get(&key).copied();
        let by_mac = std::mem::take(&mut self.by_mac).into_iter();
        let by_name = std::mem::take(&mut self.by_name).into_iter();
        let gone = std::mem::take(&mut self.gone).into_iter();
        let is_last = |key: Key, when| {
            let record: Option<&Option<Record>> = records.get(key.0 as usize);
            record.and_then(Option::as_ref).is_some_and(|record| record.gone == Some(when))
        };
        self.by_mac = by_mac.filter_map(|(mac, key)| Some((mac, new(key)?))).collect();
        self.by_name = by_name.filter_map(|(name, key)| Some((name, new(key)?))).collect();
        let gone = gone.filter_map(|(key, when)| Some((new(key)?, when)));
        self.gone = gone.filter(|(key, when)| is_last(*key, *when)).collect();
        (self.records, self.free) = (records, Vec::new());
    }

    fn record(&self, key: Key) -> Option<&Record> {
        self.records.get(key.0 as usize)?.as_ref()
    }

    fn record_mut(&mut self, key: Key) -> Option<&mut Record> {
        self.records.get_mut(key.0 as usize)?.as_mut()
    }
}

impl Record {
    /// Bytes that it takes. The name of one who has gone stays as it is.
    fn size(&self) -> usize {
        RECORD + 2 * self.name.len()
    }

    /// Whether it cannot come again: it gave no secret, and has no name to keep for it.
    fn is_nobody(&self) -> bool {
        self.tag.is_of_nobody() && *self.name == *self.tag.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NAME_BYTES;
    use crate::testing::Rng;

    const MINUTE: Duration = Duration::from_secs(60);

    fn identity(n: u8) -> Identity {
        let tag = Tag([b'a' + n % 26, b'a' + n / 26, b'c', b'd', b'e', b'f', b'g', b'h']);
        Identity { mac: [n; 32], tag, num: n.into() }
    }

    fn name(participants: &mut Participants, n: u8, wish: &str, now: Instant) -> String {
        participants.come(&identity(n), Some(wish), now).name.to_string()
    }

    #[test]
    fn a_name_that_is_taken_is_numbered() {
        let (mut all, now) = (Participants::default(), Instant::now());
        assert_eq!(name(&mut all, 1, "Ana", now), "Ana");
        assert_eq!(name(&mut all, 2, " a na", now), "a na·2");
        assert_eq!(name(&mut all, 3, "ANA", now), "ANA·3");
        assert_eq!(name(&mut all, 1, "Ana", now), "Ana", "it is one's own");
        let rejected = all.come(&identity(4), Some("\u{202e}"), now);
        assert!(rejected.rejected.is_some() && *rejected.name == *identity(4).tag.as_str());
        assert_eq!(all.come(&identity(5), None, now).name.as_ref(), identity(5).tag.as_str());
        for n in 6..=102 {
            name(&mut all, n, "ana", now);
        }
        assert_eq!(name(&mut all, 103, "ana", now), identity(103).tag.as_str());
    }

    #[test]
    fn a_room_that_empties_gives_its_tables_back_and_knows_who_went_last() {
        let (mut all, now) = (Participants::default(), Instant::now());
        let visitor = |n: u16| {
            let [high, low] = n.to_be_bytes();
            let mac = [[high, low]; 16].concat().try_into().expect("32 bytes");
            let tag = format!("{n:08}").into_bytes().try_into().expect("8 letters");
            Identity { mac, tag: Tag(tag), num: n.into() }
        };
        // Some come and go while others are here.
        let mut keys = Vec::new();
        for n in 0..5_000 {
            let welcome = all.come(&visitor(n), Some(&format!("name {n}")), now);
            assert!(all.accept(welcome.key, u64::from(n) + 1));
            keys.push(welcome.key);
            if n % 7 == 0 {
                all.go(keys.swap_remove(usize::from(n) % keys.len()), now);
            }
        }
        assert!(all.records.capacity() > 4_000);
        for key in keys {
            all.go(key, now);
        }
        let capacities = [
            all.records.capacity(),
            all.free.capacity(),
            all.by_mac.capacity(),
            all.by_name.capacity(),
            all.gone.capacity(),
        ];
        assert!(capacities.iter().all(|capacity| *capacity <= 2 * SPARE), "{capacities:?}");
        let known = |all: &Participants, n| all.find(&visitor(n)).is_some();
        let left: Vec<u16> = (0..5_000).filter(|n| known(&all, *n)).collect();
        assert!((20..SPARE).contains(&left.len()), "{left:?}");
        for n in left {
            let thief = all.come(&visitor(6_000), Some(&format!("name {n}")), now);
            assert_eq!(*thief.name, *format!("name {n}·2"), "the name is kept");
            let again = all.come(&visitor(n), None, now);
            assert_eq!((&*again.name, again.n), (&*format!("name {n}"), Some(u64::from(n) + 1)));
        }
    }

    #[test]
    fn the_tag_of_somebody_is_nobody_elses_name() {
        let (mut all, now) = (Participants::default(), Instant::now());
        let ana = name(&mut all, 1, "Ana", now);
        let tag = identity(1).tag.to_string();
        assert_eq!(name(&mut all, 2, &tag.to_uppercase(), now), tag.to_uppercase() + "·2");
        assert_eq!(name(&mut all, 1, &tag, now), tag, "it is its own");
        assert_eq!(name(&mut all, 1, &ana, now), "Ana");
        assert_eq!(name(&mut all, 3, &tag, now), tag + "·3", "still not another's");
    }

    #[test]
    fn the_name_that_the_server_gave_is_kept() {
        let (mut all, now) = (Participants::default(), Instant::now());
        name(&mut all, 1, "Ana", now);
        let second = all.come(&identity(2), Some("Ana"), now);
        assert_eq!(&*second.name, "Ana·2");
        assert_eq!(all.rename(second.key, "Ana·2", now).as_deref(), Ok("Ana·2"));
        all.go(second.key, now);
        let again = all.come(&identity(2), Some("Ana·2"), now);
        assert_eq!((&*again.name, again.rejected), ("Ana·2", None));
        assert!(all.come(&identity(3), Some("Ana·2"), now).rejected.is_some());
    }

    #[test]
    fn those_who_cannot_come_again_push_nobody_out() {
        let (mut all, now) = (Participants::default(), Instant::now());
        let ana = all.come(&identity(1), None, now).key;
        all.accept(ana, 5);
        all.go(ana, now);
        for n in 0..1000_u32 {
            let mut mac = [9; 32];
            mac[..4].copy_from_slice(&n.to_ne_bytes());
            let visitor = Identity { mac, tag: Tag(*b"~bcdefgh"), num: 1 };
            let key = all.come(&visitor, None, now).key;
            all.go(key, now);
        }
        assert_eq!(all.come(&identity(1), None, now).n, Some(5));
        assert_eq!((all.absent, all.records.iter().flatten().count()), (0, 1));
    }

    #[test]
    fn a_name_is_kept_for_ten_minutes() {
        let (mut all, now) = (Participants::default(), Instant::now());
        let ana = all.come(&identity(1), Some("Ana"), now).key;
        all.go(ana, now);
        assert_eq!(name(&mut all, 2, "ana", now + 9 * MINUTE), "ana·2");
        assert_eq!(all.come(&identity(1), None, now + 9 * MINUTE).name.as_ref(), "Ana");
        all.go(ana, now + 9 * MINUTE);
        assert_eq!(name(&mut all, 3, "ana", now + 19 * MINUTE), "ana");
        assert_eq!(name(&mut all, 1, "Ana", now + 20 * MINUTE), "Ana·3");
    }

    #[test]
    fn five_renames_are_free() {
        let (mut all, now) = (Participants::default(), Instant::now());
        let key = all.come(&identity(1), Some("Ana"), now).key;
        for n in 0..5 {
            assert!(all.rename(key, &format!("Ana {n}"), now).is_ok());
        }
        assert!(all.rename(key, "Bea", now + RENAME / 2).is_err());
        assert_eq!(all.rename(key, "Bea", now + RENAME).as_deref(), Ok("Bea"));
        assert!(all.rename(key, "Cleo", now + RENAME).is_err());
        assert!(all.rename(key, "#", now + MINUTE).is_err());
        assert_eq!(name(&mut all, 2, "Ana 4", now), "Ana 4", "it was given back");
    }

    #[test]
    fn a_message_is_accepted_once() {
        let (mut all, now) = (Participants::default(), Instant::now());
        let welcome = all.come(&identity(1), None, now);
        assert_eq!(welcome.n, None, "never seen");
        let accepted = [1, 2, 2, 1, 7, 5, 8].map(|n| all.accept(welcome.key, n));
        assert_eq!(accepted, [true, true, false, false, true, false, true]);
        all.go(welcome.key, now);
        assert_eq!(all.come(&identity(1), None, now).n, Some(8));
        let silent = all.come(&identity(2), None, now).key;
        all.go(silent, now);
        assert_eq!(all.come(&identity(2), None, now).n, Some(0));
    }

    #[test]
    fn what_earlier_runs_accepted_is_known_once() {
        let now = Instant::now();
        let mut all = Participants::remembering(vec![(identity(1).tag, 7)]);
        assert_eq!(all.come(&identity(2), None, now).n, None);
        let welcome = all.come(&identity(1), None, now);
        assert_eq!(welcome.n, Some(7));
        assert!(!all.accept(welcome.key, 7) && all.accept(welcome.key, 9));
        all.go(welcome.key, now);
        // Others come and go until it is forgotten.
        for n in 3..=255 {
            let key = all.come(&identity(n), None, now).key;
            all.go(key, now);
        }
        assert_eq!(all.come(&identity(1), None, now).n, None, "7 is out of date");
    }

    /// Whatever they do, no two who are here have the same name, each finds its greatest number unless the
    /// room has forgotten it, and those who have gone take no more than they may.
    #[test]
    fn random_visits() {
        for seed in 0..8 {
            let (mut dice, mut all, mut now) =
                (Rng::new(seed), Participants::default(), Instant::now());
            let mut here: HashMap<u8, (Key, String)> = HashMap::new();
            let mut numbers: HashMap<u8, u64> = HashMap::new();
            for _ in 0..2000 {
                now += Duration::from_secs(dice.roll(20) as u64);
                let n = dice.roll(200) as u8;
                let wish = "n".repeat(1 + dice.roll(2)) + &"é".repeat(dice.roll(31));
                match (dice.roll(4), here.get(&n).cloned()) {
                    (0, Some((key, _))) => {
                        all.go(key, now);
                        here.remove(&n);
                    }
                    (1, Some((key, _))) => {
                        if let Ok(name) = all.rename(key, &wish, now) {
                            here.insert(n, (key, name.to_string()));
                        }
                    }
                    (_, Some((key, _))) => {
                        let number = dice.roll(30) as u64;
                        let before = numbers.entry(n).or_default();
                        assert_eq!(all.accept(key, number), number > *before, "seed {seed}");
                        *before = number.max(*before);
                    }
                    (_, None) => {
                        let wish = (dice.roll(3) > 0).then_some(&*wish);
                        let welcome = all.come(&identity(n), wish, now);
                        match welcome.n {
                            Some(accepted) => assert_eq!(numbers.get(&n), Some(&accepted)),
                            None => drop(numbers.insert(n, 0)),
                        }
                        numbers.entry(n).or_default();
                        let name = welcome.name.to_string();
                        assert!(name.len() <= NAME_BYTES);
                        here.insert(n, (welcome.key, name));
                    }
                }
                let mut names: Vec<_> = here.values().map(|(_, name)| names::fold(name)).collect();
                names.sort_unstable();
                names.dedup();
                assert_eq!(names.len(), here.len(), "seed {seed}: two have one name");
                assert!(all.absent <= ABSENT);
                let gone = all.records.iter().flatten().filter(|record| record.gone.is_some());
                assert_eq!(gone.map(Record::size).sum::<usize>(), all.absent);
            }
        }
    }
}
