use crate::support::{Frame, MAX_MESSAGE, PING, PONG, TEXT, TestServer, close, frame};

fn answer(text: &str) -> String {
    format!("Message text was: {text}")
}

#[test]
fn each_message_is_answered() {
    let server = TestServer::start();
    let mut client = server.echo();
    let long = "y".repeat(MAX_MESSAGE);
    for text in ["hello", "", " \n", "\0", "<i>é 🦀</i>", &long] {
        client.say(text);
        client.hears(&answer(text));
    }
    client.leave();
}

#[test]
fn the_answer_is_for_the_sender_alone_and_the_room_never_hears_it() {
    let server = TestServer::start();
    let (mut one, mut other, mut member) = (server.echo(), server.echo(), server.join(1));
    one.say("to myself");
    one.hears(&answer("to myself"));
    member.says_and_hears(1, "in the room");
    other.say("me too");
    other.hears(&answer("me too"));
    one.say("and again");
    one.hears(&answer("and again"));
    one.leave();
    other.peer.reset();
    member.says_and_hears(1, "nobody has left it");
}

#[test]
fn messages_sent_together_are_answered_one_by_one_and_in_order() {
    let server = TestServer::start();
    let mut client = server.echo();
    let texts: Vec<_> = (0..2000).map(|n| n.to_string()).collect();
    let mut bytes: Vec<u8> = texts.iter().flat_map(|text| frame(TEXT, text)).collect();
    bytes.extend(close(1000, "done"));
    client.send(bytes);
    client.hears_all(texts.iter().map(|text| answer(text)));
    client.is_closed_with(1000);
}

#[test]
fn each_ping_gets_its_pong() {
    let server = TestServer::start();
    for mut client in [server.echo(), server.join(1)] {
        let payloads: Vec<_> = (0..200u8).map(|n| vec![n; usize::from(n) % 126]).collect();
        let pings: Vec<u8> = payloads.iter().flat_map(|payload| frame(PING, payload)).collect();
        client.send(pings);
        for payload in payloads {
            assert_eq!(client.next("a pong"), Frame { first: PONG, payload });
        }
    }
}

#[test]
fn a_pong_that_nobody_asked_for_is_ignored() {
    let server = TestServer::start();
    let mut client = server.join(1);
    client.send(frame(PONG, "hello?"));
    client.send(frame(PONG, ""));
    client.says_and_hears(1, "yes");
}
