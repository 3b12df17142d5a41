//! The figures of one build.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::cpu::Cpus;
use crate::flood::Flood;
use crate::kit::program::free_address;
use crate::load::Load;
use crate::probe::{Probe, Reading};
use crate::table::Figures;

const IDLE: usize = 1000;
const BUSY: usize = 100;
/// How many messages each client has under way that is busy, and how long they are. With more,
/// what waits for a load that is slow would be measured too.
const WINDOW: usize = 1;
pub const LENGTH: usize = 64;
const TALK: Duration = Duration::from_secs(4);
/// So often all wait until all have heard everything, so that nobody falls behind, however slow
/// this machine is.
const BREATH: Duration = Duration::from_millis(20);
/// While nothing changes in that time, it is at rest.
const REST: Duration = Duration::from_millis(300);
const MOST_RESTS: usize = 30;
/// Enough for a thousand clients.
const MEGABYTES: usize = 256;

/// Where a server runs.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    Here,
    /// A virtual machine, whose kernel serves nobody else: so that can be counted too.
    Machine,
}

/// The figures, in the order of [`FIGURES`](crate::table::FIGURES).
pub fn all(place: Place, binary: &Path) -> Result<Figures, String> {
    let bytes = fs::metadata(binary).map_err(|e| format!("{}: {e}", binary.display()))?.len();

    let (mut probe, mut load) = start(place, binary)?;
    let at_start = rest(&mut probe, &mut load)?;
    let (one, many) = join(&mut probe, &mut load, IDLE)?;
    let each = |one: f64, many: f64| (many - one) / IDLE as f64;
    let idle = each(one.kb("Rss")?, many.kb("Rss")?);
    let kernel = match place {
        Place::Here => None,
        Place::Machine => Some(each(one.kernel_kb()?, many.kernel_kb()?)),
    };
    drop(probe);

    let (mut probe, mut load) = start(place, binary)?;
    let (one, _) = join(&mut probe, &mut load, BUSY)?;
    let mut flood = Flood::new(BUSY + 1, BUSY + 1, WINDOW, LENGTH);
    let readings = watch(&mut probe, || {
        let begin = Instant::now();
        while begin.elapsed() < TALK {
            flood.keep_up(&mut load, BREATH)?;
            flood.finish(&mut load)?;
        }
        Ok(())
    })?;
    let mut most: f64 = 0.0;
    for reading in readings {
        most = most.max(reading.kb("Rss")?);
    }
    let busy = (most - one.kb("Rss")?) / BUSY as f64;

    let (resident, share) = (at_start.kb("Rss")?, at_start.kb("Pss")?);
    let size = bytes as f64 / 1024.0;
    Ok([Some(size), Some(resident), Some(share), Some(idle), kernel, Some(busy)])
}

/// Starts a machine or a process of its own, in which nobody is kept from talking or joining.
fn start(place: Place, binary: &Path) -> Result<(Probe, Load), String> {
    const MANY: &str =
        "--rate 0 --log-level warn --max-clients 1100 --max-clients-per-ip 1100 --max-memory 256M";
    match place {
        Place::Here => {
            let (program, address) = (binary.display(), free_address());
            let command = format!("tests/arm/probe {program} --listen {address} {MANY}");
            Ok((Probe::start(&command, "")?, load(address)))
        }
        Place::Machine => {
            let (probe, address) = machine(binary, MEGABYTES, MANY, "")?;
            Ok((probe, load(address)))
        }
    }
}

/// Boots a machine in which roomd gets these arguments, and its group these `limits`: words such as
/// `memory.max=8M`. Where it is reached.
pub fn machine(
    binary: &Path,
    megabytes: usize,
    arguments: &str,
    limits: &str,
) -> Result<(Probe, SocketAddr), String> {
    let (program, address) = (binary.display(), free_address());
    let port = address.port();
    let command = format!("tests/arm/machine {program} {megabytes} {port} {arguments}");
    Ok((Probe::start(&command, limits)?, address))
}

/// Clients that leave the CPU to the server while they wait.
pub fn load(address: SocketAddr) -> Load {
    Load::new(address, Cpus { server: 0, load: 0 })
}

/// What there is at rest before and after so many clients more have come. One comes before them:
/// what the server sets up once, for the first, is no client's cost.
fn join(probe: &mut Probe, load: &mut Load, clients: usize) -> Result<(Reading, Reading), String> {
    enter(load, 1)?;
    let before = rest(probe, load)?;
    enter(load, clients)?;
    Ok((before, rest(probe, load)?))
}

/// Lets so many clients more into the room, one after the other: QEMU's network has a queue of
/// one for those who come.
pub fn enter(load: &mut Load, clients: usize) -> Result<(), String> {
    (0..clients).try_for_each(|_| load.open(1, |client| format!("/ws/{client}")))
}

/// Waits until the server and the kernel have put away what was needed for a moment.
fn rest(probe: &mut Probe, load: &mut Load) -> Result<Reading, String> {
    let mut reading = probe.read()?;
    for _ in 0..MOST_RESTS {
        let begin = Instant::now();
        while begin.elapsed() < REST {
            load.turn(|_, _| Ok(()))?;
        }
        let before = std::mem::replace(&mut reading, probe.read()?);
        if before.kb("Rss")? == reading.kb("Rss")? {
            break;
        }
    }
    Ok(reading)
}

/// What was read, again and again, while something ran.
pub fn watch(
    probe: &mut Probe,
    run: impl FnOnce() -> Result<(), String>,
) -> Result<Vec<Reading>, String> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut readings = vec![probe.read()?];
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(REST);
                readings.push(probe.read()?);
            }
            Ok(readings)
        });
        let result = run();
        is_over.store(true, Ordering::Relaxed);
        let readings = watcher.join().expect("reading does not panic");
        result.and(readings)
    })
}
