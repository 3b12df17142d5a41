//! Decides what a request gets. Pure: a request head in, a [`Route`] out.

use crate::client::session::Endpoint;
use crate::excerpt::excerpt;
use crate::http::admin::{self, AdminPath};
use crate::http::encoding::accepts_gzip;
use crate::http::handshake;
use crate::http::invite;
use crate::http::origin::{self, OriginPolicy};
use crate::http::page::{Page, PageRequest};
use crate::http::refusal::Refusal;
use crate::http::request::RequestHead;
use crate::wire;

/// What is served at an address.
#[derive(Clone, Copy)]
pub struct Routes<'a> {
    /// The room, the echo endpoint and the page, with the rules of who may use them.
    pub chat: Option<&'a OriginPolicy>,
    /// Health and metrics.
    pub admin: bool,
}

/// What a request gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// A WebSocket: this response, and then the session.
    Upgrade(Endpoint, Vec<u8>),
    /// The page, or a file that belongs to it.
    Page(PageRequest),
    /// An invitation to the page with this URL.
    Invite { page_url: String, head_only: bool },
    /// Health or metrics.
    Admin { path: AdminPath, head_only: bool },
    /// The methods of the page. Load balancers check a server's health in this way.
    Options,
    /// A refusal, because the request is not a handshake; or 503 if a handshake would get that.
    /// Browsers hide the answer to a refused handshake, so the page asks again with a plain request.
    NotUpgraded(Refusal),
    /// A refusal.
    Refuse(Refusal),
}

/// What a request gets.
pub fn route(routes: Routes<'_>, head: &RequestHead<'_>) -> Route {
    if head.method == "OPTIONS" && matches!(&*head.path, "*" | "/") {
        return Route::Options;
    }
    find(routes, head).unwrap_or_else(Route::Refuse)
}

fn find(routes: Routes<'_>, head: &RequestHead<'_>) -> Result<Route, Refusal> {
    // An address for health and metrics alone has no policy: scrapers use arbitrary names.
    if routes.chat.is_some_and(|policy| !policy.allows_host(head.host)) {
        return Err(Refusal::host(head.host));
    }
    if let Some(path) = AdminPath::of(&head.path).filter(|_| routes.admin) {
        return Ok(Route::Admin { path, head_only: is_head(head)? });
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
        return Ok(Route::Invite { page_url: head.query.into(), head_only });
    }
    if !Page::has(&head.path) {
        return Err(Refusal::not_found("the chat is at /"));
    }
    Ok(Route::Page(PageRequest {
        head_only: is_head(head)?,
        path: head.path.to_string(),
        if_none_match: head.if_none_match.map(Into::into),
        accepts_gzip: accepts_gzip(&head.accept_encoding),
    }))
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
    Some(wire::client_id(id).map(Endpoint::Room).ok_or_else(|| {
        let id = excerpt(id);
        Refusal::bad_request(format!("the client id '{id}' is not an integer of 64 bits"))
    }))
}

fn websocket(
    policy: &OriginPolicy,
    head: &RequestHead<'_>,
    endpoint: Result<Endpoint, Refusal>,
) -> Result<Route, Refusal> {
    if let Some(origin) = head.origin.filter(|origin| origin::is_of_browser(origin)) {
        if !policy.allows_origin(origin, head.host) {
            return Err(Refusal::origin(origin, head.host));
        }
    }
    if head.method != "GET" {
        return Ok(Route::NotUpgraded(Refusal::method(&[("Allow", "GET")])));
    }
    let endpoint = endpoint?;
    if head.upgrade.is_none() && head.key.is_none() {
        return Ok(Route::NotUpgraded(Refusal::upgrade_required()));
    }
    Ok(Route::Upgrade(endpoint, handshake::response(head)?))
}
