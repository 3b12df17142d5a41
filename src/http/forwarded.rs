//! For whom a proxy asks: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! A proxy adds the address that it was asked by behind those that it was told. So the last one is
//! the trusted proxy's own word, and so is the one before it if the last one is another trusted proxy.
//! The first address from the end that is none of theirs is the client's; whatever is before that may
//! be made up, and is not even parsed.
//!
//! Which of the two fields a proxy sets is not known here, and it may pass the other one on as its
//! client made it up. So when both are there, they have to agree.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Once;

use crate::config::FORWARDED_HOPS;
use crate::config::network::Network;
use crate::http::request::RequestHead;

/// The proxies that are trusted to say for whom they ask.
pub struct Proxies {
    trusted: Vec<Network>,
    warned: Once,
}

impl Proxies {
    /// Those at these addresses.
    pub fn new(trusted: Vec<Network>) -> Self {
        Proxies { trusted, warned: Once::new() }
    }

    /// For whom a proxy sends this request. None if it does not say so, or malformed, or in two ways.
    pub fn client(&self, head: &RequestHead<'_>) -> Option<IpAddr> {
        let (forwarded, forwarded_for) = (head.forwarded.as_str(), head.forwarded_for.as_str());
        let is_trusted = |ip| self.trusted.iter().any(|network| network.contains(ip));
        match (forwarded, forwarded_for) {
            ("", "") => None,
            ("", list) => last_untrusted(list, node, is_trusted),
            (list, "") => last_untrusted(list, element, is_trusted),
            (list, other) => last_untrusted(list, element, is_trusted)
                .filter(|client| last_untrusted(other, node, is_trusted) == Some(*client)),
        }
    }

    /// Says once in the log that a request of the proxy `peer` counts for itself.
    pub fn warn(&self, peer: IpAddr) {
        self.warned.call_once(|| {
            log::warn!(
                "the trusted proxy {peer} does not say for whom it asks: X-Forwarded-For or Forwarded is \
                 missing or malformed, or they differ; such requests count for the proxy itself"
            );
        });
    }
}

/// The last address that is not trusted of a list with a comma behind each line; the first one if all
/// are.
fn last_untrusted(
    list: &str,
    parse: impl Fn(&str) -> Option<IpAddr>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let mut rest = list.strip_suffix(',');
    let mut first = None;
    for _ in 0..FORWARDED_HOPS {
        let Some(list) = rest else { return first };
        let (before, last) = split_last(list);
        let ip = parse(last.trim_matches([' ', '\t']))?;
        if !is_trusted(ip) {
            return Some(ip);
        }
        (first, rest) = (Some(ip), before);
    }
    None
}

/// Splits a list at its last comma that is not in quotes. From the end, since a client may have left
/// a quote open.
fn split_last(list: &str) -> (Option<&str>, &str) {
    let mut is_quoted = false;
    let comma = list.bytes().rposition(|byte| {
        is_quoted ^= byte == b'"';
        byte == b',' && !is_quoted
    });
    comma.map_or((None, list), |at| (Some(&list[..at]), &list[at + 1..]))
}

/// The address in `for` of an element of `Forwarded`.
fn element(text: &str) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = Some(text);
    while let Some(text) = rest {
        let end = unquoted(text, b';');
        let pair = text[..end].trim_matches([' ', '\t']);
        rest = text.get(end + 1..);
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=')?;
        let (value, is_quoted) = match value.strip_prefix('"') {
            // No address has an escape in it, and no proxy needs one.
            Some(value) => (value.strip_suffix('"').filter(|value| is_quotable(value))?, true),
            None => (Some(value).filter(|value| is_token(value))?, false),
        };
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") {
            // IPv6 and ports are in quotes, IPv6 in brackets as well.
            let is_bare_ipv6 = value.parse::<Ipv6Addr>().is_ok();
            let node = node(value).filter(|ip| !is_bare_ipv6 && (is_quoted || ip.is_ipv4()));
            if found.replace(node?).is_some() {
                return None;
            }
        }
    }
    found
}

/// Where the first such byte outside of quotes is, or the end.
fn unquoted(text: &str, wanted: u8) -> usize {
    let mut is_quoted = false;
    let found = text.bytes().position(|byte| {
        is_quoted ^= byte == b'"';
        byte == wanted && !is_quoted
    });
    found.unwrap_or(text.len())
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

fn is_quotable(text: &str) -> bool {
    !text.contains(['"', '\\'])
}

/// An address, perhaps with a port: `192.0.2.7`, `192.0.2.7:80`, `[2001:db8::7]:80`; or without both
/// `2001:db8::7`. IPv6 may have a zone.
fn node(text: &str) -> Option<IpAddr> {
    let (address, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, port) = bracketed.split_once(']')?;
            (ipv6(address)?.into(), port)
        }
        None => match ipv6(text) {
            Some(address) => (address.into(), ""),
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (IpAddr::from(text[..end].parse::<Ipv4Addr>().ok()?), &text[end..])
            }
        },
    };
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then(|| address.to_canonical())
}

fn ipv6(text: &str) -> Option<Ipv6Addr> {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    address.parse().ok().filter(|_| is_token(zone))
}

/// A port, or a name in place of one (RFC 7239 section 6).
fn is_port(text: &str) -> bool {
    let is_number = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number || text.strip_prefix('_').is_some_and(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    /// What a request from 127.0.0.1 with these fields is taken to be for.
    fn client(fields: &[(&str, &str)]) -> Option<IpAddr> {
        let mut head = RequestHead::default();
        for (name, value) in fields {
            head.add_forwarding(name, value.as_bytes());
        }
        let trusted = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"].map(Network::parse);
        Proxies::new(trusted.into_iter().flatten().collect()).client(&head)
    }

    fn x(list: &str) -> Option<IpAddr> {
        client(&[("x-forwarded-for", list)])
    }

    fn forwarded(list: &str) -> Option<IpAddr> {
        client(&[("forwarded", list)])
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn the_last_address_that_is_not_trusted_is_the_clients() {
        for (list, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.9, 192.0.2.7", "192.0.2.7"),
            ("192.0.2.9 ,\t192.0.2.7,10.1.1.1, 127.0.0.1", "192.0.2.7"),
            ("nonsense\", unknown, 192.0.2.7", "192.0.2.7"),
            ("192.0.2.7:51823", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("fe80::7%eth0", "fe80::7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            // All are proxies: somebody asks on one of them.
            ("10.0.0.2, 10.0.0.1", "10.0.0.2"),
        ] {
            assert_eq!(x(list), ip(expected), "{list}");
        }
        let lines = [("x-forwarded-for", "192.0.2.9"), ("x-forwarded-for", "192.0.2.7, 10.0.0.1")];
        assert_eq!(client(&lines), ip("192.0.2.7"));
        let lines = [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-for", "192.0.2.9")];
        assert_eq!(client(&lines), ip("192.0.2.9"), "the last line is the last proxy's");
    }

    #[test]
    fn forwarded_is_as_in_its_rfc() {
        for (list, expected) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
            ("for=198.51.100.17, for=10.0.0.1;by=_hidden", "198.51.100.17"),
            ("for=_gazonk, FOR=\"192.0.2.7:_port\"; host=\"a, for=192.0.2.9;b\"", "192.0.2.7"),
            ("for=\"192.0.2.9, for=192.0.2.7", "192.0.2.7"),
            (";for=192.0.2.7;", "192.0.2.7"),
        ] {
            assert_eq!(forwarded(list), ip(expected), "{list}");
        }
        for malformed in [
            "",
            ",",
            ";",
            "for",
            "for=",
            "for=\"\"",
            "for=unknown",
            "for=_hidden",
            "192.0.2.7",
            "for=192.0.2.7;for=192.0.2.8",
            "for=192.0.2.7,",
            "for=192.0.2.7:80",
            "for=[2001:db8::7]",
            "for=2001:db8::7",
            "for=\"2001:db8::7\"",
            "for=\"192.0.2.7",
            "for=192.0.2.7\"",
            "for=\"192.0.2\\.7\"",
            "for=192.0.2.7;host=\"a\\\"b\"",
            "for=192.0.2.7;host=a b",
            "for =192.0.2.7",
            "for=192.0.2.7;b\u{fffd}=1",
            "by=192.0.2.7",
            "for=\"[2001:db8::7\"",
            "for=\"192.0.2.7:123456\"",
            "for=\"[192.0.2.7]\"",
            "for=192.0.2.7, for=unknown",
            "for=unknown, for=10.0.0.1",
        ] {
            assert_eq!(forwarded(malformed), None, "{malformed}");
        }
        // An escaped quote that a client got into a proxy's element does not cut it in two.
        assert_eq!(forwarded("for=192.0.2.7;host=\"a\\\", for=192.0.2.9;x=\\\"\""), None);
    }

    #[test]
    fn what_is_malformed_is_nobody() {
        for malformed in [
            "",
            ",",
            "unknown",
            "192.0.2",
            "192.0.2.7.",
            "0192.0.2.7",
            "192.0.2.7:",
            "192.0.2.7:x",
            "[2001:db8::7",
            "[2001:db8::7]80",
            "[192.0.2.7]",
            "2001:db8::7]:80",
            "fe80::7%",
            "\"192.0.2.7\"",
            "192.0.2.7 192.0.2.8",
            "192.0.2.7;",
            "192.0.2.7,",
            "192.0.2.7, unknown",
            "192.0.2.7, 10.0.0.x, 10.0.0.1",
        ] {
            assert_eq!(x(malformed), None, "{malformed}");
        }
        assert_eq!(client(&[]), None);
        let mut head = RequestHead::default();
        head.add_forwarding("x-forwarded-for", b"192.0.2.9,\xff192.0.2.7");
        assert_eq!(Proxies::new(Vec::new()).client(&head), None);
    }

    #[test]
    fn a_chain_of_proxies_has_a_bound() {
        let chain = |hops: usize| x(&format!("192.0.2.7{}", ", 10.0.0.1".repeat(hops)));
        assert_eq!(chain(FORWARDED_HOPS - 1), ip("192.0.2.7"));
        assert_eq!(chain(FORWARDED_HOPS), None);
        let forged = format!("{}192.0.2.7", "10.0.0.1, ".repeat(400));
        assert_eq!(x(&forged), ip("192.0.2.7"), "what clients send before it is not looked at");
    }

    #[test]
    fn both_fields_have_to_agree() {
        let both = |list, other| client(&[("forwarded", list), ("x-forwarded-for", other)]);
        assert_eq!(both("for=192.0.2.7", "192.0.2.9, 192.0.2.7"), ip("192.0.2.7"));
        assert_eq!(both("for=192.0.2.7", "192.0.2.9"), None);
        assert_eq!(both("for=192.0.2.7", "unknown"), None);
        assert_eq!(both("nonsense", "192.0.2.7"), None);
        assert_eq!(both("", "192.0.2.7"), None);
    }

    /// Whatever a client sends before it, a proxy's own word counts.
    #[test]
    fn whatever_is_made_up_changes_nothing() {
        let mut dice = Rng::new(1);
        for _ in 0..20_000 {
            let letters: &[u8] = b"for=\"[]:;,\\ 192.0::%_\t";
            let made_up: String =
                (0..dice.roll(30)).map(|_| char::from(letters[dice.roll(letters.len())])).collect();
            assert_eq!(x(&format!("{made_up}, 192.0.2.7")), ip("192.0.2.7"), "{made_up}");
            let list = format!("{made_up}, for=192.0.2.7;proto=http, for=\"[fd00::1]\"");
            assert_eq!(forwarded(&list), ip("192.0.2.7"), "{made_up}");
        }
    }
}
