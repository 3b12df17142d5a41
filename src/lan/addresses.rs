//! Under which addresses others on the network reach this machine.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use if_addrs::IfAddr;

/// The URLs under which others can open the page of a server that listens at this address, the
/// likeliest first. They are looked up each time, since a network gives out others as it likes.
pub fn urls(listening: SocketAddr) -> Vec<String> {
    let ip = listening.ip().to_canonical();
    let mut addresses = if ip.is_unspecified() { own_addresses() } else { vec![ip] };
    addresses.retain(|own| is_reached(listening, *own));
    addresses.sort_by_key(|own| rank(*own));
    addresses.iter().map(|own| url(*own, listening.port())).collect()
}

/// Whether others reach a server that listens there under this address of the machine.
pub fn is_reached(listening: SocketAddr, own: IpAddr) -> bool {
    let ip = listening.ip().to_canonical();
    // A socket of IPv6 that listens on all addresses serves IPv4 too, but not the other way round.
    let listens = own == ip || ip.is_unspecified() && (own.is_ipv4() || ip.is_ipv6());
    listens && is_for_others(own)
}

/// Whether nobody but this machine reaches a server that listens there.
pub fn is_private(listening: SocketAddr) -> bool {
    listening.ip().to_canonical().is_loopback()
}

/// The URL of the page at this address.
fn url(ip: IpAddr, port: u16) -> String {
    format!("http://{}/", SocketAddr::new(ip, port))
}

/// The addresses of the interfaces that are up.
fn own_addresses() -> Vec<IpAddr> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => {
            let up = interfaces.iter().filter(|interface| interface.is_oper_up());
            up.map(|interface| interface.ip()).collect()
        }
        Err(error) => {
            log::warn!("cannot list the addresses of this machine: {error}");
            Vec::new()
        }
    }
}

/// The IPv6 networks (/64) of the interfaces that are up, without those of a single address.
pub fn ipv6_networks() -> Vec<Ipv6Addr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        log::warn!("cannot list the networks of this machine: {error}");
        Vec::new()
    });
    let network = |interface: &if_addrs::Interface| match &interface.addr {
        IfAddr::V6(own) if own.prefixlen <= 64 => {
            Some(Ipv6Addr::from_bits(own.ip.to_bits() >> 64 << 64))
        }
        _ => None,
    };
    interfaces.iter().filter(|interface| interface.is_oper_up()).filter_map(network).collect()
}

/// Transport-local IPv6 addresses need the name of an interface beside them, which no browser takes.
fn is_for_others(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// Small for what is likely to be reached from the same network. The order of the interfaces, in
/// which real ones come before those of containers, decides the rest.
fn rank(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(ip) if ip.is_private() => 0,
        // Where nobody gave out an address.
        IpAddr::V4(ip) if ip.is_link_local() => 3,
        IpAddr::V4(_) => 1,
        IpAddr::V6(_) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls_at(listening: &str) -> Vec<String> {
        urls(listening.parse().expect("an address"))
    }

    #[test]
    fn one_address_is_reached_as_it_is() {
        assert_eq!(urls_at("192.168.1.5:8000"), ["http://192.168.1.5:8000/"]);
        assert_eq!(urls_at("[fd00::5]:80"), ["http://[fd00::5]:80/"]);
        assert_eq!(urls_at("[::ffff:10.0.0.1]:80"), ["http://10.0.0.1:80/"]);
    }

    #[test]
    fn nobody_else_reaches_loopback() {
        for listening in ["127.0.0.1:8000", "127.1.2.3:8000", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(urls_at(listening).is_empty(), "{listening}");
            assert!(is_private(listening.parse().expect("an address")), "{listening}");
        }
        assert!(!is_private("[::]:8000".parse().expect("an address")));
        assert!(urls_at("[fe80::1]:8000").is_empty(), "no browser opens that");
    }

    #[test]
    fn the_likeliest_comes_first() {
        let mut addresses =
            ["169.254.3.4", "2001:db8::1", "fd00::1", "9.9.9.9", "192.168.1.5", "10.0.0.1"]
                .map(|ip| ip.parse::<IpAddr>().expect("an address"));
        addresses.sort_by_key(|ip| rank(*ip));
        let sorted = addresses.map(|ip| ip.to_string());
        assert_eq!(
            sorted,
            ["192.168.1.5", "10.0.0.1", "9.9.9.9", "2001:db8::1", "fd00::1", "169.254.3.4"]
        );
    }
}
