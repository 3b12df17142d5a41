//! Serves the one request of a connection: reads it under a deadline and answers it.
//!
//! Only a complete, bounded, well-formed request head gets past here. A good WebSocket handshake
//! becomes a session; everything else is answered, and the connection ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::client::Guest;
use crate::client::session::{self, Context, Seat, Session};
use crate::client::socket::Socket;
use crate::config::{ENGINE_NOTICE, ENGINE_OPENS, Limits, PUBLISH_PATIENCE};
use crate::http::admin::Admin;
use crate::http::follow::FollowRequest;
use crate::http::forwarded::Proxies;
use crate::http::invite;
use crate::http::origin::OriginPolicy;
use crate::http::page::Page;
use crate::http::publish::PublishRequest;
use crate::http::refusal::Refusal;
use crate::http::request;
use crate::http::response::{self, Response};
use crate::http::rooms;
use crate::http::route::{Endpoint, Route, Routes, reader, route};
use crate::metrics::Metrics;
use crate::net::conn::Conn;
use crate::net::deadline;
use crate::net::rates::{AddressRates, Rates, Turn};
use crate::room::event::Moment;
use crate::room::name::RoomName;
use crate::room::rooms::Rooms;

/// What is served at one address, and within which limits.
pub struct Router {
    /// How long things may take.
    pub limits: Limits,
    /// Counts refusals.
    pub metrics: Arc<Metrics>,
    /// The room, the echo endpoint and the page, unless this address is for health and metrics alone.
    pub chat: Option<Chat>,
    /// Health and metrics, if they are at this address.
    pub admin: Option<Arc<Admin>>,
}

/// The room, the echo endpoint and the page.
pub struct Chat {
    /// Whose pages may connect, and under which names.
    pub policy: OriginPolicy,
    /// The page's files.
    pub page: Page,
    /// The rooms.
    pub rooms: Arc<Rooms<Socket>>,
    /// Proxies that are trusted to say for whom they ask.
    pub proxies: Proxies,
    /// Where the server listens, for invitations.
    pub address: SocketAddr,
    /// How fast one address may join and talk. None: as fast as it can.
    pub rates: Option<Rates>,
    /// What clients need of the server.
    pub context: Arc<Context>,
}

/// What an answer depends on beside its route.
struct Asked<'a> {
    /// No body follows the answer to HEAD (RFC 9110 section 9.3.2).
    head_only: bool,
    /// The origin whose pages may read it, because a flag says so.
    reader: Option<&'a str>,
    /// What has come behind the head.
    behind: &'a [u8],
}

impl Router {
    /// Serves the request of a connection. A good handshake or a request to hear a room, for which there is
    /// a slot, comes back as a guest; its response has not been sent yet.
    #[inline(never)]
    pub fn serve(&self, conn: Arc<Conn>) -> Option<Guest> {
        let mut received = Vec::new();
        let deadline = Instant::now() + self.limits.head_timeout;
        let read = |bytes: &mut [u8]| deadline::read(&conn.stream, bytes, deadline);
        let found = request::receive(&mut received, read, |head| {
            let policy = self.chat.as_ref().map(|chat| &chat.policy);
            let reader = policy.and_then(|policy| reader(policy, head)).map(String::from);
            let route = route(self.routes(), head);
            let proxies = self.chat.as_ref().map(|chat| &chat.proxies).filter(|_| conn.is_proxied);
            let client = proxies.and_then(|proxies| {
                let client = proxies.client(head);
                // A proxy asks for itself how the server is.
                if client.is_none() && !matches!(route, Route::Admin { .. }) {
                    proxies.warn(conn.peer.ip());
                }
                client
            });
            (route, reader, client)
        });
        let ((route, reader, client), len) = match found {
            Ok(Ok(found)) => found,
            Ok(Err(refusal)) => ((Route::Refuse(refusal), None, None), 0),
            // The peer went away without a request.
            Err(_) => return None,
        };
        conn.slot.set_busy();
        // Also where the rest of the head could not be parsed.
        let head_only = received.starts_with(b"HEAD ");
        if conn.is_proxied {
            if let Err(full) = conn.serve_for(client) {
                self.refuse(&conn, &Refusal::full(full), head_only);
                return None;
            }
        }
        let asked = Asked { head_only, reader: reader.as_deref(), behind: &received[len..] };
        self.follow_route(route, conn, &asked)
    }

    /// Does what a request gets.
    #[inline(never)]
    fn follow_route(&self, route: Route, conn: Arc<Conn>, asked: &Asked<'_>) -> Option<Guest> {
        match route {
            Route::Upgrade(endpoint, response) => {
                return self.upgrade(conn, endpoint, response, asked);
            }
            Route::Follow(request) => return self.follow(request, conn, asked.reader),
            Route::Publish(request) => self.publish(request, &conn, asked),
            Route::Options { allow, is_preflight } => {
                let response = match is_preflight {
                    true => Response::preflight(allow),
                    false => Response::options(allow),
                };
                self.answer_to(&conn, response, asked.reader);
            }
            Route::NotUpgraded { of_room, refusal } => {
                self.refuse_upgrade(&conn, of_room, refusal, asked.head_only);
            }
            Route::Refuse(refusal) if asked.reader.is_some() && !asked.head_only => {
                self.refuse_to(&conn, &refusal, asked.reader);
            }
            Route::Refuse(refusal) => self.refuse(&conn, &refusal, asked.head_only),
            Route::Page(_)
            | Route::RoomPage { .. }
            | Route::Redirect { .. }
            | Route::Rooms { .. }
            | Route::Invite { .. }
            | Route::Admin { .. } => match self.document(route) {
                Ok(document) => self.answer(&conn, &document),
                Err(refusal) => self.refuse(&conn, &refusal, asked.head_only),
            },
        }
        None
    }

    /// The response with a document, which is there for everybody.
    #[inline(never)]
    fn document(&self, route: Route) -> Result<Vec<u8>, Refusal> {
        let nothing = || Refusal::not_found("the chat is at /");
        match (route, &self.chat, &self.admin) {
            (Route::Page(request), Some(chat), _) => {
                chat.page.response(&request).map_err(|_| nothing())
            }
            (Route::RoomPage { room, page }, Some(chat), _) => match chat.page.response(&page) {
                Ok(response) if chat.rooms.may_be(&room) => Ok(response),
                _ => Err(Refusal::no_room(&room)),
            },
            (Route::Redirect { redirect, head_only }, ..) => Ok(redirect.response(head_only)),
            (Route::Rooms { head_only }, Some(chat), _) => {
                let declared = chat.rooms.declared();
                Ok(rooms::list(declared.iter().map(|room| &*room.info), head_only))
            }
            (Route::Invite { page_url, head_only }, Some(chat), _) => {
                Ok(invite::response(&page_url, chat.address, head_only))
            }
            (Route::Admin { path, head_only }, _, Some(admin)) => {
                Ok(admin.response(path, head_only))
            }
            // `routes` leaves out the routes to parts that are not there.
            _ => Err(nothing()),
        }
    }

    /// Makes a session of a connection whose handshake is good, or answers it.
    #[inline(never)]
    fn upgrade(
        &self,
        conn: Arc<Conn>,
        endpoint: Endpoint,
        response: Vec<u8>,
        asked: &Asked<'_>,
    ) -> Option<Guest> {
        let chat = self.chat.as_ref()?;
        match self.admit(&conn)?.and_then(|()| self.seat(&conn, endpoint)) {
            Ok(endpoint) => {
                let session = Session::new(conn, endpoint, response, asked.behind, &chat.context);
                Some(Guest::Session(Box::new(session)))
            }
            Err(refusal) => {
                self.refuse(&conn, &refusal, asked.head_only);
                None
            }
        }
    }

    /// Answers a plain request as a handshake would be answered, if that would be refused.
    #[inline(never)]
    fn refuse_upgrade(&self, conn: &Conn, of_room: bool, refusal: Refusal, head_only: bool) {
        let rates = self.rates_of(conn);
        let refusal = match conn.slot.become_client() {
            Err(full) => Refusal::full(full),
            Ok(()) if rates.is_some_and(|rates| rates.has_too_many_joins()) => {
                Refusal::too_many_joins()
            }
            Ok(()) if of_room && self.is_away() => Refusal::unreachable(),
            Ok(()) => refusal,
        };
        self.refuse(conn, &refusal, head_only);
    }

    /// Whether the engine through which machines share the rooms cannot be reached.
    fn is_away(&self) -> bool {
        let lobby = self.chat.as_ref().and_then(|chat| chat.rooms.find(&RoomName::lobby()));
        lobby.is_some_and(|lobby| lobby.info.is_away_for(ENGINE_NOTICE))
    }

    /// Makes a client of a connection whose handshake is good, once it is its turn among the joins of its
    /// address. None: it is gone meanwhile.
    fn admit(&self, conn: &Conn) -> Option<Result<(), Refusal>> {
        if let Some(rates) = self.rates_of(conn) {
            let turn = rates.join(|time| conn.waits(time));
            // Nobody else sets it.
            let _ = conn.rates.set(rates);
            match turn {
                Turn::Now => {}
                Turn::Gone => return None,
                Turn::TooMany => return Some(Err(Refusal::too_many_joins())),
            }
        }
        Some(conn.slot.become_client().map_err(Refusal::full))
    }

    /// The rates of a connection's address, unless there are none.
    fn rates_of(&self, conn: &Conn) -> Option<Arc<AddressRates>> {
        let rates = self.chat.as_ref()?.rates.as_ref()?;
        Some(rates.of(conn.slot.address()))
    }

    /// Publishes the body of a request, and answers it unless the peer has gone meanwhile.
    #[inline(never)]
    fn publish(&self, request: PublishRequest, conn: &Arc<Conn>, asked: &Asked<'_>) {
        match self.published(request, conn, asked.behind) {
            Ok(Some(response)) => self.answer_to(conn, response, asked.reader),
            Ok(None) => {}
            Err(refusal) => self.refuse_to(conn, &refusal, asked.reader),
        }
    }

    /// Publishes the body of a request. None: the peer has gone meanwhile.
    fn published(
        &self,
        request: PublishRequest,
        conn: &Arc<Conn>,
        received: &[u8],
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let chat = self.chat.as_ref().ok_or_else(|| Refusal::no_room(&request.room))?;
        if let Some(rates) = self.rates_of(conn) {
            let time = rates.messages.count(Instant::now());
            if time > PUBLISH_PATIENCE {
                rates.messages.take_back();
                return Err(Refusal::too_many_messages());
            }
            if !time.is_zero() && !conn.waits(time) {
                return Ok(None);
            }
        }
        let seat = take_seat(chat, conn, &request.room)?;
        match request.serve(conn, received, &seat, &chat.context) {
            Ok(answer) => answer.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Makes a subscriber of a connection, or answers it.
    #[inline(never)]
    fn follow(
        &self,
        request: FollowRequest,
        conn: Arc<Conn>,
        reader: Option<&str>,
    ) -> Option<Guest> {
        let chat = self.chat.as_ref()?;
        if request.head_only {
            match chat.rooms.may_be(&request.room) {
                true => self.answer_to(&conn, request.head(), reader),
                false => self.refuse(&conn, &Refusal::no_room(&request.room), true),
            }
            return None;
        }
        let seat = self.admit(&conn)?.and_then(|()| {
            conn.slot.become_stream().map_err(Refusal::full)?;
            take_seat(chat, &conn, &request.room)
        });
        match seat {
            Ok(seat) => {
                let follower = request.follower(conn, seat, &chat.context, reader);
                Some(Guest::Follower(Box::new(follower)))
            }
            Err(refusal) => {
                match request.full(&refusal) {
                    Some(response) => {
                        self.metrics.refused(refusal.reason());
                        self.answer_to(&conn, response, reader);
                    }
                    None => self.refuse_to(&conn, &refusal, reader),
                }
                None
            }
        }
    }

    /// Takes a seat in the room that a client wants to join.
    fn seat(&self, conn: &Conn, endpoint: Endpoint) -> Result<session::Endpoint, Refusal> {
        let seat = |room: &RoomName| {
            let chat = self.chat.as_ref().ok_or_else(|| Refusal::no_room(room))?;
            take_seat(chat, conn, room)
        };
        Ok(match endpoint {
            Endpoint::Echo => session::Endpoint::Echo,
            Endpoint::Tutorial { room, id } => session::Endpoint::Tutorial(seat(&room)?, id),
            Endpoint::Roomd1 { .. } if self.is_away() => return Err(Refusal::unreachable()),
            Endpoint::Roomd1 { room } => session::Endpoint::Roomd1(seat(&room)?),
        })
    }

    fn routes(&self) -> Routes<'_> {
        Routes {
            chat: self.chat.as_ref().map(|chat| &chat.policy),
            admin: self.admin.is_some(),
            max_message: self.limits.max_message,
        }
    }

    /// Answers with `refusal`; to HEAD (`head_only`) without its body.
    fn refuse(&self, conn: &Conn, refusal: &Refusal, head_only: bool) {
        self.metrics.refused(refusal.reason());
        refusal.log(conn.source());
        self.answer(conn, &refusal.response(head_only));
    }

    /// Answers with `refusal`, which pages of the origin `reader` may read.
    fn refuse_to(&self, conn: &Conn, refusal: &Refusal, reader: Option<&str>) {
        self.metrics.refused(refusal.reason());
        refusal.log(conn.source());
        self.answer_to(conn, refusal.response(false), reader);
    }

    /// Sends a response that pages of the origin `reader` may read, after which the connection ends.
    fn answer_to(&self, conn: &Conn, mut response: Vec<u8>, reader: Option<&str>) {
        if let Some(origin) = reader {
            response::allow_origin(&mut response, origin);
        }
        self.answer(conn, &response);
    }

    /// Sends a response, after which the connection ends.
    fn answer(&self, conn: &Conn, response: &[u8]) {
        deadline::write_last(&conn.stream, response, Instant::now() + self.limits.close_timeout);
    }
}

/// A seat in this room, which is made if it is not there.
fn take_seat(chat: &Chat, conn: &Conn, room: &RoomName) -> Result<Seat, Refusal> {
    let seat = chat.rooms.seat(room, conn.slot.address(), Moment::now());
    let seat = seat.map_err(|why| Refusal::no_seat(why, room))?;
    let link = seat.info.link.as_ref();
    if link.is_some_and(|link| !link.wait_until_open(ENGINE_OPENS, seat.info.patience / 3)) {
        return Err(Refusal::unreachable());
    }
    Ok(seat)
}
