//! Publishes the body of a request in a room, and answers with the number of the message.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::client::permits::{Claimant, Permit};
use crate::client::session::Context;
use crate::client::socket::Socket;
use crate::config::{AT_HAND, LONG_MESSAGE, Limits, NAME_BYTES};
use crate::history::chunk;
use crate::http::accept;
use crate::http::body::{self, Announced, CONTINUE};
use crate::http::query::Query;
use crate::http::refusal::Refusal;
use crate::http::request::RequestHead;
use crate::http::response::{JSON, PLAIN, Response};
use crate::net::conn::Conn;
use crate::net::deadline;
use crate::room::event::{Event, Moment};
use crate::room::handle::RoomHandle;
use crate::room::identity::Secret;
use crate::room::name::RoomName;
use crate::room::publish::{Outcome, Publication};
use crate::wire::cursor::Cursor;
use crate::wire::roomd1;
use crate::wire::stream::Format;
use crate::wire::tag::By;

/// A request to publish.
#[derive(Debug, PartialEq, Eq)]
pub struct PublishRequest {
    /// Where.
    pub room: RoomName,
    name: Option<String>,
    key: Option<String>,
    body: Announced,
    wants_json: bool,
    max_message: usize,
}

/// Bytes of an `Idempotency-Key`, at most.
const KEY_BYTES: usize = 64;

impl PublishRequest {
    /// What this request is, in a room where a message has at most `max_message` bytes.
    ///
    /// # Errors
    /// The refusal of one that is malformed.
    pub fn of(
        head: &RequestHead<'_>,
        room: RoomName,
        max_message: usize,
    ) -> Result<PublishRequest, Refusal> {
        let query = Query::parse(head.query)?;
        let is_key = |key: &str| {
            (1..=KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if head.idempotency_key.is_some_and(|key| !is_key(key)) {
            let line = format!("an Idempotency-Key is 1 to {KEY_BYTES} visible ASCII characters");
            return Err(Refusal::bad_request(line));
        }
        Ok(PublishRequest {
            room,
            name: query.name,
            key: head.idempotency_key.map(Into::into),
            body: Announced::of(head, max_message)?,
            wants_json: accept::format(&head.accept) == Format::Json,
            max_message,
        })
    }

    /// Reads the body, of which the first bytes may have been `received`, and publishes it. The whole
    /// response, or a refusal.
    ///
    /// # Errors
    /// When the peer goes away meanwhile.
    pub fn serve(
        self,
        conn: &Arc<Conn>,
        received: &[u8],
        room: &RoomHandle<Socket>,
        context: &Context,
    ) -> io::Result<Result<Vec<u8>, Refusal>> {
        let max = self.max_message;
        let mut permit = None;
        let body = match self.read(conn, received, context, &mut permit) {
            Ok(body) => body,
            Err(error) => {
                // Whoever was stopped seems to have gone.
                let was_stopped = permit.as_ref().is_some_and(Permit::is_revoked);
                return match was_stopped || error.kind() == io::ErrorKind::TimedOut {
                    true => Ok(Err(Refusal::body_too_slow())),
                    false => Err(error),
                };
            }
        };
        let Context { limits, secret, .. } = context;
        let _waiting = permit.as_ref().map(Permit::excuse);
        Ok(body::text(body, max)
            .and_then(|text| self.publish(conn.source().ip(), text, room, secret, limits)))
    }

    /// Reads the body. The memory for long ones is bounded, whoever sends them: there is a `permit` for it,
    /// once it has arrived as far as it can be read without one.
    fn read(
        &self,
        conn: &Arc<Conn>,
        received: &[u8],
        context: &Context,
        permit: &mut Option<Permit>,
    ) -> io::Result<Vec<u8>> {
        let until = Instant::now() + context.limits.body_timeout;
        if self.body.expects_continue && received.len() < self.body.length {
            deadline::write_all(&conn.stream, CONTINUE, until)?;
        }
        let read = |bytes: &mut [u8]| deadline::read(&conn.stream, bytes, until);
        let mut body = self.body.begin(received);
        self.body.read(&mut body, AT_HAND, read)?;
        if self.body.length > LONG_MESSAGE {
            let claimant = Claimant {
                address: conn.slot.address(),
                is_at_hand: body.len() == self.body.length,
                has_finished: false,
                occupant: conn.clone(),
            };
            let permit = permit.insert(context.permits.permit(claimant));
            self.body.read(&mut body, usize::MAX, |bytes| {
                let read = read(bytes)?;
                permit.heard(read);
                Ok(read)
            })?;
        }
        Ok(body)
    }

    /// Publishes `text`, which comes from this `address`.
    fn publish<T>(
        self,
        address: IpAddr,
        text: String,
        room: &RoomHandle<T>,
        secret: &Secret,
        limits: &Limits,
    ) -> Result<Vec<u8>, Refusal> {
        let log = &room.info.log;
        let identity = secret.identify_address(room.info.name.as_str(), address);
        let by = By::Tag(identity.tag);
        let received = Instant::now();
        let bytes = chunk::cost(NAME_BYTES + text.len());
        let mut turn = log.flow.turn_of(address, bytes);
        let credit = log.credit(bytes, &mut turn, || received.elapsed() < limits.room_patience);
        let Some(credit) = credit else {
            let is_away = room.info.is_away_for(Duration::ZERO);
            return Err(if is_away { Refusal::unreachable() } else { Refusal::room_waits() });
        };
        let (answer, outcome) = bounded(1);
        let said = self.wants_json.then(|| text.clone());
        let publication = Publication {
            room: room.info.clone(),
            identity,
            name: self.name,
            text: text.into(),
            key: self.key,
            at: Moment { received, ..Moment::now() },
            credit,
            answer,
        };
        let until = Instant::now() + limits.hub_patience;
        let event = Event::Publish(Box::new(publication));
        if room.inbox.send_deadline(event, until).is_err() {
            return Err(Refusal::room_waits());
        }
        let (message, epoch, name, is_new) = match outcome.recv_deadline(until) {
            Ok(Outcome::Published { message, epoch, name, is_new }) => {
                (message, epoch, name, is_new)
            }
            Ok(Outcome::Conflict) => return Err(Refusal::key_conflict()),
            Err(RecvTimeoutError::Timeout) => return Err(Refusal::no_answer()),
            Err(RecvTimeoutError::Disconnected) => return Err(Refusal::not_published()),
        };
        let mut body = Vec::new();
        let content_type = match said {
            Some(text) => {
                roomd1::msg(&mut body, message.seq, message.at, by, &name, &text, None);
                JSON
            }
            None => {
                let cursor = Cursor { epoch, seq: message.seq };
                body.extend_from_slice(cursor.to_string().as_bytes());
                PLAIN
            }
        };
        body.push(b'\n');
        let status = if is_new { 201 } else { 200 };
        let fields = &[("Vary", "Accept, Origin")];
        Ok(Response { status, fields, content_type, body: &body }.bytes(false))
    }
}

#[cfg(any(test, fuzzing))]
impl PublishRequest {
    /// Checks what holds whatever was sent.
    ///
    /// # Panics
    /// If it does not hold.
    pub fn check(&self, max_message: usize) {
        assert!(self.body.length <= max_message + 1);
        let is_key = |key: &String| !key.is_empty() && key.len() <= KEY_BYTES;
        assert!(self.key.as_ref().is_none_or(is_key), "{self:?}");
        let is_name = |name: &String| crate::room::names::check(name).as_ref() == Ok(name);
        assert!(self.name.as_ref().is_none_or(is_name), "{self:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crossbeam_channel::Receiver;

    use super::*;
    use crate::history::flow::Turn;
    use crate::room::hub::fuzz_target::room_named;
    use crate::room::idempotency::Published;
    use crate::wire::cursor::Epoch;

    /// A room whose hub has an inbox for one event, which nobody takes but the test.
    fn room() -> (RoomHandle<()>, Receiver<Event<()>>) {
        let (inbox, events) = bounded(1);
        let name = RoomName::parse("lab").expect("a name");
        (RoomHandle { info: room_named(1, name, None), inbox }, events)
    }

    /// A request with one byte.
    fn request(room: &RoomHandle<()>) -> PublishRequest {
        PublishRequest {
            room: room.info.name.clone(),
            name: None,
            key: None,
            body: Announced { length: 1, expects_continue: false },
            wants_json: false,
            max_message: Limits::default().max_message,
        }
    }

    /// The refusal of a message.
    #[track_caller]
    fn refused(room: &RoomHandle<()>) -> String {
        let limits = Limits {
            room_patience: Duration::from_millis(50),
            hub_patience: Duration::from_millis(50),
            ..Limits::default()
        };
        let (request, secret) = (request(room), Secret::of([7; 32]));
        let answer = request.publish([192, 0, 2, 1].into(), "x".into(), room, &secret, &limits);
        let refusal = answer.expect_err("a refusal").response(false);
        let refusal = String::from_utf8(refusal).expect("UTF-8");
        assert!(refusal.starts_with("HTTP/1.1 503 "), "{refusal}");
        assert!(refusal.contains("\r\nRetry-After: "), "{refusal}");
        refusal
    }

    #[test]
    fn without_an_answer_it_may_have_been_published() {
        let (room, events) = room();
        let refusal = refused(&room);
        assert!(refusal.contains("may have been published"), "{refusal}");
        let Ok(Event::Publish(late)) = events.try_recv() else { panic!("the hub has it") };
        assert!(late.answer.try_send(Outcome::Conflict).is_err(), "nobody waits for it any more");
        assert!(room.info.log.flow.in_flight() > 0, "until the hub is done with it");
        drop(late);
        assert_eq!(room.info.log.flow.in_flight(), 0);
    }

    #[test]
    fn what_does_not_reach_the_hub_is_not_published() {
        let (room, events) = room();
        let (done, _) = bounded(0);
        room.inbox.send(Event::Question { done }).expect("there is room for it");
        let refusal = refused(&room);
        assert!(refusal.contains("was not published"), "{refusal}");
        assert_eq!(room.info.log.flow.in_flight(), 0, "its credit is given back");
        assert!(matches!(events.try_recv(), Ok(Event::Question { .. })));
        assert!(events.is_empty());
    }

    #[test]
    fn a_room_that_waits_for_its_readers_publishes_nothing() {
        let (room, events) = room();
        let mut turn = Turn::default();
        let all = room.info.log.credit(128 * 1024, &mut turn, || true).expect("nobody waits");
        let refusal = refused(&room);
        assert!(refusal.contains("was not published"), "{refusal}");
        assert!(events.is_empty());
        drop(all);
    }

    /// By then the log may have gone on in another epoch, in which the number is another message's.
    #[test]
    fn the_answer_has_the_epoch_in_which_it_was_said() {
        let (room, events) = room();
        let log = room.info.log.clone();
        let hub = thread::spawn(move || {
            let Ok(Event::Publish(publication)) = events.recv() else { panic!("a message") };
            log.set_epoch(36);
            let message = Published { seq: 5, at: 7 };
            let epoch = Epoch::from_number(35);
            let outcome = Outcome::Published { message, epoch, name: "x".into(), is_new: true };
            publication.answer.send(outcome).expect("somebody waits");
        });
        let (request, secret) = (request(&room), Secret::of([7; 32]));
        let limits = Limits::default();
        let answer = request.publish([192, 0, 2, 1].into(), "x".into(), &room, &secret, &limits);
        let answer = String::from_utf8(answer.expect("a response")).expect("UTF-8");
        assert!(
            answer.starts_with("HTTP/1.1 201 ") && answer.ends_with("\r\n\r\nz.5\n"),
            "{answer}"
        );
        hub.join().expect("no panic");
    }

    #[test]
    fn a_hub_that_stops_has_not_published_it() {
        let (room, events) = room();
        let hub = thread::spawn(move || drop(events.recv()));
        let refusal = refused(&room);
        assert!(refusal.contains("the server stops"), "{refusal}");
        hub.join().expect("no panic");
        let refusal = refused(&room);
        assert!(refusal.contains("was not published"), "it is gone: {refusal}");
    }
}
