//! One HTTP request per connection: read, check, route, answer.
//!
//! [`router`] does that in order. [`request`] reads the head, strictly and under a deadline,
//! [`route`] decides what it gets, with the rules of [`origin`], and [`handshake`] makes the
//! response to a WebSocket. Everything else is answered with the files of [`page`] (compressed where
//! [`encoding`] allows), with an [`invite`], by [`admin`], or with a [`refusal`]; [`response`] writes
//! the short answers. For whom a trusted proxy asks, [`forwarded`] says.
//! [`overload`] answers the connections for which there is no slot or no thread.

pub mod accept;
pub mod admin;
pub mod body;
pub mod encoding;
pub mod follow;
pub mod forwarded;
pub mod handshake;
pub mod invite;
pub mod origin;
pub mod overload;
pub mod page;
pub mod publish;
pub mod query;
pub mod refusal;
pub mod request;
pub mod response;
pub mod rooms;
pub mod route;
pub mod router;

#[cfg(any(test, fuzzing))]
pub mod fuzz_target;
