//! One subscriber over HTTP: a member of a room that only hears.
//!
//! Its thread reads to notice the end, and keeps the connection alive.

use std::io::{self, Read};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::client::member::Member;
use crate::client::session::{Context, Seat};
use crate::client::socket::Socket;
use crate::net::conn::Conn;
use crate::net::deadline;
use crate::outbox::encoding::Encoding;
use crate::outbox::{Bounds, Outbox};
use crate::reasons::{CloseReason, LeaveReason};
use crate::room::event::{Farewell, Moment, Newcomer};
use crate::room::follow::{Follow, Until};
use crate::wire::stream::Format;

/// A subscriber whose request was accepted.
pub struct Follower {
    /// Its connection.
    pub conn: Arc<Conn>,
    /// The room.
    pub seat: Seat,
    /// How it hears.
    pub format: Format,
    /// What it hears.
    pub follow: Follow,
    /// How long it waits for a message, if it does.
    pub wait: Duration,
}

impl Follower {
    /// Serves the subscriber until it is gone.
    #[inline(never)]
    pub fn run(self, context: &Context) {
        let Follower { conn, seat, format, follow, wait } = self;
        let conn = Conn::take(conn);
        let limits = &context.limits;
        let bounds = Bounds {
            max_queue: limits.queue(),
            catch_up: limits.catch_up,
            // A stream may end with a long replay, for a reader on a slow link.
            close_timeout: limits.catch_up,
        };
        let (flusher, pieces) = (context.flusher.clone(), context.pieces);
        let socket = Socket { conn, flusher, pieces };
        let outbox = Outbox::new(socket, Encoding::of(format), Vec::new(), bounds);
        let conn = &outbox.transport().conn;
        outbox.open();
        let closable: Weak<Outbox<Socket>> = Arc::downgrade(&outbox);
        if !conn.slot.register(closable) {
            outbox.close(&CloseReason::Stopping.frame());
        }
        let visit = conn.metrics.stream.begin();
        let until = (follow.until == Until::Message).then(|| Instant::now() + wait);
        let who = Newcomer::Follower(Box::new(follow));
        let mut member = Some(Member::join(conn.slot.id(), who, 0, &outbox, &seat));
        deadline::detect_loss(&conn.stream, limits.ping_interval, limits.ping_timeout);
        let mut pause = limits.ping_interval;
        loop {
            let now = Instant::now();
            let left = until.filter(|_| member.is_some()).map(|until| until - now.min(until));
            match read(conn, left.unwrap_or(pause).min(pause)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) if until.is_some_and(|until| Instant::now() >= until) => {
                    // The wait was in vain: it has its hello.
                    if let Some(member) = member.take() {
                        member.leave(Farewell { frames: Some(Vec::new()), is_lost: false });
                    }
                    break;
                }
                Err(_) if outbox.has_closed() => break,
                Err(_) => {
                    let silent = Duration::from_millis(
                        Moment::now().at.saturating_sub(seat.info.log.ring.last_at()),
                    );
                    pause = limits.ping_interval.saturating_sub(silent);
                    if pause.is_zero() {
                        outbox.send(format.ping());
                        pause = limits.ping_interval;
                    }
                }
            }
        }
        visit.end(match outbox.why() {
            Some(why) => why,
            None if conn.metrics.is_stopping() => LeaveReason::Stopping,
            None => LeaveReason::Closed,
        });
        // Whoever has closed its side may still read.
        if let Some(member) = member {
            member.leave(Farewell { frames: Some(Vec::new()), is_lost: false });
        }
        log::debug!("subscriber {} of {} left", conn.source(), seat.info.name);
        // As long as it takes what is left for it, the flusher sends that.
        while !outbox.has_finished() {
            if deadline::wait_for_end(&conn.stream, Instant::now() + limits.close_timeout) {
                return;
            }
        }
        if !deadline::wait_for_end(&conn.stream, Instant::now() + limits.close_timeout) {
            deadline::abort_on_close(&conn.stream);
        }
    }
}

/// Reads, and discards what comes. False: the peer has closed its side.
///
/// # Errors
/// When nothing has come for so long.
fn read(conn: &Conn, time: Duration) -> io::Result<bool> {
    let time = time.max(Duration::from_millis(1));
    conn.stream.set_read_timeout(Some(time))?;
    let mut bytes = [0; 64];
    match (&conn.stream).read(&mut bytes) {
        Ok(0) => Ok(false),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
        // The connection is gone.
        Err(_) => Ok(false),
    }
}
