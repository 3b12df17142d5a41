//! A server that is killed in the middle of a flood, again and again, and goes on with what is on its disk.

use std::collections::HashMap;
use std::env;

use serde_json::{Value, json};

use crate::kit::dice::Dice;
use crate::restart::{kill, lines, stop};
use crate::support::{Folder, Member, Program, me};

/// How often it is killed; `make test-kills` says fifty.
const KILLS: &str = "ROOMD_TEST_KILLS";
const SEED: &str = "SEED";

const TALKERS: u64 = 3;

fn number(variable: &str, default: u64) -> u64 {
    let given = env::var(variable).ok().map(|given| given.parse().expect("a number"));
    given.unwrap_or(default)
}

/// A message that is on the disk.
struct Written {
    epoch: String,
    seq: u64,
    by: String,
    n: u64,
    text: String,
}

/// The messages in the files. Their numbers follow each other, but for holes that are told, from one run to
/// the next as well.
fn written(folder: &Folder) -> Vec<Written> {
    let (mut epoch, mut next, mut all) = (String::new(), 1, Vec::new());
    for line in lines(folder, "lab") {
        let number = |key: &str| line[key].as_u64().expect("a number");
        let text = |key: &str| line[key].as_str().expect("a text").to_owned();
        match text("t").as_str() {
            "run" => {
                assert_eq!(number("next"), next, "{line}");
                epoch = text("epoch");
            }
            "msg" => {
                assert_eq!(number("seq"), next, "{line}");
                let (by, n, text) = (text("by"), number("n"), text("text"));
                all.push(Written { epoch: epoch.clone(), seq: next, by, n, text });
                next += 1;
            }
            "hole" => {
                assert_eq!(number("from"), next, "{line}");
                next = number("to") + 1;
            }
            "end" => assert_eq!(number("next"), next, "{line}"),
            _ => panic!("what is {line}?"),
        }
    }
    all
}

fn text(talker: u64, n: u64) -> String {
    format!("{talker} says {n} {}", "x".repeat((n * 37 % 300) as usize))
}

#[test]
fn killed_in_the_middle_of_a_flood() {
    let (kills, seed) = (number(KILLS, 8), number(SEED, 1));
    let (folder, mut dice) = (Folder::new(), Dice::new(seed));
    let args = ["--rate=0", "--room=lab", "--history-disk=64M", "--log-level=warn", "--state-dir"];
    // What a client has heard, by epoch and number.
    let mut heard: HashMap<(String, u64), String> = HashMap::new();
    let mut lost = 0;
    for round in 0..=kills {
        let program = Program::start(&[&args[..], &[folder.arg()]].concat());
        let mut listener = Member::join(program.address, "lab", json!({"history": 0}));
        let all = written(&folder);
        let last = all.last().map_or(0, |last| last.seq);
        assert_eq!(listener.hello["head"], last, "seed {seed}, round {round}");
        // What was heard is there, or was said last.
        let mut ends: HashMap<&str, u64> = HashMap::new();
        for message in &all {
            ends.insert(&message.epoch, message.seq);
            if let Some(text) = heard.get(&(message.epoch.clone(), message.seq)) {
                assert_eq!(*text, message.text, "seed {seed}, round {round}");
            }
        }
        let is_lost = |epoch: &str, seq| ends.get(epoch).is_none_or(|end| seq > *end);
        lost = heard.keys().filter(|(epoch, seq)| is_lost(epoch, *seq)).count();
        let mut talkers: Vec<(Member, u64)> = (1..=TALKERS)
            .map(|talker| {
                let hello = json!({"me": me(talker), "hear": false});
                let member = Member::join(program.address, "lab", hello);
                let of_it = all.iter().filter(|message| message.by == member.you);
                let accepted = of_it.map(|message| message.n).max();
                let n = member.hello["n"].clone();
                assert_eq!(
                    n,
                    accepted.map_or(Value::Null, Value::from),
                    "seed {seed}, round {round}"
                );
                (member, accepted.unwrap_or(0))
            })
            .collect();
        if round == kills {
            drop((listener, talkers));
            stop(program);
            break;
        }
        let until = dice.roll(500);
        // Everything that is said is heard before the end, or something is on its way to everywhere.
        let heard_of_sixty = [60, 30][dice.roll(2) as usize];
        let mut count = 0;
        while count < until {
            for (talker, (member, n)) in talkers.iter_mut().enumerate() {
                for _ in 0..20 {
                    *n += 1;
                    member.publish(*n, &text(talker as u64 + 1, *n));
                }
            }
            for _ in 0..heard_of_sixty {
                let message = listener.message("a talker's");
                let (seq, text) = (message["seq"].as_u64(), message["text"].as_str());
                let place = (listener.epoch().to_owned(), seq.expect("a number"));
                heard.insert(place, text.expect("a text").to_owned());
                count += 1;
            }
        }
        kill(program);
    }
    // What a talker says again is not there twice, and nothing in between is missing.
    let all = written(&folder);
    for talker in 1..=TALKERS {
        let texts = all.iter().filter(|message| message.text.starts_with(&format!("{talker} ")));
        for (n, message) in (1..).zip(texts) {
            assert_eq!((message.n, &*message.text), (n, &*text(talker, n)), "seed {seed}");
        }
    }
    let (written, heard) = (all.len(), heard.len());
    println!(
        "{kills} kills: {heard} messages were heard, of which {lost} are lost; {written} are on the disk"
    );
    assert!(written > 0 && heard > 0);
}
