//! What a client costs that only listens.

use std::time::{Duration, Instant};

use super::{Outcome, join, room};
use crate::kit::proc;
use crate::server::Server;
use crate::table::Figure;

/// Until the server and the kernel have put away what connecting needed.
const SETTLE: Duration = Duration::from_millis(500);

pub fn run(server: &Server, clients: usize) -> Outcome {
    let start = server.holding()?;
    // What the server sets up once, for the first client, is no client's cost.
    let mut load = join(server, 1)?;
    rest(&mut load)?;
    let (before, kernel_before) = (server.holding()?, proc::kernel_kb()?);
    load.open(clients, room)?;
    rest(&mut load)?;
    let (after, kernel_after) = (server.holding()?, proc::kernel_kb()?);

    let each = |after: f64, before: f64| (after - before) / clients as f64;
    Ok(vec![
        Figure::new("resident at start, MB", start.resident_kb / 1024.0),
        Figure::new("resident memory a client, kB", each(after.resident_kb, before.resident_kb)),
        Figure::new("kernel memory a client, both ends, kB", each(kernel_after, kernel_before)),
        Figure::new("threads a client", each(after.threads, before.threads)),
        Figure::new("descriptors a client", each(after.descriptors, before.descriptors)),
    ])
}

fn rest(load: &mut crate::load::Load) -> Result<(), String> {
    let begin = Instant::now();
    while begin.elapsed() < SETTLE {
        load.turn(|_, _| Ok(()))?;
    }
    Ok(())
}
