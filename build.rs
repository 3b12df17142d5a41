//! Tells the program what it was built from and with, for `--version`. The commit comes from
//! whoever builds something to hand out: asking git here would build everything anew after each
//! commit.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ROOMD_COMMIT");
    let commit = env::var("ROOMD_COMMIT").ok().filter(|commit| !commit.is_empty());
    let known = [commit, env::var("TARGET").ok(), rustc()];
    let known: Vec<String> = known.into_iter().flatten().collect();
    println!("cargo::rustc-env=ROOMD_BUILD={}", known.join(", "));
}

/// The compiler and its version, such as `rustc 1.85.0`.
fn rustc() -> Option<String> {
    let said = Command::new(env::var_os("RUSTC")?).arg("--version").output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    Some(said.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}
