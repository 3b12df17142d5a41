//! CPU time, memory, threads and descriptors of this process, read for each request for metrics. Figures
//! that the system does not give are left out.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Resources of this process at one moment.
#[derive(Debug)]
pub struct Process {
    /// CPU time since the start.
    pub cpu: Duration,
    /// Bytes of resident memory.
    pub resident: Option<u64>,
    /// Bytes of virtual memory.
    pub mapped: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// The descriptor limit. None: there is none.
    pub max_descriptors: Option<u64>,
}

impl Process {
    /// Reads them. Needs a free descriptor, and leaves out figures of `/proc` without one.
    pub fn ask() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |name| number(&status, name).map(|kilobytes| kilobytes * 1024);
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Process {
            cpu: Duration::try_from(cpu).unwrap_or_default(),
            resident: bytes("VmRSS"),
            mapped: bytes("VmSize"),
            threads: number(&status, "Threads"),
            // One of them is only there for counting.
            descriptors: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|open| open.count().saturating_sub(1) as u64),
            max_descriptors: getrlimit(Resource::Nofile).current,
        }
    }
}

/// The number behind `name:` in a file such as `/proc/self/status`.
fn number(status: &str, name: &str) -> Option<u64> {
    let mut lines = status.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    lines.next()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names() {
        let status = "Name:\troomd\nVmSize:\t  2064 kB\nVmRSS:\t   12 kB\nThreads:\t7\n";
        assert_eq!(number(status, "VmSize"), Some(2064));
        assert_eq!(number(status, "VmRSS"), Some(12));
        assert_eq!(number(status, "Threads"), Some(7));
        for missing in ["Vm", "VmPeak", "Name", ""] {
            assert_eq!(number(status, missing), None, "{missing}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_everything() {
        let before = Process::ask();
        let _open = fs::File::open("/proc/self/status").unwrap();
        let process = Process::ask();
        assert!(process.resident > Some(100_000) && process.mapped > process.resident);
        assert!(process.threads > Some(1));
        assert!(process.descriptors.is_some() && before.descriptors.is_some());
        assert!(process.cpu >= before.cpu && process.cpu > Duration::ZERO);
        assert!(process.max_descriptors > Some(10));
    }
}
