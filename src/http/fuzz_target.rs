//! Bytes as a request: whatever they are, the verdict is bounded, and it is the same however they
//! are cut in pieces on their way.

use crate::config::{HEAD_BYTES, HEAD_FIELDS};
use crate::http::invite;
use crate::http::origin::OriginPolicy;
use crate::http::page::{Page, PageRequest};
use crate::http::request::{self, CHUNK};
use crate::http::route::{Route, Routes, route};
use crate::testing::Rng;

/// Takes `sent` for what a connection sends first.
pub fn run(sent: &[u8]) {
    let whole = judge(sent, || CHUNK);
    let mut dice = Rng::new(sent.len() as u64);
    for in_pieces in [judge(sent, || 1), judge(sent, || 1 + dice.roll(99))] {
        match (&whole, &in_pieces) {
            // What drips in is looked at when a line is complete.
            (Some((Route::Refuse(_), _)), None) | (None, Some((Route::Refuse(_), _))) => {}
            _ => assert_eq!(whole, in_pieces),
        }
    }
}

/// The verdict, and how long the head was if there was one. None: more is waited for.
fn judge(mut sent: &[u8], mut piece: impl FnMut() -> usize) -> Option<(Route, usize)> {
    let mut received = Vec::new();
    let policy = OriginPolicy::new(&[], &[]);
    let routes = Routes { chat: Some(&policy), admin: true };
    let read = |bytes: &mut [u8]| {
        let len = piece().min(bytes.len()).min(sent.len());
        let (now, later) = sent.split_at(len);
        bytes[..len].copy_from_slice(now);
        sent = later;
        Ok(len)
    };
    let found = request::receive(&mut received, read, |head| route(routes, head)).ok()?;
    assert!(received.len() <= HEAD_BYTES);
    let (route, len) = found.unwrap_or_else(|refusal| (Route::Refuse(refusal), 0));
    let lines = received[..len].iter().filter(|byte| **byte == b'\n').count();
    // The request line and the empty one.
    assert!(lines <= HEAD_FIELDS + 2);
    check(&route);
    Some((route, len))
}

/// Nothing of what was sent gets into an answer or to the page side as anything but text.
fn check(route: &Route) {
    match route {
        Route::Upgrade(_, response) => {
            assert!(response.len() < 200 && response.starts_with(b"HTTP/1.1 101 "));
            let lines = response.split(|byte| *byte == b'\n').count();
            assert_eq!(lines, 6, "the status, three fields, the empty line, and nothing");
        }
        Route::Page(PageRequest { path, if_none_match, .. }) => {
            assert!(Page::has(path));
            let tag = if_none_match.as_deref().unwrap_or_default();
            assert!(!tag.contains(['\r', '\n', '\0']));
        }
        Route::Invite { page_url, .. } => assert!(invite::is_page_url(page_url)),
        Route::Admin { .. } | Route::Options => {}
        Route::NotUpgraded(refusal) | Route::Refuse(refusal) => {
            let response = String::from_utf8(refusal.response(false)).unwrap();
            let (head, line) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}", line.len())));
            let line = line.strip_suffix('\n').unwrap();
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }
}
