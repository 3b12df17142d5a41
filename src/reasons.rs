//! Why a request is refused, why a client leaves, and why the server closes one: one table each,
//! from which answers, close frames, log lines and metrics follow.

use std::borrow::Cow;
use std::time::Duration;

use tungstenite::protocol::frame::coding::CloseCode;

/// An enum whose variants are rows: the label in the metrics and, for refusals, the status.
macro_rules! table {
    (
        $(#[$doc:meta])*
        $name:ident, status;
        $($(#[$row_doc:meta])* $row:ident: $label:literal, $status:literal;)+
    ) => {
        table! { $(#[$doc])* $name; $($(#[$row_doc])* $row: $label;)+ }

        impl $name {
            /// The status code.
            pub fn status(self) -> u16 {
                match self { $($name::$row => $status),+ }
            }
        }
    };
    ($(#[$doc:meta])* $name:ident; $($(#[$row_doc:meta])* $row:ident: $label:literal;)+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$row_doc])* $row),+ }

        impl $name {
            /// Every row, in the order of the discriminants.
            pub const ALL: &[$name] = &[$($name::$row),+];

            /// The label in the metrics.
            pub fn label(self) -> &'static str {
                match self { $($name::$row => $label),+ }
            }
        }
    };
}

table! {
    /// Why a request is refused.
    RefusalReason, status;
    /// The request is malformed.
    BadRequest: "bad_request", 400;
    /// The `Origin` is another site's.
    Origin: "origin", 403;
    /// The `Host` is not a name of this server.
    Host: "host", 403;
    /// No such path.
    NotFound: "not_found", 404;
    /// The path takes other methods.
    Method: "method", 405;
    /// The request head did not arrive in time.
    HeadTimeout: "head_timeout", 408;
    /// The body did not arrive in time.
    BodyTimeout: "body_timeout", 408;
    /// A body without a length.
    LengthRequired: "length_required", 411;
    /// The body is longer than a message may be.
    BodyTooLarge: "body_too_large", 413;
    /// Something else is expected than 100.
    Expectation: "expectation", 417;
    /// The key stands for another message.
    KeyConflict: "key_conflict", 422;
    /// A plain request to a WebSocket path.
    NoUpgrade: "no_upgrade", 426;
    /// Another version of WebSocket.
    Version: "version", 426;
    /// The address joins too often.
    TooManyJoins: "too_many_joins", 429;
    /// The address publishes too often.
    TooManyMessages: "too_many_messages", 429;
    /// The request head is too large.
    HeadTooLarge: "head_too_large", 431;
    /// The address has made too many rooms.
    NewRooms: "new_rooms", 429;
    /// There are as many rooms as there may be.
    RoomsFull: "rooms_full", 503;
    /// The room waits for its readers.
    RoomWaits: "room_waits", 503;
    /// The hub did not answer.
    NoAnswer: "no_answer", 503;
    /// All connection slots are taken.
    Full: "full", 503;
    /// The address has as many slots as one address may.
    FullForAddress: "full_for_address", 503;
    /// The server is stopping.
    Stopping: "stopping", 503;
    /// The system gives no thread.
    NoThread: "no_thread", 503;
}

table! {
    /// Why a client has left.
    LeaveReason;
    /// It sent a close frame.
    Closed: "closed";
    /// The connection broke.
    Lost: "lost";
    /// It did not answer a ping.
    Silent: "silent";
    /// It read too slowly.
    TooSlow: "too_slow";
    /// It sent too long a message.
    TooLong: "too_long";
    /// It sent a binary message.
    Binary: "binary";
    /// It sent text that is not UTF-8.
    NotUtf8: "not_utf8";
    /// It broke the protocol.
    Protocol: "protocol";
    /// It connected again, with the same identity.
    Replaced: "replaced";
    /// It did not say hello.
    NoHello: "no_hello";
    /// The other machines that share the room took its machine for dead.
    Moved: "moved";
    /// It wanted to join or to say something, and the machines that share the room could not be reached for too long.
    Unreachable: "unreachable";
    /// The server stopped.
    Stopping: "stopping";
    /// Its thread panicked, which is a fault of the server.
    Failed: "failed";
}

/// Why the server closes a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The server stops.
    Stopping,
    /// A binary message; the room is text.
    Binary,
    /// A text message that is not UTF-8.
    NotUtf8,
    /// A violation of RFC 6455, and which.
    Protocol(&'static str),
    /// A message longer than this many bytes.
    TooLong(usize),
    /// A slow consumer: it did not read what the room sent.
    TooSlow,
    /// A long message that took too long to arrive while others waited for its memory.
    Unfinished,
    /// A client of `roomd.1` sent what that does not have.
    Misuse(&'static str),
    /// A client of `roomd.1` did not say hello.
    NoHello,
    /// A client of `roomd.1` came again, with the same identity.
    Replaced,
    /// No sign of life for this long after a ping.
    Silent(Duration),
    /// The other machines that share the room took this one for dead.
    Moved,
    /// The room could not be reached for too long.
    Unreachable,
}

impl CloseReason {
    /// The code of the close frame (RFC 6455 section 7.4), its words, and what the metrics count.
    pub fn row(self) -> (CloseCode, Cow<'static, str>, LeaveReason) {
        match self {
            CloseReason::Stopping => {
                (CloseCode::Away, "the server stops".into(), LeaveReason::Stopping)
            }
            CloseReason::Binary => (
                CloseCode::Unsupported,
                "only text messages are taken here".into(),
                LeaveReason::Binary,
            ),
            CloseReason::NotUtf8 => {
                (CloseCode::Invalid, "a text message has to be UTF-8".into(), LeaveReason::NotUtf8)
            }
            CloseReason::Protocol(what) => {
                (CloseCode::Protocol, format!("RFC 6455: {what}").into(), LeaveReason::Protocol)
            }
            CloseReason::TooLong(max) => (
                CloseCode::Size,
                format!("a message has at most {max} bytes").into(),
                LeaveReason::TooLong,
            ),
            CloseReason::TooSlow => (
                CloseCode::Again,
                "too slow: messages were not read in time".into(),
                LeaveReason::TooSlow,
            ),
            CloseReason::Unfinished => (
                CloseCode::Again,
                "too slow: a message took too long and others wait".into(),
                LeaveReason::TooSlow,
            ),
            CloseReason::Misuse(what) => {
                (CloseCode::Library(4400), what.into(), LeaveReason::Protocol)
            }
            CloseReason::NoHello => {
                (CloseCode::Library(4408), "no hello came".into(), LeaveReason::NoHello)
            }
            CloseReason::Replaced => (
                CloseCode::Library(4409),
                "this client is connected elsewhere now".into(),
                LeaveReason::Replaced,
            ),
            CloseReason::Silent(wait) => (
                CloseCode::Error,
                format!("no answer to a ping for {} s", wait.as_secs_f32()).into(),
                LeaveReason::Silent,
            ),
            CloseReason::Moved => (
                CloseCode::Restart,
                "this server was cut off from the others: come again".into(),
                LeaveReason::Moved,
            ),
            CloseReason::Unreachable => {
                (CloseCode::Again, "the room cannot be reached".into(), LeaveReason::Unreachable)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operators look reasons up there.
    #[test]
    fn the_manual_has_every_reason() {
        let manual = include_str!("../docs/operating.md");
        let rows = |label: &str| {
            let label = format!("`{label}`");
            manual.lines().filter(move |line| line.starts_with('|') && line.contains(&label))
        };
        for reason in RefusalReason::ALL {
            let (label, status) = (reason.label(), reason.status().to_string());
            let is_there = rows(label).any(|row| row.split('|').nth(1).unwrap().contains(&status));
            assert!(is_there, "{status} {label}");
        }
        for reason in LeaveReason::ALL {
            assert!(rows(reason.label()).next().is_some(), "{}", reason.label());
        }
    }
}
