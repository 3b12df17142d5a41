//! The figures of one build.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::cpu::Cpus;
use crate::flood::Flood;
use crate::load::Load;
use crate::probe::{Probe, Reading};

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

/// The figures by their place in [`FIGURES`](crate::FIGURES).
pub fn all(place: Place, binary: &Path) -> Result<Vec<(usize, f64)>, String> {
    let mut figures = vec![(0, size(binary)?)];

    let (mut probe, address) = start(place, binary)?;
    let mut load = load(address);
    let start = rest(&mut probe, &mut load)?;
    figures.extend([(1, start.kb("Rss")?), (2, start.kb("Pss")?)]);
    let (before, after) = join(&mut probe, &mut load, IDLE)?;
    figures.push((3, (after.kb("Rss")? - before.kb("Rss")?) / IDLE as f64));
    if matches!(place, Place::Machine) {
        figures.push((4, (after.kernel_kb()? - before.kernel_kb()?) / IDLE as f64));
    }
    drop(probe);

    let (mut probe, address) = self::start(place, binary)?;
    let mut load = self::load(address);
    let (before, _) = join(&mut probe, &mut load, BUSY)?;
    let mut flood = Flood::new(BUSY + 1, BUSY + 1, WINDOW, LENGTH);
    let readings = watch(&mut probe, || {
        let begin = Instant::now();
        while begin.elapsed() < TALK {
            flood.keep_up(&mut load, BREATH)?;
            flood.finish(&mut load)?;
        }
        Ok(())
    })?;
    let most = readings
        .iter()
        .map(|reading| reading.kb("Rss"))
        .try_fold(0.0, |most, kb| Ok::<_, String>(f64::max(most, kb?)))?;
    figures.push((5, (most - before.kb("Rss")?) / BUSY as f64));
    Ok(figures)
}

/// The size of a file in kB.
pub fn size(binary: &Path) -> Result<f64, String> {
    let bytes = fs::metadata(binary).map_err(|e| format!("{}: {e}", binary.display()))?.len();
    Ok(bytes as f64 / 1024.0)
}

/// Starts a machine or a process of its own, in which nobody is kept from talking or joining.
fn start(place: Place, binary: &Path) -> Result<(Probe, SocketAddr), String> {
    const MANY: &str =
        "--rate 0 --log-level warn --max-clients 1100 --max-clients-per-ip 1100 --max-memory 256M";
    match place {
        Place::Here => here(binary, MANY),
        Place::Machine => machine(binary, MEGABYTES, MANY),
    }
}

fn here(binary: &Path, arguments: &str) -> Result<(Probe, SocketAddr), String> {
    let address = free_address();
    let program = binary.display();
    let probe = Probe::start(&format!("tests/arm/probe {program} --listen {address} {arguments}"))?;
    Ok((probe, address))
}

pub fn machine(
    binary: &Path,
    megabytes: usize,
    arguments: &str,
) -> Result<(Probe, SocketAddr), String> {
    let address = free_address();
    let (program, port) = (binary.display(), address.port());
    let probe =
        Probe::start(&format!("tests/arm/machine {program} {megabytes} {port} {arguments}"))?;
    Ok((probe, address))
}

/// A loopback port that nobody listens on at the moment.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("binding a loopback port")
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
