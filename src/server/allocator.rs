//! Keeps glibc's allocator from reserving address space that is bounded.
//!
//! glibc gives threads arenas of their own, each of which reserves 64 MiB of addresses; where these do
//! not fit, each allocation takes a page. Under RLIMIT_AS that leaves room for a few threads only. The
//! number of arenas is a setting that the C library reads at the start of a program.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, getrlimit};

const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Starts the program again with a single arena if its address space is bounded. Returns if it is not,
/// if somebody has chosen a number of arenas, or if it fails: the limits are too small then, but hold.
pub fn fit_address_space() {
    let is_glibc = cfg!(all(target_os = "linux", target_env = "gnu"));
    if !is_glibc || getrlimit(Resource::As).current.is_none() || env::var_os(ARENAS).is_some() {
        return;
    }
    let mut args = env::args_os();
    if let (Some(name), Ok(program)) = (args.next(), env::current_exe()) {
        // It only returns an error.
        let _ = Command::new(program).arg0(name).args(args).env(ARENAS, "1").exec();
    }
}
