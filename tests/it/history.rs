//! What a room keeps, and what its slow readers are given.

use std::thread;

use serde_json::{Value, json};

use crate::support::{
    Client, MAX_MESSAGE, Member, Peer, Program, TEXT, eventually, knock_over, me, numbered, says,
};

fn start(args: &[&str]) -> Program {
    Program::start(&[&["--rate=0"], args].concat())
}

fn join(program: &Program, fields: Value) -> Member {
    Member::join(program.address, "lobby", fields)
}

fn talker(program: &Program) -> Member {
    Member::named(program.address, "lobby", 1, "talker")
}

/// Has the talker say messages of `len` bytes, and gives their texts.
fn say(talker: &mut Member, count: usize, len: usize) -> Vec<String> {
    let texts: Vec<_> = (0..count).map(|n| numbered(n, len)).collect();
    for text in &texts {
        talker.say(text);
        assert_eq!(talker.message("its own")["text"], *text);
    }
    texts
}

/// Everything there is: the number of the first message and the texts, which end at `head`.
#[track_caller]
fn kept(program: &Program, since: &str) -> (u64, Vec<String>) {
    let (_, seq) = crate::support::position(&json!(since));
    let mut member = join(program, json!({"since": since}));
    let first = member.seq() + 1;
    // However much is missed, it is counted exactly.
    assert_eq!(member.hello["missed"], first - (seq + 1), "{}", member.hello);
    (first, member.replay())
}

#[test]
fn five_hundred_messages_are_kept_unless_a_flag_says_otherwise() {
    let program = start(&[]);
    let mut talker = talker(&program);
    let texts = say(&mut talker, 600, 10);
    let cursor = format!("{}.0", talker.epoch());
    let (first, heard) = kept(&program, &cursor);
    assert_eq!((first, heard.as_slice()), (101, &texts[100..]));
}

/// A thousand, in order, for many who come at once.
#[test]
fn a_thousand_messages_are_replayed() {
    let program = start(&["--history=1000"]);
    let mut talker = talker(&program);
    let texts = say(&mut talker, 1200, 100);
    let replays: Vec<_> = thread::scope(|scope| {
        let join = || join(&program, json!({"history": 1000})).replay();
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(join)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a reader")).collect()
    });
    for replay in replays {
        assert!(replay == texts[200..], "{} messages", replay.len());
    }
}

/// Nothing is replayed, what was missed is counted, and slow readers are served all the same.
#[test]
fn without_history_nothing_is_replayed() {
    let program = start(&["--history=0"]);
    let mut talker = talker(&program);
    let peer = Peer::narrow(program.address);
    let mut slow = Member::greet(knock_over(peer, "lobby"), json!({"history": 1000}));
    talker.skip_to("join", "the slow one");
    let texts = say(&mut talker, 40, 50_000);
    let newcomer = join(&program, json!({"history": 1000}));
    assert_eq!((newcomer.seq(), &newcomer.hello["missed"]), (40, &json!(0)));
    assert_eq!(newcomer.hello["head"], 40);
    let (first, heard) = kept(&program, &format!("{}.15", newcomer.epoch()));
    assert_eq!((first, heard.len()), (41, 0));
    for text in &texts {
        assert_eq!(slow.message("a message")["text"], *text);
    }
}

/// What is older is not given to those who come, as its age grows.
#[test]
fn old_messages_are_not_replayed() {
    let program = start(&["--history-age=1s"]);
    let mut talker = talker(&program);
    talker.says_and_hears("soon old");
    let cursor = format!("{}.0", talker.epoch());
    eventually("the message to be too old", || {
        let (first, heard) = kept(&program, &cursor);
        assert!(first == 2 || heard == ["soon old"], "{first} {heard:?}");
        (first == 2).then_some(())
    });
    talker.send("msg", json!({"text": "new"}));
    talker.message("its own");
    assert_eq!(kept(&program, &cursor), (2, vec!["new".to_owned()]));
}

/// Bytes bound the history, too: what is kept is the end of it.
#[test]
fn a_small_history_keeps_the_last_bytes() {
    for (size, most) in [("64K", 64 << 10), ("256K", 256 << 10)] {
        let program =
            start(&["--history=1000", "--max-message=1000", &format!("--history-size={size}")]);
        let mut talker = talker(&program);
        let texts = say(&mut talker, 800, 900);
        let cursor = format!("{}.0", talker.epoch());
        let (first, heard) = kept(&program, &cursor);
        let start = usize::try_from(first - 1).expect("a few");
        assert!(heard == texts[start..], "{} messages from {first}", heard.len());
        assert!(heard.len() * 900 <= most, "{} messages in {size}", heard.len());
        assert!(heard.len() * 900 >= most / 4, "only {} messages in {size}", heard.len());
    }
}

/// One that is longer than the log is numbered and sent, but not kept, and counts as missed.
#[test]
fn a_message_that_does_not_fit_the_history_is_missed() {
    let program = start(&["--history-size=16K"]);
    let (mut talker, mut other) =
        (talker(&program), Member::named(program.address, "lobby", 2, "bo"));
    let before = talker.cursor();
    talker.say("before");
    talker.say(&"x".repeat(MAX_MESSAGE));
    talker.say("behind");
    for len in [6, MAX_MESSAGE, 6] {
        assert_eq!(other.message("a message")["text"].as_str().map(str::len), Some(len));
    }
    let (first, heard) = kept(&program, &before);
    assert_eq!(heard.len() as u64, 4 - first);
    assert_eq!(heard.last().map(String::as_str), Some("behind"));
}

/// A reader that stops for a while hears all numbers, or is told 1013 and goes on where it was.
#[test]
fn a_slow_reader_misses_nothing() {
    let program = start(&["--history=1000"]);
    let mut talker = talker(&program);
    let narrow = || knock_over(Peer::narrow(program.address), "lobby");
    let mut slow = Member::greet(narrow(), json!({"me": me(2), "name": "slow"}));
    talker.skip_to("join", "the slow one");
    let texts = say(&mut talker, 60, 30_000);
    let mut heard = Vec::new();
    while heard.len() < texts.len() {
        let frame = slow.client.message("a message");
        if frame.first == TEXT {
            let object = slow.take(frame);
            if object["t"] == "msg" {
                heard.push(object["text"].as_str().expect("a text").to_owned());
            }
            continue;
        }
        assert_eq!(frame.close_code(), 1013);
        slow =
            Member::greet(narrow(), json!({"me": me(2), "name": "slow", "since": slow.cursor()}));
        assert_eq!(slow.hello["missed"], 0);
    }
    assert!(heard == texts, "{} messages", heard.len());
}

/// One that never reads is evicted; where the log was not enough, it is told how much it has missed.
#[test]
fn an_evicted_reader_is_told_how_much_it_has_missed() {
    let program = start(&["--max-memory=8M", "--history=1000"]);
    let mut talker = talker(&program);
    let peer = Peer::narrow(program.address);
    let mut slow = Member::greet(knock_over(peer, "lobby"), json!({"me": me(2), "name": "slow"}));
    talker.skip_to("join", "the slow one");
    let mut said = 0;
    // Whether somebody left before the talker heard itself.
    let mut say = |talker: &mut Member| {
        assert!(said < 1000, "nobody minds a client that reads nothing");
        talker.say(&numbered(said, 20_000));
        said += 1;
        let mut has_left = false;
        loop {
            match talker.next("its own")["t"].as_str() {
                Some("msg") => return has_left,
                Some("leave") => has_left = true,
                _ => {}
            }
        }
    };
    while !say(&mut talker) {}
    // It has a moment to take its last word.
    let last = loop {
        let frame = slow.client.message("the end");
        if frame.first != TEXT {
            break frame;
        }
        slow.take(frame);
    };
    assert_eq!(last.close_code(), 1013);
    // As much again as the log has room for.
    for _ in 0..100 {
        say(&mut talker);
    }
    let cursor = slow.cursor();
    let (first, heard) = kept(&program, &cursor);
    assert!(first > slow.seq() + 1, "the log holds more than its budget");
    assert_eq!(first + heard.len() as u64 - 1, said as u64);
}

/// Tutorial clients and named ones talk at once; all hear one order, and each sender's own in it.
#[test]
fn everybody_hears_one_order_in_a_flood() {
    const EACH: usize = 300;
    const TALKERS: u64 = 3;
    let program = start(&["--history=1000"]);
    let total = 2 * TALKERS as usize * EACH;
    let named: Vec<_> = (0..2 * TALKERS)
        .map(|n| Member::named(program.address, "lobby", n, &format!("p{n}")))
        .collect();
    let nums: Vec<Client> = (0..2 * TALKERS as i64).map(|id| program.join(id)).collect();
    let text = |n: usize| numbered(n, 20 + n % 7 * 500);
    let (orders, plain) = thread::scope(|scope| {
        let named: Vec<_> = (0..)
            .zip(named)
            .map(|(n, mut member)| {
                let mut sending = Client { peer: member.client.peer.twin() };
                if n < TALKERS {
                    scope.spawn(move || {
                        for n in 0..EACH {
                            let msg = json!({"t": "msg", "text": text(n), "n": n + 1});
                            sending.say(&msg.to_string());
                        }
                    });
                }
                scope.spawn(move || {
                    let line = |_| {
                        let heard = member.message("a message");
                        let text = heard["text"].as_str().expect("a text").to_owned();
                        (heard["by"].as_str().expect("a sender").to_owned(), text)
                    };
                    (0..total).map(line).collect::<Vec<_>>()
                })
            })
            .collect();
        let nums: Vec<_> = (0..)
            .zip(nums)
            .map(|(id, mut client)| {
                let mut sending = Client { peer: client.peer.twin() };
                if id < TALKERS as i64 {
                    scope.spawn(move || (0..EACH).for_each(|n| sending.say(&text(n))));
                }
                scope.spawn(move || {
                    (0..total).map(|_| client.message("a message").payload).collect::<Vec<_>>()
                })
            })
            .collect();
        let orders: Vec<_> = named.into_iter().map(|one| one.join().expect("a reader")).collect();
        let plain: Vec<_> = nums.into_iter().map(|one| one.join().expect("a reader")).collect();
        (orders, plain)
    });
    for other in &orders[1..] {
        assert!(*other == orders[0], "two members heard another order");
    }
    for other in &plain[1..] {
        assert!(*other == plain[0], "two tutorial clients heard another order");
    }
    for (object, line) in orders[0].iter().zip(&plain[0]) {
        let (by, text) = object;
        match by.strip_prefix('#').and_then(|id| id.parse().ok()) {
            Some(id) => assert_eq!(*line, says(id, text).into_bytes()),
            None => assert!(line.ends_with(format!(" says: {text}").as_bytes())),
        }
    }
    let mut senders: Vec<&String> = orders[0].iter().map(|(by, _)| by).collect();
    senders.sort();
    senders.dedup();
    assert_eq!(senders.len(), 2 * TALKERS as usize);
    for sender in senders {
        let own = orders[0].iter().filter(|(by, _)| by == sender).map(|(_, text)| text.clone());
        assert!(own.eq((0..EACH).map(text)), "the order of {sender} was not kept");
    }
}
