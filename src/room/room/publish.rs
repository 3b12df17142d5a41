//! Messages of those who are not in the room.

use std::sync::Arc;

use crate::history::chunk::{Author, Entry, Kind};
use crate::outbox::Transport;
use crate::room::idempotency::{Published, Verdict};
use crate::room::publish::{Outcome, Publication};
use crate::room::room::Room;

impl<T: Transport> Room<T> {
    /// Somebody says something who is not here. True if it is published.
    pub fn publish(&mut self, publication: Publication) -> bool {
        let Publication { identity, name, text, key, at, credit, answer, .. } = publication;
        let sender = identity.tag;
        let request = key.as_deref().map(|key| (sender.as_str(), key, &*text));
        let verdict = request.map_or(Verdict::New, |(sender, key, text)| {
            self.keys.look_up(sender, key, text, at.received)
        });
        if verdict == Verdict::Conflict {
            let _ = answer.try_send(Outcome::Conflict);
            return false;
        }
        let name: Arc<str> = match name {
            Some(name) => {
                // It owns the name as one does who comes, says something and goes.
                let welcome = self.participants.come(&identity, Some(&name), at.received);
                self.participants.go(welcome.key, at.received);
                welcome.name
            }
            None => sender.as_str().into(),
        };
        let is_new = verdict == Verdict::New;
        let message = match verdict {
            Verdict::Same(message) => message,
            Verdict::New | Verdict::Conflict => {
                (self.seq, self.now) = (self.seq + 1, at);
                let kind = Kind::Message { seq: self.seq, n: 0 };
                let author = Author { num: identity.num, tag: Some(sender), name: &name };
                let entry = Entry { kind, at: at.at, author, text: &text };
                self.batch.push(entry, Some(credit));
                let message = Published { seq: self.seq, at: at.at };
                if let Some(request) = request {
                    self.keys.add(request, message, at.received);
                }
                message
            }
        };
        // Whoever asked may have given up.
        let epoch = self.info.log.epoch();
        let _ = answer.try_send(Outcome::Published { message, epoch, name, is_new });
        is_new
    }
}
