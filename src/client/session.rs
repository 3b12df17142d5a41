//! One WebSocket client from its handshake to its end: the room, or the echo.
//!
//! The only file that knows tungstenite's stream. The thread that runs it reads; whatever is sent
//! leaves through the client's outbox.

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::client::member::Member;
use crate::client::permits::Permits;
use crate::client::roomd1::Visitor;
use crate::client::socket::Socket;
use crate::client::stream::{Answer, Stream};
use crate::config::budget::Pieces;
use crate::config::{ANSWER_BUFFER, Echo, Limits, READ_BUFFER};
use crate::excerpt::excerpt;
use crate::net::conn::Conn;
use crate::net::deadline;
use crate::outbox::encoding::Encoding;
use crate::outbox::flusher::Flusher;
use crate::outbox::{Bounds, Outbox};
use crate::rate::Pace;
use crate::reasons::{CloseReason, LeaveReason};
use crate::room::event::{Farewell, Newcomer};
use crate::room::handle::RoomHandle;
use crate::room::identity::Secret;
use crate::room::rooms;
use crate::wire::{self, tutorial};

/// A close code that IANA has registered and tungstenite takes for one that may not be sent.
const BAD_GATEWAY: u16 = 1014;

/// What a client connects to.
pub enum Endpoint {
    /// Every message is answered, to its sender alone.
    Echo,
    /// A room, by the tutorial's protocol, as this client id.
    Tutorial(Seat, i64),
    /// A room, by `roomd.1`.
    Roomd1(Seat),
}

/// A room that is kept for a client.
pub type Seat = rooms::Seat<Socket>;

/// A client whose handshake was accepted.
pub struct Session {
    outbox: Arc<Outbox<Socket>>,
    endpoint: Endpoint,
    received: Vec<u8>,
}

/// What ends a session.
#[derive(Debug)]
pub enum End {
    /// The client closed, and said why.
    Closed(Option<(u16, String)>),
    /// The connection broke, or ended without a close handshake.
    Lost(io::Error),
    /// The client did something that it is closed for.
    Fault(CloseReason, String),
}

/// What sessions need of the server.
pub struct Context {
    /// How much of everything.
    pub limits: Limits,
    /// What echo clients get.
    pub echo: Echo,
    /// Bytes of the longest frame of `roomd.1`.
    pub max_frame: usize,
    /// What tags are made of.
    pub secret: Secret,
    /// Who sends to clients that are behind.
    pub flusher: Flusher<Socket>,
    /// How many bytes the kernel is given at once.
    pub pieces: Pieces,
    /// Memory for long messages.
    pub permits: Permits,
}

impl Session {
    /// A client of `endpoint`. It has not been sent the `response` to its handshake yet, and may
    /// have `sent` something right behind it.
    #[inline(never)]
    pub fn new(
        conn: Arc<Conn>,
        endpoint: Endpoint,
        response: Vec<u8>,
        sent: &[u8],
        context: &Context,
    ) -> Self {
        if let Endpoint::Tutorial(..) = &endpoint {
            // Not in the client's own thread: that would deepen its stack by a page for good.
            log::info!("client {endpoint} joins from {}", conn.source());
        }
        // Nor is that to free what it can do without: glibc's cache would keep it for as long.
        let conn = Conn::take(conn);
        conn.metrics.received(sent.len());
        let limits = &context.limits;
        let bounds = Bounds {
            max_queue: limits.queue(),
            catch_up: limits.catch_up,
            close_timeout: limits.close_timeout,
        };
        let (flusher, pieces) = (context.flusher.clone(), context.pieces);
        let socket = Socket { conn, flusher, pieces };
        let encoding = match endpoint {
            Endpoint::Roomd1(_) => Encoding::Roomd1,
            Endpoint::Echo | Endpoint::Tutorial(..) => Encoding::Tutorial,
        };
        let outbox = Outbox::new(socket, encoding, response, bounds);
        let closable: Weak<Outbox<Socket>> = Arc::downgrade(&outbox);
        if !outbox.transport().conn.slot.register(closable) {
            outbox.close(&CloseReason::Stopping.frame());
        }
        Session { outbox, endpoint, received: sent.to_vec() }
    }

    /// Serves the client until it is gone.
    #[inline(never)]
    pub fn run(&mut self, context: &Context) {
        let received = std::mem::take(&mut self.received);
        let Session { outbox, endpoint, .. } = self;
        let conn = &outbox.transport().conn;
        let end = endpoint.serve(received, outbox, context);
        log_end(endpoint, outbox, &end);
        let until = Instant::now() + context.limits.close_timeout;
        if !matches!(end, End::Lost(_)) && !deadline::wait_for_end(&conn.stream, until) {
            deadline::abort_on_close(&conn.stream);
        }
    }
}

impl Endpoint {
    /// Serves a client that may have sent something already.
    fn serve(&self, received: Vec<u8>, outbox: &Arc<Outbox<Socket>>, context: &Context) -> End {
        let longest = match self {
            Endpoint::Roomd1(_) => context.max_frame,
            Endpoint::Echo | Endpoint::Tutorial(..) => context.limits.max_message,
        };
        let mut client = Client::of(outbox, received, context, longest);
        match self {
            Endpoint::Echo => serve_echo(&mut client, context.echo, outbox),
            Endpoint::Tutorial(seat, id) => serve_member(&mut client, seat, *id, outbox),
            Endpoint::Roomd1(seat) => serve_visitor(&mut client, seat, outbox, context),
        }
    }
}

#[inline(never)]
fn log_end(endpoint: &Endpoint, outbox: &Outbox<Socket>, end: &End) {
    let source = outbox.transport().conn.source();
    match endpoint {
        Endpoint::Echo => log::debug!("echo client {source} left: {end}"),
        _ if outbox.is_evicted() => {
            log::warn!("client {endpoint} at {source} was closed (1013): it read too slowly");
        }
        _ if outbox.why() == Some(LeaveReason::Moved) => {
            log::info!(
                "client {endpoint} at {source} was closed (1012): the other servers took this one for dead"
            );
        }
        _ => log::info!("client {endpoint} at {source} left: {end}"),
    }
}

// Not inlined, so that a thread that waits has on its stack what its own endpoint needs, and not what all
// of them do: a page more for each client counts.

#[inline(never)]
fn serve_echo(client: &mut Client<Stream>, echo: Echo, outbox: &Arc<Outbox<Socket>>) -> End {
    let visit = outbox.transport().conn.metrics.echo.begin();
    outbox.open();
    let end =
        client.read_all(|stream, message| stream.answer(|out| answer_echo(echo, &message, out)));
    visit.end(leaving(&end, outbox));
    client.part(&end, None, outbox);
    end
}

#[inline(never)]
fn serve_member(
    client: &mut Client<Stream>,
    seat: &Seat,
    id: i64,
    outbox: &Arc<Outbox<Socket>>,
) -> End {
    let conn = &outbox.transport().conn;
    let visit = conn.metrics.room.begin();
    // Before the response goes out: whoever has it hears what is said from then on.
    let mut member = Member::join(conn.slot.id(), Newcomer::Number(id), 0, outbox, seat);
    outbox.open();
    let end = client.read_all(|stream, message| {
        let Message::Text(text) = message else { return Err(End::binary()) };
        let is_said = stream.while_waiting(|is_there| member.say(text, 0, is_there));
        if is_said { Ok(()) } else { Err(End::unsaid(seat)) }
    });
    visit.end(leaving(&end, outbox));
    client.part(&end, Some(member), outbox);
    end
}

#[inline(never)]
fn serve_visitor(
    client: &mut Client<Stream>,
    seat: &Seat,
    outbox: &Arc<Outbox<Socket>>,
    context: &Context,
) -> End {
    let visit = outbox.transport().conn.metrics.room.begin();
    outbox.open();
    let (end, member) = Visitor::new(seat, outbox, context).serve(client);
    visit.end(leaving(&end, outbox));
    client.part(&end, member, outbox);
    end
}

/// Why a client is gone, as the metrics count it.
fn leaving(end: &End, outbox: &Outbox<Socket>) -> LeaveReason {
    match end {
        End::Fault(farewell, _) if outbox.why().is_none() => farewell.row().2,
        // The peer closed or ended the connection because it was told to.
        _ => outbox.why().unwrap_or(match end {
            _ if outbox.transport().conn.metrics.is_stopping() => LeaveReason::Stopping,
            End::Closed(_) => LeaveReason::Closed,
            End::Fault(..) | End::Lost(_) => LeaveReason::Lost,
        }),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Echo => f.write_str("of the echo"),
            Endpoint::Tutorial(seat, id) if seat.info.name.is_lobby() => write!(f, "#{id}"),
            Endpoint::Tutorial(seat, id) => write!(f, "#{id} in {}", seat.info.name),
            Endpoint::Roomd1(seat) => write!(f, "of roomd.1 in {}", seat.info.name),
        }
    }
}

/// What the echo says to a message.
fn answer_echo(echo: Echo, message: &Message, out: &mut Vec<u8>) -> Result<(), End> {
    match (echo, message) {
        (Echo::Tutorial, Message::Text(text)) => tutorial::echo(out, text),
        (Echo::Verbatim, Message::Text(text)) => wire::text(out, text),
        (Echo::Verbatim, Message::Binary(data)) => wire::binary(out, data),
        _ => return Err(End::binary()),
    }
    Ok(())
}

/// The reading side of a client.
pub struct Client<S> {
    stream: S,
    config: WebSocketConfig,
    pace: Option<Pace>,
    max_message: usize,
    ping_timeout: Duration,
}

impl<S: Answer> Client<S> {
    /// A client whose messages have up to `longest` bytes on the wire.
    fn new(stream: S, limits: &Limits, longest: usize) -> Self {
        // Every size is given: the defaults are made for big machines.
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(ANSWER_BUFFER)
            .max_message_size(Some(longest))
            .max_frame_size(Some(longest))
            .accept_unmasked_frames(false);
        Client {
            stream,
            config,
            pace: Pace::new(limits.rate, Instant::now()),
            max_message: limits.max_message,
            ping_timeout: limits.ping_timeout,
        }
    }

    /// Gives each message, text or binary, to `take`, at the client's pace, until the end.
    pub fn read_all(&mut self, mut take: impl FnMut(&mut S, Message) -> Result<(), End>) -> End {
        // A new one behind each long message, since tungstenite would keep the memory that it took.
        loop {
            let socket =
                WebSocket::from_raw_socket(&mut self.stream, Role::Server, Some(self.config));
            if let Some(end) = read_some(socket, &mut self.pace, &mut take) {
                return end.unwrap_or_else(|error| self.end_of(error));
            }
        }
    }

    fn end_of(&self, error: Error) -> End {
        match error {
            Error::Io(error) if error.kind() == io::ErrorKind::OutOfMemory => End::Fault(
                CloseReason::Unfinished,
                "took too long for a message while others waited for memory".into(),
            ),
            Error::Io(error) if error.kind() == io::ErrorKind::NotConnected => {
                End::Fault(CloseReason::NoHello, "did not say hello in time".into())
            }
            Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                End::Fault(CloseReason::Silent(self.ping_timeout), "did not answer a ping".into())
            }
            Error::Io(error) => End::Lost(error),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
            | Error::ConnectionClosed
            | Error::AlreadyClosed => End::Lost(io::ErrorKind::ConnectionReset.into()),
            Error::Capacity(_) => {
                End::Fault(CloseReason::TooLong(self.max_message), "sent too long a message".into())
            }
            Error::Utf8(_) => {
                End::Fault(CloseReason::NotUtf8, "sent text that is not UTF-8".into())
            }
            error => {
                let reason = CloseReason::Protocol(violation(&error));
                End::Fault(reason, format!("broke the protocol ({error})"))
            }
        }
    }

    /// Tells the room, if it is in one, and the client itself that this is its end.
    fn part(&mut self, end: &End, member: Option<Member<'_>>, outbox: &Arc<Outbox<Socket>>) {
        let frames = self.last_word(end);
        match (member, frames) {
            (Some(member), frames) => {
                let is_lost = outbox.is_evicted() || end.is_loss();
                member.leave(Farewell { frames, is_lost });
            }
            (None, Some(frames)) => outbox.close(&frames),
            (None, None) => outbox.cut(),
        }
    }

    /// The last frames that the client gets: answers that have not been sent, and a close frame.
    /// None if it would not take them.
    fn last_word(&mut self, end: &End) -> Option<Vec<u8>> {
        if matches!(end, End::Lost(_)) {
            return None;
        }
        let mut frames = self.stream.take_answers();
        if let End::Fault(farewell, _) = end {
            frames.extend_from_slice(&farewell.frame());
        }
        Some(frames)
    }
}

/// What a client is told of its fault, which whoever wrote it has to find.
fn violation(error: &Error) -> &'static str {
    let Error::Protocol(error) = error else { return "this is not WebSocket" };
    match error {
        ProtocolError::UnmaskedFrameFromClient => "a client masks its frames",
        ProtocolError::NonZeroReservedBits => {
            "a reserved bit is set, but no extension was agreed on"
        }
        ProtocolError::UnknownControlFrameType(_)
        | ProtocolError::UnknownDataFrameType(_)
        | ProtocolError::InvalidOpcode(_) => "there is no such opcode",
        ProtocolError::FragmentedControlFrame => "a control frame has no fragments",
        ProtocolError::ControlFrameTooBig => "a control frame has at most 125 bytes",
        ProtocolError::UnexpectedContinueFrame => "there is nothing to continue",
        ProtocolError::ExpectedFragment(_) => "a message begins before the last one has ended",
        ProtocolError::InvalidCloseSequence => {
            "a close frame is empty or begins with a code of two bytes"
        }
        _ => "this is not WebSocket",
    }
}

/// Reads up to the end: why, or the error that it is. None: it read up to the end of a long message.
fn read_some<S: Answer>(
    mut socket: WebSocket<&mut S>,
    pace: &mut Option<Pace>,
    mut take: impl FnMut(&mut S, Message) -> Result<(), End>,
) -> Option<Result<End, Error>> {
    loop {
        let message = match socket.read() {
            Ok(message) => message,
            Err(error) => return Some(Err(error)),
        };
        match message {
            Message::Text(_) | Message::Binary(_) => {
                let kept = keep_pace(pace, *socket.get_mut());
                if let Err(end) = kept.and_then(|()| take(socket.get_mut(), message)) {
                    return Some(Ok(end));
                }
                if socket.get_mut().end_message() {
                    return None;
                }
            }
            Message::Close(why) => {
                let why = why.map(|why| (u16::from(why.code), why.reason.to_string()));
                let end = match (socket.get_ref().close_code(), why) {
                    (Some(BAD_GATEWAY), _) => {
                        let reply = wire::close(CloseCode::Bad(BAD_GATEWAY), "");
                        let _ = socket.get_mut().write_all(&reply);
                        End::Closed(Some((BAD_GATEWAY, String::new())))
                    }
                    // tungstenite gives 1002 in place of a code that no close frame may carry.
                    (Some(code), Some((given, _))) if code != given => End::Fault(
                        CloseReason::Protocol("no close frame has this code"),
                        format!("closed with {code}, which is not a close code"),
                    ),
                    (_, why) => {
                        // tungstenite has the reply ready, and writes it now.
                        let _ = socket.flush();
                        End::Closed(why)
                    }
                };
                return Some(Ok(end));
            }
            // Nobody asked for more than a pong now and then.
            Message::Ping(_) | Message::Pong(_) => {
                if let Err(end) = keep_pace(pace, *socket.get_mut()) {
                    return Some(Ok(end));
                }
            }
            Message::Frame(_) => {}
        }
    }
}

/// A client that talks too fast is not read from for a while.
fn keep_pace(pace: &mut Option<Pace>, stream: &mut impl Answer) -> Result<(), End> {
    let wait = pace.as_mut().map_or(Duration::ZERO, Pace::count_now);
    if wait.is_zero() || stream.wait(wait) { Ok(()) } else { Err(End::gone()) }
}

impl Client<Stream> {
    #[inline(never)]
    fn of(
        outbox: &Arc<Outbox<Socket>>,
        received: Vec<u8>,
        context: &Context,
        longest: usize,
    ) -> Self {
        let Context { limits, permits, .. } = context;
        let stream = Stream::new(outbox.clone(), received, limits, longest, permits.clone());
        let pace = outbox.transport().conn.pace(limits.rate);
        Client { pace, ..Client::new(stream, limits, longest) }
    }

    /// It has to say hello within this time.
    pub fn expect_hello(&mut self, time: Duration) {
        self.stream.expect_hello(time);
    }
}

impl End {
    /// It sent what is not text.
    pub fn binary() -> Self {
        End::Fault(CloseReason::Binary, "sent a binary message".into())
    }

    /// What it says is not taken: it is gone, or the room cannot be reached.
    pub fn unsaid(room: &RoomHandle<Socket>) -> Self {
        if room.info.is_unreachable() {
            let why = "could say nothing, since the engine cannot be reached";
            return End::Fault(CloseReason::Unreachable, why.into());
        }
        End::gone()
    }

    /// It is not there any more to hear what becomes of what it has said.
    pub fn gone() -> Self {
        End::Lost(io::ErrorKind::ConnectionReset.into())
    }

    /// Whether the client may come again as if nothing had been.
    fn is_loss(&self) -> bool {
        if matches!(self, End::Fault(CloseReason::Unreachable, _)) {
            return true;
        }
        use CloseReason::{Silent, TooSlow, Unfinished};
        matches!(self, End::Lost(_) | End::Fault(Silent(_) | TooSlow | Unfinished, _))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Closed(None) => f.write_str("it closed the connection"),
            End::Closed(Some((code, reason))) if reason.is_empty() => {
                write!(f, "it closed the connection ({code})")
            }
            End::Closed(Some((code, reason))) => {
                write!(f, "it closed the connection ({code}, '{}')", excerpt(reason))
            }
            End::Lost(error) => write!(f, "the connection was lost ({error})"),
            End::Fault(_, what) => write!(f, "it {what}"),
        }
    }
}

#[cfg(any(test, fuzzing))]
pub mod fuzz_target;
#[cfg(test)]
mod tests;
