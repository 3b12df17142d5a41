//! Rooms by path: what the segments of a path mean, redirects, and the list of rooms.

use tiny_http::StatusCode;

use crate::http::response::{CLOSE, FIELDS, NDJSON, Response, headers, print};
use crate::room::info::RoomInfo;
use crate::room::name::RoomName;
use crate::wire::roomd1;

/// A path that belongs to a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomPath<'a> {
    /// The room.
    pub name: RoomName,
    /// The first segment as it was asked for, if that is not the name.
    pub is_folded: bool,
    /// What is behind the first segment and its slash, if there is one.
    pub rest: Option<&'a str>,
}

/// Where the page of a room is, if not where it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 307 or 308.
    pub status: u16,
    /// Relative, since a proxy may have the server under a path.
    pub location: String,
}

impl<'a> RoomPath<'a> {
    /// The room that this path belongs to.
    pub fn of(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let (segment, rest) = match path.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (path, None),
        };
        let name = RoomName::parse(segment)?;
        let is_folded = segment != name.as_str();
        Some(RoomPath { name, is_folded, rest })
    }

    /// Whether it is the path of the room itself, where its page is.
    pub fn is_page(&self) -> bool {
        matches!(self.rest, None | Some(""))
    }

    /// Where a browser that asks for the room's page here has to go.
    pub fn redirect(&self) -> Option<Redirect> {
        let has_slash = self.rest.is_some();
        let up = if has_slash { "../" } else { "./" };
        if self.name.is_lobby() {
            return Some(Redirect { status: 307, location: up.into() });
        }
        (has_slash || self.is_folded)
            .then(|| Redirect { status: 308, location: format!("{up}{}", self.name) })
    }
}

impl Redirect {
    /// The whole response; to HEAD (`head_only`) without its body.
    pub fn response(&self, head_only: bool) -> Vec<u8> {
        let own = [
            ("Location", &*self.location),
            ("Content-Type", "text/plain"),
            // Others get no page at this path, and no redirect.
            ("Vary", "Accept"),
        ];
        let fields = headers(FIELDS.iter().copied().chain(own));
        let body = format!("this room is at {}\n", self.location);
        // Writing to memory does not fail.
        print(StatusCode(self.status), fields, body.as_bytes(), CLOSE, head_only)
            .unwrap_or_default()
    }
}

/// The list of rooms, an object in a line for each; to HEAD (`head_only`) without it.
pub fn list<'a>(rooms: impl Iterator<Item = &'a RoomInfo>, head_only: bool) -> Vec<u8> {
    let mut body = Vec::new();
    for room in rooms {
        roomd1::listed(&mut body, room.name.as_str(), room.title.as_deref(), room.count());
        body.push(b'\n');
    }
    Response { status: 200, fields: &[("Vary", "Origin")], content_type: NDJSON, body: &body }
        .bytes(head_only)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(path: &str) -> Option<(u16, String)> {
        let redirect = RoomPath::of(path).expect(path).redirect()?;
        Some((redirect.status, redirect.location))
    }

    #[test]
    fn the_page_of_a_room_has_one_path() {
        assert_eq!(redirect("/lab"), None);
        assert_eq!(redirect("/lab/"), Some((308, "../lab".into())));
        assert_eq!(redirect("/Lab"), Some((308, "./lab".into())));
        assert_eq!(redirect("/LAB/"), Some((308, "../lab".into())));
        assert_eq!(redirect("/lobby"), Some((307, "./".into())));
        assert_eq!(redirect("/lobby/"), Some((307, "../".into())));
    }

    #[test]
    fn paths_that_are_of_no_room() {
        for path in ["", "/", "//", "lab", "/ws", "/ws/1", "/echo", "/_rooms", "/a.b", "/%2F"] {
            assert_eq!(RoomPath::of(path), None, "{path}");
        }
        assert_eq!(RoomPath::of("/Lab/ws/7").expect("a room").rest, Some("ws/7"));
    }
}
