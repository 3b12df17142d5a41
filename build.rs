//! Tells the program what it was built from and with, for `--version`, and compresses the page's
//! files. The commit comes from whoever builds something to hand out: asking git here would build
//! everything anew after each commit.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

use flate2::{Compression, GzBuilder};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ROOMD_COMMIT");
    let commit = env::var("ROOMD_COMMIT").ok().filter(|commit| !commit.is_empty());
    let known = [commit, env::var("TARGET").ok(), rustc()];
    let known: Vec<String> = known.into_iter().flatten().collect();
    println!("cargo::rustc-env=ROOMD_BUILD={}", known.join(", "));
    println!("cargo::rerun-if-changed=assets");
    let folder = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    page(&folder)
}

/// Writes the files of the page into `folder` as they are served, plain and as `.gz`. The page refers
/// to the others by the hash of them all, so that a browser may keep them for good.
fn page(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut names: Vec<_> =
        fs::read_dir("assets")?.map(|file| Ok(file?.file_name())).collect::<io::Result<_>>()?;
    names.sort();
    // FNV-1a, 64 bits.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for name in names.iter().filter(|name| *name != "index.html") {
        let text = fs::read_to_string(Path::new("assets").join(name))?;
        let served = match Path::new(name).extension().and_then(|extension| extension.to_str()) {
            Some("js" | "css") => without_comments(&text),
            _ => text,
        };
        for byte in served.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        write(&folder.join(name), &served)?;
    }
    let page = fs::read_to_string("assets/index.html")?;
    let page = page.replace("\"assets/", &format!("\"assets/{hash:016x}/"));
    write(&folder.join("index.html"), &page)?;
    println!("cargo::rustc-env=ROOMD_ASSETS={hash:016x}");
    Ok(())
}

/// Writes a file, and beside it the same compressed, the same bytes at every build.
fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    let mut compressed = path.as_os_str().to_os_string();
    compressed.push(".gz");
    let mut file = GzBuilder::new().write(fs::File::create(compressed)?, Compression::best());
    file.write_all(text.as_bytes())?;
    file.finish().map(drop)
}

/// A script or a style sheet without indentation, empty lines and lines that are nothing but a comment,
/// a quarter of what is sent. Lines in a template literal stay as they are.
fn without_comments(source: &str) -> String {
    let mut is_template = false;
    let mut served = String::new();
    for line in source.split_inclusive('\n') {
        let text = line.trim();
        let is_comment = text.starts_with("//")
            || text.starts_with("/*") && text.find("*/") == text.len().checked_sub(2);
        if is_template {
            served.push_str(line);
        } else if !is_comment && !text.is_empty() {
            served.push_str(line.trim_start());
        } else {
            continue;
        }
        is_template ^= line.matches('`').count() % 2 == 1;
    }
    served
}

/// The compiler and its version, such as `rustc 1.85.0`.
fn rustc() -> Option<String> {
    let said = Command::new(env::var_os("RUSTC")?).arg("--version").output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    Some(said.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}
