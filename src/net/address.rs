//! Which connections count as one address, where a limit is per address.

use std::net::{IpAddr, Ipv6Addr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::config::OWN_NETWORKS_AGE;
use crate::lan::addresses;

/// The address that a peer counts as which has connected to this `local` address of the host. None is
/// loopback, which is exempt. Of IPv6 a single address counts where its /64 is a network that this host
/// is on, as each machine there has one; a /64 counts elsewhere, as one customer is given that much.
pub fn counted(peer: IpAddr, local: Option<IpAddr>) -> Option<IpAddr> {
    counted_beside(peer, |ip| is_beside(ip, local) || is_on_link(ip))
}

/// The address that the peer of an accepted connection counts as.
pub fn of_connection(stream: &TcpStream, peer: IpAddr) -> Option<IpAddr> {
    let local = if peer.is_ipv6() { stream.local_addr().ok() } else { None };
    counted(peer, local.map(|local| local.ip()))
}

/// The address that a client counts as for which a proxy asks. Not even loopback is exempt.
pub fn of_client(client: IpAddr) -> IpAddr {
    counted(client, None).unwrap_or(client)
}

fn counted_beside(peer: IpAddr, is_neighbour: impl FnOnce(Ipv6Addr) -> bool) -> Option<IpAddr> {
    match peer.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) if !is_neighbour(ip) => Some(network(ip).into()),
        ip => Some(ip),
    }
}

/// Whether the peer is in the /64 of the address that it has connected to. A service without a network
/// of its own, whose socket was passed, knows no more of the host's networks.
fn is_beside(ip: Ipv6Addr, local: Option<IpAddr>) -> bool {
    matches!(local, Some(IpAddr::V6(local)) if network(local) == network(ip))
}

/// The /64 of an address.
fn network(ip: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)
}

/// Whether the /64 of a peer is on a link of this host. Listing the interfaces takes longer than
/// accepting a connection, so the list is kept for a while.
fn is_on_link(ip: Ipv6Addr) -> bool {
    static OWN: Mutex<Option<(Instant, Vec<Ipv6Addr>)>> = Mutex::new(None);
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, networks) = match own.take().filter(|(since, _)| since.elapsed() < OWN_NETWORKS_AGE) {
        Some(fresh) => own.insert(fresh),
        None => own.insert((Instant::now(), addresses::ipv6_networks())),
    };
    networks.contains(&network(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn loopback_is_exempt() {
        for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(counted(ip(loopback), None), None, "{loopback}");
        }
    }

    #[test]
    fn ipv6_counts_alone_on_link_and_by_network_elsewhere() {
        let far = |text| counted_beside(ip(text), |_| false);
        let near = |text| counted_beside(ip(text), |_| true);
        assert_eq!(far("2001:db8:1:2:3::4"), far("2001:db8:1:2::9"));
        assert_ne!(far("2001:db8:1:2::4"), far("2001:db8:1:3::4"));
        assert_ne!(near("2001:db8:1:2:3::4"), near("2001:db8:1:2::9"));
        assert_eq!(far("::ffff:192.0.2.1"), Some(ip("192.0.2.1")));
        assert_eq!(near("192.0.2.1"), Some(ip("192.0.2.1")));
    }

    #[test]
    fn a_peer_beside_the_address_that_it_connects_to_is_a_neighbour() {
        let beside = |peer, local| match ip(peer) {
            IpAddr::V6(peer) => is_beside(peer, Some(ip(local))),
            IpAddr::V4(_) => false,
        };
        assert!(beside("2001:db8::5", "2001:db8::1") && beside("fe80::5", "fe80::1"));
        assert!(!beside("2001:db8:0:1::5", "2001:db8::1") && !beside("fe80::5", "10.0.0.1"));
    }
}
