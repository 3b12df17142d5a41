//! Which CPUs the server and the load run on, and how much of them they use.

use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// One CPU for the server and another for the load, so that neither takes time from the other.
#[derive(Clone, Copy, Debug)]
pub struct Cpus {
    pub server: usize,
    pub load: usize,
}

impl Cpus {
    /// The first and the last CPU that this process may use.
    ///
    /// Neighbours are often two threads of one core, which would slow each other down.
    pub fn choose() -> Cpus {
        let allowed = sched_getaffinity(None).expect("asking which CPUs this process may use");
        let mut usable = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
        let server = usable.next().expect("a process may use at least one CPU");
        let load = usable.next_back().unwrap_or(server);
        Cpus { server, load }
    }

    /// With a single CPU, waiting by polling would keep the other side from working.
    pub fn are_shared(self) -> bool {
        self.server == self.load
    }
}

/// Keeps the calling thread, and what it starts from now on, on one CPU.
pub fn pin(cpu: usize) {
    allow(&[cpu]);
}

/// The same, on some CPUs.
pub fn allow(cpus: &[usize]) {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    sched_setaffinity(None, &set).expect("pinning a thread to CPUs that it may use");
}

/// The CPU time of all threads of another process, those that have ended too.
///
/// This clock counts nanoseconds. `/proc/PID/stat` counts hundredths of a second, and adding up
/// the threads' own files would forget those that have ended.
/// It is also the one call here that rustix lacks.
pub fn of_process(pid: u32) -> Result<Duration, String> {
    let pid = Pid::from_raw(pid as i32);
    let now = ClockId::pid_cpu_clock_id(pid).and_then(ClockId::now);
    now.map(Duration::from).map_err(|e| format!("reading the CPU clock of process {pid}: {e}"))
}

/// The CPU time of the calling thread.
pub fn of_this_thread() -> Duration {
    let now = ClockId::CLOCK_THREAD_CPUTIME_ID.now();
    Duration::from(now.expect("reading the CPU clock of this thread"))
}
