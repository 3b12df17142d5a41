//! `roomd.1`, frame by frame: the handshake, `hello`, messages and their numbers, errors, closes.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::{
    BINARY, Client, Frame, MAX_MESSAGE, Member, OFFER, PING, PONG, Peer, Program, TEXT, UNMASKED,
    UPGRADE, check, close, frame, get, header, is_tag, knock, left, me, message, says,
};

/// The program without the limit on the rate.
fn start(args: &[&str]) -> Program {
    Program::start(&[&["--rate=0"], args].concat())
}

fn join(program: &Program, fields: Value) -> Member {
    Member::join(program.address, "lobby", fields)
}

fn ana(program: &Program) -> Member {
    Member::named(program.address, "lobby", 1, "ana")
}

fn bo(program: &Program) -> Member {
    Member::named(program.address, "lobby", 2, "bo")
}

/// A frame with a `msg` of this JSON text, whatever it is.
fn raw_msg(text: &str) -> String {
    format!(r#"{{"t":"msg","text":{text}}}"#)
}

#[test]
fn the_subprotocol_is_selected_wherever_it_stands_in_the_offer() {
    let program = start(&[]);
    let offers = [
        OFFER,
        "Sec-WebSocket-Protocol: chat, roomd.1\r\n",
        "Sec-WebSocket-Protocol: roomd.1,chat\r\n",
        "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: roomd.1\r\n",
        "sec-websocket-protocol:roomd.1\r\n",
    ];
    for (place, offer) in offers.iter().enumerate() {
        let mut peer = program.connect();
        // A room of its own, in which nobody hears that the one before leaves.
        peer.send(get(&format!("/room{place}/ws"), &format!("{UPGRADE}{offer}")));
        let mut member = Member::greet(peer.upgraded_to(Some("roomd.1")), json!({}));
        member.pings();
    }
}

#[test]
fn a_handshake_without_the_offer_is_told_about_it() {
    let program = start(&[]);
    for offer in [
        "",
        "Sec-WebSocket-Protocol: chat\r\n",
        "Sec-WebSocket-Protocol: roomd.2\r\n",
        "Sec-WebSocket-Protocol: roomd.10, ROOMD.1\r\n",
    ] {
        let response = program.ask(get("/lobby/ws", &format!("{UPGRADE}{offer}")));
        response.refuses(400, "roomd.1");
    }
}

/// The session in the document is made of the objects that it describes.
#[test]
fn the_documented_session_is_well_formed() {
    let document = include_str!("../../docs/protocol.md");
    let objects = |start: &str| -> Vec<Value> {
        let lines = document.lines().filter_map(|line| line.strip_prefix(start));
        lines.map(|line| serde_json::from_str(line).expect(line)).collect()
    };
    let (from_client, from_server) = (objects("> ").len(), objects("< "));
    from_server.iter().for_each(check);
    assert!(from_client > 0 && !from_server.is_empty());
}

/// The endpoints of the tutorial select none, and speak the tutorial's frames.
#[test]
fn the_offer_changes_nothing_for_the_tutorials_endpoints() {
    let program = start(&[]);
    let upgraded = |path: &str| {
        let mut peer = program.connect();
        peer.send(get(path, &format!("{UPGRADE}{OFFER}")));
        peer.upgraded_to(None)
    };
    upgraded("/ws/7").says_and_hears(7, r#"{"t":"hello"}"#);
    let mut echo = upgraded("/ws");
    echo.say(r#"{"t":"hello"}"#);
    echo.hears(r#"Message text was: {"t":"hello"}"#);
    upgraded("/lobby/ws/8").says_and_hears(8, "me too");
}

#[test]
fn hello_is_answered_with_all_there_is_to_know() {
    let program = start(&["--room=lobby=The Lobby", "--max-message=5000"]);
    let now = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        u64::try_from(now.as_millis()).expect("before long")
    };
    let before = now();
    let mut ana = ana(&program);
    let hello = &ana.hello;
    assert!((before..=now()).contains(&hello["now"].as_u64().expect("a time")), "{hello}");
    for (field, expected) in [
        ("room", json!("lobby")),
        ("title", json!("The Lobby")),
        ("cursor", json!(format!("{}.0", ana.epoch()))),
        ("head", json!(0)),
        ("missed", json!(0)),
        ("name", json!("ana")),
        // It may have been here before, for all that the server knows.
        ("n", json!(null)),
        ("max", json!(5000)),
        ("count", json!(1)),
        ("who", json!([[ana.you, "ana"]])),
    ] {
        assert_eq!(hello[field], expected, "{field} of {hello}");
    }
    ana.says_and_hears("hello");

    let bo =
        Member::join(program.address, "lobby", json!({"me": me(2), "name": "bo", "who": false}));
    assert_eq!(bo.hello.get("who"), None);
    assert_eq!(bo.hello["count"], 2);
    assert_eq!(bo.hello["head"], 1);
    assert_ne!(bo.you, ana.you);
}

#[test]
fn a_room_without_a_title_has_none_in_hello() {
    assert_eq!(ana(&start(&[])).hello.get("title"), None);
}

/// Without a secret there is a tag for this connection alone, which is also the name.
#[test]
fn a_hello_may_be_empty() {
    let program = start(&[]);
    let members = [join(&program, json!({})), join(&program, json!({}))];
    for member in &members {
        assert!(is_tag(&json!(member.you)) && member.you.starts_with('~'), "{}", member.you);
        assert_eq!(member.name(), member.you);
    }
    assert_ne!(members[0].you, members[1].you);
    let mut named = join(&program, json!({"name": "eve"}));
    assert!(named.you.starts_with('~') && named.name() == "eve", "{}", named.hello);
    named.says_and_hears("no secret, a name");
    // Nor does a secret need a name.
    let member = join(&program, json!({"me": me(3)}));
    assert!(!member.you.starts_with('~') && member.name() == member.you, "{}", member.hello);
}

/// Later versions may know more.
#[test]
fn unknown_fields_are_ignored() {
    let program = start(&[]);
    let mut member = join(&program, json!({"key": "secret", "future": null, "number": 1.5}));
    member.send("msg", json!({"text": "hi", "color": "red", "bold": true}));
    let (you, name) = (member.you.clone(), member.name().to_owned());
    member.hears_message(&you, &name, "hi");
}

/// Before `hello` the server sends nothing, and nobody hears of the connection.
#[test]
fn nothing_happens_before_hello() {
    let program = start(&[]);
    let mut watcher = ana(&program);
    let mut tutorial = program.join(7);
    watcher.hears(json!({"t": "join", "by": "#7", "name": "#7", "count": 2}));
    let mut silent = knock(program.address, "lobby");
    let gone = knock(program.address, "lobby");
    watcher.says_and_hears("while they are silent");
    tutorial.skips_to_says("while they are silent");
    silent.send(frame(PING, "there?"));
    assert_eq!(silent.next("a pong"), Frame { first: PONG, payload: b"there?".to_vec() });
    gone.leave();
    knock(program.address, "lobby").peer.reset();
    watcher.pings();
    tutorial.says_and_hears(7, "nobody came");
    watcher.hears_message("#7", "#7", "nobody came");

    let mut late = Member::greet(silent, json!({"me": me(2), "name": "bo"}));
    assert_eq!(late.replay(), ["while they are silent", "nobody came"]);
    watcher.hears(json!({"t": "join", "by": late.you, "name": "bo", "count": 3}));
    late.leave();
    tutorial.hears(&left(num_of(&program, 2)));
}

/// The number by which tutorial clients know client `n` of the lobby.
#[track_caller]
fn num_of(program: &Program, n: u64) -> i64 {
    let mut listener = program.join(-1);
    let mut member = join(program, json!({"me": me(n), "history": 0}));
    member.say("who am I");
    let heard = listener.message("a message");
    let heard = String::from_utf8(heard.payload).expect("text");
    let num = heard.strip_prefix("Client #").and_then(|rest| rest.split(' ').next());
    num.and_then(|num| num.parse().ok()).unwrap_or_else(|| panic!("{heard}"))
}

/// What a tutorial client listens to, up to something said by anybody.
trait Listens {
    fn skips_to_says(&mut self, text: &str);
}

impl Listens for Client {
    #[track_caller]
    fn skips_to_says(&mut self, text: &str) {
        let end = format!(" says: {text}");
        while !self.message(text).payload.ends_with(end.as_bytes()) {}
    }
}

#[test]
fn the_first_frame_is_a_hello_or_the_connection_is_closed() {
    let program = start(&[]);
    let mut watcher = ana(&program);
    let first = [
        r#"{"t":"msg","text":"hi"}"#,
        r#"{"t":"ping"}"#,
        r#"{"t":"name","name":"ana"}"#,
        r#"{"t":"future"}"#,
        r#"{"t":"HELLO"}"#,
        r#"{"name":"ana"}"#,
        "",
        "hello",
        "{",
        "[]",
        r#"["hello"]"#,
        r#""hello""#,
        r#"{"t":"hello"} {}"#,
        r#"{"t":"hello""#,
        r#"{"t":"hello","me":7}"#,
        r#"{"t":"hello","name":7}"#,
        r#"{"t":"hello","name":["ana"]}"#,
        r#"{"t":"hello","since":204}"#,
        r#"{"t":"hello","history":-1}"#,
        r#"{"t":"hello","history":1001}"#,
        r#"{"t":"hello","history":1.5}"#,
        r#"{"t":"hello","history":"50"}"#,
        r#"{"t":"hello","who":"no"}"#,
        r#"{"t":"hello","hear":0}"#,
    ];
    for text in first {
        let mut client = knock(program.address, "lobby");
        client.say(text);
        assert_eq!(client.message(text).close_code(), 4400, "{text}");
        client.peer.ends();
    }
    for (bytes, code) in [
        (frame(BINARY, r#"{"t":"hello"}"#), 1003),
        (frame(TEXT, b"{\"t\":\"hello\",\"name\":\"\xff\"}"), 1007),
        (UNMASKED.to_vec(), 1002),
        (close(1000, ""), 1000),
    ] {
        let mut client = knock(program.address, "lobby");
        client.send(bytes);
        client.is_closed_with(code);
    }
    watcher.pings();
}

/// Pings and pongs are no `hello`, and half a frame is none either.
#[test]
fn a_client_that_does_not_say_hello_is_closed_with_4408() {
    let program = start(&["--ping-interval=1", "--ping-timeout=60"]);
    let mut silent = knock(program.address, "lobby");
    let mut half = knock(program.address, "lobby");
    let whole = frame(TEXT, r#"{"t":"hello"}"#);
    half.send(&whole[..9]);
    let mut waiting = silent.message("a close frame with 4408");
    assert_eq!(waiting.close_code(), 4408);
    silent.peer.ends();
    waiting = half.message("a close frame with 4408");
    assert_eq!(waiting.close_code(), 4408);
}

#[test]
fn a_second_hello_is_an_error() {
    let program = start(&[]);
    let mut ana = ana(&program);
    ana.send("hello", json!({"me": me(9), "name": "eve"}));
    let next = ana.next("err");
    assert_eq!(next["t"], "err", "{next}");
    ana.says_and_hears("still ana");
}

#[test]
fn messages_are_numbered_and_signed() {
    let program = start(&[]);
    let (mut ana, mut bo) = (ana(&program), bo(&program));
    ana.hears(json!({"t": "join", "by": bo.you, "name": "bo", "count": 2}));
    ana.say("no number");
    ana.publish(1, "a number");
    bo.skip_to("msg", "the first");
    let second = bo.message("the second");
    let mut expected = message(&ana.you, "ana", "a number");
    expected["n"] = json!(1);
    let by = ana.you.clone();
    ana.hears_message(&by, "ana", "no number");
    ana.hears(expected);
    assert_eq!(second["seq"], 2);
    assert!(second["at"].as_u64() >= ana.hello["now"].as_u64(), "{second}");
}

/// Whatever has a meaning in JSON, in HTML or to a terminal comes as it was sent.
#[test]
fn texts_come_as_they_were_said() {
    let program = start(&[]);
    let (mut ana, mut bo) = (ana(&program), bo(&program));
    let mut tutorial = program.join(7);
    let texts = [
        String::new(),
        " not trimmed \t\r\n".into(),
        "\" \\ / \\n \\u0041 {} [] ' <b>&amp;".into(),
        "\u{7f}\u{80}\u{9f}\u{a0}\u{ad}\u{200b}\u{202e}\u{2028}\u{2029}\u{feff}\u{fffd}".into(),
        "\u{fffe}\u{ffff}\u{e000}\u{10ffff}\u{d7ff}".into(),
        "é e\u{301} 你好 🦀 👩\u{200d}🚒".into(),
        "x".repeat(MAX_MESSAGE),
        "\"".repeat(MAX_MESSAGE),
        "\\".repeat(MAX_MESSAGE),
        "\n".repeat(MAX_MESSAGE),
        "🦀".repeat(MAX_MESSAGE / 4),
        "é".repeat(125),
        "x".repeat(65_535),
    ];
    ana.skip_to("join", "bo");
    ana.skip_to("join", "the tutorial's client");
    bo.skip_to("join", "the tutorial's client");
    let (by, num) = (ana.you.clone(), num_of_say(&mut ana, &mut tutorial));
    bo.message("the same");
    for text in &texts {
        ana.say(text);
        for member in [&mut ana, &mut bo] {
            member.hears_message(&by, "ana", text);
        }
        tutorial.hears(&says(num, text));
        tutorial.say(text);
        for member in [&mut ana, &mut bo] {
            member.hears_message("#7", "#7", text);
        }
        tutorial.hears(&says(7, text));
    }
}

/// What a tutorial client calls this member, which says something for that.
#[track_caller]
fn num_of_say(member: &mut Member, tutorial: &mut Client) -> i64 {
    member.says_and_hears("which number");
    let heard = String::from_utf8(tutorial.message("a message").payload).expect("text");
    let num =
        heard.strip_prefix("Client #").and_then(|rest| rest.strip_suffix(" says: which number"));
    num.and_then(|num| num.parse().ok()).unwrap_or_else(|| panic!("{heard}"))
}

#[test]
fn every_escape_of_json_is_understood() {
    let program = start(&[]);
    let mut ana = ana(&program);
    let by = ana.you.clone();
    for (json, text) in [
        (r#""caf\u00e9 \u00C9""#, "café É"),
        (r#""\ud83e\udd80""#, "🦀"),
        // Half of a pair, as pages send that cut an emoji.
        (r#""\ud83e""#, "\u{fffd}"),
        (r#""\udd80""#, "\u{fffd}"),
        (r#""\ud83e\u0041""#, "\u{fffd}A"),
        (r#""\ud83eA""#, "\u{fffd}A"),
        (r#""\udd80\ud83e""#, "\u{fffd}\u{fffd}"),
        (r#""\uD83E\uDD80\u0041""#, "🦀A"),
        (r#""\" \\ \/ \b \f \n \r \t""#, "\" \\ / \u{fffd} \u{fffd} \n \r \t"),
        (r#""\u0022\u005c\u002F""#, "\"\\/"),
        (r#""\u2028\ufeff\uffff""#, "\u{2028}\u{feff}\u{ffff}"),
    ] {
        ana.client.say(&raw_msg(json));
        ana.hears_message(&by, "ana", text);
    }
    // Names and keys may be written so, too, with any white space between.
    ana.client.say(" \t\r\n{ \"\\u0074\" : \"m\\u0073g\" ,\n\"text\":\"spaced\" } \n");
    ana.hears_message(&by, "ana", "spaced");
}

/// JSON that is none, or not of this protocol: `err` with `bad`, and the third time the end.
#[test]
fn the_third_malformed_frame_closes_with_4400() {
    let program = start(&[]);
    let malformed = [
        "",
        "hi",
        "{",
        "{}",
        "[]",
        "null",
        r#""msg""#,
        r#"[{"t":"msg","text":"hi"}]"#,
        r#"{"t":"msg","text":"hi"}}"#,
        r#"{"t":"msg","text":"hi"} {"t":"msg","text":"hi"}"#,
        r#"{"t":"msg","text":"hi",}"#,
        r#"{"t":"msg" "text":"hi"}"#,
        r#"{"t":"msg","text":"hi""#,
        r#"{'t':'msg','text':'hi'}"#,
        r#"{t:"msg",text:"hi"}"#,
        r#"{"t":"msg"}"#,
        r#"{"text":"hi"}"#,
        r#"{"t":5,"text":"hi"}"#,
        r#"{"t":null,"text":"hi"}"#,
        r#"{"t":"msg","text":5}"#,
        r#"{"t":"msg","text":null}"#,
        r#"{"t":"msg","text":["hi"]}"#,
        r#"{"t":"msg","text":{"text":"hi"}}"#,
        r#"{"t":"msg","text":"hi","n":0}"#,
        r#"{"t":"msg","text":"hi","n":-1}"#,
        r#"{"t":"msg","text":"hi","n":1.5}"#,
        r#"{"t":"msg","text":"hi","n":"1"}"#,
        r#"{"t":"msg","text":"hi","n":9007199254740992}"#,
        r#"{"t":"msg","text":"hi","n":18446744073709551617}"#,
        r#"{"t":"msg","text":"\x41"}"#,
        r#"{"t":"msg","text":"\u12"}"#,
        r#"{"t":"msg","text":"\u12g4"}"#,
        "{\"t\":\"msg\",\"text\":\"raw\u{1}\"}",
        "{\"t\":\"msg\",\"text\":\"raw\n\"}",
        "\u{feff}{\"t\":\"msg\",\"text\":\"hi\"}",
        r#"{"t":"name"}"#,
        r#"{"t":"name","name":5}"#,
        r#"{"t":"ping","x":5}"#,
        r#"{"t":"ping","x":"123456789012345678901234567890123"}"#,
        r#"{"t":"ping","x":"12345678901234567890123456789012é"}"#,
    ];
    let mut watcher = ana(&program);
    for three in malformed.chunks(3) {
        let mut bo = bo(&program);
        watcher.skip_to("join", "bo");
        for (n, text) in three.iter().enumerate() {
            bo.client.say(text);
            let next = bo.client.message(text);
            // The third may be told before it is closed.
            if n == 2 && next.first != TEXT {
                assert_eq!(next.close_code(), 4400, "{text}");
                bo.client.peer.ends();
                break;
            }
            let next = bo.take(next);
            assert_eq!(
                (&next["t"], &next["code"]),
                (&json!("err"), &json!("bad")),
                "{text:?}: {next}"
            );
            if n < 2 {
                bo.pings();
                continue;
            }
            bo.client.is_closed_with(4400);
            break;
        }
        if three.len() < 3 {
            bo.leave();
        }
        watcher.hears_leave();
        watcher.pings();
    }
}

impl Member {
    #[track_caller]
    fn hears_leave(&mut self) {
        let next = self.next("somebody leaves");
        assert_eq!(next["t"], "leave", "{next}");
    }
}

#[test]
fn an_unknown_type_is_told_and_nothing_else() {
    let program = start(&[]);
    let mut ana = ana(&program);
    for _ in 0..10 {
        for text in [
            r#"{"t":"future"}"#,
            r#"{"t":"Msg","text":"hi"}"#,
            r#"{"t":"","text":"hi"}"#,
            r#"{"t":"op","do":"mute","for":60}"#,
            r#"{"t":"join"}"#,
            r#"{"t":"pong","x":"y"}"#,
        ] {
            ana.client.say(text);
            ana.is_refused("unknown", None);
        }
    }
    ana.says_and_hears("and on it goes");
}

#[test]
fn a_text_that_is_too_long_is_refused_and_uses_up_its_number() {
    let program = start(&["--max-message=1000"]);
    let (mut ana, mut bo) = (ana(&program), bo(&program));
    ana.skip_to("join", "bo");
    for text in ["x".repeat(1001), format!("{}é", "x".repeat(999)), "🦀".repeat(251)] {
        ana.say(&text);
        ana.is_refused("long", None);
    }
    ana.publish(5, &"x".repeat(1001));
    ana.is_refused("long", Some(5));
    // The number is used up, so this one is not published.
    ana.publish(5, "shorter");
    let ack = ana.next("an ack");
    assert_eq!((&ack["t"], &ack["n"]), (&json!("ack"), &json!(5)));
    ana.publish(6, &"x".repeat(1000));
    assert_eq!(ana.message("the next")["n"], 6);
    let heard = bo.message("the only one");
    assert_eq!((&heard["seq"], &heard["n"]), (&json!(1), &json!(6)));
    assert_eq!(bo.cursor(), ana.cursor());
    // Far more often than three times, since the connection stays.
    for n in 7..40 {
        ana.publish(n, &"é".repeat(600));
        ana.is_refused("long", Some(n));
    }
    ana.reset();
    bo.skip_to("leave", "ana");
    assert_eq!(self::ana(&program).hello["n"], 39);
}

/// A frame may be six times the longest text, for escapes, and 1 KiB.
#[test]
fn a_frame_of_more_than_six_times_the_longest_text_closes_with_1009() {
    let program = start(&["--max-message=2000"]);
    let mut watcher = bo(&program);
    let bound = 6 * 2000 + 1024;
    let padded = |len: usize, json: &str| {
        let object = raw_msg(json);
        format!("{}{object}", " ".repeat(len - object.len()))
    };
    let escaped = format!("\"{}\"", r"\u00e9".repeat(1000));
    let mut ana = ana(&program);
    watcher.skip_to("join", "ana");
    let by = ana.you.clone();
    ana.client.say(&raw_msg(&format!("\"{}\"", r"\u0041".repeat(2000))));
    ana.hears_message(&by, "ana", &"A".repeat(2000));
    ana.client.say(&padded(bound, &escaped));
    ana.hears_message(&by, "ana", &"é".repeat(1000));
    watcher.message("the first");
    watcher.message("the second");
    for too_long in [
        frame(TEXT, padded(bound + 1, &escaped)),
        [frame(0x01, padded(bound, &escaped)), frame(0x80, " ")].concat(),
        [header(TEXT, bound + 1), vec![0; 4]].concat(),
    ] {
        let mut client = Member::named(program.address, "lobby", 3, "cy").client;
        watcher.skip_to("join", "cy");
        client.send(too_long);
        client.is_closed_with(1009);
        watcher.hears_leave();
    }
    watcher.pings();
}

/// Where memory is short the bound is lower, but every text that JSON doubles fits.
#[test]
fn a_small_server_takes_frames_of_twice_the_longest_text() {
    let program = start(&["--max-memory=8M"]);
    let mut ana = ana(&program);
    let by = ana.you.clone();
    for text in ["\"".repeat(MAX_MESSAGE), "é".repeat(MAX_MESSAGE / 2)] {
        ana.say(&text);
        ana.hears_message(&by, "ana", &text);
    }
}

/// C0 controls other than TAB, LF and CR would take six bytes each in JSON for everybody.
#[test]
fn control_characters_become_replacement_characters_in_json() {
    let program = start(&[]);
    let (mut ana, mut bo) = (ana(&program), bo(&program));
    let mut tutorial = program.join(7);
    ana.skip_to("join", "bo");
    ana.skip_to("join", "the tutorial's client");
    bo.skip_to("join", "the tutorial's client");
    let num = num_of_say(&mut ana, &mut tutorial);
    bo.message("the same");
    let by = ana.you.clone();
    let controls: String = (0..0x20_u8).map(char::from).collect();
    let replaced: String = controls
        .chars()
        .map(|c| if matches!(c, '\t' | '\n' | '\r') { c } else { '\u{fffd}' })
        .collect();
    tutorial.say(&controls);
    tutorial.hears(&says(7, &controls));
    for member in [&mut ana, &mut bo] {
        member.hears_message("#7", "#7", &replaced);
    }
    ana.say(&controls);
    for member in [&mut ana, &mut bo] {
        member.hears_message(&by, "ana", &replaced);
    }
    let heard = String::from_utf8(tutorial.message("the controls").payload).expect("text");
    assert!(
        heard == says(num, &controls) || heard == says(num, &replaced),
        "the tutorial's client heard {heard:?}"
    );
    // The worst that a tutorial client can do.
    let worst = "\u{1}".repeat(MAX_MESSAGE);
    tutorial.say(&worst);
    tutorial.hears(&says(7, &worst));
    for member in [&mut ana, &mut bo] {
        let frame = member.client.message("64 KiB of controls");
        assert!(frame.payload.len() < 3 * MAX_MESSAGE + 256, "{} bytes", frame.payload.len());
        assert_eq!(member.take(frame)["text"], "\u{fffd}".repeat(MAX_MESSAGE));
    }
    // And the newcomer reads the same.
    let mut newcomer = join(&program, json!({}));
    assert!(newcomer.replay().contains(&replaced));
}

#[test]
fn pings_are_answered_with_what_they_bring() {
    let program = start(&[]);
    let mut ana = ana(&program);
    ana.send("ping", json!({}));
    ana.hears(json!({"t": "pong"}));
    for x in ["", "1", "12345678901234567890123456789012", "🦀🦀🦀🦀🦀🦀🦀🦀", "\"\\\n"]
    {
        ana.send("ping", json!({"x": x}));
        ana.hears(json!({"t": "pong", "x": x}));
    }
    ana.client.send(frame(PING, "below"));
    assert_eq!(ana.client.next("a pong"), Frame { first: PONG, payload: b"below".to_vec() });
}

/// `n` that was accepted already, or is below one that was, is acknowledged and not published.
#[test]
fn a_number_is_accepted_once() {
    let program = start(&[]);
    let (mut ana, mut bo) = (ana(&program), bo(&program));
    ana.skip_to("join", "bo");
    for n in [1, 2, 10, (1 << 53) - 1] {
        ana.publish(n, "accepted, even with a gap");
        assert_eq!(ana.message("its own")["n"], n);
        assert_eq!(bo.message("the same")["n"], n);
        for again in [n, n.saturating_sub(1).max(1), 1] {
            ana.publish(again, "not again");
            let ack = ana.next("an ack");
            assert_eq!((&ack["t"], &ack["n"]), (&json!("ack"), &json!(again)));
            if let Some(seq) = ack.get("seq") {
                assert!(seq.as_u64() <= Some(ana.seq()), "{ack}");
            }
        }
    }
    bo.pings();
    assert_eq!(bo.seq(), 4);
    // No number, no promise.
    ana.say("unnumbered");
    ana.say("unnumbered");
    ana.message("the first");
    assert_eq!(ana.message("the second").get("n"), None);
    // Each sender counts for itself, and so does each connection without a secret.
    bo.publish(1, "mine");
    assert_eq!(bo.skip_to("msg", "unnumbered")["text"], "unnumbered");
    assert_eq!(bo.message("unnumbered")["text"], "unnumbered");
    assert_eq!(bo.message("mine")["n"], 1);
    let mut nobody = join(&program, json!({"history": 0}));
    nobody.publish(1, "from nobody");
    assert_eq!(nobody.message("its own")["n"], 1);
    nobody.publish(1, "from nobody");
    assert_eq!(nobody.next("an ack")["t"], "ack");
}

/// One that only publishes is sent `hello`, acks, errors and pongs, and nothing of the room.
#[test]
fn a_client_that_does_not_hear_is_sent_acks() {
    let program = start(&["--max-message=1000"]);
    let (mut ana, mut tutorial) = (ana(&program), program.join(7));
    ana.says_and_hears_after_join("before");
    let mut sensor = join(&program, json!({"me": me(5), "name": "sensor", "hear": false}));
    assert_eq!(sensor.name(), "sensor");
    assert_eq!(sensor.hello["n"], json!(null));
    ana.skip_to("join", "the sensor");
    for n in 1..=20 {
        ana.say("it does not hear this");
        tutorial.say("nor this");
        sensor.publish(n, &n.to_string());
        let ack = sensor.next("an ack");
        assert_eq!((&ack["t"], &ack["n"]), (&json!("ack"), &json!(n)));
        // Its place in the order, if that is told.
        let own = loop {
            let next = ana.message("the sensor's");
            if next["name"] == "sensor" {
                break next;
            }
        };
        assert_eq!((&own["n"], &own["text"]), (&json!(n), &json!(n.to_string())));
        if let Some(seq) = ack.get("seq") {
            assert_eq!(*seq, own["seq"]);
        }
    }
    sensor.publish(20, "again");
    assert_eq!(sensor.next("an ack")["n"], 20);
    sensor.publish(21, &"x".repeat(1001));
    sensor.is_refused("long", Some(21));
    sensor.say("no number, no ack");
    sensor.pings();
    sensor.client.say("malformed");
    sensor.is_refused("bad", None);
    // `since` and `history` mean nothing to it.
    sensor.leave();
    let mut again =
        join(&program, json!({"me": me(5), "hear": false, "since": ana.cursor(), "history": 1000}));
    assert_eq!(again.hello["n"], 21);
    again.pings();
}

impl Member {
    /// The same as `says_and_hears` once everybody who came has been announced.
    #[track_caller]
    fn says_and_hears_after_join(&mut self, text: &str) {
        self.say(text);
        assert_eq!(self.message(text)["text"], text);
    }
}

/// The tutorial's clients hear their own frames, byte for byte, and are heard as `#id`.
#[test]
fn tutorial_clients_in_the_same_room_hear_what_they_always_did() {
    let program = start(&[]);
    let mut alone = program.join(-42);
    alone.says_and_hears(-42, "alone");
    let mut ana = ana(&program);
    let who = ana.hello["who"].as_array().expect("a list").clone();
    assert!(who.contains(&json!(["#-42", "#-42"])) && who.len() == 2, "{who:?}");
    let mut second = program.join(i64::MIN);
    let by = format!("#{}", i64::MIN);
    ana.hears(json!({"t": "join", "by": by, "name": by, "count": 3}));
    second.say("hi");
    ana.hears_message(&by, &by, "hi");
    for client in [&mut alone, &mut second] {
        client.hears(&says(i64::MIN, "hi"));
    }
    // A positive number of 31 bits, which stays.
    let num = num_of_say(&mut ana, &mut second);
    assert!((1..1 << 31).contains(&num), "{num}");
    alone.hears(&says(num, "which number"));
    ana.send("name", json!({"name": "anabel"}));
    ana.hears(json!({"t": "name", "by": ana.you, "name": "anabel"}));
    ana.leave();
    for client in [&mut alone, &mut second] {
        client.hears(&left(num));
    }
    let mut back = self::ana(&program);
    assert_eq!(num_of_say(&mut back, &mut second), num);
    alone.hears(&says(num, "which number"));
    second.leave();
    alone.hears(&left(i64::MIN));
    back.hears(json!({"t": "leave", "by": by, "count": 2}));
    alone.peer.reset();
    back.hears(json!({"t": "leave", "by": "#-42", "count": 1, "lost": true}));
}

/// The transcript of the tutorial's clients is the same bytes with and without others in the room.
#[test]
fn the_tutorials_transcript_is_the_same_bytes_beside_named_clients() {
    let transcript = |program: &Program| {
        let (mut first, mut second) = (program.join(1), program.join(2));
        let mut frames = Vec::new();
        for text in ["hi", "", "\u{1}\"\\", "🦀", &"x".repeat(MAX_MESSAGE)] {
            first.say(text);
            frames.extend([first.next("its own"), second.next("a message")]);
        }
        second.send(close(1000, "bye"));
        frames.extend([second.next("the close reply"), first.next("it left")]);
        first.leave();
        frames
    };
    let program = start(&[]);
    let alone = transcript(&program);
    let mut named: Vec<Member> =
        (0..5).map(|n| join(&program, json!({"me": me(n), "name": format!("p{n}")}))).collect();
    named.push(join(&program, json!({"hear": false})));
    assert!(transcript(&program) == alone, "they heard something else");
}

#[test]
fn each_fault_has_its_close_code() {
    let program = start(&["--max-message=1000", "--ping-interval=0.2", "--ping-timeout=0.2"]);
    for (bytes, code) in [
        (frame(BINARY, r#"{"t":"msg","text":"hi"}"#), 1003),
        (frame(TEXT, b"{\"t\":\"msg\",\"text\":\"\xff\"}"), 1007),
        (UNMASKED.to_vec(), 1002),
        (frame(TEXT, [b' '; 10_000]), 1009),
        (close(1000, ""), 1000),
        (Vec::new(), 1011),
    ] {
        let mut client = join(&program, json!({})).client;
        client.send(bytes);
        client.is_closed_with(code);
    }
}

/// What it had said is in front of its close frame, like everybody's.
#[test]
fn a_stop_closes_with_1001() {
    let mut program = start(&[]);
    let mut ana = ana(&program);
    let mut early = knock(program.address, "lobby");
    ana.publish(1, "one more");
    program.signal(rustix::process::Signal::TERM);
    early.is_closed_with(1001);
    let last = ana.client.message("its message or the end");
    if last.first == TEXT {
        assert_eq!(ana.take(last)["n"], 1);
        ana.is_closed_with(1001);
    } else {
        assert_eq!(last.close_code(), 1001);
    }
    assert!(program.ends().success());
}

/// One that leaves hears the room up to its own last message, then its close frame.
#[test]
fn last_words_are_heard_before_the_close_reply() {
    let program = start(&[]);
    let mut watcher = ana(&program);
    for round in 0..50 {
        let mut bo = bo(&program);
        watcher.skip_to("join", "bo");
        let words: Vec<String> = (0..round % 5).map(|n| format!("last word {n}")).collect();
        let mut bytes: Vec<u8> = words
            .iter()
            .flat_map(|text| frame(TEXT, json!({"t": "msg", "text": text}).to_string()))
            .collect();
        bytes.extend(close(1000, ""));
        bytes.extend(frame(TEXT, raw_msg("\"too late\"")));
        bo.client.send(bytes);
        assert_eq!(bo.texts(words.len()), words);
        bo.is_closed_with(1000);
        assert_eq!(watcher.texts(words.len()), words);
        watcher.hears_leave();
    }
}

/// Frames may come byte by byte, in fragments, or all at once.
#[test]
fn frames_may_be_cut_anywhere() {
    let program = start(&[]);
    let mut client = knock(program.address, "lobby");
    client.peer.drip(frame(TEXT, r#"{"t":"hello","me":"000000000000000000007A","name":"én"}"#));
    let hello = client.message("hello");
    assert!(String::from_utf8(hello.payload).expect("text").contains("\"én\""));
    let mut ana = ana(&program);
    let by = ana.you.clone();
    let object = raw_msg("\"één 🦀\"");
    for size in 1..12 {
        let pieces: Vec<_> = object.as_bytes().chunks(size).collect();
        for (n, piece) in pieces.iter().enumerate() {
            let opcode = if n == 0 { TEXT & 0x0f } else { 0 };
            let fin = if n + 1 == pieces.len() { 0x80 } else { 0 };
            ana.client.send(frame(opcode | fin, piece));
        }
        ana.hears_message(&by, "ana", "één 🦀");
    }
    // `hello` and what follows it in one packet.
    let mut peer = Peer::connect(program.address);
    let many: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let mut bytes = get("/lobby/ws", &format!("{UPGRADE}{OFFER}")).into_bytes();
    bytes.extend(frame(TEXT, r#"{"t":"hello","history":0}"#));
    for text in &many {
        bytes.extend(frame(TEXT, raw_msg(&format!("\"{text}\""))));
    }
    peer.send(bytes);
    let mut client = peer.upgraded_to(Some("roomd.1"));
    client.message("hello");
    for text in &many {
        let frame = client.message(text);
        let object: Value = serde_json::from_slice(&frame.payload).expect("JSON");
        assert_eq!(object["text"], *text);
    }
}
