//! What others call a client that is known by more than a number.

use std::fmt;

/// Eight ASCII characters that stand for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub [u8; 8]);

/// Who did something: `k3f9x2ab`, or `#42` for a client of the tutorial's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// A client with a tag.
    Tag(Tag),
    /// A client of the tutorial's protocol, by its id.
    Number(i64),
}

impl Tag {
    /// The characters.
    pub fn as_str(&self) -> &str {
        // They are ASCII, whoever made them.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Whether it is of somebody who proved nothing, so that nobody can come again with it.
    pub fn is_of_nobody(&self) -> bool {
        self.0[0] == b'~'
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::Tag(tag) => write!(f, "{tag}"),
            By::Number(number) => write!(f, "#{number}"),
        }
    }
}
