//! The benchmarks' checks fail when they should: a figure says nothing if a message can be lost,
//! repeated or altered unnoticed.

#![allow(dead_code)] // The benchmark uses more of these modules than their tests do.

mod kit;

#[path = "../benches/room/frame.rs"]
mod frame;
#[path = "../benches/room/message.rs"]
mod message;
#[path = "../benches/room/order.rs"]
mod order;
#[path = "../benches/room/protocol.rs"]
mod protocol;
#[path = "../benches/footprint/table.rs"]
mod table;

use frame::Frame;
use kit::frame::from_server;
use message::Message;
use order::{Order, said};
use protocol::{Heard, Protocol};
use table::{FIGURES, Table};

const LENGTH: usize = 64;

#[test]
fn frames_are_found_however_the_stream_is_cut() {
    let texts = [Vec::new(), vec![b'a'; 125], vec![b'b'; 126], vec![b'c'; 4096]];
    let stream: Vec<u8> = texts.iter().flat_map(|text| from_server(text)).collect();
    for cut in 0..=stream.len() {
        let mut heard = Vec::new();
        let mut begun = Vec::new();
        for part in [&stream[..cut], &stream[cut..]] {
            begun.extend_from_slice(part);
            let mut bytes = &begun[..];
            while let Some(frame) = frame::take(&mut bytes).expect("the frames are well formed") {
                match frame {
                    Frame::Text(text) => heard.push(text.to_vec()),
                    other => panic!("cut at {cut}: {other:?}"),
                }
            }
            begun = bytes.to_vec();
        }
        assert_eq!(heard, texts, "cut at {cut}");
    }
}

/// What is left of a stream, and what came before, however it is cut.
fn heard(protocol: Protocol, stream: &[u8]) -> Vec<String> {
    let mut all: Vec<Vec<String>> = Vec::new();
    for cut in 0..=stream.len() {
        let (mut heard, mut begun, mut usual) = (Vec::new(), Vec::new(), 0);
        for part in [&stream[..cut], &stream[cut..]] {
            begun.extend_from_slice(part);
            let mut bytes = &begun[..];
            while let Some(it) = protocol.take(&mut bytes, &mut usual).expect("well formed") {
                heard.push(match it {
                    Heard::Text(text) => String::from_utf8(text.to_vec()).expect("UTF-8"),
                    other => format!("{other:?}"),
                });
            }
            begun = bytes.to_vec();
        }
        assert!(begun.is_empty(), "cut at {cut}: {begun:?} is left");
        all.push(heard);
    }
    all.dedup();
    assert_eq!(all.len(), 1, "it depends on the cut");
    all.remove(0)
}

#[test]
fn objects_are_found_however_the_stream_is_cut() {
    let msg = |n: usize| format!("{{\"t\":\"msg\",\"seq\":{n},\"text\":\"x\"}}");
    let (hello, join) = ("{\"t\":\"hello\",\"room\":\"a\"}", "{\"t\":\"join\",\"count\":2}");
    let texts = [9, 10, 11, 7, 100].map(msg);
    let expected: Vec<String> =
        ["Hello", "Notice"].map(String::from).into_iter().chain(texts.clone()).collect();
    let lines = [hello, join].into_iter().chain(texts.iter().map(String::as_str));
    let json: String = lines.clone().map(|line| format!("{line}\n")).collect();
    assert_eq!(heard(Protocol::Json, json.as_bytes()), expected);
    let frames: Vec<u8> = lines.flat_map(|line| from_server(line.as_bytes())).collect();
    assert_eq!(heard(Protocol::Roomd1, &frames), expected);
    let messages = texts.iter().map(|msg| format!("id: k3.9\ndata: {msg}\n\n"));
    let sse = format!(
        "retry: 2000\nevent: hello\nid: k3.8\ndata: {hello}\n\nevent: join\ndata: {join}\n\n"
    );
    let sse: String = std::iter::once(sse).chain(messages).collect();
    assert_eq!(heard(Protocol::Sse, sse.as_bytes()), expected);
}

#[test]
fn what_is_no_object_is_an_error() {
    for (protocol, bytes) in [
        (Protocol::Json, &b"{\"t\":\"err\",\"code\":\"bad\"}\n"[..]),
        (Protocol::Json, b"Client #1 says: x\n"),
        (Protocol::Sse, b"data: {\"t\":\"msg\"}\n\n"),
        (Protocol::Sse, b"id: k3.9\n\n"),
        (Protocol::Sse, b": comment\n\n"),
    ] {
        assert!(protocol.take(&mut &*bytes, &mut 0).is_err(), "{bytes:?}");
    }
}

#[test]
fn an_object_is_known_by_the_text_at_its_end() {
    let message = Message::new(1, 44);
    let object = |text: &[u8]| [b"{\"t\":\"msg\",\"seq\":1,\"text\":\"", text, b"\"}"].concat();
    let mut order = Order::new(2, 2, LENGTH);
    let first = Message::new(1, 0).text(LENGTH);
    order.hear(0, &object(&first)).expect("the first");
    order.hear(1, &said(1, &first)).expect("it is the same by another protocol");
    assert_eq!(Message::find(&object(&message.text(LENGTH))), Some(message));
    let mut altered = Message::new(1, 1).text(LENGTH);
    altered[3] = b'x';
    assert!(order.hear(0, &object(&altered)).is_err());
}

#[test]
fn a_close_frame_tells_its_code() {
    let close = |bytes: &[u8]| match frame::take(&mut &*bytes) {
        Ok(Some(Frame::Close(code))) => code,
        other => panic!("{bytes:?} is no close frame but {other:?}"),
    };
    assert_eq!(close(&[0x88, 2, 0x03, 0xF5]), Some(1013));
    assert_eq!(close(&[0x88, 0]), None);
}

#[test]
fn what_no_server_may_send_is_an_error() {
    let fragment = [0x01, 1, b'a'];
    let masked = frame::text(b"a");
    for bytes in [&fragment[..], &masked] {
        assert!(frame::take(&mut &bytes[..]).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_message_is_found_in_what_the_room_makes_of_it() {
    for (sender, number) in [(0, 0), (3, 63), (1023, 64), (7, 1_000_000_000)] {
        let message = Message::new(sender, number);
        let text = said(sender, &message.text(LENGTH));
        assert_eq!(Message::find(&text), Some(message));
        assert_eq!((message.sender(), message.number()), (sender, number));
    }
    assert_eq!(Message::find(b"Client #7 left the chat"), None);
    assert_eq!(message::who_left(b"Client #7 left the chat"), Some(7));
}

/// A room of two senders, in which client 0 has heard three messages.
fn room() -> (Order, [Vec<u8>; 3]) {
    let say = |sender, number| said(sender, &Message::new(sender, number).text(LENGTH));
    let texts = [say(0, 0), say(1, 0), say(0, 1)];
    let mut order = Order::new(2, 2, LENGTH);
    for text in &texts {
        order.hear(0, text).expect("the first to hear says what the order is");
    }
    (order, texts)
}

#[test]
fn whoever_hears_the_same_is_content() {
    let (mut order, texts) = room();
    for text in &texts {
        order.hear(1, text).expect("client 1 hears what client 0 has heard");
    }
    assert_eq!(order.deliveries(), 6);
}

#[test]
fn a_message_lost_repeated_or_out_of_order_is_an_error() {
    let (mut order, [first, second, _]) = room();
    assert!(order.hear(1, &second).is_err(), "the first is lost, or comes later");
    order.hear(1, &first).expect("an error changes nothing");
    assert!(order.hear(1, &first).is_err(), "the first comes twice");
    assert!(order.hear(0, &first).is_err(), "the first comes twice to whom it came first");
}

#[test]
fn a_text_that_was_altered_or_never_said_is_an_error() {
    let (mut order, _) = room();
    let next = Message::new(1, 1).text(LENGTH);
    let mut altered = said(1, &next);
    altered[20] ^= 1;
    let stranger = Message::new(2, 0).text(LENGTH);
    for text in [altered, said(0, &next), said(2, &stranger), b"Client #1 left the chat".to_vec()] {
        assert!(order.hear(0, &text).is_err(), "{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn a_figure_that_has_grown_is_named() {
    let of = |kb: f64| {
        let mut table = Table::default();
        table.keep_least(1, [Some(kb); FIGURES.len()]);
        table
    };
    assert!(of(109.0).grown(&of(100.0), 1.1).is_empty());
    assert!(of(50.0).grown(&of(100.0), 1.1).is_empty());
    let grown = of(111.0).grown(&of(100.0), 1.1);
    assert_eq!(grown.len(), FIGURES.len());
    assert!(grown[0].contains("armv7") && grown[0].contains("111 (was 100)"), "{grown:?}");
}

#[test]
fn the_least_of_some_measurements_is_kept() {
    let mut table = Table::default();
    for kb in [7.0, 5.0, 6.0] {
        table.keep_least(0, [None, Some(kb), None, None, None, None]);
    }
    assert!(
        table.markdown().contains("| resident at start, kB | 5.0 |  |"),
        "{}",
        table.markdown()
    );
}

/// The table in the README is made from the file that is compared with.
#[test]
fn the_readme_has_the_footprint_of_the_file() {
    Table::read().and_then(|table| table.is_in_readme()).unwrap_or_else(|error| panic!("{error}"));
}
