use crate::support::{CLOSE, Frame, Peer, TEXT, TestServer, close, eventually, frame, get, left};

/// What a client may close with: the codes that IANA has registered, except those that are reserved, and
/// all of the two ranges that libraries and applications share out among themselves.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// How many clients of `endpoint` have left for this `reason`.
#[track_caller]
fn leaves(server: &TestServer, endpoint: &str, reason: &str) -> usize {
    let sample = format!("roomd_leaves_total{{endpoint=\"{endpoint}\",reason=\"{reason}\"}} ");
    let response = Peer::ask(server.address(), get("/metrics", ""));
    let line = response.text().lines().find_map(|line| line.strip_prefix(&sample));
    line.and_then(|count| count.parse().ok()).expect("a number of clients")
}

/// From 0 on, and to the last that any range has; then what has no meaning at all.
fn codes() -> impl Iterator<Item = u16> {
    (0..=5000).chain([5999, 6000, 9999, 10_000, 32_767, 32_768, u16::MAX])
}

#[test]
fn a_code_that_may_be_sent_is_given_back_and_any_other_is_1002() {
    let server = TestServer::start();
    for code in codes() {
        let mut client = server.echo();
        client.send(close(code, "good bye"));
        let reply = client.next("the close reply").close_code();
        let expected = if may_be_sent(code) { code } else { 1002 };
        assert_eq!(reply, expected, "to {code}");
        client.peer.ends();
    }
    let clean = codes().filter(|code| may_be_sent(*code)).count();
    // A client is counted once it is gone, which the end of its connection does not wait for.
    let counts = || (leaves(&server, "echo", "closed"), leaves(&server, "echo", "protocol"));
    let all = (clean, codes().count() - clean);
    eventually("each is counted", || (counts() == all).then_some(()));
}

#[test]
fn the_room_counts_a_code_as_the_echo_does() {
    let server = TestServer::start();
    let mut watcher = server.join(1);
    for (code, reply, reason) in
        [(1014, 1014, "closed"), (3008, 3008, "closed"), (1006, 1002, "protocol")]
    {
        let before = leaves(&server, "room", reason);
        let mut member = server.join(2);
        member.send(close(code, ""));
        member.is_closed_with(reply);
        watcher.hears(&left(2));
        assert_eq!(leaves(&server, "room", reason), before + 1, "{code}");
    }
}

/// However the close frame is cut on its way, and whatever comes before and behind it.
#[test]
fn the_code_of_the_first_close_frame_counts() {
    let server = TestServer::start();
    for begin in [frame(TEXT, "hello"), frame(TEXT & 0x0f, "the first of two"), Vec::new()] {
        let sent = [begin, close(1014, "é"), close(1000, "")].concat();
        let mut client = server.echo();
        client.peer.drip(&sent);
        let mut replies = vec![client.next("a reply")];
        while replies[replies.len() - 1].first != CLOSE {
            replies.push(client.next("the close reply"));
        }
        let reply = Frame { first: CLOSE, payload: 1014u16.to_be_bytes().into() };
        assert_eq!(replies.last(), Some(&reply));
        client.peer.ends();
    }
}
