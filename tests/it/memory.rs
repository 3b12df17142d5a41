use std::time::{Duration, Instant};

use crate::cli::{Program, fails, roomd};
use crate::kit::proc::own_kb;
use crate::support::{
    Client, Frame, MAX_MESSAGE, PING, Peer, TEXT, TestServer, UPGRADE, eventually, frame, get,
    header, left, numbered, says,
};

/// What a client costs the kernel at most: its thread, its socket and the smallest buffers. The
/// budget has that, and the process's memory does not show it.
const OF_THE_KERNEL: usize = 44 * 1024;

/// The memory that the process has for itself now, in bytes.
fn memory_of(program: &Program) -> usize {
    let kb = own_kb(program.process.0.id()).unwrap_or_else(|error| panic!("{error}"));
    kb as usize * 1024
}

/// How many clients the program says that there is memory for.
fn places(program: &Program) -> i64 {
    let line = program.line("clients at most");
    let before = line.split(" clients at most").next().expect("a number of clients");
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Everybody stalls but two, who talk until all the others are gone: those hear everything, in
/// order, and of each who left once; and the process stays within its budget.
fn all_but_two_stall(memory: usize, len: usize) {
    let memory_flag = format!("--max-memory={memory}");
    let program = Program::start(&["--rate=0", &memory_flag]);
    let stalled = places(&program) - 2;
    assert!(stalled >= 30, "there is hardly room for {stalled}");
    let _stalled: Vec<Client> = (0..stalled)
        .map(|id| Peer::narrow(program.address).upgrade(&format!("/ws/{id}")))
        .collect();
    let mut talkers = [program.join(1000), program.join(1001)];
    let mut gone: [Vec<i64>; 2] = Default::default();
    let mut peak = 0;
    for n in 0.. {
        assert!(n < 100_000, "only {} of {stalled} were closed", gone[0].len());
        let id = 1000 + n % 2;
        let text = numbered(n as usize, len);
        talkers[(n % 2) as usize].say(&text);
        // Both hear it before anything else is said, so neither is ever far behind.
        for (talker, gone) in talkers.iter_mut().zip(&mut gone) {
            loop {
                let next = talker.message("what was said");
                if next == Frame::text(&says(id, &text)) {
                    break;
                }
                let who = (0..stalled).find(|id| next == Frame::text(&left(*id)));
                gone.push(who.unwrap_or_else(|| panic!("{next:?} instead of {text}")));
            }
        }
        peak = peak.max(memory_of(&program));
        if gone.iter().all(|gone| gone.len() as i64 == stalled) {
            break;
        }
    }
    for mut gone in gone {
        gone.sort_unstable();
        assert!(gone.into_iter().eq(0..stalled), "each leaves once");
    }
    let own = memory - stalled as usize * OF_THE_KERNEL;
    assert!(peak <= own, "{peak} bytes are more than {own} of {memory}");
}

#[test]
fn a_room_full_of_stalled_readers_stays_within_its_memory() {
    // Eight megabytes are what a machine with 32 has for this.
    all_but_two_stall(8 << 20, 3000);
    all_but_two_stall(12 << 20, MAX_MESSAGE);
}

/// Who begins long messages and does not end them has the memory for those, until somebody else
/// wants it.
#[test]
fn unfinished_messages_do_not_keep_others_from_theirs() {
    let server = TestServer::with(|config| {
        config.limits.max_memory = Some(10 << 20);
        config.limits.rate = 0;
    });
    let mut stuck: Vec<Client> = (0..10).map(|id| server.join(id)).collect();
    for client in &mut stuck {
        let whole = frame(TEXT, "u".repeat(MAX_MESSAGE));
        client.send(&whole[..MAX_MESSAGE / 2]);
    }
    let mut talker = server.join(100);
    talker.says_and_hears(100, "short ones go through");
    let long = "l".repeat(MAX_MESSAGE);
    talker.say(&long);
    talker.hears_at_last(&says(100, &long));
    // One of those who were in the way was told why.
    let closed = eventually("a close frame for one who kept others waiting", || {
        stuck.iter().position(|client| client.peer.is_answered())
    });
    let next = std::iter::repeat_with(|| stuck[closed].message("a close frame"))
        .find(|next| next.first != TEXT);
    assert_eq!(next.expect("a close frame").close_code(), 1013);
}

/// How long one waits does not depend on how many have sent half of a message, or on their coming again.
#[test]
fn one_whose_message_has_arrived_waits_for_nobody() {
    let server = TestServer::with(|config| {
        config.limits.max_memory = Some(8 << 20);
        config.limits.rate = 0;
    });
    let half = || {
        let mut peer = server.connect();
        peer.send(get("/ws", UPGRADE));
        let mut client = peer.upgraded_unless_full()?;
        client.send(&frame(TEXT, "u".repeat(60_000))[..30_000]);
        Some(client)
    };
    let mut stuck: Vec<Client> = (0..40).map(|_| half().expect("a place")).collect();
    let mut talker = server.join(100);
    let begin = Instant::now();
    for n in 0..30 {
        let text = numbered(n, 5000);
        talker.say(&text);
        talker.hears_at_last(&says(100, &text));
        for client in &mut stuck {
            if client.peer.is_answered() {
                *client = eventually("a place", half);
            }
        }
    }
    let time = begin.elapsed();
    assert!(time < Duration::from_secs(5), "30 texts took {time:?}");
}

/// The beginning of a long message takes no memory from others, so that nobody is closed for it.
#[test]
fn one_whose_message_has_not_arrived_is_in_nobodys_way() {
    let server = TestServer::with(|config| {
        config.limits.max_memory = Some(8 << 20);
        config.limits.rate = 0;
    });
    let whole = frame(TEXT, "b".repeat(6000));
    let mut slow: Vec<Client> = (0..40).map(|_| server.echo()).collect();
    slow.iter_mut().for_each(|client| client.send(&whole[..3000]));
    let mut talker = server.echo();
    for n in 0..20 {
        let text = numbered(n, MAX_MESSAGE);
        talker.say(&text);
        talker.hears(&format!("Message text was: {text}"));
    }
    for client in &mut slow {
        client.send(&whole[3000..]);
        client.hears(&format!("Message text was: {}", "b".repeat(6000)));
    }
}

/// A publisher that does not send what it has announced is told so when its memory is needed.
#[test]
fn unfinished_requests_do_not_keep_others_from_theirs() {
    let server = TestServer::with(|config| config.limits.max_memory = Some(8 << 20));
    let head = "POST /lobby HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n";
    let mut stuck: Vec<Peer> = (0..5)
        .map(|_| {
            let mut peer = server.connect();
            peer.send(format!("{head}{}", "u".repeat(20_000)));
            peer
        })
        .collect();
    for _ in 0..5 {
        let response = server.ask(format!("{head}{}", "w".repeat(60_000)));
        assert_eq!(response.status, 201, "{}{}", response.head, response.text());
    }
    let stopped =
        eventually("one that is stopped", || stuck.iter().position(|peer| peer.is_answered()));
    stuck.swap_remove(stopped).response().refuses(408, "the body took too long");
}

/// A header that promises a long message takes no memory from anybody who does not want it.
#[test]
fn long_messages_of_many_take_turns() {
    let server = TestServer::with(|config| {
        config.limits.max_memory = Some(24 << 20);
        config.limits.rate = 0;
    });
    let mut talkers: Vec<Client> = (0..20).map(|_| server.echo()).collect();
    for _ in 0..3 {
        for talker in &mut talkers {
            let whole = frame(TEXT, "t".repeat(MAX_MESSAGE));
            talker.send(&whole);
        }
        for talker in &mut talkers {
            talker.hears(&format!("Message text was: {}", "t".repeat(MAX_MESSAGE)));
        }
    }
    // A promise alone, and then nothing: it is as good as any other silence.
    talkers[0].send(header(TEXT, MAX_MESSAGE));
    talkers[1].say("and the others go on");
    talkers[1].hears("Message text was: and the others go on");
}

#[test]
fn settings_that_do_not_fit_are_refused_with_the_arithmetic() {
    let parts = ["--max-memory 8M", "--max-clients 1000", "for the program", "give --max-memory "];
    fails(&mut roomd(&["--max-memory=8M", "--max-clients=1000"]), 2, &parts);
    let parts = ["--max-memory 1M", "--max-message 65536"];
    fails(&mut roomd(&["--max-memory=1M"]), 2, &parts);
    // What it says is enough is enough.
    let refused = roomd(&["--max-memory=8M", "--max-clients=1000"]).output().expect("its output");
    let said = String::from_utf8(refused.stderr).expect("text");
    let enough = said.split("give --max-memory ").nth(1).expect("a proposal");
    let enough = enough.split(',').next().expect("a size");
    let program = Program::start(&["--max-clients=1000", &format!("--max-memory={enough}")]);
    assert_eq!(places(&program), 1000);
}

/// Nothing that comes right behind a long message is lost, however slowly that began.
#[test]
fn what_comes_with_the_end_of_a_long_message_is_heard() {
    let server = TestServer::with(|config| config.limits.rate = 0);
    let mut client = server.join(1);
    let mut long = String::new();
    for n in 0..30 {
        let part = numbered(n, 200);
        let first = if n == 0 { TEXT & 0x0f } else { 0 };
        client.send(frame(first, &part));
        long.push_str(&part);
        // Once it is answered, all so far has been read, and it was little each time.
        client.send(frame(PING, n.to_string()));
        assert_eq!(client.next("a pong").payload, n.to_string().as_bytes());
    }
    let short: Vec<String> = (0..40).map(|n| numbered(n, 30)).collect();
    let mut rest = frame(0x80, "");
    rest.extend(short.iter().flat_map(|text| frame(TEXT, text)));
    client.send(rest);
    client.hears(&says(1, &long));
    client.hears_all(short.iter().map(|text| says(1, text)));
}
