//! Who a client is: its secret, as others may know it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hmac_sha256::HMAC;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::config::HAS_ENGINE;
use crate::wire::tag::Tag;

/// What the server makes tags with. Whoever knows it can tell tags from secrets, not secrets from tags.
#[derive(Clone)]
pub struct Secret {
    bytes: [u8; 32],
    /// In place of those, once an engine has told it.
    shared: Arc<Mutex<Option<[u8; 32]>>>,
}

/// A client, as a room knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Names it among all: two connections with the same are the same client.
    pub mac: [u8; 32],
    /// What others see of it.
    pub tag: Tag,
    /// What clients of the tutorial's protocol see: from 1 to 2³¹ - 1.
    pub num: i64,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

impl Secret {
    /// Made of these bytes, which are random.
    pub fn of(bytes: [u8; 32]) -> Secret {
        Secret { bytes, shared: Default::default() }
    }

    /// The engine has told what the machines that share their rooms make tags with.
    pub fn share(&self, bytes: [u8; 32]) {
        *self.lock() = Some(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Option<[u8; 32]>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self) -> [u8; 32] {
        if HAS_ENGINE { self.lock().unwrap_or(self.bytes) } else { self.bytes }
    }

    /// The identity of the client with the secret `me` in this room. Without one it is new each time.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn identify(&self, room: &str, me: Option<&[u8; 16]>) -> io::Result<Identity> {
        let Some(me) = me else {
            let mut mac = [0; 32];
            random(&mut mac)?;
            return Ok(Identity { mac, tag: anonymous(&mac), num: number(&mac) });
        };
        let mac = self.mac(b"client", room, me);
        let mut letters = [0; 8];
        base32(&mac, &mut letters);
        Ok(Identity { mac, tag: Tag(letters), num: number(&mac) })
    }

    /// The identity of those who publish in this room from an `address`. Clients of the tutorial's protocol
    /// see the number 0.
    pub fn identify_address(&self, room: &str, address: IpAddr) -> Identity {
        let mac = match address.to_canonical() {
            IpAddr::V4(ip) => self.mac(b"address", room, &ip.octets()),
            IpAddr::V6(ip) => self.mac(b"address", room, &ip.octets()),
        };
        Identity { mac, tag: anonymous(&mac), num: 0 }
    }

    /// What this is for keeps its uses apart. No name of a room has a NUL.
    fn mac(&self, what_for: &[u8], room: &str, of: &[u8]) -> [u8; 32] {
        let mut hmac = HMAC::new(self.bytes());
        for part in [what_for, b"\0", room.as_bytes(), b"\0", of] {
            hmac.update(part);
        }
        hmac.finalize()
    }
}

/// Fills `bytes` with random ones.
///
/// # Errors
/// When the system gives none.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A tag that shows that nobody proved anything with it.
fn anonymous(mac: &[u8; 32]) -> Tag {
    let mut letters = *b"~       ";
    base32(mac, &mut letters[1..]);
    Tag(letters)
}

/// The first bits as letters (RFC 4648 section 6, in lower case), five bits each.
fn base32(bytes: &[u8; 32], letters: &mut [u8]) {
    let bits = bytes[..8].iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    for (n, letter) in letters.iter_mut().enumerate() {
        *letter = b"abcdefghijklmnopqrstuvwxyz234567"[(bits >> (59 - 5 * n) & 31) as usize];
    }
}

/// A positive number of 31 bits, of bytes that the tag does not show.
fn number(mac: &[u8; 32]) -> i64 {
    let bits = u32::from_be_bytes([mac[8], mac[9], mac[10], mac[11]]) & 0x7fff_ffff;
    i64::from(bits.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_the_same_in_one_room_and_another_elsewhere() {
        let secret = Secret::of([7; 32]);
        let identify = |room, me: &[u8; 16]| secret.identify(room, Some(me)).expect("an identity");
        let ana = identify("lab", &[1; 16]);
        assert_eq!(ana, identify("lab", &[1; 16]));
        for other in [identify("lab", &[2; 16]), identify("la", &[1; 16])] {
            assert!(other.mac != ana.mac && other.tag != ana.tag && other.num != ana.num);
        }
        assert_ne!(Secret::of([8; 32]).identify("lab", Some(&[1; 16])).expect("one").mac, ana.mac);
        assert!(ana.num > 0 && ana.num < 1 << 31);
        assert!(ana.tag.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    }

    #[test]
    fn without_a_secret_it_is_new_each_time() {
        let secret = Secret::of([7; 32]);
        let one = || secret.identify("lab", None).expect("an identity");
        let (first, second) = (one(), one());
        assert!(first.mac != second.mac && first.tag.as_str().starts_with('~'));
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_code_is_hmac_sha256() {
        let mac = HMAC::mac(b"what do ya want for nothing?", b"Jefe");
        assert_eq!(mac[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
        assert_eq!(mac[24..], [0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43]);
    }

    #[test]
    fn letters_are_those_of_base32() {
        let mut bytes = [0; 32];
        bytes[..5].copy_from_slice(b"hello");
        let mut letters = [0; 8];
        base32(&bytes, &mut letters);
        assert_eq!(&letters, b"nbswy3dp");
    }
}
