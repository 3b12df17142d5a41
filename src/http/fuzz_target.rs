//! Bytes as a request: whatever they are, the verdict is bounded, and it is the same however they
//! are cut in pieces on their way.

use std::sync::LazyLock;

use crate::config::{HEAD_BYTES, HEAD_FIELDS};
use crate::http::invite;
use crate::http::origin::OriginPolicy;
use crate::http::page::Page;
use crate::http::request::{self, CHUNK, RequestHead};
use crate::http::route::{Endpoint, Route, Routes, route};
use crate::testing::Rng;

/// Takes `sent` for what a connection sends first, at each kind of address.
pub fn run(sent: &[u8]) {
    let policy = OriginPolicy::new(&[], &[]);
    for routes in [
        Routes { chat: Some(&policy), admin: true, max_message: 1000 },
        Routes { chat: Some(&policy), admin: false, max_message: 1000 },
        Routes { chat: None, admin: true, max_message: 1000 },
    ] {
        let whole = judge(routes, sent, || CHUNK);
        let mut dice = Rng::new(sent.len() as u64);
        for in_pieces in [judge(routes, sent, || 1), judge(routes, sent, || 1 + dice.roll(99))] {
            match (&whole, &in_pieces) {
                // What drips in is looked at when a line is complete.
                (Some((Route::Refuse(_), _)), None) | (None, Some((Route::Refuse(_), _))) => {}
                _ => assert_eq!(whole, in_pieces),
            }
        }
    }
}

/// The verdict, and how long the head was if there was one. None: more is waited for.
fn judge(
    routes: Routes<'_>,
    mut sent: &[u8],
    mut piece: impl FnMut() -> usize,
) -> Option<(Route, usize)> {
    let mut received = Vec::new();
    let read = |bytes: &mut [u8]| {
        let len = piece().min(bytes.len()).min(sent.len());
        let (now, later) = sent.split_at(len);
        bytes[..len].copy_from_slice(now);
        sent = later;
        Ok(len)
    };
    let decide = |head: &RequestHead<'_>| {
        check_head(head);
        route(routes, head)
    };
    let found = request::receive(&mut received, read, decide).ok()?;
    assert!(received.len() <= HEAD_BYTES);
    let (route, len) = found.unwrap_or_else(|refusal| (Route::Refuse(refusal), 0));
    let lines = received[..len].iter().filter(|byte| **byte == b'\n').count();
    // The request line and the empty one.
    assert!(lines <= HEAD_FIELDS + 2);
    check(&route, routes);
    Some((route, len))
}

/// A path is decoded once, and what is escaped in it separates nothing.
fn check_head(head: &RequestHead<'_>) {
    assert!(head.path == "*" || head.path.starts_with('/'), "{}", head.path);
    assert!(!head.path.contains('\0'));
    assert!(!head.query.contains('#'));
    for field in [head.host, head.origin.unwrap_or_default(), &head.accept_encoding] {
        assert!(!field.contains(['\r', '\n', '\0']));
    }
}

/// An answer is bounded, and shows of what was sent no more than an excerpt.
fn check(route: &Route, routes: Routes<'_>) {
    static PAGE: LazyLock<Page> = LazyLock::new(|| Page::new(65_536));
    match route {
        Route::Upgrade(endpoint, response) => {
            let takes_protocol = matches!(endpoint, Endpoint::Roomd1 { .. });
            assert!(response.len() < 200 && response.starts_with(b"HTTP/1.1 101 "));
            let lines = response.split(|byte| *byte == b'\n').count();
            let expected = 6 + usize::from(takes_protocol);
            assert_eq!(lines, expected, "the status, the fields, the empty line, and nothing");
        }
        Route::Page(request) | Route::RoomPage { page: request, .. } => {
            let response = PAGE.response(request).unwrap();
            let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
            let head = std::str::from_utf8(&response[..end]).unwrap();
            let is_known = head.starts_with("HTTP/1.1 304 ");
            assert!(is_known || head.starts_with("HTTP/1.1 200 "), "{head}");
            let vary =
                if request.is_negotiated { "Accept, Accept-Encoding" } else { "Accept-Encoding" };
            assert!(head.len() < 1000 && head.contains(&format!("\r\nVary: {vary}\r\n")), "{head}");
            assert_eq!(head.contains("\r\nContent-Encoding: gzip\r\n"), request.accepts_gzip);
            assert_eq!(response.len() == end, request.head_only || is_known, "{head}");
        }
        Route::Invite { page_url, .. } => assert!(invite::is_page_url(page_url)),
        Route::Admin { .. } => assert!(routes.admin),
        Route::Redirect { redirect, .. } => {
            assert!(redirect.location.starts_with("./") || redirect.location.starts_with("../"));
            assert!(redirect.location.len() <= 3 + 64);
        }
        Route::Options { allow, .. } => assert!(allow.contains("OPTIONS")),
        Route::Rooms { .. } => {}
        Route::Publish(request) => request.check(routes.max_message),
        Route::Follow(request) => request.check(),
        Route::NotUpgraded { refusal, .. } | Route::Refuse(refusal) => {
            let response = String::from_utf8(refusal.response(false)).unwrap();
            let (head, line) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}", line.len())));
            let line = line.strip_suffix('\n').unwrap();
            assert!(!line.contains(char::is_control), "{line:?}");
            assert!(line.chars().count() < 2 * 101 + 150, "{line}");
            let bare = String::from_utf8(refusal.response(true)).unwrap();
            let bare = bare.strip_suffix("\r\n\r\n").expect("no body for HEAD");
            // A second may have passed between the two.
            assert!(undated(bare).eq(undated(head)), "{bare}");
        }
    }
    let is_of_chat = matches!(
        route,
        Route::Upgrade(..)
            | Route::Page(_)
            | Route::RoomPage { .. }
            | Route::Redirect { .. }
            | Route::Rooms { .. }
            | Route::Invite { .. }
            | Route::Publish(_)
            | Route::Follow(_)
    );
    assert!(!is_of_chat || routes.chat.is_some());
}

/// The lines of a head but for the date.
fn undated(head: &str) -> impl Iterator<Item = &str> {
    head.lines().filter(|line| !line.starts_with("Date: "))
}
