//! What does not fit gets a clear answer: a status, and one line that says why.

use std::fmt;
use std::net::SocketAddr;

use crate::config::{HEAD_BYTES, HEAD_FIELDS};
use crate::http::response::{PLAIN, Reply};
use crate::net::slots::Full;

/// An answer other than the page or a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    reason: Reason,
    fields: &'static str,
    line: String,
}

/// Why something is refused; from it follows the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request is broken.
    BadRequest,
    /// The page that asks is another site's.
    Origin,
    /// The server has another name.
    Host,
    /// No such path.
    NotFound,
    /// The path takes other methods.
    Method,
    /// The head did not come in time.
    HeadTimeout,
    /// A plain request to a WebSocket's path.
    NoUpgrade,
    /// Another version of WebSocket.
    Version,
    /// The head is too large.
    HeadTooLarge,
    /// All places are taken.
    Full,
    /// The address has as many places as it may.
    FullForAddress,
    /// The server stops.
    Stopping,
    /// The page side does not answer.
    NoPage,
    /// The system gives no thread.
    NoThread,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Reason; 14] = [
        Reason::BadRequest,
        Reason::Origin,
        Reason::Host,
        Reason::NotFound,
        Reason::Method,
        Reason::HeadTimeout,
        Reason::NoUpgrade,
        Reason::Version,
        Reason::HeadTooLarge,
        Reason::Full,
        Reason::FullForAddress,
        Reason::Stopping,
        Reason::NoPage,
        Reason::NoThread,
    ];

    /// What the reason is called by the metrics.
    pub fn label(self) -> &'static str {
        match self {
            Reason::BadRequest => "bad_request",
            Reason::Origin => "origin",
            Reason::Host => "host",
            Reason::NotFound => "not_found",
            Reason::Method => "method",
            Reason::HeadTimeout => "head_timeout",
            Reason::NoUpgrade => "no_upgrade",
            Reason::Version => "version",
            Reason::HeadTooLarge => "head_too_large",
            Reason::Full => "full",
            Reason::FullForAddress => "full_for_address",
            Reason::Stopping => "stopping",
            Reason::NoPage => "no_page",
            Reason::NoThread => "no_thread",
        }
    }

    /// The code of the status.
    pub fn code(self) -> &'static str {
        &self.status()[..3]
    }

    fn status(self) -> &'static str {
        match self {
            Reason::BadRequest => "400 Bad Request",
            Reason::Origin | Reason::Host => "403 Forbidden",
            Reason::NotFound => "404 Not Found",
            Reason::Method => "405 Method Not Allowed",
            Reason::HeadTimeout => "408 Request Timeout",
            Reason::NoUpgrade | Reason::Version => "426 Upgrade Required",
            Reason::HeadTooLarge => "431 Request Header Fields Too Large",
            Reason::Full
            | Reason::FullForAddress
            | Reason::Stopping
            | Reason::NoPage
            | Reason::NoThread => "503 Service Unavailable",
        }
    }
}

impl Refusal {
    fn new(reason: Reason, fields: &'static str, line: impl Into<String>) -> Self {
        Refusal { reason, fields, line: line.into() }
    }

    /// Something is wrong with the request, and `line` says what.
    pub fn bad_request(line: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, "", line)
    }

    /// The page that asks is not allowed to.
    pub fn origin(origin: &str, host: &str) -> Self {
        let line = format!(
            "the page's origin {} is not that of {}: start roomd with --allow-origin to let it connect",
            origin.escape_debug(),
            host.escape_debug()
        );
        Self::new(Reason::Origin, "", line)
    }

    /// The server does not answer to this name.
    pub fn host(host: &str) -> Self {
        let line = format!(
            "{} is not a name of this server: start roomd with --allow-host to let it be one",
            host.escape_debug()
        );
        Self::new(Reason::Host, "", line)
    }

    /// There is no such path; `what` there is instead.
    pub fn not_found(what: &str) -> Self {
        Self::new(Reason::NotFound, "", format!("there is nothing here; {what}"))
    }

    /// The path takes `allowed` methods only.
    pub fn method(allowed: &'static str) -> Self {
        Self::new(Reason::Method, allowed, "this path takes another method, see Allow")
    }

    /// The head did not come in time.
    pub fn too_slow() -> Self {
        Self::new(Reason::HeadTimeout, "", "the request head took too long")
    }

    /// A WebSocket's path was asked for by a plain request.
    pub fn upgrade_required() -> Self {
        let fields = "Upgrade: websocket\r\nConnection: upgrade\r\n";
        Self::new(Reason::NoUpgrade, fields, "this path speaks WebSocket; the chat is at /")
    }

    /// The handshake asks for a version that nobody speaks.
    pub fn version() -> Self {
        let fields = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n";
        Self::new(Reason::Version, fields, "only version 13 of WebSocket is spoken here")
    }

    /// The head has too many bytes or fields.
    pub fn too_large() -> Self {
        let line =
            format!("a request head has at most {HEAD_BYTES} bytes and {HEAD_FIELDS} fields");
        Self::new(Reason::HeadTooLarge, "", line)
    }

    /// There is no place.
    pub fn full(full: Full) -> Self {
        let reason = match full {
            Full::Everywhere => Reason::Full,
            Full::Here => Reason::FullForAddress,
            Full::Stopping => Reason::Stopping,
        };
        Self::unavailable(reason, full)
    }

    /// The page side does not answer.
    pub fn no_page() -> Self {
        Self::unavailable(Reason::NoPage, "the page cannot be had")
    }

    /// The system gives no thread to serve a connection in.
    pub fn no_thread() -> Self {
        Self::unavailable(Reason::NoThread, "the system has no thread to spare")
    }

    /// It does not go at the moment; `why` says what.
    fn unavailable(reason: Reason, why: impl fmt::Display) -> Self {
        Self::new(reason, "Retry-After: 5\r\n", format!("{why}; try again in a while"))
    }

    /// Why, as the metrics count it.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The whole response.
    pub fn response(&self) -> Vec<u8> {
        let Refusal { reason, fields, line } = self;
        let status = reason.status();
        let body = format!("{line}\n");
        Reply { status, fields, content_type: PLAIN, body: body.as_bytes() }.response(false)
    }

    /// Logs it as an answer to `peer`: for an operator who wonders why somebody is not let in.
    pub fn log(&self, peer: SocketAddr) {
        log::info!("refused {peer}: {self}");
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.status(), self.line)
    }
}
