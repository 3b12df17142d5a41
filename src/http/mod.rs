//! The first request of a connection: reads it under a deadline and decides what it gets.
//!
//! Nobody gets past here without a complete, bounded, well-formed request. A WebSocket handshake
//! becomes a session, the page is fetched from the HTTP side, and the rest gets a refusal.

pub mod admin;
pub mod invite;
pub mod origin;
pub mod page;
pub mod refusal;
pub mod request;
pub mod response;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::server::create_response;
use tungstenite::http::{self as http_types, HeaderName};

use crate::client::session::{Endpoint, Session};
use crate::config::{HEAD_BYTES, Limits};
use crate::http::admin::{Admin, Asked};
use crate::http::origin::Access;
use crate::http::page::{Page, PageRequest};
use crate::http::refusal::{Refusal, excerpt};
use crate::http::request::Head;
use crate::http::response::Reply;
use crate::net::conn::Conn;
use crate::net::deadline;
use crate::wire;

/// A head is read in pieces of so many bytes; most are one.
const CHUNK: usize = 1024;

/// What a gate needs to know.
pub struct Gate {
    /// How long things may take.
    pub limits: Limits,
    /// The room, the echo and the page, if they are behind this gate.
    pub site: Option<Site>,
    /// Health and metrics, if they are.
    pub admin: Option<Arc<Admin>>,
}

/// What people and programs come for.
pub struct Site {
    /// Who may ask.
    pub access: Access,
    /// The HTTP side.
    pub page: Page,
    /// Where the server listens.
    pub listening: SocketAddr,
}

/// What is behind a gate, as far as deciding goes.
#[derive(Clone, Copy)]
struct Scope<'a> {
    /// The rules of the site.
    site: Option<&'a Access>,
    admin: bool,
}

/// What a request gets.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// A WebSocket: this response, and then the session.
    Upgrade(Endpoint, Vec<u8>),
    /// The page, or something that belongs to it.
    Page(PageRequest),
    /// An invitation to the page with this URL; to HEAD, without the body.
    Invite { page_url: String, head_only: bool },
    /// Health or metrics.
    Admin { asked: Asked, head_only: bool },
    /// A WebSocket's path without a handshake: this, unless a handshake would get another
    /// refusal. Browsers keep the answer to a handshake to themselves, so the page asks again.
    Question(Refusal),
    /// The methods of the page: load balancers ask so for a server's health.
    Options,
    /// Nothing, and why.
    Refuse(Refusal),
}

impl Gate {
    /// Serves the first request of a connection. A handshake that is good, and for which there
    /// is a place, comes back as a session; its response has not been sent yet.
    pub fn admit(&self, conn: Arc<Conn>) -> Option<Session> {
        let occupant: Weak<Conn> = Arc::downgrade(&conn);
        if !conn.place.occupy(occupant) {
            return None;
        }
        let mut received = Vec::with_capacity(CHUNK);
        let deadline = Instant::now() + self.limits.head_timeout;
        let read = |bytes: &mut [u8]| deadline::read(&conn.stream, bytes, deadline);
        // An error: the peer went away without asking for anything.
        let (decision, len) = hear(self.scope(), &mut received, read).ok()?;
        // RFC 9110 section 9.3.2, also where the head could not be parsed.
        let head_only = received.starts_with(b"HEAD ");
        match decision {
            Decision::Upgrade(endpoint, response) => match conn.place.become_client() {
                Ok(()) => return Some(Session::new(conn, endpoint, response, &received[len..])),
                Err(full) => self.refuse(&conn, &Refusal::full(full), head_only),
            },
            Decision::Page(request) => {
                let response = self.site.as_ref().map(|site| site.page.response(&request));
                match response {
                    Some(Ok(response)) => self.answer(&conn, &response),
                    Some(Err(_)) | None => {
                        self.refuse(&conn, &Refusal::not_found("the chat is at /"), head_only);
                    }
                }
            }
            Decision::Invite { page_url, head_only } => {
                if let Some(site) = &self.site {
                    self.answer(&conn, &invite::response(&page_url, site.listening, head_only));
                }
            }
            Decision::Admin { asked, head_only } => {
                if let Some(admin) = &self.admin {
                    self.answer(&conn, &admin.response(asked, head_only));
                }
            }
            Decision::Options => self.answer(&conn, &Reply::options()),
            Decision::Question(refusal) => match conn.place.become_client() {
                Ok(()) => self.refuse(&conn, &refusal, head_only),
                Err(full) => self.refuse(&conn, &Refusal::full(full), head_only),
            },
            Decision::Refuse(refusal) => self.refuse(&conn, &refusal, head_only),
        }
        None
    }

    fn scope(&self) -> Scope<'_> {
        Scope { site: self.site.as_ref().map(|site| &site.access), admin: self.admin.is_some() }
    }

    /// Answers with `refusal`; to HEAD (`head_only`) without its body.
    pub fn refuse(&self, conn: &Conn, refusal: &Refusal, head_only: bool) {
        conn.metrics.refused(refusal.reason());
        refusal.log(conn.peer);
        self.answer(conn, &refusal.response(head_only));
    }

    /// Sends a response, which is the last thing on this connection.
    fn answer(&self, conn: &Conn, response: &[u8]) {
        deadline::write_last(&conn.stream, response, Instant::now() + self.limits.close_timeout);
    }
}

/// Reads the request head into `received`. What it gets, and how long it is; what comes behind
/// it may have been read too.
fn hear(
    scope: Scope<'_>,
    received: &mut Vec<u8>,
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> io::Result<(Decision, usize)> {
    let mut chunk = [0; CHUNK];
    loop {
        let room = (HEAD_BYTES - received.len()).min(chunk.len());
        let read = match read(&mut chunk[..room]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Ok((Decision::Refuse(Refusal::too_slow()), 0));
            }
            Err(error) => return Err(error),
        };
        let is_first = received.is_empty();
        received.extend_from_slice(&chunk[..read]);
        // A head that drips in is looked at once a line, not once a byte.
        if is_first || chunk[..read].contains(&b'\n') || received.len() == HEAD_BYTES {
            match request::parse(received) {
                Ok(Some((head, len))) => return Ok((decide(scope, &head), len)),
                Ok(None) => {}
                Err(refusal) => return Ok((Decision::Refuse(refusal), 0)),
            }
        }
    }
}

/// What a request gets. Pure.
fn decide(scope: Scope<'_>, head: &Head<'_>) -> Decision {
    if head.method == "OPTIONS" && matches!(&*head.path, "*" | "/") {
        return Decision::Options;
    }
    match route(scope, head) {
        Ok(decision) => decision,
        Err(refusal) => Decision::Refuse(refusal),
    }
}

fn route(scope: Scope<'_>, head: &Head<'_>) -> Result<Decision, Refusal> {
    // Not where nothing but health and metrics is: whoever collects those asks by any name.
    if scope.site.is_some_and(|access| !access.allows_host(head.host)) {
        return Err(Refusal::host(head.host));
    }
    if let Some(asked) = Asked::of(&head.path).filter(|_| scope.admin) {
        return Ok(Decision::Admin { asked, head_only: is_head(head)? });
    }
    let access = scope.site.ok_or_else(|| Refusal::not_found(admin::PATHS))?;
    if let Some(endpoint) = endpoint(&head.path) {
        return of_endpoint(access, head, endpoint);
    }
    if head.path == "/invite" {
        let head_only = is_head(head)?;
        if !invite::is_page_url(head.query) {
            let line = "an invitation is asked for as /invite?URL-OF-THE-PAGE";
            return Err(Refusal::bad_request(line));
        }
        return Ok(Decision::Invite { page_url: head.query.into(), head_only });
    }
    if !Page::has(&head.path) {
        return Err(Refusal::not_found("the chat is at /"));
    }
    Ok(Decision::Page(PageRequest {
        head_only: is_head(head)?,
        path: head.path.to_string(),
        if_none_match: head.if_none_match.map(Into::into),
    }))
}

/// Whether a request that may be GET or HEAD is HEAD.
fn is_head(head: &Head<'_>) -> Result<bool, Refusal> {
    match head.method {
        "GET" => Ok(false),
        "HEAD" => Ok(true),
        _ => Err(Refusal::method("Allow: GET, HEAD\r\n")),
    }
}

/// The endpoint that a path names. None: it is not a WebSocket's path.
fn endpoint(path: &str) -> Option<Result<Endpoint, Refusal>> {
    let id = match path.strip_prefix("/ws")? {
        "" => return Some(Ok(Endpoint::Echo)),
        rest => rest.strip_prefix('/').filter(|id| !id.contains('/'))?,
    };
    Some(wire::client_id(id).map(Endpoint::Room).ok_or_else(|| {
        let id = excerpt(id);
        Refusal::bad_request(format!("the client id '{id}' is not an integer of 64 bits"))
    }))
}

fn of_endpoint(
    access: &Access,
    head: &Head<'_>,
    endpoint: Result<Endpoint, Refusal>,
) -> Result<Decision, Refusal> {
    if let Some(origin) = head.origin.filter(|origin| origin::is_of_browser(origin)) {
        if !access.allows_origin(origin, head.host) {
            return Err(Refusal::origin(origin, head.host));
        }
    }
    if head.method != "GET" {
        return Ok(Decision::Question(Refusal::method("Allow: GET\r\n")));
    }
    let endpoint = endpoint?;
    if head.upgrade.is_none() && head.key.is_none() {
        return Ok(Decision::Question(Refusal::upgrade_required()));
    }
    Ok(Decision::Upgrade(endpoint, handshake(head)?))
}

/// The response to a WebSocket handshake (RFC 6455 section 4.2).
fn handshake(head: &Head<'_>) -> Result<Vec<u8>, Refusal> {
    if head.has_body {
        return Err(Refusal::bad_request("a WebSocket handshake has no body"));
    }
    if head.version.is_some_and(|version| version != "13") {
        return Err(Refusal::version());
    }
    if head.key.is_some_and(|key| !is_handshake_key(key)) {
        return Err(Refusal::bad_request("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    accept(head).map_err(|error| {
        Refusal::bad_request(format!("this is not a WebSocket handshake: {error}"))
    })
}

/// Lets tungstenite check the handshake and make the response to it.
fn accept(head: &Head<'_>) -> tungstenite::Result<Vec<u8>> {
    let mut request = http_types::Request::new(());
    *request.version_mut() =
        if head.is_http_1_1 { http_types::Version::HTTP_11 } else { http_types::Version::HTTP_10 };
    for (name, value) in [
        ("connection", Some(head.connection.as_str())),
        ("upgrade", head.upgrade.filter(|list| offers_websocket(list)).map(|_| "websocket")),
        ("sec-websocket-version", head.version),
        ("sec-websocket-key", head.key),
    ] {
        if let Some(value) = value {
            let value = value.try_into().map_err(http_types::Error::from)?;
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    create_response(&request)?;
    // Field names as RFC 6455 writes them: the clients of small boards search for them as they are.
    let accept = derive_accept_key(head.key.unwrap_or_default().as_bytes());
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes())
}

/// Whether WebSocket is among the protocols that `Upgrade` lists (RFC 6455 section 4.2.1).
fn offers_websocket(list: &str) -> bool {
    list.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}

/// Whether this is the base64 of 16 bytes: 22 digits, of which the last has four bits to spare,
/// and two signs to fill up.
fn is_handshake_key(key: &str) -> bool {
    let digits = key.strip_suffix("==").unwrap_or_default().as_bytes();
    digits.len() == 22
        && digits.iter().all(|digit| digit.is_ascii_alphanumeric() || b"+/".contains(digit))
        && b"AQgw".contains(&digits[21])
}

#[cfg(any(test, fuzzing))]
pub mod trial;
