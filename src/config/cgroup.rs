//! The control groups of this process, of both versions; see cgroups(7).

use std::path::{Path, PathBuf};

/// The folders of the groups that this process is in as far as `controller` goes, and of those above,
/// whose limits hold too. True beside those of version 2.
pub fn groups(read: impl Fn(&Path) -> Option<String>, controller: &str) -> Vec<(PathBuf, bool)> {
    let cgroups = read("/proc/self/cgroup".as_ref()).unwrap_or_default();
    let of_line = |line: &str| {
        // NUMBER:CONTROLLERS:PATH, where version 2 has no controllers.
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        let is_version_2 = controllers.is_empty();
        let root = match is_version_2 {
            true => PathBuf::from("/sys/fs/cgroup"),
            false if controllers.split(',').any(|name| name == controller) => {
                Path::new("/sys/fs/cgroup").join(controllers)
            }
            false => return None,
        };
        let group = root.join(path.trim_start_matches('/'));
        let groups = group.ancestors().take_while(|group| group.starts_with(&root));
        Some(groups.map(|group| (group.to_path_buf(), is_version_2)).collect::<Vec<_>>())
    };
    cgroups.lines().filter_map(of_line).flatten().collect()
}
