//! The session of a client of `roomd.1`: what it sends becomes events of its room.

use std::sync::Arc;
use std::time::Duration;

use tungstenite::Message;

use crate::client::member::Member;
use crate::client::session::{Client, Context, End};
use crate::client::socket::Socket;
use crate::client::stream::{Answer as _, Stream};
use crate::config::{HELLO_TIMEOUT, NAME_BYTES};
use crate::excerpt::excerpt;
use crate::outbox::Outbox;
use crate::reasons::CloseReason;
use crate::room::event::{Newcomer, Said};
use crate::room::handle::RoomHandle;
use crate::room::hello::Hello;
use crate::wire;
use crate::wire::roomd1::{self, Code, Command, Fault};

/// So many malformed frames close a client.
const FAULTS: u32 = 3;

/// A client of `roomd.1`, which is a member once it has said hello.
pub struct Visitor<'a> {
    room: &'a RoomHandle<Socket>,
    outbox: &'a Arc<Outbox<Socket>>,
    context: &'a Context,
    member: Option<Member<'a>>,
    hears: bool,
    faults: u32,
}

impl<'a> Visitor<'a> {
    /// A client that has not said hello.
    pub fn new(
        room: &'a RoomHandle<Socket>,
        outbox: &'a Arc<Outbox<Socket>>,
        context: &'a Context,
    ) -> Self {
        Visitor { room, outbox, context, member: None, hears: true, faults: 0 }
    }

    /// Serves the client until its end, and gives the member that it is by then.
    pub fn serve(mut self, client: &mut Client<Stream>) -> (End, Option<Member<'a>>) {
        client.expect_hello(HELLO_TIMEOUT);
        let end = client.read_all(|stream, message| self.take(stream, &message));
        (end, self.member)
    }

    #[inline(never)]
    fn take(&mut self, stream: &mut Stream, message: &Message) -> Result<(), End> {
        let Message::Text(text) = message else {
            return Err(End::binary());
        };
        let max = self.room.info.max_message;
        match (Command::parse(text, max), &mut self.member) {
            (Ok(Command::Hello(hello)), None) => {
                stream.hello_came();
                self.join(*hello)
            }
            (_, None) => Err(no_hello()),
            (Ok(Command::Hello(_)), Some(_)) => self.refuse(stream, Fault::bad("hello comes once")),
            (Ok(Command::Msg { text, n }), Some(member)) => {
                if !self.hears {
                    // It is told of each message, and may not read that.
                    stream.wait_until_taken();
                }
                let (text, number) = (Said::from(text), n.unwrap_or(0));
                let (outbox, hears) = (self.outbox, self.hears);
                let info = &self.room.info;
                let is_said = stream.while_waiting(|is_there| {
                    let mut is_there = || {
                        // Else it waits for no reader.
                        let hears = hears && !info.is_away_for(Duration::ZERO);
                        if hears {
                            tell_of_wait(outbox, n);
                        }
                        is_there()
                    };
                    member.say(text, number, &mut is_there)
                });
                if is_said { Ok(()) } else { Err(End::unsaid(self.room)) }
            }
            (Ok(Command::Name(name)), Some(member)) => {
                member.rename(name);
                Ok(())
            }
            (Ok(Command::Ping { x }), Some(_)) => {
                answer(stream, |out| roomd1::pong(out, x.as_deref()));
                Ok(())
            }
            (Err(fault), Some(_)) => self.refuse(stream, fault),
        }
    }

    /// Not inlined: what it takes of the stack is given back before the client is waited for.
    #[inline(never)]
    fn join(&mut self, hello: roomd1::Hello) -> Result<(), End> {
        let Visitor { room, outbox, context, .. } = self;
        let identity = context.secret.identify(room.info.name.as_str(), hello.me.as_ref());
        let identity = identity.map_err(End::Lost)?;
        let source = outbox.transport().conn.source();
        let name = hello.name.as_deref().map(|name| format!(" as '{}'", excerpt(name)));
        log::info!(
            "client {} joins {} from {source}{}",
            identity.tag,
            room.info.name,
            name.unwrap_or_default()
        );
        self.hears = hello.hear;
        let roomd1::Hello { name, since, history, who, hear, .. } = hello;
        let hello = Hello { identity, name, since, history, who, hear };
        let conn = outbox.transport().conn.slot.id();
        let who = Newcomer::Person(Box::new(hello));
        self.member = Some(Member::join(conn, who, NAME_BYTES, outbox, room));
        Ok(())
    }

    /// Tells the client what was wrong; one that goes on in this way is closed.
    fn refuse(&mut self, stream: &mut Stream, fault: Fault) -> Result<(), End> {
        if let (Some(n), Some(member)) = (fault.n, &self.member) {
            member.use_up(n);
        }
        self.faults += u32::from(fault.code == Code::Bad);
        if self.faults >= FAULTS {
            let reason = CloseReason::Misuse("this is not roomd.1");
            return Err(End::Fault(reason, format!("broke the protocol ({})", fault.text)));
        }
        answer(stream, |out| roomd1::err(out, fault.code, fault.n, &fault.text));
        Ok(())
    }
}

fn answer(stream: &mut Stream, write: impl FnOnce(&mut Vec<u8>)) {
    stream.reply(|out| wire::text_of(out, write));
}

/// The client hears twice a second that its message waits for the room's readers, as long as it takes what
/// is for it alone.
#[inline(never)]
fn tell_of_wait(outbox: &Arc<Outbox<Socket>>, n: Option<u64>) {
    if outbox.flush_queue() {
        return;
    }
    let mut frame = Vec::new();
    wire::text_of(&mut frame, |out| roomd1::wait(out, n));
    outbox.send(&frame);
}

fn no_hello() -> End {
    End::Fault(CloseReason::Misuse("a client says hello first"), "did not say hello first".into())
}
