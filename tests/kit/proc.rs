//! What `/proc` says about a process, the kernel and the machine.

use std::fs;
use std::time::Duration;

/// What a process holds at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    pub resident_kb: f64,
    pub threads: f64,
    pub descriptors: f64,
}

pub fn holding(pid: u32) -> Result<Holding, String> {
    // The figure in `status` may lag behind by a few pages per CPU; this one is counted anew.
    let resident_kb = number(&format!("/proc/{pid}/smaps_rollup"), "Rss")?;
    let threads = number(&format!("/proc/{pid}/status"), "Threads")?;
    let path = format!("/proc/{pid}/fd");
    let descriptors =
        fs::read_dir(&path).map_err(|e| format!("counting {path}: {e}"))?.count() as f64;
    Ok(Holding { resident_kb, threads, descriptors })
}

/// The memory that a process has for itself alone: neither its file's pages nor those that others share.
pub fn own_kb(pid: u32) -> Result<f64, String> {
    number(&format!("/proc/{pid}/status"), "RssAnon")
}

/// The most memory that a process has ever had resident.
pub fn peak_resident_kb(pid: u32) -> Result<f64, String> {
    number(&format!("/proc/{pid}/status"), "VmHWM")
}

/// What a thread has had so far.
#[derive(Clone, Copy, Debug)]
pub struct ThreadUse {
    /// Its CPU time, in hundredths of a second.
    pub cpu: Duration,
    /// How many times it had nothing to do, and slept.
    pub sleeps: u64,
}

impl ThreadUse {
    /// What it has had since another reading.
    pub fn since(self, then: &ThreadUse) -> ThreadUse {
        ThreadUse { cpu: self.cpu - then.cpu, sleeps: self.sleeps - then.sleeps }
    }
}

/// Each thread of this name, in the order of their ids.
pub fn threads(pid: u32, name: &str) -> Result<Vec<ThreadUse>, String> {
    let path = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&path).map_err(|e| format!("reading {path}: {e}"))?.flatten();
    let mut ids: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    // One that has ended meanwhile is not counted.
    Ok(ids.iter().filter_map(|id| thread(&format!("{path}/{id}"), name)).collect())
}

/// A thread, if it is of this name.
fn thread(path: &str, name: &str) -> Option<ThreadUse> {
    let stat = fs::read_to_string(format!("{path}/stat")).ok()?;
    let (before, behind) = stat.rsplit_once(") ")?;
    let ticks = |field: usize| behind.split(' ').nth(field)?.parse::<u64>().ok();
    // Fields 14 and 15 of proc_pid_stat(5), where the state is the third.
    let cpu = Duration::from_millis(10 * (ticks(11)? + ticks(12)?));
    let sleeps = field(&format!("{path}/status"), "voluntary_ctxt_switches").ok()?.parse().ok()?;
    (before.split_once(" (")?.1 == name).then_some(ThreadUse { cpu, sleeps })
}

/// Kernel memory that grows with connections and threads: sockets, stacks, page tables.
pub fn kernel_kb() -> Result<f64, String> {
    ["Slab", "KernelStack", "PageTables"].iter().map(|name| number("/proc/meminfo", name)).sum()
}

/// One line that tells the reader what kind of machine the figures are from.
pub fn machine() -> String {
    let model = ["model name", "Model", "Hardware"]
        .iter()
        .find_map(|name| field("/proc/cpuinfo", name).ok())
        .unwrap_or_else(|| format!("{} CPU", std::env::consts::ARCH));
    let cores = fs::read_to_string("/proc/cpuinfo")
        .map(|text| text.lines().filter(|l| l.starts_with("processor")).count())
        .unwrap_or_default();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // What follows the dash is the distribution's business.
    let kernel = release.trim().split('-').next().unwrap_or_default();
    format!("{model}, {cores} cores, Linux {kernel}")
}

fn number(path: &str, name: &str) -> Result<f64, String> {
    let value = field(path, name)?;
    let digits = value.split_whitespace().next().unwrap_or_default();
    digits.parse().map_err(|_| format!("{path}: {name} is no number but {value:?}"))
}

/// The value behind `name:` in one of the kernel's line-by-line files.
fn field(path: &str, name: &str) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("reading {path}: {e}"))?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .ok_or_else(|| format!("{path} has no line for {name}"))
}
