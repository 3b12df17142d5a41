//! How many connections the system has room for: descriptors, threads, memory mappings and addresses.
//!
//! A process that runs out of descriptors, or of threads by RLIMIT_NPROC or pids.max, is refused some and
//! can answer 503. One that runs out of mappings or addresses is aborted by std, which needs a signal
//! stack for a thread that has started, and memory for anything. So the number of connections and
//! threads stays below all of these, with room to spare.

use std::path::Path;
use std::{env, fmt, fs, thread};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::budget::{Budget, most_clients};
use crate::config::{ADMIN_PLACES, DESCRIPTORS_KEPT, Limits, MAX_CLIENTS, STACK, cgroup};

/// Threads that serve no connection with a slot: the server's own, and those of the admin address.
const THREADS_KEPT: usize = 16 + ADMIN_PLACES;

/// Mappings of the program, of its libraries and of the heap.
const MAPS_KEPT: usize = 1024;

/// Mappings of a thread: its stack, its signal stack, and a guard page for each (measured).
const THREAD_MAPS: usize = 4;

/// Addresses of the server's own threads that have not started yet.
const SPACE_KEPT: usize = 4 << 20;

/// Connections at the least: a client, the page and health.
const LEAST: usize = 3;

/// What the system allows, as far as it bounds the number of connections.
#[derive(Clone, Debug)]
pub struct SystemLimits {
    bounds: Vec<Bound>,
    /// Threads that serve connections. They may be more than the connections for a moment, since a
    /// thread waits for another connection before it ends.
    threads: usize,
    /// Bytes of addresses that are left, if there is a limit.
    space: Option<usize>,
}

/// A limit of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// So many connections fit.
    pub connections: usize,
    name: &'static str,
    value: usize,
    advice: &'static str,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}; {}", self.name, self.value, self.advice)
    }
}

/// Where the limits come from.
struct Sources<R> {
    descriptors: Option<usize>,
    address_space: Option<usize>,
    /// Addresses that the allocator reserves for threads.
    arenas: usize,
    /// Processes and threads of this user, and how many there are.
    processes: Option<(usize, usize)>,
    page: usize,
    /// A file's text.
    read: R,
}

impl SystemLimits {
    /// Raises the descriptor limit as far as this process may, and asks the system.
    pub fn raised() -> Self {
        let read = |path: &Path| fs::read_to_string(path).ok();
        SystemLimits::of(&Sources {
            descriptors: raise_descriptor_limit(),
            address_space: current(Resource::As),
            arenas: arenas(env::var("MALLOC_ARENA_MAX").ok().as_deref()),
            processes: process_limit(),
            page: rustix::param::page_size(),
            read,
        })
    }

    fn of<R: Fn(&Path) -> Option<String>>(sources: &Sources<R>) -> Self {
        let Sources { descriptors, address_space, arenas, processes, page, read } = sources;
        let mut bounds = Vec::new();
        if let Some(value) = *descriptors {
            bounds.push(Bound {
                connections: value.saturating_sub(DESCRIPTORS_KEPT),
                name: "the descriptor limit",
                value,
                advice: "raise it with ulimit -n or LimitNOFILE=",
            });
        }
        let mut threads = usize::MAX;
        let mut bound_threads = |most: usize, name, value, advice| {
            let most = most.saturating_sub(THREADS_KEPT);
            threads = threads.min(most);
            // A ninth is for threads that wait for another connection.
            bounds.push(Bound { connections: most - most.div_ceil(9), name, value, advice });
        };
        if let Some((value, used)) = *processes {
            let advice = "raise it with ulimit -u or LimitNPROC=";
            bound_threads(
                value.saturating_sub(used),
                "the process limit of this user",
                value,
                advice,
            );
        }
        if let Some((value, used)) = pids(read) {
            let advice = "raise pids.max or TasksMax=";
            bound_threads(
                value.saturating_sub(used),
                "the task limit of the cgroup",
                value,
                advice,
            );
        }
        let maps = read("/proc/sys/vm/max_map_count".as_ref());
        if let Some(value) = maps.and_then(|text| text.trim().parse::<usize>().ok()) {
            let left = value.saturating_sub(MAPS_KEPT);
            let advice = "raise it with sysctl";
            bound_threads((left - left / 16) / THREAD_MAPS, "vm.max_map_count", value, advice);
        }
        let space = address_space.map(|value| {
            let status = read("/proc/self/status".as_ref()).unwrap_or_default();
            let used = number(&status, "VmSize:").map_or(0, |kilobytes| kilobytes * 1024);
            let left = value.saturating_sub(used + arenas + SPACE_KEPT);
            let advice = match arenas {
                0 => "raise it with ulimit -v or LimitAS=",
                _ => "raise it with ulimit -v or LimitAS=, or set MALLOC_ARENA_MAX=1",
            };
            bound_threads(
                stacks(left) / thread_space(*page),
                "the address space limit",
                value,
                advice,
            );
            left
        });
        SystemLimits { bounds, threads, space }
    }

    /// The least bound; any number of connections if there is none.
    pub fn connections(&self) -> Bound {
        let least = self.bounds.iter().min_by_key(|bound| bound.connections);
        least.cloned().unwrap_or(Bound {
            connections: usize::MAX / 2,
            name: "nothing",
            value: 0,
            advice: "",
        })
    }

    /// # Errors
    /// One line, if there is too little of something for one client, the page and health.
    pub fn check(&self) -> Result<(), String> {
        let least = self.connections();
        if least.connections >= LEAST {
            return Ok(());
        }
        let Bound { name, value, advice, .. } = least;
        let mut line = format!(
            "cannot serve: {name} of {value} is too small for one client, the page and health; {advice}"
        );
        if name == "the descriptor limit" {
            line.push_str(&format!(" to {} at least", DESCRIPTORS_KEPT + LEAST));
        }
        Err(line)
    }

    /// How many threads may serve `connections` and the admin address.
    pub fn threads(&self, connections: usize) -> usize {
        self.threads.min(2 * connections) + ADMIN_PLACES
    }

    /// Lowers the memory that clients may take, and `memory`, which there is, to what the address space
    /// has room for beside the stacks.
    pub fn cap_memory(&self, limits: &mut Limits, memory: Option<usize>) -> Option<usize> {
        let Some(most) = self.most_memory() else { return memory };
        if let Some(given) = limits.max_memory.filter(|given| *given > most) {
            log::warn!(
                "--max-memory {given} does not fit the address space limit (ulimit -v): it is {most}"
            );
            limits.max_memory = Some(most);
        }
        // The default is a quarter of this.
        Some(memory.unwrap_or(usize::MAX).min(most.saturating_mul(4)))
    }

    fn most_memory(&self) -> Option<usize> {
        self.space.map(|left| left - stacks(left))
    }

    /// The limit that the number of clients follows from.
    pub fn bound_of(&self, budget: &Budget, limits: &Limits) -> String {
        let clients = budget.capacity.clients;
        let least = self.connections();
        if limits.max_clients == Some(clients) {
            "--max-clients".into()
        } else if limits.max_clients.is_none() && clients == MAX_CLIENTS {
            "the default of --max-clients".into()
        } else if clients == most_clients(least.connections) {
            least.to_string()
        } else if self.most_memory().is_some_and(|most| budget.memory >= most) {
            "the address space limit; raise it with ulimit -v or LimitAS=".into()
        } else {
            "the memory; see --max-memory".into()
        }
    }
}

/// Of so many bytes of addresses, those for the stacks of threads. The rest is for the heap, which takes
/// less than the memory that clients may take: that counts the kernel's and the stacks' too.
fn stacks(space: usize) -> usize {
    space / 8 * 3
}

/// Addresses of a thread that serves connections. Its signal stack is as large as the processor's
/// registers want it.
fn thread_space(page: usize) -> usize {
    STACK + 2 * page + page.max(16 << 10)
}

/// Addresses that glibc reserves for the arenas of threads, of which the variable gives the number; see
/// [`crate::server::allocator`]. To align one, it reserves twice as much for a moment.
fn arenas(variable: Option<&str>) -> usize {
    const ARENA: usize = if cfg!(target_pointer_width = "64") { 64 << 20 } else { 1 << 20 };
    const PER_PROCESSOR: usize = if cfg!(target_pointer_width = "64") { 8 } else { 2 };
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return 0;
    }
    let usual = || PER_PROCESSOR * thread::available_parallelism().map_or(1, usize::from);
    match variable.and_then(|text| text.parse().ok()).unwrap_or_else(usual) {
        0 | 1 => 0,
        // The program's own break is the first one.
        arenas => arenas * ARENA,
    }
}

fn current(resource: Resource) -> Option<usize> {
    getrlimit(resource).current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

fn raise_descriptor_limit() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile);
    // It fails where a sandbox forbids it, and then the limit is what it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    current(Resource::Nofile)
}

/// The limit of this user's processes and threads, and how many there are. None where it does not hold.
fn process_limit() -> Option<(usize, usize)> {
    let limit = current(Resource::Nproc)?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let uid = number(&status, "Uid:")?;
    if is_privileged(&status) {
        return None;
    }
    let others = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let status = fs::read_to_string(entry.ok()?.path().join("status")).ok()?;
        (number(&status, "Uid:")? == uid).then(|| number(&status, "Threads:"))?
    });
    Some((limit, others.sum()))
}

/// Whether RLIMIT_NPROC does not hold, because of CAP_SYS_ADMIN or CAP_SYS_RESOURCE (setrlimit(2)).
fn is_privileged(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    capabilities.is_some_and(|capabilities| capabilities & (1 << 21 | 1 << 24) != 0)
}

/// Of this process's groups, the task limit that leaves the least, and how many tasks there are.
fn pids(read: impl Fn(&Path) -> Option<String>) -> Option<(usize, usize)> {
    let number = |path: &Path| read(path)?.trim().parse::<usize>().ok();
    let limits = cgroup::groups(&read, "pids").into_iter().filter_map(|(group, _)| {
        let most = number(&group.join("pids.max"))?;
        Some((most, number(&group.join("pids.current")).unwrap_or(0)))
    });
    limits.min_by_key(|(most, used)| most.saturating_sub(*used))
}

/// The first number behind `name` in a file such as `/proc/self/status`.
fn number(status: &str, name: &str) -> Option<usize> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: (&str, &str) = ("/proc/sys/vm/max_map_count", "65530\n");

    fn limits(
        descriptors: usize,
        address_space: Option<usize>,
        processes: Option<(usize, usize)>,
        files: &[(&str, &str)],
    ) -> SystemLimits {
        let read = |path: &Path| {
            let (_, text) = files.iter().find(|(name, _)| Path::new(name) == path)?;
            Some((*text).into())
        };
        let (descriptors, page) = (Some(descriptors), 4096);
        let arenas = 0;
        SystemLimits::of(&Sources { descriptors, address_space, arenas, processes, page, read })
    }

    #[test]
    fn the_least_bound_is_named() {
        let group = ("/proc/self/cgroup", "8:pids:/a/b\n0::/c\n");
        let v1 = ("/sys/fs/cgroup/pids/a/pids.max", "300\n");
        let v2 = ("/sys/fs/cgroup/c/pids.max", "200\n");
        let used = ("/sys/fs/cgroup/c/pids.current", "50\n");
        for (limits, name, connections) in [
            (limits(1024, None, None, &[MAPS]), "the descriptor limit", 1024 - DESCRIPTORS_KEPT),
            (limits(1 << 20, None, None, &[MAPS]), "vm.max_map_count", 13_400),
            (limits(1 << 20, None, Some((200, 100)), &[MAPS]), "the process limit", 67),
            (limits(1 << 20, None, None, &[MAPS, group, v1]), "the task limit", 245),
            (limits(1 << 20, None, None, &[MAPS, group, v1, v2]), "the task limit", 156),
            (limits(1 << 20, None, None, &[MAPS, group, v1, v2, used]), "the task limit", 112),
            (limits(1 << 20, Some(100 << 20), None, &[MAPS]), "the address space limit", 198),
        ] {
            let least = limits.connections();
            assert!(least.to_string().starts_with(name), "{least} instead of {name}");
            assert!(least.connections.abs_diff(connections) < 30, "{least:?}, {connections}");
            assert!(limits.threads(1 << 20) > least.connections || name.contains("descriptor"));
        }
    }

    #[test]
    fn stacks_and_memory_fit_the_addresses() {
        for space in (20 << 20..1 << 30).step_by(7 << 20) {
            let system = limits(1 << 20, Some(space), None, &[MAPS]);
            let mut wanted = Limits { max_memory: Some(1 << 40), ..Limits::default() };
            let memory = system.cap_memory(&mut wanted, Some(1 << 40));
            let most = wanted.max_memory.expect("a limit");
            assert_eq!(memory, Some(4 * most));
            let stacks = (system.threads(1 << 20) - ADMIN_PLACES) * thread_space(4096);
            assert!(stacks + most + SPACE_KEPT <= space, "{stacks} and {most} of {space}");
        }
    }

    #[test]
    fn too_little_for_one_client_is_refused_with_advice() {
        let least = DESCRIPTORS_KEPT + LEAST;
        let line = limits(least - 1, None, None, &[]).check().expect_err("too few descriptors");
        assert!(line.contains("ulimit -n") && line.contains(&least.to_string()), "{line}");
        assert_eq!(limits(least, None, None, &[]).check(), Ok(()));
        let line = limits(1024, Some(1 << 20), None, &[]).check().expect_err("too little space");
        assert!(line.contains("address space") && line.contains("ulimit -v"), "{line}");
        let few = limits(1024, None, Some((110, 100)), &[]).check().expect_err("too few threads");
        assert!(few.contains("process limit") && few.contains("ulimit -u"), "{few}");
    }

    #[test]
    fn capabilities_lift_the_process_limit() {
        assert!(is_privileged("CapEff:\t000001ffffffffff\n"));
        assert!(!is_privileged("CapEff:\t0000000000000000\n") && !is_privileged(""));
    }
}
