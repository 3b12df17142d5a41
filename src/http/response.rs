//! HTTP responses, all but the 101. tiny_http writes each head: the status line, the date and the
//! length. Its accept loop is not used: it has no read timeout, an accept error ends it, and running
//! out of descriptors panics it.

use std::io;

pub use tiny_http::{Header, StatusCode};

/// A short response. The connection ends with it, and nothing may store it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// Fields beside those that every such response has. With `Upgrade` among them, `Connection` names
    /// it (RFC 9110 section 7.8).
    pub fields: &'a [(&'a str, &'a str)],
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: &'a [u8],
}

/// Names and values that are always the same.
pub type Fields = &'static [(&'static str, &'static str)];

/// The content type of a line of text.
pub const PLAIN: &str = "text/plain; charset=utf-8";

/// The content type of an invitation, which the page reads.
pub const JSON: &str = "application/json";

/// The content type of JSON objects, one in each line.
pub const NDJSON: &str = "application/x-ndjson";

/// Fields of every short response.
pub const FIELDS: Fields =
    &[("Server", "roomd"), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")];

impl Response<'_> {
    /// The whole response to OPTIONS (RFC 9110 section 9.3.7). tiny_http would give it a length, which a
    /// 204 must not have (section 8.6).
    pub fn options(allow: &str) -> Vec<u8> {
        format!(
            "HTTP/1.1 204 No Content\r\nConnection: close\r\nServer: roomd\r\n\
             Allow: {allow}\r\nCache-Control: no-store\r\n\r\n"
        )
        .into_bytes()
    }

    /// The whole response to the question of a page of another origin, which is allowed, whether it may send a
    /// request that a form could not (a preflight).
    pub fn preflight(allow: &str) -> Vec<u8> {
        format!(
            "HTTP/1.1 204 No Content\r\nConnection: close\r\nServer: roomd\r\n\
             Allow: {allow}\r\nVary: Origin\r\nCache-Control: no-store\r\n\
             Access-Control-Allow-Methods: {allow}\r\n\
             Access-Control-Allow-Headers: Content-Type, Idempotency-Key, Last-Event-ID\r\n\
             Access-Control-Max-Age: 600\r\n\r\n"
        )
        .into_bytes()
    }

    /// The whole response; to a HEAD request (`head_only`) without the body, whose length it
    /// states all the same.
    pub fn bytes(&self, head_only: bool) -> Vec<u8> {
        let Response { status, fields, content_type, body } = *self;
        let connection = match fields.iter().find(|(name, _)| *name == "Upgrade") {
            Some((_, protocol)) => {
                &format!("Connection: upgrade, close\r\nUpgrade: {protocol}\r\n")
            }
            None => CLOSE,
        };
        let own = [("Content-Type", content_type)];
        let fields = headers(FIELDS.iter().chain(&own).chain(fields).copied());
        // Writing to memory does not fail.
        print(StatusCode(status), fields, body, connection, head_only).unwrap_or_default()
    }
}

/// The head of a response that ends with its connection, but for the empty line.
pub fn stream_head(content_type: &str, fields: Fields) -> Vec<u8> {
    let own = [("Content-Type", content_type)];
    let fields = headers(FIELDS.iter().chain(&own).chain(fields).copied());
    // Writing to memory does not fail.
    let head = print(StatusCode(200), fields, &[], CLOSE, true).unwrap_or_default();
    // tiny_http counts the body that it was given.
    let lines = head.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.starts_with(b"Content-Length:") && *line != b"\r\n");
    lines.flatten().copied().collect()
}

/// Lets pages of an allowed `origin` read this response. What a request may be is answered to OPTIONS.
pub fn allow_origin(response: &mut Vec<u8>, origin: &str) {
    let Some(at) = response.windows(2).position(|bytes| bytes == b"\r\n") else { return };
    let mut fields = format!(
        "Access-Control-Allow-Origin: {origin}\r\n\
         Access-Control-Expose-Headers: Roomd-Cursor, Retry-After\r\n"
    );
    // Other responses that vary do so by origin, too.
    if !response.windows(6).any(|bytes| bytes == b"\nVary:") {
        fields.push_str("Vary: Origin\r\n");
    }
    response.splice(at + 2..at + 2, fields.into_bytes());
}

/// Fields as tiny_http takes them. One that is none is left out.
pub fn headers<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Header> {
    fields.filter_map(|(name, value)| Header::from_bytes(name, value).ok()).collect()
}

/// The `Connection` of a response that is the last one on its connection.
pub const CLOSE: &str = "Connection: close\r\n";

/// A response with `connection`, the lines about the connection itself, which tiny_http does not take
/// from its callers.
///
/// # Errors
/// None, but tiny_http has some.
pub fn print(
    status: StatusCode,
    fields: Vec<Header>,
    body: &[u8],
    connection: &str,
    head_only: bool,
) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len() + 1024);
    tiny_http::Response::new(status, fields, body, Some(body.len()), None)
        .with_chunked_threshold(usize::MAX)
        .raw_print(&mut out, tiny_http::HTTPVersion(1, 1), &[], head_only, None)?;
    let status_line = out.windows(2).position(|bytes| bytes == b"\r\n");
    let at = status_line.ok_or(io::ErrorKind::InvalidData)? + 2;
    out.splice(at..at, connection.bytes());
    Ok(out)
}
