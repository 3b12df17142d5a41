//! The one order in which everything was said, and whether somebody heard a piece of it.

use std::collections::HashMap;

use crate::guest::Guest;

pub struct Order {
    story: Vec<(i64, Option<usize>)>,
    lines: Vec<u64>,
    /// Where each line is.
    places: HashMap<u64, usize>,
    /// How many messages of whom were heard, and where they left.
    speakers: HashMap<i64, Speaker>,
}

#[derive(Default)]
struct Speaker {
    said: usize,
    left_at: Option<usize>,
}

impl Order {
    /// What `witness` heard, who was there all the time: each message once, numbered without a
    /// gap, and nothing of somebody who has left.
    pub fn of(witness: &Guest) -> Self {
        let mut speakers: HashMap<i64, Speaker> = HashMap::new();
        for (at, (id, number)) in witness.story.iter().enumerate() {
            let speaker = speakers.entry(*id).or_default();
            assert_eq!(speaker.left_at, None, "client {id} is heard after it left");
            match number {
                Some(number) => {
                    assert_eq!(*number, speaker.said, "client {id}: lost, twice, or out of order");
                    speaker.said += 1;
                }
                None => speaker.left_at = Some(at),
            }
        }
        let places = witness.lines.iter().enumerate().map(|(at, line)| (*line, at)).collect();
        let (story, lines) = (witness.story.clone(), witness.lines.clone());
        Order { story, lines, places, speakers }
    }

    pub fn said(&self) -> usize {
        self.story.iter().filter(|(_, number)| number.is_some()).count()
    }

    /// `guest` heard a piece of it with nothing missing; up to its own leaving, if it was there to
    /// the end. What it said was heard, if it `stayed` to hear it itself.
    pub fn check(&self, guest: &Guest, stayed: bool) {
        let Guest { id, said, heard_own, closed, .. } = guest;
        let begin = guest.lines.first().and_then(|line| self.places.get(line)).copied();
        // One who heard nothing shows nothing, but that it left.
        let begin = begin.unwrap_or(self.lines.len());
        assert!(
            self.lines[begin..].starts_with(&guest.lines),
            "client {id} heard something else: {:?}",
            guest.story
        );
        let heard = self.speakers.get(id).map_or(0, |speaker| speaker.said);
        assert!(heard >= *heard_own && heard <= *said, "client {id} said {said}, heard {heard}");
        let Some(left_at) = self.speakers.get(id).and_then(|speaker| speaker.left_at) else {
            panic!("client {id} left, and nobody was told");
        };
        let end = begin + guest.lines.len();
        let was_told = closed.is_some_and(|code| code != 1013 && code != 1011);
        if stayed && was_told && !guest.lines.is_empty() {
            assert_eq!(end, left_at, "client {id} missed something before it left ({closed:?})");
        }
    }
}
