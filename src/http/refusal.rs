//! Refusals: a status, and one line of text that says why.

use std::fmt;

use crate::config::{HEAD_BYTES, HEAD_FIELDS};
use crate::excerpt::excerpt;
use crate::http::response::{Fields, PLAIN, Response, StatusCode};
use crate::net::conn::Source;
use crate::net::listener::Rejection;
use crate::net::slots::Full;
use crate::reasons::RefusalReason;
use crate::room::name::RoomName;
use crate::room::rooms::NoRoom;

/// The answer to a request that is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    reason: RefusalReason,
    fields: Fields,
    /// In so many seconds the same request may be served.
    retry_after: Option<u64>,
    line: String,
}

impl Refusal {
    fn new(reason: RefusalReason, fields: Fields, line: impl Into<String>) -> Self {
        Refusal { reason, fields, retry_after: None, line: line.into() }
    }

    fn retry_after(self, seconds: u64) -> Self {
        Refusal { retry_after: Some(seconds), ..self }
    }

    /// The request is malformed; `line` says how.
    pub fn bad_request(line: impl Into<String>) -> Self {
        Self::new(RefusalReason::BadRequest, &[], line)
    }

    /// Pages of this origin may not connect.
    pub fn origin(origin: &str, host: &str) -> Self {
        let line = format!(
            "the page's origin {} is not that of {}: start roomd with --allow-origin to let it connect",
            excerpt(origin),
            excerpt(host)
        );
        Self::new(RefusalReason::Origin, &[], line)
    }

    /// This is not a name of the server.
    pub fn host(host: &str) -> Self {
        let line = format!(
            "{} is not a name of this server: start roomd with --allow-host to let it be one",
            excerpt(host)
        );
        Self::new(RefusalReason::Host, &[], line)
    }

    /// There is no such path; `what` names those that exist.
    pub fn not_found(what: &str) -> Self {
        Self::new(RefusalReason::NotFound, &[], format!("there is nothing here; {what}"))
    }

    /// The room is not there, and may not be made.
    pub fn no_room(name: &RoomName) -> Self {
        let line = format!("there is no room {name}; /_rooms lists those that there are");
        Self::new(RefusalReason::NotFound, &[], line)
    }

    /// There is no seat in a room.
    pub fn no_seat(why: NoRoom, name: &RoomName) -> Self {
        match why {
            NoRoom::Closed => Self::no_room(name),
            NoRoom::TooMany => {
                Self::unavailable(RefusalReason::RoomsFull, "no more rooms can be made")
            }
            NoRoom::TooFast(wait) => {
                let seconds = wait.as_secs_f64().ceil() as u64;
                let line =
                    format!("your address has made too many rooms; try again in {seconds} s");
                Self::new(RefusalReason::NewRooms, &[], line).retry_after(seconds)
            }
        }
    }

    /// The engine through which machines share the room cannot be reached.
    pub fn unreachable() -> Self {
        let line = "the room cannot be reached: its engine does not answer; nothing was published";
        Self::unavailable(RefusalReason::RoomWaits, line)
    }

    /// The request comes from a page of another site.
    pub fn foreign() -> Self {
        let line =
            "pages of other sites may not do this: start roomd with --allow-origin to let one";
        Self::new(RefusalReason::Origin, &[], line)
    }

    /// The path takes `allowed` methods only.
    pub fn method(allowed: Fields) -> Self {
        Self::new(RefusalReason::Method, allowed, "this path takes another method, see Allow")
    }

    /// Messages are not published at the page's path.
    pub fn not_published_here() -> Self {
        let line = "this is the page, see Allow; a message is published with POST to /lobby";
        Self::new(RefusalReason::Method, &[("Allow", "GET, HEAD")], line)
    }

    /// The request head did not arrive in time.
    pub fn too_slow() -> Self {
        Self::new(RefusalReason::HeadTimeout, &[], "the request head took too long")
    }

    /// The body did not arrive in time.
    pub fn body_too_slow() -> Self {
        Self::new(RefusalReason::BodyTimeout, &[], "the body took too long")
    }

    /// A body without an announced length.
    pub fn length_required() -> Self {
        let line = "a message is sent with its Content-Length, and not in chunks";
        Self::new(RefusalReason::LengthRequired, &[], line)
    }

    /// The text is longer than a message may be.
    pub fn too_long(max: usize) -> Self {
        Self::new(RefusalReason::BodyTooLarge, &[], format!("a message has at most {max} bytes"))
    }

    /// The client expects something else than 100.
    pub fn expectation() -> Self {
        let line = "nothing can be expected here but 100-continue";
        Self::new(RefusalReason::Expectation, &[], line)
    }

    /// The key stands for another message.
    pub fn key_conflict() -> Self {
        let line = "this Idempotency-Key was used for another text";
        Self::new(RefusalReason::KeyConflict, &[], line)
    }

    /// The address publishes too often.
    pub fn too_many_messages() -> Self {
        let line = "your address publishes too often; try again in a while";
        Self::new(RefusalReason::TooManyMessages, &[], line).retry_after(1)
    }

    /// The room waited for its readers for too long, so the message was not published.
    pub fn room_waits() -> Self {
        let line = "the room waits for its readers, and the message was not published";
        Self::unavailable(RefusalReason::RoomWaits, line)
    }

    /// The server stops, and has not published the message.
    pub fn not_published() -> Self {
        let line = "the server stops, and the message was not published";
        Self::unavailable(RefusalReason::Stopping, line)
    }

    /// The hub has not answered, so nobody knows whether the message was published.
    pub fn no_answer() -> Self {
        let line = "the room does not answer, and the message may have been published: \
                    with the same Idempotency-Key it will not be published twice";
        Self::unavailable(RefusalReason::NoAnswer, line)
    }

    /// A plain request for a WebSocket's path, to which this page belongs.
    pub fn upgrade_required(page: &str) -> Self {
        let fields = &[("Upgrade", "websocket")];
        let line = format!("this path speaks WebSocket; the page is at {page}");
        Self::new(RefusalReason::NoUpgrade, fields, line)
    }

    /// A handshake of another version.
    pub fn version() -> Self {
        let fields = &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
        Self::new(RefusalReason::Version, fields, "only version 13 of WebSocket is spoken here")
    }

    /// The address joins too often.
    pub fn too_many_joins() -> Self {
        let line = "your address joins too often; try again in a while";
        Self::new(RefusalReason::TooManyJoins, &[], line).retry_after(5)
    }

    /// The head has too many bytes or fields.
    pub fn too_large() -> Self {
        let line =
            format!("a request head has at most {HEAD_BYTES} bytes and {HEAD_FIELDS} fields");
        Self::new(RefusalReason::HeadTooLarge, &[], line)
    }

    /// The connection is not served.
    pub fn rejected(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Full(full) => Self::full(full),
            Rejection::NoThread => Self::no_thread(),
        }
    }

    /// There is no slot.
    pub fn full(full: Full) -> Self {
        let reason = match full {
            Full::Total => RefusalReason::Full,
            Full::PerAddress => RefusalReason::FullForAddress,
            Full::Stopping => RefusalReason::Stopping,
        };
        Self::unavailable(reason, full)
    }

    /// The system gives no thread to serve a connection in.
    pub fn no_thread() -> Self {
        Self::unavailable(RefusalReason::NoThread, "the system has no thread to spare")
    }

    /// The server cannot serve at the moment.
    fn unavailable(reason: RefusalReason, why: impl fmt::Display) -> Self {
        Self::new(reason, &[], format!("{why}; try again in a while")).retry_after(5)
    }

    /// Why, as the metrics count it.
    pub fn reason(&self) -> RefusalReason {
        self.reason
    }

    /// The whole response; to HEAD (`head_only`) without its body.
    pub fn response(&self, head_only: bool) -> Vec<u8> {
        let Refusal { reason, fields, retry_after, line } = self;
        let status = reason.status();
        let seconds = retry_after.map(|seconds| seconds.to_string());
        let retry_after = seconds.as_deref().map(|seconds| ("Retry-After", seconds));
        let fields: Vec<_> = fields.iter().copied().chain(retry_after).collect();
        let body = format!("{line}\n");
        Response { status, fields: &fields, content_type: PLAIN, body: body.as_bytes() }
            .bytes(head_only)
    }

    /// Whether it says that the server cannot serve at the moment.
    pub fn is_unavailable(&self) -> bool {
        self.reason.status() == 503
    }

    /// Logs who got it, for an operator who looks for the reason.
    pub fn log(&self, source: impl Into<Source>) {
        log::info!("refused {}: {self}", source.into());
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.reason.status();
        write!(f, "{status} {}: {}", StatusCode(status).default_reason_phrase(), self.line)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_made_too_many_rooms_is_told_how_long_to_wait() {
        let name = RoomName::parse("lab").expect("a name");
        for (millis, seconds) in [(1, "1"), (12_300, "13"), (60_000, "60")] {
            let wait = NoRoom::TooFast(Duration::from_millis(millis));
            let response = Refusal::no_seat(wait, &name).response(false);
            let response = String::from_utf8(response).expect("UTF-8");
            assert!(response.starts_with("HTTP/1.1 429 "), "{response}");
            assert!(response.contains(&format!("\r\nRetry-After: {seconds}\r\n")), "{response}");
        }
    }
}
