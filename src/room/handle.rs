//! What a session needs of the room that it is in.

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::room::event::Event;
use crate::room::info::RoomInfo;

/// A room and the way to its hub. Dropping it drops the room.
#[derive(Debug)]
pub struct RoomHandle<T> {
    /// The room.
    pub info: Arc<RoomInfo>,
    /// The inbox of its hub.
    pub inbox: Sender<Event<T>>,
}

impl<T> Drop for RoomHandle<T> {
    fn drop(&mut self) {
        if let Some(link) = &self.info.link {
            link.close();
        }
        // Without a hub the server is about to end.
        let _ = self.inbox.send(Event::Drop { room: self.info.id });
    }
}
