//! Why a server does not start, or ends by itself.

use std::fmt;

/// One line each: the operation, the object and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerError {
    /// The settings do not fit each other or this machine; other settings help.
    Settings(String),
    /// The system refuses something, or a thread failed.
    System(String),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::Settings(line) | ServerError::System(line) => f.write_str(line),
        }
    }
}

impl std::error::Error for ServerError {}
