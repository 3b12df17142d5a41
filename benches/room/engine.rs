//! An engine of the benchmark's own, for rooms that several servers share.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::kit::program::{Process, free_address};

/// A Redis or Valkey that writes nothing to the disk. It ends with this.
#[derive(Debug)]
pub struct Engine {
    port: u16,
    process: Process,
}

const START: Duration = Duration::from_secs(10);

/// The last is where `make test` unpacks it.
const NAMES: [&str; 3] = [
    "redis-server",
    "valkey-server",
    concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/usr/bin/redis-server"),
];

impl Engine {
    /// One on a free port.
    pub fn start() -> Result<Engine, String> {
        let is_there = |name: &&str| {
            Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok()
        };
        let name = NAMES.into_iter().find(is_there);
        let name = name.ok_or("there is neither redis-server nor valkey-server")?;
        let address = free_address();
        let child = Command::new(name)
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", ""])
            .current_dir(Path::new(env!("CARGO_TARGET_TMPDIR")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let mut process = Process(child.map_err(|e| format!("starting {name}: {e}"))?);
        process.listens(address, START).map_err(|e| format!("{name} {e}"))?;
        Ok(Engine { port: address.port(), process })
    }

    /// For `--engine`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }
}
