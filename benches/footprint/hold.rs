//! A small machine under a flood: does everybody hear everything, and what memory is left?

use std::path::Path;
use std::time::Duration;

use crate::flood::Flood;
use crate::measure::{self, LENGTH};
use crate::storm;

const MEGABYTES: usize = 32;
const CLIENTS: usize = 50;
const SENDERS: usize = 4;
const WINDOW: usize = 16;

pub fn run(binary: &str, time: Duration) -> Result<(), String> {
    // As it comes, but that nobody is slowed down, and that it may promise 50 clients memory which
    // this machine has only as long as most of them behave.
    let arguments = "--rate 0 --log-level warn --max-memory 8M --max-clients-per-ip 1000";
    let (mut probe, address) = measure::machine(Path::new(binary), MEGABYTES, arguments, "")?;
    let mut load = measure::load(address);
    let at_start = probe.read()?;
    measure::enter(&mut load, CLIENTS)?;
    let mut flood = Flood::new(CLIENTS, SENDERS, WINDOW, LENGTH);
    let readings = measure::watch(&mut probe, || {
        flood.keep_up(&mut load, time)?;
        flood.finish(&mut load)
    })?;
    drop(load);
    let mut messages = 0;
    let of_storm = measure::watch(&mut probe, || {
        messages = storm::join(address, CLIENTS)?;
        Ok(())
    })?;

    let (mut least, mut most) = (f64::INFINITY, 0.0);
    for reading in readings.into_iter().chain(of_storm) {
        least = f64::min(least, reading.kb("MemAvailable")?);
        most = f64::max(most, reading.kb("Rss")?);
    }
    println!(
        "{CLIENTS} clients heard all {} messages that {SENDERS} of them said in {} s, each once, in one order.",
        flood.said(),
        time.as_secs(),
    );
    println!(
        "{CLIENTS} others came at once, and each was given the same {messages} messages of before."
    );
    println!(
        "Memory, in kB: of {MEGABYTES} MB the kernel leaves {} to programs; {} were free before \
         anybody came, and always {least}; roomd had {}, and {most} at most.",
        at_start.kb("MemTotal")?,
        at_start.kb("MemAvailable")?,
        at_start.kb("Rss")?,
    );
    Ok(())
}
