//! What the tests work with, by the names that they have for it.

pub use crate::kit::folder::Folder;
pub use crate::kit::frame::*;
pub use crate::kit::peer::*;
pub use crate::kit::program::*;
pub use crate::kit::roomd1::*;
pub use crate::kit::server::*;
pub use crate::kit::{PATIENCE, eventually};
