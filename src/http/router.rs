//! Serves the one request of a connection: reads it under a deadline and answers it.
//!
//! Only a complete, bounded, well-formed request head gets past here. A good WebSocket handshake
//! becomes a session; everything else is answered, and the connection ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::client::session::{self, Session};
use crate::client::socket::Socket;
use crate::config::Limits;
use crate::http::admin::Admin;
use crate::http::invite;
use crate::http::origin::OriginPolicy;
use crate::http::page::Page;
use crate::http::refusal::Refusal;
use crate::http::request;
use crate::http::response::Response;
use crate::http::rooms;
use crate::http::route::{Endpoint, Route, Routes, route};
use crate::metrics::Metrics;
use crate::net::conn::Conn;
use crate::net::deadline;
use crate::net::rates::{AddressRates, Rates, Turn};
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
    /// Where the server listens, for invitations.
    pub address: SocketAddr,
    /// How fast one address may join and talk. None: as fast as it can.
    pub rates: Option<Rates>,
}

impl Router {
    /// Serves the request of a connection. A good handshake, for which there is a slot, comes back as
    /// a session; its response has not been sent yet.
    pub fn serve(&self, conn: Arc<Conn>) -> Option<Session> {
        let mut received = Vec::new();
        let deadline = Instant::now() + self.limits.head_timeout;
        let read = |bytes: &mut [u8]| deadline::read(&conn.stream, bytes, deadline);
        let found = request::receive(&mut received, read, |head| route(self.routes(), head));
        let (route, len) = match found {
            Ok(Ok(found)) => found,
            Ok(Err(refusal)) => (Route::Refuse(refusal), 0),
            // The peer went away without a request.
            Err(_) => return None,
        };
        conn.slot.set_busy();
        // No body follows the answer to HEAD (RFC 9110 section 9.3.2), even if the rest of the head
        // could not be parsed.
        let head_only = received.starts_with(b"HEAD ");
        match (route, &self.chat, &self.admin) {
            (Route::Upgrade(endpoint, response), ..) => match self.admit(&conn) {
                Some(Ok(())) => match self.seat(&conn, endpoint) {
                    Ok(endpoint) => {
                        return Some(Session::new(conn, endpoint, response, &received[len..]));
                    }
                    Err(refusal) => self.refuse(&conn, &refusal, head_only),
                },
                Some(Err(refusal)) => self.refuse(&conn, &refusal, head_only),
                None => {}
            },
            (Route::Page(request), Some(chat), _) => match chat.page.response(&request) {
                Ok(response) => self.answer(&conn, &response),
                Err(_) => self.refuse(&conn, &Refusal::not_found("the chat is at /"), head_only),
            },
            (Route::RoomPage { room, page }, Some(chat), _) => match chat.page.response(&page) {
                Ok(response) if chat.rooms.may_be(&room) => self.answer(&conn, &response),
                _ => self.refuse(&conn, &Refusal::no_room(&room), head_only),
            },
            (Route::Redirect { redirect, head_only }, ..) => {
                self.answer(&conn, &redirect.response(head_only));
            }
            (Route::Rooms { head_only }, Some(chat), _) => {
                let declared = chat.rooms.declared();
                let infos = declared.iter().map(|room| &*room.info);
                self.answer(&conn, &rooms::list(infos, head_only));
            }
            (Route::Invite { page_url, head_only }, Some(chat), _) => {
                self.answer(&conn, &invite::response(&page_url, chat.address, head_only));
            }
            (Route::Admin { path, head_only }, _, Some(admin)) => {
                self.answer(&conn, &admin.response(path, head_only));
            }
            (Route::Options, ..) => self.answer(&conn, &Response::options()),
            (Route::NotUpgraded(refusal), ..) => {
                let rates = self.rates_of(&conn);
                let refusal = match conn.slot.become_client() {
                    Err(full) => Refusal::full(full),
                    Ok(()) if rates.is_some_and(|rates| rates.has_too_many_joins()) => {
                        Refusal::too_many_joins()
                    }
                    Ok(()) => refusal,
                };
                self.refuse(&conn, &refusal, head_only);
            }
            (Route::Refuse(refusal), ..) => self.refuse(&conn, &refusal, head_only),
            // `routes` leaves out the routes to parts that are not there.
            (
                Route::Page(_)
                | Route::RoomPage { .. }
                | Route::Rooms { .. }
                | Route::Invite { .. }
                | Route::Admin { .. },
                ..,
            ) => {}
        }
        None
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

    /// Takes a seat in the room that a client wants to join.
    fn seat(&self, conn: &Conn, endpoint: Endpoint) -> Result<session::Endpoint, Refusal> {
        let seat = |room: &RoomName| {
            let chat = self.chat.as_ref().ok_or_else(|| Refusal::no_room(room))?;
            let seat = chat.rooms.seat(room, conn.slot.address(), Instant::now());
            seat.map_err(|why| Refusal::no_seat(why, room))
        };
        Ok(match endpoint {
            Endpoint::Echo => session::Endpoint::Echo,
            Endpoint::Tutorial { room, id } => session::Endpoint::Tutorial(seat(&room)?, id),
            Endpoint::Roomd1 { room } => session::Endpoint::Roomd1(seat(&room)?),
        })
    }

    fn routes(&self) -> Routes<'_> {
        Routes { chat: self.chat.as_ref().map(|chat| &chat.policy), admin: self.admin.is_some() }
    }

    /// Answers with `refusal`; to HEAD (`head_only`) without its body.
    fn refuse(&self, conn: &Conn, refusal: &Refusal, head_only: bool) {
        self.metrics.refused(refusal.reason());
        refusal.log(conn.peer);
        self.answer(conn, &refusal.response(head_only));
    }

    /// Sends a response, after which the connection ends.
    fn answer(&self, conn: &Conn, response: &[u8]) {
        deadline::write_last(&conn.stream, response, Instant::now() + self.limits.close_timeout);
    }
}
