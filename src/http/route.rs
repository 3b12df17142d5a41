//! Decides what a request gets. Pure: a request head in, a [`Route`] out.

use crate::excerpt::excerpt;
use crate::http::accept;
use crate::http::admin::{self, AdminPath};
use crate::http::encoding::accepts_gzip;
use crate::http::follow::FollowRequest;
use crate::http::handshake;
use crate::http::invite;
use crate::http::origin::{self, OriginPolicy};
use crate::http::page::{Page, PageRequest};
use crate::http::publish::PublishRequest;
use crate::http::refusal::Refusal;
use crate::http::request::RequestHead;
use crate::http::rooms::{Redirect, RoomPath};
use crate::room::name::RoomName;
use crate::wire;
use crate::wire::stream::Format;

/// The methods of paths that are read.
const READ: &str = "GET, HEAD, OPTIONS";

/// The methods of a room.
const READ_AND_WRITE: &str = "GET, HEAD, POST, PUT, OPTIONS";

/// The subprotocol of WebSocket (RFC 6455 section 1.9) by which clients hear names and numbers.
const ROOMD1: &str = "roomd.1";

/// What is served at an address.
#[derive(Clone, Copy)]
pub struct Routes<'a> {
    /// The room, the echo endpoint and the page, with the rules of who may use them.
    pub chat: Option<&'a OriginPolicy>,
    /// Health and metrics.
    pub admin: bool,
    /// The longest message, in bytes.
    pub max_message: usize,
}

/// What a WebSocket is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The echo.
    Echo,
    /// A room, by the tutorial's protocol, as this client id.
    Tutorial { room: RoomName, id: i64 },
    /// A room, by `roomd.1`.
    Roomd1 { room: RoomName },
}

impl Endpoint {
    /// The subprotocol that it takes.
    fn protocol(&self) -> Option<&'static str> {
        match self {
            Endpoint::Echo | Endpoint::Tutorial { .. } => None,
            Endpoint::Roomd1 { .. } => Some(ROOMD1),
        }
    }
}

/// What a request gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// A WebSocket: this response, and then the session.
    Upgrade(Endpoint, Vec<u8>),
    /// The page, or a file that belongs to it.
    Page(PageRequest),
    /// The page of a room, if there may be one with this name.
    RoomPage { room: RoomName, page: PageRequest },
    /// The page is elsewhere.
    Redirect { redirect: Redirect, head_only: bool },
    /// The list of rooms.
    Rooms { head_only: bool },
    /// An invitation to the page with this URL.
    Invite { page_url: String, head_only: bool },
    /// Health or metrics.
    Admin { path: AdminPath, head_only: bool },
    /// The methods of a path. Load balancers check a server's health in this way, and browsers whether a page
    /// of another origin may send something.
    Options { allow: &'static str, is_preflight: bool },
    /// A message for a room.
    Publish(PublishRequest),
    /// A stream of what is said in a room.
    Follow(FollowRequest),
    /// A refusal, because the request is not a handshake; or 503 if a handshake would get that.
    /// Browsers hide the answer to a refused handshake, so the page asks again with a plain request.
    NotUpgraded {
        /// The handshake would be one to a room.
        of_room: bool,
        /// The refusal.
        refusal: Refusal,
    },
    /// A refusal.
    Refuse(Refusal),
}

/// What a request gets.
pub fn route(routes: Routes<'_>, head: &RequestHead<'_>) -> Route {
    if head.method == "OPTIONS" && matches!(&*head.path, "*" | "/") {
        return Route::Options { allow: READ, is_preflight: false };
    }
    let found = find(routes, head).and_then(|found| match found {
        Found::Route(route) => Ok(route),
        Found::Handshake(endpoint) => {
            let protocol = endpoint.protocol();
            Ok(Route::Upgrade(endpoint, handshake::response(head, protocol)?))
        }
    });
    found.unwrap_or_else(Route::Refuse)
}

/// What a request is for. A handshake has not been checked yet: nothing takes more of the stack, so that
/// is not done at the end of a chain of calls.
enum Found {
    Route(Route),
    Handshake(Endpoint),
}

#[inline(never)]
fn find(routes: Routes<'_>, head: &RequestHead<'_>) -> Result<Found, Refusal> {
    // An address for health and metrics alone has no policy: scrapers use arbitrary names.
    if routes.chat.is_some_and(|policy| !policy.allows_host(head.host)) {
        return Err(Refusal::host(head.host));
    }
    if let Some(path) = AdminPath::of(&head.path).filter(|_| routes.admin) {
        return Ok(Found::Route(Route::Admin { path, head_only: is_head(head)? }));
    }
    let policy = routes.chat.ok_or_else(|| Refusal::not_found(admin::PATHS))?;
    if let Some(endpoint) = endpoint(&head.path) {
        return websocket(policy, head, endpoint);
    }
    if head.path == "/invite" {
        let head_only = is_head(head)?;
        if !invite::is_page_url(head.query) {
            let line = "an invitation is asked for as /invite?URL-OF-THE-PAGE";
            return Err(Refusal::bad_request(line));
        }
        return Ok(Found::Route(Route::Invite { page_url: head.query.into(), head_only }));
    }
    if head.path == "/_rooms" {
        return rooms(policy, head).map(Found::Route);
    }
    if let Some(path) = RoomPath::of(&head.path) {
        return room(routes, policy, head, &path);
    }
    if head.path == "/" && matches!(head.method, "POST" | "PUT") {
        return Err(Refusal::not_published_here());
    }
    if !Page::has(&head.path) {
        let line =
            "the chat is at /, and rooms are at /ROOM: at most 64 of a to z, 0 to 9, - and _";
        return Err(Refusal::not_found(line));
    }
    Ok(Found::Route(Route::Page(page(head, &head.path)?)))
}

/// The request for the page, or a file of it, that is at this path.
fn page(head: &RequestHead<'_>, path: &str) -> Result<PageRequest, Refusal> {
    Ok(PageRequest {
        head_only: is_head(head)?,
        path: path.into(),
        if_none_match: head.if_none_match.map(Into::into),
        accepts_gzip: accepts_gzip(&head.accept_encoding),
        is_negotiated: false,
    })
}

#[inline(never)]
fn rooms(policy: &OriginPolicy, head: &RequestHead<'_>) -> Result<Route, Refusal> {
    if origin::is_foreign(policy, head) {
        return Err(Refusal::foreign());
    }
    match head.method {
        "OPTIONS" => Ok(options(policy, head, READ)),
        _ => Ok(Route::Rooms { head_only: is_head(head)? }),
    }
}

/// What a path of a room gets.
#[inline(never)]
fn room(
    routes: Routes<'_>,
    policy: &OriginPolicy,
    head: &RequestHead<'_>,
    path: &RoomPath<'_>,
) -> Result<Found, Refusal> {
    let room = path.name.clone();
    if path.is_page() {
        let is_read = matches!(head.method, "GET" | "HEAD");
        if is_read && accept::wants_page(&head.accept) {
            return Ok(Found::Route(match path.redirect() {
                Some(redirect) => Route::Redirect { redirect, head_only: is_head(head)? },
                None => {
                    let page = PageRequest { is_negotiated: true, ..page(head, "/")? };
                    Route::RoomPage { room, page }
                }
            }));
        }
        if origin::is_foreign(policy, head) {
            return Err(Refusal::foreign());
        }
        let route = match head.method {
            "OPTIONS" => Ok(options(policy, head, READ_AND_WRITE)),
            "POST" | "PUT" => {
                PublishRequest::of(head, room, routes.max_message).map(Route::Publish)
            }
            _ if is_read => follow(head, room, accept::format(&head.accept)),
            _ => Err(Refusal::method(&[("Allow", READ_AND_WRITE)])),
        };
        return route.map(Found::Route);
    }
    let rest = path.rest.unwrap_or_default().to_ascii_lowercase();
    let format = match &*rest {
        "text" => Some(Format::Text),
        "json" => Some(Format::Json),
        "sse" => Some(Format::Sse),
        _ => None,
    };
    if let Some(format) = format {
        if origin::is_foreign(policy, head) {
            return Err(Refusal::foreign());
        }
        let route = match head.method {
            "OPTIONS" => Ok(options(policy, head, READ)),
            _ => follow(head, room, format),
        };
        return route.map(Found::Route);
    }
    let endpoint = match rest.strip_prefix("ws") {
        Some("") => Ok(Endpoint::Roomd1 { room }),
        Some(rest) if rest.starts_with('/') && !rest[1..].contains('/') => {
            client(&rest[1..]).map(|id| Endpoint::Tutorial { room, id })
        }
        _ => {
            let line =
                "a room is at /ROOM, and programs hear it at /ROOM/text, /ROOM/json and /ROOM/sse";
            return Err(Refusal::not_found(line));
        }
    };
    websocket(policy, head, endpoint)
}

fn follow(head: &RequestHead<'_>, room: RoomName, format: Format) -> Result<Route, Refusal> {
    Ok(Route::Follow(FollowRequest::of(head, room, format, is_head(head)?)?))
}

/// What a request for the methods of a path gets, which is none of a foreign page.
fn options(policy: &OriginPolicy, head: &RequestHead<'_>, allow: &'static str) -> Route {
    Route::Options { allow, is_preflight: reader(policy, head).is_some() }
}

/// The origin whose pages may read the response, because a flag says so.
pub fn reader<'a>(policy: &OriginPolicy, head: &RequestHead<'a>) -> Option<&'a str> {
    head.origin.filter(|origin| policy.lists(origin))
}

/// Whether a request that may be GET or HEAD is HEAD.
fn is_head(head: &RequestHead<'_>) -> Result<bool, Refusal> {
    match head.method {
        "GET" => Ok(false),
        "HEAD" => Ok(true),
        _ => Err(Refusal::method(&[("Allow", "GET, HEAD")])),
    }
}

/// The endpoint that a path names. None: it is not a WebSocket's path.
fn endpoint(path: &str) -> Option<Result<Endpoint, Refusal>> {
    let id = match path.strip_prefix("/ws")? {
        "" => return Some(Ok(Endpoint::Echo)),
        rest => rest.strip_prefix('/').filter(|id| !id.contains('/'))?,
    };
    Some(client(id).map(|id| Endpoint::Tutorial { room: RoomName::lobby(), id }))
}

fn client(id: &str) -> Result<i64, Refusal> {
    wire::client_id(id).ok_or_else(|| {
        let id = excerpt(id);
        Refusal::bad_request(format!("the client id '{id}' is not an integer of 64 bits"))
    })
}

/// Where the page is that opens this WebSocket.
fn page_of(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Echo => "/echo".into(),
        Endpoint::Tutorial { room, .. } | Endpoint::Roomd1 { room } if room.is_lobby() => {
            "/".into()
        }
        Endpoint::Tutorial { room, .. } | Endpoint::Roomd1 { room } => format!("/{room}"),
    }
}

#[inline(never)]
fn websocket(
    policy: &OriginPolicy,
    head: &RequestHead<'_>,
    endpoint: Result<Endpoint, Refusal>,
) -> Result<Found, Refusal> {
    if let Some(origin) = head.origin.filter(|origin| origin::is_of_browser(origin)) {
        if !policy.allows_origin(origin, head.host) {
            return Err(Refusal::origin(origin, head.host));
        }
    }
    let of_room = !matches!(endpoint, Ok(Endpoint::Echo));
    if head.method != "GET" {
        let refusal = Refusal::method(&[("Allow", "GET")]);
        return Ok(Found::Route(Route::NotUpgraded { of_room, refusal }));
    }
    let endpoint = endpoint?;
    if head.upgrade.is_none() && head.key.is_none() {
        let refusal = Refusal::upgrade_required(&page_of(&endpoint));
        return Ok(Found::Route(Route::NotUpgraded { of_room, refusal }));
    }
    let offers = |name| head.protocols.split(',').any(|offered| offered.trim() == name);
    if endpoint.protocol().is_some_and(|name| !offers(name)) {
        let line =
            "a client of this path offers the subprotocol roomd.1; /ROOM/ws/CLIENT_ID takes others";
        return Err(Refusal::bad_request(line));
    }
    Ok(Found::Handshake(endpoint))
}
