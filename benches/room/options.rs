//! The command line.

use std::path::{Path, PathBuf};

use lexopt::prelude::*;

use crate::modes::{self, CROWD, Step};
use crate::peers;
use crate::server::Program;

const HELP: &str = "\
Measures roomd beside what plain sends cost, and prints one Markdown table.

  --quick              measure once, not three times
  --only STEP,...      only these steps (see --list); flood means flood-100 and flood-1000. Those of an
                       engine need redis-server and a build of roomd with the feature engine
  --list               list the steps
  --peers              also measure FastAPI and node's ws, which this installs under target/
  --peer NAME=COMMAND  also measure another server of the same protocol; {port} and {clients}
                       in the command stand for its port and the number of clients to come
  --roomd FILE         measure this build of roomd
";

const ROUNDS: usize = 3;
/// How many servers share a room.
pub const NODES: usize = 2;
/// Whoever floods must not be slowed down here.
const ROOMD: &str = "--listen 127.0.0.1:{port} --rate 0 --max-clients {clients} --log-level warn";

#[derive(Debug)]
pub struct Options {
    pub rounds: usize,
    /// How this was called, for whoever reads the table.
    pub command: String,
    only: Vec<String>,
    roomd: PathBuf,
    with_peers: bool,
    more: Vec<Program>,
}

impl Options {
    /// None if the command line only asked for text, which has then been printed.
    pub fn from_command_line() -> Result<Option<Options>, lexopt::Error> {
        let mut options = Options {
            rounds: ROUNDS,
            command: command(),
            only: Vec::new(),
            roomd: PathBuf::from(env!("CARGO_BIN_EXE_roomd")),
            with_peers: false,
            more: Vec::new(),
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                // What `cargo bench` says to every benchmark.
                Long("bench") => {}
                Long("quick") => options.rounds = 1,
                Long("only") => {
                    let steps = parser.value()?.string()?;
                    options.only.extend(steps.split(',').map(str::to_owned));
                }
                Long("peers") => options.with_peers = true,
                Long("peer") => {
                    let peer = parser.value()?.string()?;
                    let (name, command) = peer.split_once('=').ok_or("--peer NAME=COMMAND")?;
                    options.more.push(Program::new(name, command, Path::new(".")));
                }
                Long("roomd") => options.roomd = parser.value()?.into(),
                Long("list") => {
                    for step in modes::steps() {
                        println!("{:16} {}", step.key, step.title);
                    }
                    return Ok(None);
                }
                Long("help") | Short('h') => {
                    print!("{HELP}");
                    return Ok(None);
                }
                _ => return Err(arg.unexpected()),
            }
        }
        match options.steps().is_empty() {
            true => Err("--only names no step; --list does".into()),
            false => Ok(Some(options)),
        }
    }

    pub fn steps(&self) -> Vec<Step> {
        let asked = |step: &Step| match self.only.is_empty() {
            true => step.key != CROWD && !step.is_shared,
            false => self.only.iter().any(|name| step.is_called(name)),
        };
        modes::steps().into_iter().filter(asked).collect()
    }

    /// roomd first, then the peers that could be installed.
    pub fn programs(&self) -> Vec<Program> {
        let mut roomd = Program::new("roomd", ROOMD, Path::new("."));
        roomd.command.insert(0, self.roomd.display().to_string());
        let mut programs = vec![roomd];
        if self.steps().iter().any(|step| step.is_shared) {
            let mut nodes = programs[0].clone();
            (nodes.name, nodes.nodes) = ("roomd, two nodes".to_owned(), NODES);
            programs.push(nodes);
        }
        if self.with_peers {
            programs.extend(peers::install());
        }
        programs.extend(self.more.iter().cloned());
        programs
    }
}

fn command() -> String {
    let arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let words: Vec<String> =
        ["cargo bench --bench room --".to_owned()].into_iter().chain(arguments).collect();
    words.join(" ").trim_end_matches(" --").to_owned()
}
