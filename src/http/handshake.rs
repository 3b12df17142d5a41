//! The WebSocket handshake (RFC 6455 section 4.2): checks the request and makes the 101.

use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::server::create_response;
use tungstenite::http::{self, HeaderName};

use crate::config::READ_BUFFER;
use crate::http::refusal::Refusal;
use crate::http::request::RequestHead;

/// The response to a WebSocket handshake, which takes this `protocol` of those that were offered, if any.
///
/// # Errors
/// The refusal of a request that is not a good handshake.
#[inline(never)]
pub fn response(head: &RequestHead<'_>, protocol: Option<&str>) -> Result<Vec<u8>, Refusal> {
    if head.has_body {
        return Err(Refusal::bad_request("a WebSocket handshake has no body"));
    }
    if head.version.is_some_and(|version| version != "13") {
        return Err(Refusal::version());
    }
    if head.key.is_some_and(|key| !is_handshake_key(key)) {
        return Err(Refusal::bad_request("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    check(head).map_err(|error| {
        Refusal::bad_request(format!("this is not a WebSocket handshake: {error}"))
    })?;
    let key = derive_accept_key(head.key.unwrap_or_default().as_bytes());
    let (name, protocol) = match protocol {
        Some(protocol) => ("\r\nSec-WebSocket-Protocol: ", protocol),
        None => ("", ""),
    };
    // The block becomes the client's read buffer once it has been sent: glibc's cache keeps it for the client's
    // thread, whatever its size.
    let mut response = Vec::with_capacity(READ_BUFFER);
    // Field names as RFC 6455 writes them: the clients of small boards search for them as they are.
    for part in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: ",
        &key,
        name,
        protocol,
        "\r\n\r\n",
    ] {
        response.extend_from_slice(part.as_bytes());
    }
    Ok(response)
}

/// Lets tungstenite check the handshake.
#[inline(never)]
fn check(head: &RequestHead<'_>) -> tungstenite::Result<()> {
    let mut request = http::Request::new(());
    *request.version_mut() =
        if head.is_http_1_1 { http::Version::HTTP_11 } else { http::Version::HTTP_10 };
    for (name, value) in [
        ("connection", Some(head.connection.as_str())),
        ("upgrade", head.upgrade.filter(|list| offers_websocket(list)).map(|_| "websocket")),
        ("sec-websocket-version", head.version),
        ("sec-websocket-key", head.key),
    ] {
        if let Some(value) = value {
            let value = value.try_into().map_err(http::Error::from)?;
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    create_response(&request).map(drop)
}

/// Whether WebSocket is among the protocols that `Upgrade` lists (RFC 6455 section 4.2.1).
fn offers_websocket(list: &str) -> bool {
    list.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
}

/// Whether this is the base64 of 16 bytes: 22 digits, of which the last has four bits to spare,
/// and two signs to fill up.
fn is_handshake_key(key: &str) -> bool {
    let digits = key.strip_suffix("==").unwrap_or_default().as_bytes();
    digits.len() == 22
        && digits.iter().all(|digit| digit.is_ascii_alphanumeric() || b"+/".contains(digit))
        && b"AQgw".contains(&digits[21])
}
