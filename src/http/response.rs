//! Short responses: all but the page's files and the 101 of a WebSocket.

/// A response. The connection ends with it, and nothing may store it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// Code and words: `404 Not Found`.
    pub status: &'a str,
    /// Whole lines, beside those that every response has.
    pub fields: &'a str,
    /// `Content-Type`.
    pub content_type: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// The content type of a line of text.
pub const PLAIN: &str = "text/plain; charset=utf-8";

/// The content type of an invitation, which the page reads.
pub const JSON: &str = "application/json";

impl Response<'_> {
    /// The whole response to OPTIONS (RFC 9110 section 9.3.7).
    pub fn options() -> Vec<u8> {
        b"HTTP/1.1 204 No Content\r\nAllow: GET, HEAD, OPTIONS\r\nCache-Control: no-store\r\n\
          Connection: close\r\n\r\n"
            .to_vec()
    }

    /// The whole response; to a HEAD request (`head_only`) without the body, whose length it
    /// states all the same.
    pub fn bytes(&self, head_only: bool) -> Vec<u8> {
        let Response { status, fields, content_type, body } = self;
        let mut response = format!(
            "HTTP/1.1 {status}\r\n{fields}Content-Type: {content_type}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        if !head_only {
            response.extend_from_slice(body);
        }
        response
    }
}
