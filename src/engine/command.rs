//! What clients do, as the scripts take it.

use redis::Cmd;
use tungstenite::Utf8Bytes;

/// Something that a client of this node does in a room.
#[derive(Clone, Debug)]
pub struct Command {
    /// What.
    pub kind: Kind,
    /// Its connection; 0 of somebody who is not in the room.
    pub conn: u64,
    /// Who it is, where the script cannot know that: of those who join or publish.
    pub who: Option<Box<Who>>,
    /// The number that it gave to its message; 0 if none. Of a join, for how many milliseconds it has waited.
    pub n: u64,
    /// What is said, or the name that is wished.
    pub text: Utf8Bytes,
    /// Of a join, the epoch of its cursor; 0 if it has none.
    pub since: u64,
    /// Of a request that publishes.
    pub request: Option<Box<Request>>,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client joins.
    Join,
    /// It says something.
    Say,
    /// It used a number up.
    UseUp,
    /// It wants another name.
    Rename,
    /// It leaves.
    Leave,
    /// Somebody says something who is not in the room.
    Publish,
}

/// Who does it.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// Names it among all, in hex. Empty: it is a client of the tutorial's protocol.
    pub mac: String,
    /// What others see of it.
    pub tag: String,
    /// What clients of the tutorial's protocol see of it.
    pub num: i64,
}

/// A request that publishes.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Hashes of its key and its body, if it may come again.
    pub key: Option<[String; 2]>,
    /// The name that is wished, as [`wish`] has it.
    pub name: String,
}

/// Somebody who is here, for a new epoch.
#[derive(Clone, Debug)]
pub struct Present {
    /// Its connection.
    pub conn: u64,
    /// Who it is.
    pub who: Who,
    /// The greatest number of its messages that was heard.
    pub n: u64,
    /// Its name.
    pub name: String,
    /// What that is compared by.
    pub fold: String,
    /// The epoch and the position of its join.
    pub came: (u64, u64),
}

impl Command {
    /// What a member does.
    pub fn of(kind: Kind, conn: u64) -> Command {
        let text = Utf8Bytes::default();
        Command { kind, conn, who: None, n: 0, text, since: 0, request: None }
    }

    /// Bytes of it, about.
    pub fn size(&self) -> usize {
        128 + self.text.len()
    }

    /// Appends it as arguments.
    pub fn add_to(&self, cmd: &mut Cmd, counter: u64) {
        let kind = match self.kind {
            Kind::Join => "j",
            Kind::Say => "s",
            Kind::UseUp => "u",
            Kind::Rename => "r",
            Kind::Leave => "l",
            Kind::Publish => "p",
        };
        cmd.arg(counter).arg(kind).arg(self.conn);
        let request = self.request.as_deref();
        match request {
            Some(request) => {
                cmd.arg(request.key.as_ref().map_or_else(String::new, |key| key.join(" ")))
            }
            None => cmd.arg(self.n),
        };
        cmd.arg(self.text.as_str());
        if let Some(who) = &self.who {
            who.add_to(cmd);
            match request {
                Some(request) => cmd.arg(&request.name),
                None => cmd.arg(self.since),
            };
        }
    }
}

impl Who {
    fn add_to<'a>(&self, cmd: &'a mut Cmd) -> &'a mut Cmd {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        cmd.arg(or_dash(&self.mac)).arg(or_dash(&self.tag)).arg(self.num)
    }
}

impl Present {
    /// Appends it as arguments.
    pub fn add_to(&self, cmd: &mut Cmd) {
        cmd.arg(self.conn);
        self.who.add_to(cmd);
        cmd.arg(self.n).arg(&self.name).arg(&self.fold);
        cmd.arg(format!("{}-{}", self.came.0, self.came.1));
    }
}

/// A wished name for the scripts, which do not know what names are compared by: with the beginnings of those
/// that are given where it is taken. `numbered` gives the name with a number, `fold` what one is compared by.
pub fn wish(
    name: &str,
    fold: impl Fn(&str) -> String,
    numbered: impl Fn(&str, u32) -> String,
) -> String {
    let base = |n: u32| {
        let mut name = numbered(name, n);
        name.truncate(name.len() - n.to_string().len());
        name
    };
    let (one, two) = (base(2), base(10));
    [name, &fold(name), &one, &fold(&one), &two, &fold(&two)].join("\n")
}
