//! A network of addresses as a person writes it: `192.0.2.7`, `10.0.0.0/8`, `fd00::/8`.

use std::net::IpAddr;
use std::str::FromStr;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many bits.
    prefix: u32,
}

impl Network {
    /// An address, or one with a `/` and the number of bits that count.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let given: IpAddr = address.parse().ok()?;
        let address = given.to_canonical();
        let all = bits(address).1;
        // The bits of an IPv4 address in IPv6 come behind others.
        let before = bits(given).1 - all;
        let prefix = match prefix {
            Some(digits) if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) => {
                return None;
            }
            Some(digits) => digits.parse::<u32>().ok()?.checked_sub(before)?,
            None => all,
        };
        (prefix <= all).then_some(Network { address, prefix })
    }

    /// Whether an address is in it. One of IPv4 is the same within IPv6.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ((own, all), (other, other_all)) = (bits(self.address), bits(ip.to_canonical()));
        // Nothing is left to compare where no bit counts.
        all == other_all && (own ^ other).checked_shr(all - self.prefix).unwrap_or(0) == 0
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Network, NoNetwork> {
        Network::parse(text).ok_or(NoNetwork)
    }
}

/// A text is neither an address nor a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNetwork;

/// An address as a number, and how many bits it has.
fn bits(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (ip.to_bits().into(), u32::BITS),
        IpAddr::V6(ip) => (ip.to_bits(), u128::BITS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_with_its_bits() {
        for (network, inside, outside) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7", "::ffff:192.0.2.7", "::192.0.2.7"),
            ("10.1.2.3/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.0/31", "10.0.0.1", "10.0.0.2"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::ffff:10.0.0.0/104", "10.255.0.1", "11.0.0.1"),
            ("::1", "::1", "127.0.0.1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
        ] {
            let parsed = Network::parse(network).expect(network);
            assert!(parsed.contains(inside.parse().unwrap()), "{network} has {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} has not {outside}");
        }
    }

    #[test]
    fn what_is_no_network_is_none() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0/8",
            "/8",
            "::1/129",
            "::ffff:10.0.0.0/95",
            "localhost",
            "[::1]",
            "10.0.0.1:80",
            "10.0.0.0/8/8",
            "10.0.0.0/99999999999",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
