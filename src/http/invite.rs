//! Invitations: the link under which others open the page, and its QR code.

use std::net::{IpAddr, SocketAddr};

use crate::config::PAGE_URL_BYTES;
use crate::http::origin;
use crate::http::response::{JSON, Response};
use crate::lan::addresses;
use crate::lan::qr::Code;

/// Whether this can be the URL of our page, without query and fragment. Nothing in it has to be
/// escaped in JSON.
pub fn is_page_url(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    url.len() <= PAGE_URL_BYTES
        && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\<>?#".contains(&byte))
}

/// The response to a page with this URL, for which [`is_page_url`] is true, from a server that
/// listens at this address: the link and its code; or the flag that opens the page to others; or
/// neither, when this machine is on no network.
pub fn response(page_url: &str, listening: SocketAddr, head_only: bool) -> Vec<u8> {
    let body = match link(page_url, listening) {
        Some((url, code)) => format!(r#"{{"url":"{url}","code":"{}"}}"#, code.image()),
        None if addresses::is_private(listening) => {
            format!(r#"{{"flag":"--listen [::]:{}"}}"#, listening.port())
        }
        None => "{}".into(),
    };
    Response { status: 200, fields: &[], content_type: JSON, body: body.as_bytes() }
        .bytes(head_only)
}

/// The link that others open, and its code. The page's own URL is right behind a proxy too, unless
/// the page was opened by a name that means another machine elsewhere.
fn link(page_url: &str, listening: SocketAddr) -> Option<(String, Code)> {
    let url = if is_loopback(page_url) {
        addresses::urls(listening).into_iter().next()?
    } else {
        page_url.into()
    };
    let code = Code::new(&url)?;
    Some((url, code))
}

/// Whether the host of this URL means whatever machine it is said on.
fn is_loopback(url: &str) -> bool {
    let host = origin::name(url.split('/').nth(2).unwrap_or_default());
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match inner.unwrap_or(&name).parse::<IpAddr>() {
        Ok(ip) => ip.is_unspecified() || ip.to_canonical().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(page_url: &str, listening: &str) -> String {
        let response = response(page_url, listening.parse().expect("an address"), false);
        let response = String::from_utf8(response).expect("text");
        response.split_once("\r\n\r\n").expect("a head").1.into()
    }

    #[test]
    fn the_page_is_shared_under_its_own_url() {
        for url in [
            "http://192.168.1.5:8000/",
            "https://chat.example/deep/room/",
            "http://boat.local:8000/",
            "http://localhost.example/",
            "http://[fd00::5]:8000/",
        ] {
            for listening in ["127.0.0.1:8000", "[::]:8000"] {
                let body = body(url, listening);
                let start = format!(r#"{{"url":"{url}","code":"data:image/svg+xml,<svg "#);
                assert!(body.starts_with(&start) && body.ends_with("</svg>\"}"), "{body}");
            }
        }
    }

    #[test]
    fn loopback_is_replaced_by_what_others_reach() {
        for url in [
            "http://localhost:8000/",
            "http://app.LOCALHOST.:8000/",
            "http://127.0.0.1:8000/",
            "http://127.9.9.9/",
            "https://[::1]/deep/",
            "http://0.0.0.0:8000/",
        ] {
            let start = r#"{"url":"http://10.1.2.3:8000/","code":"#;
            assert!(body(url, "10.1.2.3:8000").starts_with(start), "{url}");
            assert_eq!(body(url, "127.0.0.1:8000"), r#"{"flag":"--listen [::]:8000"}"#, "{url}");
        }
    }

    #[test]
    fn only_the_plain_url_of_a_page_is_taken() {
        for url in [
            "",
            "http://",
            "http:///",
            "ftp://box/",
            "javascript:alert(1)//",
            "//box/",
            "http://box/\"",
            "http://box/\\",
            "http://box/<script>",
            "http://box/?id=7",
            "http://box/#7",
            "http://box/ä",
            "http://box/ ",
        ] {
            assert!(!is_page_url(url), "{url}");
        }
        let longest = format!("http://{}/", "x".repeat(PAGE_URL_BYTES - "http:///".len()));
        assert!(is_page_url(&longest) && Code::new(&longest).is_some());
        // So much is counted for a connection that is no client.
        let response = response(&longest, ([0; 4], 80).into(), false);
        assert!(response.len() < 10 * 1024, "{}", response.len());
        assert!(!is_page_url(&format!("{longest}x")));
    }
}
