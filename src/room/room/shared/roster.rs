//! Who is here, on all nodes.

use std::collections::{BTreeMap, HashMap};

use crate::engine::entry::{self, Entry};
use crate::engine::link::Snapshot;
use crate::history::chunk::Author;
use crate::net::slots::ConnId;
use crate::wire::tag::Tag;

/// Where somebody is: a node and a connection there.
pub type Place = (String, ConnId);

/// Somebody who is here.
#[derive(Clone, Debug)]
pub struct Guest {
    /// What clients of the tutorial's protocol see of it.
    pub num: i64,
    /// What others see of it.
    pub tag: Option<Tag>,
    /// Its name.
    pub name: String,
    /// Its node has said so in this epoch.
    pub is_known: bool,
}

/// Who is here, by node and connection. When an engine has forgotten something, somebody may be in two places
/// for a while: people hear of one.
#[derive(Debug, Default)]
pub struct Roster {
    guests: BTreeMap<Place, Guest>,
    /// In how many places somebody is, and its name.
    faces: HashMap<Tag, (usize, String)>,
    numbers: u64,
}

/// What somebody's coming is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It was not here.
    Came,
    /// It was, by another name.
    Renamed,
    /// It was.
    Nothing,
}

impl Guest {
    /// Whom an entry tells of.
    pub fn of(entry: &Entry<'_>) -> Guest {
        let Entry { num, tag, name, .. } = *entry;
        Guest { num, tag, name: name.into(), is_known: true }
    }

    /// As others hear of it.
    pub fn author(&self) -> Author<'_> {
        Author { num: self.num, tag: self.tag, name: &self.name }
    }
}

impl Roster {
    /// Those of whom the engine knows.
    pub fn of(snapshot: &Snapshot) -> Roster {
        let mut roster = Roster::default();
        for line in &snapshot.members {
            if let Some((place, guest)) = guest(line) {
                roster.insert(place, guest);
            }
        }
        roster
    }

    /// How many are here.
    pub fn count(&self) -> u64 {
        self.faces.len() as u64 + self.numbers
    }

    /// Those who are here, each once.
    pub fn people(&self) -> impl Iterator<Item = Author<'_>> {
        let mut seen = std::collections::HashSet::new();
        let is_new = move |guest: &&Guest| guest.tag.is_none_or(|tag| seen.insert(tag));
        self.guests.values().filter(is_new).map(|guest| {
            let name = guest.tag.and_then(|tag| self.faces.get(&tag)).map(|(_, name)| &**name);
            Author { num: guest.num, tag: guest.tag, name: name.unwrap_or_default() }
        })
    }

    /// Who is where.
    pub fn guests(&self) -> impl Iterator<Item = (&Place, &Guest)> {
        self.guests.iter()
    }

    /// The guests of a node.
    pub fn of_node(&self, node: &str) -> impl Iterator<Item = (&Place, &Guest)> {
        self.guests.range((node.to_owned(), 0)..=(node.to_owned(), ConnId::MAX))
    }

    /// The nodes on which somebody is.
    pub fn nodes(&self) -> Vec<String> {
        let mut nodes: Vec<String> = self.guests.keys().map(|(node, _)| node.clone()).collect();
        nodes.dedup();
        nodes
    }

    /// Who is in this place.
    pub fn at(&self, place: &Place) -> Option<&Guest> {
        self.guests.get(place)
    }

    /// In a new epoch, nobody is known to be here until its node says so.
    pub fn doubt(&mut self) {
        self.guests.values_mut().for_each(|guest| guest.is_known = false);
    }

    /// Somebody is here, in place of whoever was in that place.
    pub fn insert(&mut self, place: Place, guest: Guest) -> News {
        let (tag, name) = (guest.tag, guest.name.clone());
        let before = self.guests.insert(place, guest);
        let Some(tag) = tag else {
            self.numbers += u64::from(before.is_none());
            return if before.is_none() { News::Came } else { News::Nothing };
        };
        let (places, its_name) = self.faces.entry(tag).or_default();
        *places += usize::from(before.is_none());
        let old = std::mem::replace(its_name, name);
        match *places {
            1 if before.is_none() => News::Came,
            _ if old != *its_name => News::Renamed,
            _ => News::Nothing,
        }
    }

    /// Nobody is in this place any more. Who was there, if it is nowhere else.
    pub fn remove(&mut self, place: &Place) -> Option<Guest> {
        let guest = self.guests.remove(place)?;
        let Some(tag) = guest.tag else {
            self.numbers -= 1;
            return Some(guest);
        };
        let (places, _) = self.faces.get_mut(&tag)?;
        *places -= 1;
        if *places > 0 {
            return None;
        }
        self.faces.remove(&tag);
        Some(guest)
    }
}

fn guest(line: &str) -> Option<(Place, Guest)> {
    let mut words = line.splitn(5, ' ');
    let (node, conn) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
    let (num, tag) = (words.next()?.parse().ok()?, entry::tag(words.next()?));
    let name = words.next().unwrap_or_default().into();
    Some(((node, conn), Guest { num, tag, name, is_known: true }))
}
