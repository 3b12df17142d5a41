//! How much roomd takes: its file, its memory at start, and what each client adds to that; on
//! this machine, and on a virtual one whose processor is an ARMv7. See `--help`.

#![forbid(unsafe_code)]
#![allow(dead_code)] // The benchmark of speed uses more of the modules that it shares with this.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;
use measure::Place;
use table::Table;

#[path = "../../tests/kit/mod.rs"]
mod kit;

#[path = "../room/cpu.rs"]
mod cpu;
#[path = "../room/descriptors.rs"]
mod descriptors;
#[path = "../room/flood.rs"]
mod flood;
#[path = "../room/frame.rs"]
mod frame;
#[path = "../room/load.rs"]
mod load;
#[path = "../room/message.rs"]
mod message;
#[path = "../room/order.rs"]
mod order;
#[path = "../room/protocol.rs"]
mod protocol;

mod cramped;
mod hold;
mod measure;
mod probe;
mod storm;
mod table;

const HELP: &str = "\
Says how much memory roomd takes, in one of four ways:

  update X86_64 ARMV7   measures both builds, and writes docs/footprint.tsv and the README's table
  check X86_64 ARMV7    measures both anew, and fails when a figure has grown by more than 10 %
                        since docs/footprint.tsv
  hold ARMV7 SECONDS    boots a machine of 32 MB, floods its room, lets 50 clients come at once, and
                        says what memory was left; and again, with texts as long as one may be
  cramped ARMV7 SECONDS gives it a group of 8 MB in which all stall but four, who flood; and one of
                        30 threads
";

/// What a figure may be of what it was before the check fails.
const GROWTH: f64 = 1.10;
/// What disturbs a measurement adds to it, so the least of some is nearest to the truth.
const ROUNDS: usize = 3;

fn main() -> ExitCode {
    descriptors::raise_limit();
    match words().map_err(|e| e.to_string()).and_then(|words| run(&words)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("footprint: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["update", x86_64, armv7] => update([x86_64, armv7]),
        ["check", x86_64, armv7] => check([x86_64, armv7]),
        ["hold", armv7, seconds] => {
            hold::run(armv7, time(seconds)?)?;
            cramped::long_texts(armv7, cramped::MACHINE, time(seconds)?)
        }
        ["cramped", armv7, seconds] => {
            cramped::long_texts(armv7, cramped::GROUP, time(seconds)?)?;
            cramped::memory(armv7, time(seconds)?)?;
            cramped::threads(armv7)
        }
        _ => Err(HELP.to_owned()),
    }
}

fn time(seconds: &str) -> Result<Duration, String> {
    seconds.parse().map(Duration::from_secs).map_err(|e| format!("SECONDS {seconds}: {e}"))
}

fn words() -> Result<Vec<String>, lexopt::Error> {
    let mut words = Vec::new();
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            // What `cargo bench` says to every benchmark.
            Long("bench") => {}
            Value(word) => words.push(word.string()?),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(words)
}

fn update(builds: [&str; 2]) -> Result<(), String> {
    let mut table = Table::default();
    for _ in 0..ROUNDS {
        measure(&mut table, builds)?;
    }
    table.write()?;
    print!("{}", table.markdown());
    Ok(())
}

fn check(builds: [&str; 2]) -> Result<(), String> {
    let before = Table::read()?;
    before.is_in_readme()?;
    let (mut now, mut grown) = (Table::default(), Vec::new());
    for _ in 0..ROUNDS {
        measure(&mut now, builds)?;
        grown = now.grown(&before, GROWTH);
        if grown.is_empty() {
            break;
        }
    }
    print!("{}", now.markdown());
    match grown.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "more than 10 % above docs/footprint.tsv:\n  {}\n\
             If that is worth it, say so with: make footprint",
            grown.join("\n  ")
        )),
    }
}

/// Measures once, and keeps what is less than before.
fn measure(table: &mut Table, builds: [&str; 2]) -> Result<(), String> {
    for (column, (place, build)) in [Place::Here, Place::Machine].iter().zip(builds).enumerate() {
        table.keep_least(column, measure::all(*place, Path::new(build))?);
    }
    Ok(())
}
