//! A Redis or Valkey of the test's own, to compare the engine in memory with.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use redis::Cmd;

use crate::engine::address::{Address, Given};
use crate::engine::connection::Connection;
use crate::engine::master::Master;
use crate::testing::TestFolder;

/// It ends when it is dropped.
pub struct Real {
    process: Child,
    to: Arc<Master>,
    _folder: TestFolder,
}

/// Where the scripts find the time.
const CLOCK: &str = "test:clock";

impl Real {
    pub fn start() -> Real {
        let folder = TestFolder::new();
        // Where `make test` unpacks it; the whole path, since it runs in a folder of its own.
        let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/usr/bin/redis-server");
        let servers = ["redis-server", "valkey-server", unpacked];
        let process = servers.iter().find_map(|server| run(server, folder.path()));
        let mut process = process.expect("this test needs redis-server; see make test");
        let lines = BufReader::new(process.stdout.take().expect("its lines")).lines();
        let is_ready = lines.map_while(Result::ok).any(|line| line.contains("eady to accept"));
        assert!(is_ready, "the engine does not start");
        let url = format!("redis+unix://{}", folder.path().join("socket").display());
        let address = Address::parse(Given { url: &url, ..Given::default() }).expect("an address");
        Real { process, to: Arc::new(Master::new(address)), _folder: folder }
    }

    /// A connection on which the scripts know the time from [`set_clock`].
    pub fn connect(&self) -> Connection {
        let mut engine = Connection::open(&self.to).expect("a connection");
        engine.take_time_from(CLOCK).expect("scripts");
        engine
    }
}

/// It is this time, in milliseconds.
pub fn set_clock(engine: &mut Connection, now: u64) {
    say(engine, &["DEL", CLOCK]);
    say(engine, &["RPUSH", CLOCK, &(now / 1000).to_string(), &(now % 1000 * 1000).to_string()]);
}

/// A command that succeeds.
pub fn say(engine: &mut Connection, words: &[&str]) -> redis::Value {
    let mut cmd = Cmd::new();
    words.iter().for_each(|word| {
        cmd.arg(word);
    });
    engine.call(&cmd).unwrap_or_else(|fault| panic!("{words:?}: {fault:?}"))
}

fn run(server: &str, folder: &Path) -> Option<Child> {
    let mut command = Command::new(server);
    command.args(["--port", "0", "--unixsocket", "socket", "--save", ""]).current_dir(folder);
    // So that MAXLEN drops what is too much and not whole nodes.
    command.args(["--stream-node-max-entries", "1", "--enable-debug-command", "yes"]);
    command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().ok()
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
