//! Reads a request head: within a deadline and a bound, and strictly.
//!
//! httparse splits the head; this adds the checks that a server has to be strict about, and forgets
//! every field that it has no use for. Nothing of a head is passed on as it came.

use std::borrow::Cow;
use std::io;

use httparse::{EMPTY_HEADER, Error, Status};

use crate::config::{HEAD_BYTES, HEAD_FIELDS};
use crate::http::refusal::Refusal;

/// A head is read in pieces of so many bytes; most are one.
pub const CHUNK: usize = 1024;

/// The parts of a request head that are used. It borrows from the bytes that were read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a str,
    /// The path without the query, percent-decoded once (RFC 3986 section 6.2.2.2). An encoded `/`
    /// stays encoded, so that it separates nothing.
    pub path: Cow<'a, str>,
    /// The query, without its question mark.
    pub query: &'a str,
    /// Whether the version is HTTP/1.1 (else it is 1.0).
    pub is_http_1_1: bool,
    /// The authority of an absolute URI, else `Host`; with its port if it has one.
    pub host: &'a str,
    /// `Origin`: the page that connects. Most programs send none.
    pub origin: Option<&'a str>,
    /// `If-None-Match`: the tags of what the client has.
    pub if_none_match: Option<&'a str>,
    /// All values of `Accept-Encoding`, joined.
    pub accept_encoding: String,
    /// All values of `Accept`, joined.
    pub accept: String,
    /// All values of `Sec-WebSocket-Protocol`, joined.
    pub protocols: String,
    /// `Sec-Fetch-Site`: what browsers say of the page that asks, over TLS and from localhost.
    pub fetch_site: Option<&'a str>,
    /// `Referer`: the page that asks.
    pub referer: Option<&'a str>,
    /// All values of `Connection`, joined.
    pub connection: String,
    /// `Upgrade`.
    pub upgrade: Option<&'a str>,
    /// `Sec-WebSocket-Version`.
    pub version: Option<&'a str>,
    /// `Sec-WebSocket-Key`.
    pub key: Option<&'a str>,
    /// Whether a body is announced.
    pub has_body: bool,
    /// `Content-Length`: digits alone.
    pub content_length: Option<&'a str>,
    /// `Expect`: what the client waits for before it sends the body.
    pub expect: Option<&'a str>,
    /// `Idempotency-Key`: names a request that may be sent again.
    pub idempotency_key: Option<&'a str>,
    /// `Last-Event-ID`: the last that an EventSource was sent.
    pub last_event_id: Option<&'a str>,
    /// All values of `Forwarded`, joined.
    pub forwarded: String,
    /// All values of `X-Forwarded-For`, joined.
    pub forwarded_for: String,
}

impl RequestHead<'_> {
    /// Adds a field in which a proxy says for whom it asks. What is not text is kept as what is no
    /// address.
    pub fn add_forwarding(&mut self, name: &str, value: &[u8]) {
        let list = match name {
            "forwarded" => &mut self.forwarded,
            _ => &mut self.forwarded_for,
        };
        list.push_str(&String::from_utf8_lossy(value));
        list.push(',');
    }
}

/// Reads a request head into `received`, and what `read` gets together with it. Returns what `take`
/// makes of the head, and the head's length; or the refusal of a head that is malformed, too large
/// or too slow.
///
/// # Errors
/// Those of `read`, and its end before that of the head.
#[inline(never)]
pub fn receive<T>(
    received: &mut Vec<u8>,
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    take: impl FnOnce(&RequestHead<'_>) -> T,
) -> io::Result<Result<(T, usize), Refusal>> {
    loop {
        let before = received.len();
        match read_chunk(received, &mut read) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Ok(Err(Refusal::too_slow()));
            }
            Err(error) => return Err(error),
        }
        let has_line = received[before..].contains(&b'\n');
        // A head that drips in is parsed once per line, not once per byte.
        if before == 0 || has_line || received.len() == HEAD_BYTES {
            match parse(received) {
                Ok(Some((ref head, len))) => return Ok(Ok((take(head), len))),
                Ok(None) => {}
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
    }
}

/// Reads once, and adds what came. Its buffer is not on the stack while a request is looked at.
#[inline(never)]
fn read_chunk(
    received: &mut Vec<u8>,
    read: &mut impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut chunk = [0; CHUNK];
    let free = (HEAD_BYTES - received.len()).min(CHUNK);
    let len = read(&mut chunk[..free])?;
    received.extend_from_slice(&chunk[..len]);
    Ok(len)
}

/// Parses the head at the start of `bytes`. Returns it and its length; None: it is not complete yet.
///
/// # Errors
/// The refusal, as soon as it is clear that the head cannot become a good one.
#[inline(never)]
fn parse(bytes: &[u8]) -> Result<Option<(RequestHead<'_>, usize)>, Refusal> {
    // A line each, and the first line's place for the last one, which may be incomplete.
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    let mut fields = vec![EMPTY_HEADER; lines.min(HEAD_FIELDS)];
    let mut request = httparse::Request::new(&mut fields);
    let len = match request.parse(bytes) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) if bytes.len() >= HEAD_BYTES => return Err(Refusal::too_large()),
        Ok(Status::Partial) => return Ok(None),
        Err(Error::TooManyHeaders) => return Err(Refusal::too_large()),
        Err(error) => return Err(Refusal::bad_request(format!("this is not HTTP/1.1: {error}"))),
    };
    if len > HEAD_BYTES {
        return Err(Refusal::too_large());
    }
    // httparse takes a bare LF for the end of a line; another program may read that differently.
    let bare = bytes[..len].iter().enumerate().any(|(i, byte)| {
        *byte == b'\n' && i.checked_sub(1).is_none_or(|before| bytes[before] != b'\r')
    });
    if bare {
        return Err(Refusal::bad_request("a line of the request head ends with a bare LF"));
    }
    read_fields(&request).map(|head| Some((head, len)))
}

fn read_fields<'a>(request: &httparse::Request<'_, 'a>) -> Result<RequestHead<'a>, Refusal> {
    let (authority, path, query) = split_target(request.path.unwrap_or_default())?;
    let mut head = RequestHead {
        method: request.method.unwrap_or_default(),
        path: decode(path)?,
        query,
        is_http_1_1: request.version == Some(1),
        ..RequestHead::default()
    };
    let (mut host, mut length, mut coding) = (None, None, None);
    for field in request.headers.iter() {
        let once = |slot: &mut Option<&'a str>| match std::str::from_utf8(field.value) {
            Ok(_) if slot.is_some() => {
                Err(Refusal::bad_request(format!("there are two {} fields", field.name)))
            }
            Ok(value) => {
                *slot = Some(value);
                Ok(())
            }
            Err(_) => Err(Refusal::bad_request(format!("the {} field is not text", field.name))),
        };
        match field.name.to_ascii_lowercase().as_str() {
            "host" => once(&mut host)?,
            "origin" => once(&mut head.origin)?,
            "if-none-match" => once(&mut head.if_none_match)?,
            "upgrade" => once(&mut head.upgrade)?,
            "sec-websocket-version" => once(&mut head.version)?,
            "sec-websocket-key" => once(&mut head.key)?,
            "content-length" => once(&mut length)?,
            "transfer-encoding" => once(&mut coding)?,
            "expect" => once(&mut head.expect)?,
            "idempotency-key" => once(&mut head.idempotency_key)?,
            "last-event-id" => once(&mut head.last_event_id)?,
            // Merely wishes: what is not text is none.
            "accept-encoding" => add(&mut head.accept_encoding, field.value),
            "accept" => add(&mut head.accept, field.value),
            "sec-websocket-protocol" => add(&mut head.protocols, field.value),
            "sec-fetch-site" => head.fetch_site = std::str::from_utf8(field.value).ok(),
            name @ ("forwarded" | "x-forwarded-for") => head.add_forwarding(name, field.value),
            "referer" => head.referer = std::str::from_utf8(field.value).ok(),
            "connection" => {
                let mut value = None;
                once(&mut value)?;
                head.connection.push_str(value.unwrap_or_default());
                head.connection.push(',');
            }
            _ => {}
        }
    }
    if host.is_none() && head.is_http_1_1 {
        return Err(Refusal::bad_request("there is no Host field"));
    }
    head.host = authority.or(host).unwrap_or_default();
    head.content_length = length;
    head.has_body = coding.is_some() || length.is_some_and(|length| length != "0");
    if coding.is_some() && (length.is_some() || !head.is_http_1_1) {
        return Err(Refusal::bad_request("the length of the body is told in two ways"));
    }
    if length.is_some_and(|length| length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(Refusal::bad_request("Content-Length is not a number"));
    }
    Ok(head)
}

/// Adds a value to those of a list.
fn add(list: &mut String, value: &[u8]) {
    list.push_str(std::str::from_utf8(value).unwrap_or_default());
    list.push(',');
}

/// Decodes the escapes of a path.
fn decode(path: &str) -> Result<Cow<'_, str>, Refusal> {
    if !path.contains('%') {
        return Ok(path.into());
    }
    let malformed = || Refusal::bad_request("the path has a malformed percent escape");
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let digit = |at: usize| char::from(*behind.get(at)?).to_digit(16);
        let value = digit(0).zip(digit(1)).map(|(high, low)| (16 * high + low) as u8);
        match value.ok_or_else(malformed)? {
            0 => return Err(malformed()),
            b'/' => decoded.extend_from_slice(b"%2F"),
            value => decoded.push(value),
        }
        rest = &behind[2..];
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| malformed())
}

/// Splits a request target into its authority, if it is an absolute URI, its path and its query
/// (RFC 9112 section 3.2).
fn split_target(target: &str) -> Result<(Option<&str>, &str, &str), Refusal> {
    let without_fragment = target.split('#').next().unwrap_or_default();
    let (without_query, query) = without_fragment.split_once('?').unwrap_or((without_fragment, ""));
    if without_query.starts_with('/') || without_query == "*" {
        return Ok((None, without_query, query));
    }
    let uri = without_query.split_once("://").filter(|(scheme, _)| !scheme.is_empty());
    let Some((_, rest)) = uri else {
        return Err(Refusal::bad_request("the request target is neither a path nor a URI"));
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.is_empty() {
        return Err(Refusal::bad_request("the request target is a URI without a host"));
    }
    Ok((Some(authority), if path.is_empty() { "/" } else { path }, query))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(bytes: &[u8]) -> String {
        let refusal = parse(bytes).expect_err("a refusal").to_string();
        refusal[..3].to_string()
    }

    #[test]
    fn a_browsers_handshake() {
        let bytes = b"GET /ws/7?x=1 HTTP/1.1\r\nHost: box:8000\r\nConnection: keep-alive\r\n\
            Connection: Upgrade\r\nupgrade: websocket\r\nSEC-WEBSOCKET-KEY: k==\r\n\
            Sec-WebSocket-Version: 13\r\nOrigin: http://box:8000\r\nCookie: \xe4\xff\r\n\r\nrest";
        let (head, len) = parse(bytes).unwrap().expect("a whole head");
        assert_eq!(&bytes[len..], b"rest");
        assert_eq!(
            head,
            RequestHead {
                method: "GET",
                path: "/ws/7".into(),
                query: "x=1",
                is_http_1_1: true,
                host: "box:8000",
                origin: Some("http://box:8000"),
                connection: "keep-alive,Upgrade,".into(),
                upgrade: Some("websocket"),
                version: Some("13"),
                key: Some("k=="),
                ..RequestHead::default()
            }
        );
    }

    #[test]
    fn every_beginning_of_a_head_is_incomplete() {
        let whole = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Ok(None), "{end} bytes");
        }
        assert!(parse(whole).unwrap().is_some());
    }

    #[test]
    fn a_head_has_exactly_so_many_bytes() {
        let frame = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        let head = |len: usize| {
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(len - frame))
        };
        assert!(parse(head(HEAD_BYTES).as_bytes()).unwrap().is_some());
        assert_eq!(status(head(HEAD_BYTES + 1).as_bytes()), "431");
        assert_eq!(status(&head(HEAD_BYTES + 1).as_bytes()[..HEAD_BYTES]), "431");
    }

    #[test]
    fn a_head_has_so_many_fields() {
        let head = |fields: usize| {
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(fields - 1))
        };
        assert!(parse(head(HEAD_FIELDS).as_bytes()).unwrap().is_some());
        assert_eq!(status(head(HEAD_FIELDS + 1).as_bytes()), "431");
    }

    #[test]
    fn what_is_not_http_is_seen_at_once() {
        assert_eq!(status(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), "400");
        assert_eq!(status(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "400");
        assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"), "400");
        assert_eq!(status(b"GET / HTTP/1.1\nHost: a\n\n"), "400");
        assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n"), "400");
        assert_eq!(status(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"), "400");
        assert_eq!(status(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), "400");
        assert_eq!(status(b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n"), "400");
    }

    #[test]
    fn what_may_be_there_once_is_there_once() {
        for field in
            ["Host: a", "Origin: a", "Upgrade: a", "Sec-WebSocket-Key: a", "Content-Length: 0"]
        {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n{field}\r\n\r\n");
            assert_eq!(status(head.as_bytes()), "400", "{field}");
        }
        assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), "400", "no Host");
        assert!(parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().is_some(), "1.0 needs none");
    }

    #[test]
    fn a_body_is_told_in_one_way() {
        let head = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        for bad in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: \r\n",
        ] {
            assert_eq!(status(head(bad).as_bytes()), "400", "{bad}");
        }
        for (good, has_body) in [
            ("Content-Length: 0\r\n", false),
            ("Content-Length: 12\r\n", true),
            ("Transfer-Encoding: chunked\r\n", true),
            ("", false),
        ] {
            let head = head(good);
            let (head, _) = parse(head.as_bytes()).unwrap().expect("a head");
            assert_eq!(head.has_body, has_body, "{good}");
        }
    }

    #[test]
    fn a_path_is_decoded_once() {
        let head = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        for (path, decoded) in [
            ("/ws/%31", "/ws/1"),
            ("/%77s/1", "/ws/1"),
            ("/ws/%2531", "/ws/%31"),
            ("/ws%2f1", "/ws%2F1"),
            ("/%E6%B0%B4", "/水"),
        ] {
            let head = head(path);
            assert_eq!(parse(head.as_bytes()).unwrap().expect("a head").0.path, decoded);
        }
        for path in ["/%", "/%1", "/%g1", "/%+1", "/%00", "/%ff", "/ws/%"] {
            assert_eq!(status(head(path).as_bytes()), "400", "{path}");
        }
        assert_eq!(status(head("http:///ws/1").as_bytes()), "400");
        assert_eq!(status(head("://localhost/").as_bytes()), "400");
    }

    #[test]
    fn a_target_may_be_a_whole_uri() {
        let bytes = b"GET http://box:8000/echo?x?y#z HTTP/1.1\r\nHost: other\r\n\r\n";
        let (head, _) = parse(bytes).unwrap().expect("a head");
        assert_eq!((head.host, &*head.path, head.query), ("box:8000", "/echo", "x?y"));
        let bytes = b"GET http://box HTTP/1.1\r\nHost: other\r\n\r\n";
        let (head, _) = parse(bytes).unwrap().expect("a head");
        assert_eq!((head.host, &*head.path), ("box", "/"));
    }
}
