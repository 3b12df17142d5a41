//! The benchmark: `roomd`, and other servers if asked for, beside what plain sends cost.
//!
//! The server has one CPU and the load another. Each measurement gets a fresh server and is made
//! three times; the table shows the medians. See `--help`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use bench::Bench;
use options::Options;

#[path = "../../tests/kit/mod.rs"]
mod kit;

mod bench;
mod cpu;
mod descriptors;
mod engine;
mod flood;
mod floor;
mod frame;
mod load;
mod message;
mod modes;
mod options;
mod order;
mod peers;
mod protocol;
mod server;
mod stats;
mod table;

fn main() -> ExitCode {
    let options = match Options::from_command_line() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(2);
        }
    };
    let mut bench = Bench::prepare(options);
    bench.run();
    bench.report()
}
