//! Requests to hear a room: a stream of lines or events, or what is there at the moment.

use std::sync::Arc;
use std::time::Duration;

use crate::client::follower::Follower;
use crate::client::session::{Context, Seat};
use crate::http::query::{self, Query, Since};
use crate::http::refusal::Refusal;
use crate::http::request::RequestHead;
use crate::http::response::{self, Fields};
use crate::net::conn::Conn;
use crate::room::follow::{Follow, Until, Wants};
use crate::room::name::RoomName;
use crate::wire::stream::{FULL, Format};

/// A request to hear a room.
#[derive(Debug, PartialEq, Eq)]
pub struct FollowRequest {
    /// Which one.
    pub room: RoomName,
    /// The head alone is wanted.
    pub head_only: bool,
    format: Format,
    wants: Wants,
    until: Until,
    wait: Duration,
}

/// Fields of every stream. Proxies are asked not to keep anything back.
const FIELDS: Fields = &[("X-Accel-Buffering", "no"), ("Vary", "Accept, Origin")];

impl FollowRequest {
    /// What this request is.
    ///
    /// # Errors
    /// The refusal of one that is malformed.
    pub fn of(
        head: &RequestHead<'_>,
        room: RoomName,
        format: Format,
        head_only: bool,
    ) -> Result<FollowRequest, Refusal> {
        let query = Query::parse(head.query)?;
        // An EventSource repeats its first URL, so what it has heard since comes first.
        let last = head.last_event_id.filter(|id| !id.is_empty());
        let last = last.map(|id| query::cursor("Last-Event-ID", id)).transpose()?;
        let since = last.map(Since::Cursor).or(query.since);
        let wants = match (query.before, since) {
            (Some(before), _) => Wants::Before(before),
            (None, Some(Since::Cursor(cursor))) => Wants::Since(cursor),
            (None, Some(Since::All)) => Wants::All,
            (None, Some(Since::Nothing)) => Wants::News,
            (None, Some(Since::Age(age))) => Wants::Recent(age),
            (None, None) if query.is_poll => Wants::All,
            (None, None) => Wants::News,
        };
        let until = match (query.is_poll, query.wait.is_zero() || query.before.is_some()) {
            (false, _) => Until::Forever,
            (true, true) => Until::Present,
            (true, false) => Until::Message,
        };
        Ok(FollowRequest { room, head_only, format, wants, until, wait: query.wait })
    }

    /// The response to HEAD.
    pub fn head(&self) -> Vec<u8> {
        whole_head(self.format)
    }

    /// The response to a request for which there is no place, if that is not the refusal.
    pub fn full(&self, refusal: &Refusal) -> Option<Vec<u8>> {
        (self.format == Format::Sse && refusal.is_unavailable()).then(full)
    }

    /// The client that the request makes of its connection. Pages of the origin `reader` may hear it, too.
    pub fn follower(
        self,
        conn: Arc<Conn>,
        seat: Seat,
        context: &Context,
        reader: Option<&str>,
    ) -> Follower {
        let address = conn.source().ip();
        let identity = context.secret.identify_address(seat.info.name.as_str(), address);
        let mut head = response::stream_head(self.format.content_type(), FIELDS);
        if let Some(origin) = reader {
            response::allow_origin(&mut head, origin);
        }
        let follow = Follow { head, identity, wants: self.wants, until: self.until };
        Follower { conn, seat, format: self.format, follow, wait: self.wait }
    }
}

/// The response to an EventSource for which there is no place. It never comes again after a 503.
pub fn full() -> Vec<u8> {
    let mut response = whole_head(Format::Sse);
    response.extend_from_slice(FULL);
    response
}

fn whole_head(format: Format) -> Vec<u8> {
    let mut head = response::stream_head(format.content_type(), FIELDS);
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(any(test, fuzzing))]
impl FollowRequest {
    /// Checks what holds whatever was sent.
    ///
    /// # Panics
    /// If it does not hold.
    pub fn check(&self) {
        assert!(self.wait <= Duration::from_secs(60));
        assert!(self.wait.is_zero() || self.until != Until::Forever, "{self:?}");
        let head = String::from_utf8(self.head()).expect("text");
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(head.len() < 400 && !head.contains("Content-Length"), "{head}");
    }
}
