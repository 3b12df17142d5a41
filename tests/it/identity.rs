//! Who is who in a room: tags, names and their owners, and the fence by which a client replaces its
//! own older connection.

use serde_json::{Value, json};

use crate::support::{
    Frame, Member, Program, eventually, frame, is_tag, knock, left, me, message, of_type, says,
};

fn start() -> Program {
    Program::start(&["--rate=0"])
}

fn join(program: &Program, fields: Value) -> Member {
    Member::join(program.address, "lobby", fields)
}

fn named(program: &Program, n: u64, name: &str) -> Member {
    Member::named(program.address, "lobby", n, name)
}

/// The tag belongs to the secret and the room, and to this start of the server.
#[test]
fn a_tag_is_the_same_for_the_same_secret_in_the_same_room() {
    let program = start();
    let first = named(&program, 1, "ana").you;
    assert!(is_tag(&json!(first)) && !first.starts_with('~'), "{first}");
    assert_eq!(named(&program, 1, "somebody").you, first);
    assert_ne!(named(&program, 2, "ana").you, first);
    assert_ne!(Member::named(program.address, "lab", 1, "ana").you, first);
    assert!(!me(1).to_lowercase().contains(&first));
    assert_ne!(named(&start(), 1, "ana").you, first);
}

#[test]
fn spaces_of_a_name_are_trimmed_and_collapsed() {
    let program = start();
    for (n, (asked, given)) in (1..).zip([
        (" ana ", "ana"),
        ("  Ms   Lin\u{20}", "Ms Lin"),
        ("bo", "bo"),
        ("李 小龙", "李 小龙"),
        ("می\u{200c}خواهم", "می\u{200c}خواهم"),
        ("👩\u{200d}🚒", "👩\u{200d}🚒"),
        ("e\u{301}va", "e\u{301}va"),
        ("O'Neil \"\\ <b>", "O'Neil \"\\ <b>"),
        ("a#~@", "a#~@"),
        ("·", "·"),
        ("a·b", "a·b"),
        ("a·2b", "a·2b"),
        ("7", "7"),
    ]) {
        assert_eq!(named(&program, n, asked).name(), given);
    }
}

/// 32 code points, and 96 bytes.
#[test]
fn the_longest_names() {
    let program = start();
    for (n, (name, fits)) in (1..).zip([
        ("n".repeat(32), true),
        ("n".repeat(33), false),
        ("李".repeat(32), true),
        ("李".repeat(33), false),
        ("🦀".repeat(24), true),
        ("🦀".repeat(25), false),
        (format!("{}{}", " ".repeat(50), "m".repeat(32)), true),
        ("x".repeat(1000), false),
    ]) {
        if fits {
            assert_eq!(named(&program, n, &name).name(), name.trim());
        } else {
            is_replaced_by_the_tag(&program, n, &name);
        }
    }
}

/// It joins under its tag, and an error follows `hello`.
#[track_caller]
fn is_replaced_by_the_tag(program: &Program, n: u64, name: &str) {
    let mut member = named(program, n, name);
    assert_eq!(member.name(), member.you, "{name:?}");
    member.is_refused("name", None);
    member.say("it is in the room all the same");
    // Others may leave meanwhile.
    let said = member.message("its own");
    assert_eq!((&said["by"], &said["name"]), (&said["name"], &member.hello["you"]));
}

/// Characters with which a name would imitate another, hide, or turn the line around.
const REJECTED: &[&str] = &[
    "",
    " ",
    "   ",
    "a\tb",
    "a\nb",
    "a\0b",
    "a\u{1b}[31mb",
    "a\u{7f}b",
    "a\u{80}b",
    "a\u{9f}b",
    "a\u{ad}b",
    "a\u{34f}b",
    "a\u{115f}b",
    "a\u{1160}b",
    "a\u{200b}b",
    "a\u{200e}b",
    "a\u{200f}b",
    "a\u{2028}b",
    "a\u{2029}b",
    "a\u{202a}b",
    "a\u{202e}b",
    "a\u{2060}b",
    "a\u{2066}b",
    "a\u{2069}b",
    "a\u{206e}b",
    "a\u{2800}b",
    "a\u{3164}b",
    "a\u{feff}b",
    "a\u{ffa0}b",
    "a\u{fff9}b",
    "a\u{fffb}b",
    "a\u{e0001}b",
    "a\u{e0020}b",
    "a\u{e0fff}b",
    "a\u{e000}b",
    "a\u{f8ff}b",
    "a\u{f0000}b",
    "a\u{10fffd}b",
    "a\u{fdd0}b",
    "a\u{fdef}b",
    "a\u{fffe}b",
    "a\u{ffff}b",
    "a\u{1fffe}b",
    "a\u{10ffff}b",
    "\u{301}",
    "\u{301}\u{302}\u{20d0}",
    "\u{200d}",
    "\u{200c}\u{200d}",
    "#42",
    "#",
    "~ana",
    "@ana",
    " @ana",
    "ana·2",
    "ana·99",
    "ana·100",
    "·2",
];

#[test]
fn names_that_deceive_are_rejected() {
    let program = start();
    let mut renamed = named(&program, 1000, "ana");
    for (n, name) in (1..).zip(REJECTED) {
        is_replaced_by_the_tag(&program, n, name);
        renamed.send("name", json!({"name": name}));
        let refused = renamed.skip_to("err", "err name");
        assert_eq!(refused["code"], "name", "{name:?}");
    }
    // A fresh reader: it has kept its name.
    let who = named(&program, 1001, "reader").hello["who"].clone();
    assert!(who.as_array().expect("a list").contains(&json!([renamed.you, "ana"])), "{who}");
}

#[test]
fn a_taken_name_gets_a_number() {
    let program = start();
    let _ana = named(&program, 1, "Ana");
    // Names are compared in lower case without spaces, ZWNJ and ZWJ.
    for (n, (asked, given)) in (2..).zip([
        ("Ana", "Ana·2"),
        ("ana", "ana·3"),
        ("A N A", "A N A·4"),
        ("an\u{200d}a", "an\u{200d}a·5"),
        ("anna", "anna"),
        ("ÄNNE", "ÄNNE"),
        ("änne", "änne·2"),
    ]) {
        // They stay, and so do their names when they are gone.
        assert_eq!(named(&program, n, asked).name(), given);
    }
    let long = "n".repeat(32);
    assert_eq!(named(&program, 20, &long).name(), long);
    assert_eq!(named(&program, 21, &long).name(), format!("{}·2", "n".repeat(30)));
}

/// ·2 to ·99, then the tag; never an error.
#[test]
fn the_hundredth_of_a_name_gets_its_tag() {
    let program = start();
    let mut members = vec![named(&program, 1, "ana")];
    for n in 2..=99 {
        let member = named(&program, n, "ana");
        assert_eq!(member.name(), format!("ana·{n}"));
        members.push(member);
    }
    let mut last = named(&program, 100, "ana");
    assert_eq!(last.name(), last.you);
    last.pings();
}

/// A name belongs to its tag while it is connected and for ten minutes more.
#[test]
fn a_name_waits_for_its_owner() {
    let program = start();
    named(&program, 1, "ana").leave();
    named(&program, 2, "bo").reset();
    let mut other = named(&program, 3, "ana");
    assert_eq!(other.name(), "ana·2");
    other.send("name", json!({"name": "bo"}));
    let renamed = other.skip_to("name", "its name");
    assert_eq!(renamed, json!({"t": "name", "by": other.you, "name": "bo·2"}));
    assert_eq!(named(&program, 1, "ana").name(), "ana");
    assert_eq!(named(&program, 2, "bo").name(), "bo");
    // Its other name is free again, since a tag holds one.
    assert_eq!(named(&program, 4, "ana").name(), "ana·2");
    // In another room it is anybody's.
    assert_eq!(Member::named(program.address, "lab", 5, "ana").name(), "ana");
}

#[test]
fn everybody_hears_a_new_name_once() {
    let program = start();
    let (mut ana, mut bo) = (named(&program, 1, "ana"), named(&program, 2, "bo"));
    let mut tutorial = program.join(7);
    ana.skip_to("join", "bo");
    ana.skip_to("join", "the tutorial's client");
    bo.skip_to("join", "the tutorial's client");
    bo.send("name", json!({"name": "  Bo  Li "}));
    let (by, renamed) = (bo.you.clone(), json!({"t": "name", "by": bo.you, "name": "Bo Li"}));
    for member in [&mut ana, &mut bo] {
        member.hears(renamed.clone());
    }
    bo.say("it is me");
    for member in [&mut ana, &mut bo] {
        member.hears(message(&by, "Bo Li", "it is me"));
    }
    let heard = tutorial.message("a message");
    assert!(heard.payload.ends_with(b" says: it is me"), "{heard:?}");
    // The old name is free.
    assert_eq!(named(&program, 3, "bo").name(), "bo");
    let who = named(&program, 4, "cy").hello["who"].clone();
    assert!(who.as_array().expect("a list").contains(&json!([by, "Bo Li"])), "{who}");
    // A message keeps the name that its sender had.
    bo.reset();
    let mut back = join(&program, json!({"me": me(2), "name": "again"}));
    assert_eq!(back.message("the history")["name"], "Bo Li");
}

/// Five times, then once in ten seconds.
#[test]
fn the_sixth_rename_is_too_soon() {
    let program = start();
    let mut ana = named(&program, 1, "ana");
    let mut rename = |name: &str| {
        ana.send("name", json!({"name": name}));
        let next = ana.next("a new name");
        match next["t"].as_str() {
            Some("name") => assert_eq!(next["name"], name),
            _ => assert_eq!((&next["t"], &next["code"]), (&json!("err"), &json!("name")), "{next}"),
        }
        next["t"] == "name"
    };
    for n in 1..=5 {
        assert!(rename(&format!("ana {n}")), "rename {n}");
    }
    assert!(!rename("ana 6"));
    assert!(!rename("ana 7"));
    eventually("the next rename", || rename("ana 8").then_some(()));
    assert!(!rename("ana 9"));
}

/// A reconnect does not make renames free.
#[test]
fn renames_are_counted_over_connections() {
    let program = start();
    let mut last = String::new();
    for n in 0..8 {
        let mut ana = named(&program, 1, "ana");
        ana.send("name", json!({"name": format!("ana {n}")}));
        let next = ana.skip_to_either("name", "err");
        if next["t"] == "name" {
            last = next["name"].as_str().expect("a name").into();
        }
        ana.leave();
    }
    assert_ne!(last, "ana 7");
}

impl Member {
    #[track_caller]
    fn skip_to_either(&mut self, one: &str, other: &str) -> Value {
        loop {
            let next = self.next("an answer");
            if next["t"] == one || next["t"] == other {
                return next;
            }
        }
    }
}

/// A client that comes back while its old connection is open replaces it, and nobody is told.
#[test]
fn a_client_replaces_its_own_connection() {
    let program = start();
    let mut watcher = named(&program, 1, "watcher");
    let mut tutorial = program.join(7);
    watcher.skip_to("join", "the tutorial's client");
    let mut old = named(&program, 2, "ana");
    watcher.skip_to("join", "ana");
    old.publish(1, "from the old one");
    watcher.skip_to("msg", "the old one");
    tutorial.message("the old one");

    let mut new = named(&program, 2, "ana");
    assert_eq!(new.you, old.you);
    assert_eq!(new.name(), "ana");
    assert_eq!(new.hello["n"], 1);
    assert_eq!(new.hello["count"], 3);
    let who = new.hello["who"].as_array().expect("a list").clone();
    let ghosts = who.iter().filter(|entry| entry[0] == new.you.as_str()).count();
    assert_eq!((who.len(), ghosts), (3, 1), "{who:?}");
    old.skip_to("msg", "its own");
    old.client.is_closed_with(4409);
    watcher.pings();
    new.publish(2, "from the new one");
    let mut expected = message(&new.you, "ana", "from the new one");
    expected["n"] = json!(2);
    watcher.hears(expected);
    let heard = tutorial.message("the new one");
    assert!(heard.payload.ends_with(b" says: from the new one"), "{heard:?}");

    // Somebody else's connections stay, and this one's in another room.
    let mut elsewhere = Member::named(program.address, "lab", 2, "ana");
    new.skip_to("msg", "its own");
    new.pings();
    elsewhere.pings();
    watcher.pings();

    new.leave();
    let gone = watcher.next("ana leaves");
    assert_eq!((&gone["t"], &gone["count"]), (&json!("leave"), &json!(2)));
    tutorial.message("ana leaves");
    tutorial.says_and_hears(7, "once");
    elsewhere.pings();
}

/// A changed name is the only thing that is announced.
#[test]
fn a_replaced_connection_may_come_back_with_another_name() {
    let program = start();
    let mut watcher = named(&program, 1, "watcher");
    let mut old = named(&program, 2, "ana");
    watcher.skip_to("join", "ana");
    let mut new = named(&program, 2, "anabel");
    assert_eq!(new.name(), "anabel");
    watcher.hears(json!({"t": "name", "by": new.you, "name": "anabel"}));
    watcher.pings();
    old.is_closed_with(4409);
    new.says_and_hears("me");
}

/// What a fenced connection still brings is dropped, so whoever sends it again is heard once. Many
/// times, since it matters where the two meet.
#[test]
fn late_texts_of_a_replaced_connection_are_dropped() {
    const ROUNDS: u64 = 60;
    const EACH: u64 = 20;
    let program = start();
    let mut watcher = named(&program, 1, "watcher");
    let mut old = named(&program, 2, "ana");
    for round in 0..ROUNDS {
        let first = round * EACH + 1;
        let texts: Vec<u8> = (first..first + EACH)
            .flat_map(|n| {
                let msg = of_type("msg", json!({"n": n, "text": n.to_string()}));
                frame(crate::support::TEXT, msg.to_string())
            })
            .collect();
        let knocked = knock(program.address, "lobby");
        old.client.send(texts);
        let mut new = Member::greet(knocked, json!({"me": me(2), "name": "ana", "history": 0}));
        let accepted = new.hello["n"].as_u64().unwrap_or(0);
        for n in accepted.max(first - 1) + 1..first + EACH {
            new.publish(n, &n.to_string());
        }
        // It must have heard the last one to begin the next round with all accepted.
        let last = first + EACH - 1;
        while accepted < last && new.message("its own")["n"] != last {}
        old = new;
    }
    for n in 1..=ROUNDS * EACH {
        let heard = watcher.message("each once, in order");
        assert_eq!((&heard["n"], &heard["text"]), (&json!(n), &json!(n.to_string())));
    }
    watcher.pings();
}

/// The older one is closed behind a whole frame, even while it does not read.
#[test]
fn a_replaced_connection_that_does_not_read_is_closed() {
    let program = start();
    let mut talker = named(&program, 1, "talker");
    let peer = crate::support::Peer::narrow(program.address);
    let stalled = crate::support::knock_over(peer, "lobby");
    let mut stalled = Member::greet(stalled, json!({"me": me(2)}));
    for n in 0..20 {
        talker.publish(n + 1, &"x".repeat(50_000));
        talker.message("its own");
    }
    let mut new = named(&program, 2, "ana");
    new.says_and_hears("here I am");
    let last = loop {
        let next: Frame = stalled.client.message("the end");
        if next.first != crate::support::TEXT {
            break next;
        }
        stalled.take(next);
    };
    assert_eq!(last.close_code(), 4409);
    stalled.client.peer.ends();
}

/// What a tutorial client is called cannot be imitated, and its number is no tag.
#[test]
fn tutorial_clients_have_no_tag_and_are_never_fenced() {
    let program = start();
    let (mut one, mut twin) = (program.join(42), program.join(42));
    let ana = named(&program, 1, "ana");
    let who = ana.hello["who"].as_array().expect("a list").clone();
    assert_eq!(who.iter().filter(|entry| **entry == json!(["#42", "#42"])).count(), 2, "{who:?}");
    assert_eq!(ana.hello["count"], 3);
    one.say("both");
    one.hears(&says(42, "both"));
    twin.hears(&says(42, "both"));
    twin.leave();
    one.hears(&left(42));
}
