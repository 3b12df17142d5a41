//! A small machine under a flood: does everybody hear everything, and what memory is left?

use std::path::Path;
use std::time::Duration;

use crate::flood::Flood;
use crate::measure::{self, LENGTH};
use crate::probe::Reading;

const MEGABYTES: usize = 32;
const CLIENTS: usize = 50;
const SENDERS: usize = 4;
const WINDOW: usize = 16;

pub fn run(binary: &str, time: Duration) -> Result<(), String> {
    // As it comes, but that nobody is slowed down.
    let (mut probe, address) = measure::machine(Path::new(binary), MEGABYTES, "--rate 0")?;
    let at_start = probe.read()?;
    let mut load = measure::load(address);
    load.open(CLIENTS, |client| format!("/ws/{client}"))?;
    let mut flood = Flood::new(CLIENTS, SENDERS, WINDOW, LENGTH);
    let readings = measure::watch(&mut probe, || {
        flood.keep_up(&mut load, time)?;
        flood.finish(&mut load)
    })?;
    let after = probe.read()?;

    let left: Result<Vec<f64>, String> = readings.iter().map(|r| r.kb("MemAvailable")).collect();
    let least = left?.into_iter().fold(f64::INFINITY, f64::min);
    println!(
        "{CLIENTS} clients in a machine of {MEGABYTES} MB: {SENDERS} said {} messages in {} s, and all heard each once, in one order",
        flood.said(),
        time.as_secs(),
    );
    let line = |when: &str, reading: &Reading| {
        let [left, of, resident, most] =
            ["MemAvailable", "MemTotal", "Rss", "VmHWM"].map(|name| reading.kb(name));
        println!(
            "{when}: {} kB left of {}; roomd has {} kB, at most {}",
            left?, of?, resident?, most?
        );
        Ok::<(), String>(())
    };
    line("before", &at_start)?;
    line("after", &after)?;
    println!("meanwhile: at least {least} kB left");
    Ok(())
}
