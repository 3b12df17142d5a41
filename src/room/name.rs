//! Names of rooms, as they are in paths.

use std::fmt;

/// A room's name: 1 to 64 of `a-z`, `0-9`, `-` and `_`, of which the first is a letter or a digit, and
/// none of those that mean something else in a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Box<str>);

/// The room at `/`.
const LOBBY: &str = "lobby";

/// First segments of paths that are no rooms. Those to come begin with `_`.
const RESERVED: [&str; 6] = ["ws", "echo", "invite", "healthz", "metrics", "assets"];

const LONGEST: usize = 64;

impl RoomName {
    /// The room at `/`.
    pub fn lobby() -> Self {
        RoomName(LOBBY.into())
    }

    /// The room that a segment of a path names, be it in upper or lower case.
    pub fn parse(segment: &str) -> Option<Self> {
        let name = segment.to_ascii_lowercase();
        let is_good =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        let is_name = (1..=LONGEST).contains(&name.len())
            && name.bytes().all(is_good)
            && !name.starts_with(['-', '_'])
            && !RESERVED.contains(&&*name);
        is_name.then(|| RoomName(name.into()))
    }

    /// Whether it is the room at `/`.
    pub fn is_lobby(&self) -> bool {
        &*self.0 == LOBBY
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rooms() {
        let longest = "a".repeat(64);
        for name in ["lab", "0", "a-b_c-", "ws1", "echoes", &longest] {
            assert_eq!(RoomName::parse(name).expect(name).as_str(), name);
        }
        assert_eq!(RoomName::parse("Lab-A").expect("a name").as_str(), "lab-a");
        assert!(RoomName::parse("LOBBY").expect("a name").is_lobby());
        let too_long = "a".repeat(65);
        for no_name in [
            "", "-a", "_a", "_rooms", "a.b", "a b", "a/b", "é", "a%2Fb", "WS", "echo", "invite",
            "healthz", "metrics", "assets", &too_long,
        ] {
            assert_eq!(RoomName::parse(no_name), None, "{no_name}");
        }
    }
}
