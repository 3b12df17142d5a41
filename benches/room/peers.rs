//! The servers to compare with: the tutorial's, on FastAPI, and one on node's `ws`.
//!
//! Each is installed into a directory of its own under `target/`, and again only when its list of
//! packages has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::Program;

/// The peers that are there now. About one that is not, a line says what to do.
pub fn install() -> Vec<Program> {
    [fastapi(), node_ws()]
        .into_iter()
        .filter_map(|peer| peer.map_err(|e| eprintln!("Left out: {e}")).ok())
        .collect()
}

fn fastapi() -> Result<Program, String> {
    let directory = copy("fastapi", &["main.py", "requirements.txt"])?;
    let python = directory.join("venv/bin/python");
    once(&directory, "requirements.txt", || {
        run(&directory, "python3", &["-m", "venv", "venv"]).map_err(|e| {
            format!(
                "{e}\nFastAPI needs Python 3 with venv: apt install python3-venv, or python.org"
            )
        })?;
        let install = "-m pip install --quiet --disable-pip-version-check -r requirements.txt";
        let install: Vec<&str> = install.split(' ').collect();
        run(&directory, &python.display().to_string(), &install)
    })?;
    let command = "venv/bin/python -m uvicorn main:app --port {port} --log-level warning";
    let mut program = Program::new("FastAPI + uvicorn", command, &directory);
    program.command[0] = python.display().to_string();
    Ok(program)
}

fn node_ws() -> Result<Program, String> {
    let directory = copy("node-ws", &["server.js", "package.json"])?;
    once(&directory, "package.json", || {
        let install = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
        run(&directory, "npm", &install).map_err(|e| {
            format!("{e}\nws needs node and npm: apt install nodejs npm, or nodejs.org")
        })
    })?;
    Ok(Program::new("node ws", "node server.js {port}", &directory))
}

/// Copies a peer's files to where it is installed, so that nothing is left among the sources.
fn copy(peer: &str, files: &[&str]) -> Result<PathBuf, String> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(peer);
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-peers").join(peer);
    fs::create_dir_all(&to).map_err(|e| format!("creating {}: {e}", to.display()))?;
    for file in files {
        fs::copy(from.join(file), to.join(file))
            .map_err(|e| format!("copying {file} to {}: {e}", to.display()))?;
    }
    Ok(to)
}

/// Installs unless that was done with the same list of packages.
fn once(
    directory: &Path,
    list: &str,
    install: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let wanted = fs::read(directory.join(list)).map_err(|e| format!("reading {list}: {e}"))?;
    let stamp = directory.join("installed");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    eprintln!("Installing what {list} asks for into {} …", directory.display());
    install()?;
    fs::write(&stamp, wanted).map_err(|e| format!("writing {}: {e}", stamp.display()))
}

fn run(directory: &Path, program: &str, arguments: &[&str]) -> Result<(), String> {
    let what = format!("{program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .status()
        .map_err(|e| format!("running {what}: {e}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{what} ended with {status}")),
    }
}
