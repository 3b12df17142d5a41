//! What does not fit gets a clear answer: a status, and one line that says why.

use std::fmt;
use std::net::SocketAddr;

use crate::config::{HEAD_BYTES, HEAD_FIELDS};
use crate::http::response::{PLAIN, Reply};
use crate::net::slots::Full;
use crate::reasons::RefusalReason;

/// An answer other than the page or a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    reason: RefusalReason,
    fields: &'static str,
    line: String,
}

impl Refusal {
    fn new(reason: RefusalReason, fields: &'static str, line: impl Into<String>) -> Self {
        Refusal { reason, fields, line: line.into() }
    }

    /// Something is wrong with the request, and `line` says what.
    pub fn bad_request(line: impl Into<String>) -> Self {
        Self::new(RefusalReason::BadRequest, "", line)
    }

    /// The page that asks is not allowed to.
    pub fn origin(origin: &str, host: &str) -> Self {
        let line = format!(
            "the page's origin {} is not that of {}: start roomd with --allow-origin to let it connect",
            excerpt(origin),
            excerpt(host)
        );
        Self::new(RefusalReason::Origin, "", line)
    }

    /// The server does not answer to this name.
    pub fn host(host: &str) -> Self {
        let line = format!(
            "{} is not a name of this server: start roomd with --allow-host to let it be one",
            excerpt(host)
        );
        Self::new(RefusalReason::Host, "", line)
    }

    /// There is no such path; `what` there is instead.
    pub fn not_found(what: &str) -> Self {
        Self::new(RefusalReason::NotFound, "", format!("there is nothing here; {what}"))
    }

    /// The path takes `allowed` methods only.
    pub fn method(allowed: &'static str) -> Self {
        Self::new(RefusalReason::Method, allowed, "this path takes another method, see Allow")
    }

    /// The head did not come in time.
    pub fn too_slow() -> Self {
        Self::new(RefusalReason::HeadTimeout, "", "the request head took too long")
    }

    /// A WebSocket's path was asked for by a plain request.
    pub fn upgrade_required() -> Self {
        let fields = "Upgrade: websocket\r\nConnection: upgrade\r\n";
        Self::new(RefusalReason::NoUpgrade, fields, "this path speaks WebSocket; the chat is at /")
    }

    /// The handshake asks for a version that nobody speaks.
    pub fn version() -> Self {
        let fields = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n";
        Self::new(RefusalReason::Version, fields, "only version 13 of WebSocket is spoken here")
    }

    /// The head has too many bytes or fields.
    pub fn too_large() -> Self {
        let line =
            format!("a request head has at most {HEAD_BYTES} bytes and {HEAD_FIELDS} fields");
        Self::new(RefusalReason::HeadTooLarge, "", line)
    }

    /// There is no place.
    pub fn full(full: Full) -> Self {
        let reason = match full {
            Full::Everywhere => RefusalReason::Full,
            Full::Here => RefusalReason::FullForAddress,
            Full::Stopping => RefusalReason::Stopping,
        };
        Self::unavailable(reason, full)
    }

    /// The system gives no thread to serve a connection in.
    pub fn no_thread() -> Self {
        Self::unavailable(RefusalReason::NoThread, "the system has no thread to spare")
    }

    /// It does not go at the moment; `why` says what.
    fn unavailable(reason: RefusalReason, why: impl fmt::Display) -> Self {
        Self::new(reason, "Retry-After: 5\r\n", format!("{why}; try again in a while"))
    }

    /// Why, as the metrics count it.
    pub fn reason(&self) -> RefusalReason {
        self.reason
    }

    /// The whole response; to HEAD (`head_only`) without its body.
    pub fn response(&self, head_only: bool) -> Vec<u8> {
        let Refusal { reason, fields, line } = self;
        let status = reason.status();
        let body = format!("{line}\n");
        Reply { status, fields, content_type: PLAIN, body: body.as_bytes() }.response(head_only)
    }

    /// Logs it as an answer to `peer`: for an operator who wonders why somebody is not let in.
    pub fn log(&self, peer: SocketAddr) {
        log::info!("refused {peer}: {self}");
    }
}

/// What a client sent, as an answer or a log line shows it: escaped, and cut after a hundred
/// characters.
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 100;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.status(), self.line)
    }
}
