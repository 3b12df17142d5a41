//! How much memory there is for this process: the machine's, or less if a cgroup says so.

use std::fs;
use std::path::Path;

use crate::config::cgroup;

/// Bytes; none if the system does not say (only Linux does, in `/proc` and `/sys`).
pub fn memory() -> Option<usize> {
    memory_by(|path| fs::read_to_string(path).ok())
}

/// What the files say that `read` gives.
fn memory_by(read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let machine = read("/proc/meminfo".as_ref()).and_then(|meminfo| mem_total(&meminfo));
    let limits = cgroup::groups(&read, "memory").into_iter().filter_map(|(group, is_version_2)| {
        let file = if is_version_2 { "memory.max" } else { "memory.limit_in_bytes" };
        read(&group.join(file))?.trim().parse().ok()
    });
    machine.into_iter().chain(limits).min()
}

fn mem_total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory_of(files: &[(&str, &str)]) -> Option<usize> {
        memory_by(|path| {
            let (_, text) = files.iter().find(|(name, _)| Path::new(name) == path)?;
            Some((*text).into())
        })
    }

    const MEMINFO: (&str, &str) =
        ("/proc/meminfo", "MemTotal:        1000 kB\nMemFree:          10 kB\n");

    #[test]
    fn the_machine_says_how_much_there_is() {
        assert_eq!(memory_of(&[]), None);
        assert_eq!(memory_of(&[MEMINFO]), Some(1_024_000));
    }

    #[test]
    fn the_least_limit_of_all_groups_above_holds() {
        let group = ("/proc/self/cgroup", "0::/system.slice/roomd.service\n");
        let unlimited = ("/sys/fs/cgroup/system.slice/roomd.service/memory.max", "max\n");
        let slice = ("/sys/fs/cgroup/system.slice/memory.max", "500000\n");
        assert_eq!(memory_of(&[MEMINFO, group, unlimited]), Some(1_024_000));
        assert_eq!(memory_of(&[MEMINFO, group, unlimited, slice]), Some(500_000));
        let root = ("/sys/fs/cgroup/memory.max", "300000\n");
        assert_eq!(memory_of(&[MEMINFO, group, slice, root]), Some(300_000));
    }

    #[test]
    fn the_older_cgroups_have_another_file() {
        let group = ("/proc/self/cgroup", "7:cpu:/a\n4:memory:/a\n");
        let limit = ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "400000\n");
        assert_eq!(memory_of(&[MEMINFO, group, limit]), Some(400_000));
        let none = ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(memory_of(&[MEMINFO, group, none]), Some(1_024_000));
    }
}
