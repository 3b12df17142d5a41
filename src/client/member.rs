//! A client's being in a room: what its session tells the hub.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::client::socket::Socket;
use crate::history::chunk;
use crate::history::flow::Turn;
use crate::net::slots::ConnId;
use crate::outbox::Outbox;
use crate::room::event::{Event, Farewell, Moment, Newcomer, Said};
use crate::room::handle::RoomHandle;

/// A client in a room. However its thread ends, a panic included, the room is told.
pub struct Member<'a> {
    conn: ConnId,
    room: &'a RoomHandle<Socket>,
    /// Bytes of its name, which are logged with each message.
    name_len: usize,
    turn: Turn,
    has_left: bool,
}

impl<'a> Member<'a> {
    /// Joins the room. Others may be told a name of up to `name_len` bytes.
    pub fn join(
        conn: ConnId,
        who: Newcomer,
        name_len: usize,
        outbox: &Arc<Outbox<Socket>>,
        room: &'a RoomHandle<Socket>,
    ) -> Self {
        let member = Member { conn, room, name_len, turn: Turn::default(), has_left: false };
        let (room, outbox) = (room.info.clone(), outbox.clone());
        member.tell(Event::Join { room, conn, who, outbox, at: Moment::now() });
        member
    }

    /// Says something once the room's readers are far enough, with the client's own number for it, or 0.
    /// False if the client is gone meanwhile, as `is_there` is asked, or the room cannot be reached for too long.
    #[must_use]
    pub fn say(&mut self, text: Said, n: u64, is_there: &mut dyn FnMut() -> bool) -> bool {
        let received = Instant::now();
        let bytes = chunk::cost(self.name_len + text.len());
        let log = &self.room.info.log;
        if self.room.info.is_unreachable() {
            return false;
        }
        let is_there = &mut || is_there() && !self.room.info.is_unreachable();
        let Some(credit) = log.credit(bytes, &mut self.turn, is_there) else { return false };
        let at = Moment { received, ..Moment::now() };
        let (room, conn) = (self.room.info.id, self.conn);
        self.tell(Event::Broadcast { room, conn, text, n, at, credit });
        true
    }

    /// Wants another name.
    pub fn rename(&self, name: String) {
        let (room, conn) = (self.room.info.id, self.conn);
        self.tell(Event::Rename { room, conn, name, at: Moment::now() });
    }

    /// What the client numbered `n` is no message.
    pub fn use_up(&self, n: u64) {
        self.tell(Event::UseUp { room: self.room.info.id, conn: self.conn, n });
    }

    /// Leaves the room.
    pub fn leave(mut self, farewell: Farewell) {
        self.has_left = true;
        self.tell(Event::Leave { room: self.room.info.id, conn: self.conn, farewell });
    }

    /// Waits while the inbox is full. That slows this client, not the hub.
    fn tell(&self, event: Event<Socket>) {
        // Without a hub the server is about to end, and says so.
        let _ = self.room.inbox.send(event);
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        if !self.has_left {
            let farewell = Farewell { frames: None, is_lost: true };
            self.tell(Event::Leave { room: self.room.info.id, conn: self.conn, farewell });
        }
    }
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // It is a number of milliseconds for the next half a billion years.
        Moment { at: since_1970.as_millis() as u64, received: Instant::now() }
    }
}
