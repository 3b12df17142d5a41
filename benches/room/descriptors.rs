//! How many connections this process, and a server that it starts, may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as it goes without asking. Servers inherit it.
pub fn raise_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit { current: maximum, maximum };
    if let Err(e) = setrlimit(Resource::Nofile, raised) {
        eprintln!("Raising the limit of descriptors failed ({e}): going on with what there is.");
    }
}

/// How many clients there can be at most: a server keeps descriptors for other things too.
pub fn most_clients() -> usize {
    match getrlimit(Resource::Nofile).current {
        Some(limit) => (limit / 3 * 2) as usize,
        None => usize::MAX,
    }
}
