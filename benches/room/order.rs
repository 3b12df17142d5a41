//! Whether everybody hears every message, once, and in one order.

use crate::message::{self, Message};

/// The order in which the room's messages were heard by whoever heard them first.
/// Everybody else has to hear the same one.
#[derive(Debug)]
pub struct Order {
    messages: Vec<Message>,
    /// How many of them each client has heard.
    heard: Vec<usize>,
    /// The number that each sender's next message must have.
    next: Vec<usize>,
    length: usize,
    /// Who the room says that a sender is.
    author: fn(usize) -> usize,
    deliveries: usize,
}

impl Order {
    /// For a room in which the first `senders` of `clients` say texts of `length` bytes.
    pub fn new(clients: usize, senders: usize, length: usize) -> Order {
        Order {
            messages: Vec::new(),
            heard: vec![0; clients],
            next: vec![0; senders],
            length,
            author: |sender| sender,
            deliveries: 0,
        }
    }

    /// The same room, where `author` is who a sender is said to be.
    pub fn with_author(self, author: fn(usize) -> usize) -> Order {
        Order { author, ..self }
    }

    /// How many times any client has heard a message.
    pub fn deliveries(&self) -> usize {
        self.deliveries
    }

    /// Checks what a client has heard against what the others have.
    pub fn hear(&mut self, client: usize, text: &[u8]) -> Result<Message, String> {
        let message = Message::find(text).ok_or_else(|| unknown(client, text))?;
        let place = self.heard[client];
        match self.messages.get(place) {
            None => self.extend(client, text, message)?,
            Some(same) if *same == message => {}
            Some(other) => {
                return Err(format!("client {client} heard {message} where others heard {other}"));
            }
        }
        self.heard[client] += 1;
        self.deliveries += 1;
        Ok(message)
    }

    /// The first to hear a message looks at all of it; for the others its tag is enough.
    fn extend(&mut self, client: usize, text: &[u8], message: Message) -> Result<(), String> {
        let sender = message.sender();
        let next = self.next.get_mut(sender);
        let next = next.ok_or_else(|| unknown(client, text))?;
        if *next != message.number() {
            return Err(format!(
                "client {client} heard {message} where number {next} of that sender was due"
            ));
        }
        let expected = message.text(self.length);
        let is_as_said = match text.strip_suffix(b"\"}") {
            Some(object) => {
                object.strip_suffix(&*expected).is_some_and(|rest| rest.ends_with(b",\"text\":\""))
            }
            None => text == said((self.author)(sender), &expected),
        };
        if !is_as_said {
            return Err(unknown(client, text));
        }
        *next += 1;
        self.messages.push(message);
        Ok(())
    }
}

/// What the room makes of a client's text.
pub fn said(client: usize, text: &[u8]) -> Vec<u8> {
    let mut said = format!("Client #{client} says: ").into_bytes();
    said.extend(text);
    said
}

fn unknown(client: usize, text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    match message::who_left(text.as_bytes()) {
        Some(id) => format!("client {client} was told that {id} left, but it did not"),
        None => format!("client {client} heard what nobody has said: {text:.80?}"),
    }
}
