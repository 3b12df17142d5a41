//! Whose pages may connect, and under which names.
//!
//! Browsers let any page open a WebSocket to any host, a machine on the LAN or localhost too, so a
//! server has to look at the `Origin` (cross-site WebSocket hijacking) and, since a name can be
//! pointed anywhere, at the `Host` (DNS rebinding).

use std::net::IpAddr;

use crate::http::request::RequestHead;

/// The rules, from the flags.
#[derive(Clone, Debug)]
pub struct OriginPolicy {
    origins: Vec<String>,
    hosts: Vec<String>,
    own_name: String,
}

impl OriginPolicy {
    /// Rules that allow `origins` and `hosts` beside what is surely the server's own. A host
    /// whose origin is allowed is allowed.
    pub fn new(origins: &[String], hosts: &[String]) -> Self {
        let of_origins =
            origins.iter().filter_map(|origin| Some(name(origin.split_once("://")?.1)));
        OriginPolicy {
            origins: origins.to_vec(),
            hosts: hosts.iter().map(String::as_str).chain(of_origins).map(String::from).collect(),
            own_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }

    /// Whether a page of this `origin` may connect to this `host`.
    pub fn allows_origin(&self, origin: &str, host: &str) -> bool {
        is_same(origin, host) || self.lists(origin)
    }

    /// Whether pages of this `origin` are allowed by a flag, and so may read the responses.
    pub fn lists(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }

    /// Whether the server answers to this `host`: no name that somebody else can point here.
    pub fn allows_host(&self, host: &str) -> bool {
        let name = name(host).trim_end_matches('.');
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let is_local = name.rsplit('.').next().is_some_and(|last| {
            last.eq_ignore_ascii_case("localhost")
                || last.eq_ignore_ascii_case("local") && name.contains('.')
        });
        // HTTP/1.0 knows no Host; no browser speaks it.
        host.is_empty()
            || is_local
            || is_address(name)
            || is_bare_ipv6(host)
            || is(&self.own_name)
            || self.own_name.split('.').next().is_some_and(is)
            || self.hosts.iter().any(|allowed| allowed == "*" || is(allowed))
    }
}

/// Why a request to a room is refused as one of another site's page, if it is: by its `Origin`; without one
/// by `Sec-Fetch-Site`; and, since browsers leave that out on plain HTTP, by a `Referer` of another host, or
/// by wanting an image. Programs send none of these.
pub fn is_foreign(policy: &OriginPolicy, head: &RequestHead<'_>) -> bool {
    if let Some(origin) = head.origin.filter(|origin| is_of_browser(origin)) {
        return !policy.allows_origin(origin, head.host);
    }
    if let Some(site) = head.fetch_site {
        return site.eq_ignore_ascii_case("cross-site");
    }
    let first = head.accept.split(',').next().unwrap_or_default().trim();
    let wants_image = first.get(..6).is_some_and(|kind| kind.eq_ignore_ascii_case("image/"));
    let page = head.referer.and_then(|referer| {
        let (scheme, rest) = referer.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        Some(format!("{scheme}://{authority}"))
    });
    wants_image || page.is_some_and(|page| !policy.allows_origin(&page, head.host))
}

/// Whether a browser can send this `Origin`: a serialized origin or `null` (RFC 6454 section 6.2).
/// Anything else is a program's, which no web page can make connect: a scheme of WebSocket's, a path,
/// nothing at all.
///
/// So is `file://`, which the most used Arduino client sends. For a page of a file: URL, Chromium
/// 156, Firefox 153 and WebKitGTK 2.50 send `null`. WebKitGTK sends `file://` only in an application
/// that sets `allow-file-access-from-file-urls`, and so lets such a page read all local files: access
/// to the room adds nothing to that.
pub fn is_of_browser(origin: &str) -> bool {
    if origin.eq_ignore_ascii_case("null") {
        return true;
    }
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let of_program = ["ws", "wss", "file"];
    !of_program.iter().any(|other| scheme.eq_ignore_ascii_case(other))
        && !authority.is_empty()
        && !authority.contains(['/', '?', '#', '@', ' '])
}

/// Whether `origin` is that of a page under `host`. The scheme may differ: a proxy that speaks
/// TLS passes on the host only.
fn is_same(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare =
        |authority: &str| authority.strip_suffix(default).unwrap_or(authority).to_ascii_lowercase();
    !authority.is_empty() && bare(authority) == bare(host)
}

/// The host of `HOST:PORT`; an IPv6 address keeps its brackets.
pub fn name(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') =>
        {
            name
        }
        _ => authority,
    }
}

/// Whether this is an IPv6 address without its brackets, perhaps with a port or a zone. Some
/// programs send that, and it cannot be a DNS name, which has at most one colon before its port.
fn is_bare_ipv6(host: &str) -> bool {
    let address = host.split('%').next().unwrap_or_default();
    address.matches(':').count() >= 2
        && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.')
}

fn is_address(name: &str) -> bool {
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match inner {
        // A zone names an interface of the machine that asks (RFC 6874).
        Some(v6) => matches!(v6.split('%').next().unwrap_or_default().parse(), Ok(IpAddr::V6(_))),
        None => matches!(name.parse(), Ok(IpAddr::V4(_))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(origins: &[&str], hosts: &[&str]) -> OriginPolicy {
        let owned = |list: &[&str]| list.iter().map(|item| item.to_string()).collect::<Vec<_>>();
        OriginPolicy {
            own_name: "My-Box.example.lan".into(),
            ..OriginPolicy::new(&owned(origins), &owned(hosts))
        }
    }

    #[test]
    fn the_pages_own_origin_is_allowed_and_no_other() {
        let policy = policy(&[], &[]);
        for (origin, host) in [
            ("http://localhost:8000", "localhost:8000"),
            ("http://Box:8000", "box:8000"),
            ("http://box", "box:80"),
            ("https://box:443", "box"),
            ("https://box", "box"),
            ("http://[::1]:8000", "[::1]:8000"),
        ] {
            assert!(policy.allows_origin(origin, host), "{origin} to {host}");
        }
        for (origin, host) in [
            ("http://evil.example", "localhost:8000"),
            ("http://localhost:3000", "localhost:8000"),
            ("http://localhost", "localhost:8000"),
            ("http://localhost:8000.evil.example", "localhost:8000"),
            ("http://box:80", "box:443"),
            ("null", "localhost:8000"),
            ("", ""),
            ("http://", ""),
            ("file://", "localhost"),
            ("localhost:8000", "localhost:8000"),
        ] {
            assert!(!policy.allows_origin(origin, host), "{origin} to {host}");
        }
    }

    #[test]
    fn what_no_browser_can_send_is_a_programs() {
        for origin in [
            "",
            "file://",
            "ws://localhost:8000",
            "WSS://example.org",
            "http://localhost/",
            "https://example.org/MyClient",
            "localhost:8000",
            "http://",
            "http://a@b",
        ] {
            assert!(!is_of_browser(origin), "{origin}");
        }
        for origin in
            ["null", "http://evil.example", "https://evil.example:444", "chrome-extension://abc"]
        {
            assert!(is_of_browser(origin), "{origin}");
        }
    }

    #[test]
    fn flags_allow_more_origins() {
        let some = policy(&["https://chat.example", "null"], &[]);
        assert!(some.allows_origin("https://Chat.example", "10.0.0.1:8000"));
        assert!(some.allows_origin("null", "10.0.0.1:8000"));
        assert!(!some.allows_origin("http://chat.example", "10.0.0.1:8000"));
        assert!(policy(&["*"], &[]).allows_origin("http://evil.example", "box"));
    }

    #[test]
    fn only_names_that_nobody_else_can_point_here() {
        let own = policy(&[], &[]);
        for host in [
            "127.0.0.1:8000",
            "10.1.2.3",
            "[::1]:8000",
            "[fe80::1]",
            "[fe80::1%25eth0]:8000",
            "::1",
            "::1:8000",
            "fe80::1%eth0",
            "localhost:8000",
            "LOCALHOST",
            "app.localhost",
            "raspberrypi.local:8000",
            "raspberrypi.local.",
            "my-box:8000",
            "my-box.example.lan",
            "",
        ] {
            assert!(own.allows_host(host), "{host}");
        }
        for host in [
            "evil.example:8000",
            "localhost.evil.example",
            "my-box.evil.example",
            "local",
            "1.2.3",
            "box.example",
            "a:b",
            "[evil]",
            "[127.0.0.1]",
            "evil.example:8000:80",
            "127.0.0.1.evil.example",
        ] {
            assert!(!own.allows_host(host), "{host}");
        }
    }

    #[test]
    fn flags_allow_more_hosts() {
        assert!(policy(&[], &["chat.lan"]).allows_host("Chat.lan:8000"));
        assert!(policy(&["https://chat.example:444"], &[]).allows_host("chat.example"));
        assert!(policy(&[], &["*"]).allows_host("evil.example"));
        assert!(!policy(&["*"], &[]).allows_host("evil.example"), "an origin is no host");
    }
}
