//! How much memory this process may use: what its cgroup says, as the kubelet set it.

use std::path::{Path, PathBuf};

/// Where nobody set a limit: the operator's default for a broker.
const DEFAULT: usize = 256 * 1024 * 1024;
/// Version 1 says "no limit" by a number near the largest of 64 bits; nobody has a pebibyte.
const NO_LIMIT: usize = 1 << 50;

/// The limit in bytes, of the nearest cgroup that has one; 256 MiB where none has.
#[must_use]
pub fn of_this_process() -> usize {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    found(&groups, Path::new("/sys/fs/cgroup")).unwrap_or(DEFAULT)
}

/// `groups` is the text of `/proc/self/cgroup`: lines of `number:controllers:path`.
fn found(groups: &str, root: &Path) -> Option<usize> {
    let lines = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?))
    });
    let limits = lines.filter_map(|(controllers, path)| match controllers {
        "" => least(root.to_owned(), path, "memory.max"),
        names if names.split(',').any(|name| name == "memory") => {
            least(root.join("memory"), path, "memory.limit_in_bytes")
        }
        _ => None,
    });
    limits.min()
}

/// The least limit on the way from the root to the group. In a container the path may be that of the host, which is not
/// to be seen there; the root then is the container's own group.
fn least(mut folder: PathBuf, path: &str, file: &str) -> Option<usize> {
    let mut found = limit(&folder.join(file));
    for part in path.split('/').filter(|part| !part.is_empty() && *part != "..") {
        folder.push(part);
        found = found.into_iter().chain(limit(&folder.join(file))).min();
    }
    found
}

fn limit(file: &Path) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    // Version 2 says `max` where there is no limit.
    text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn both_versions_of_cgroups_are_understood() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        file(root, "memory.max", "max\n");
        assert_eq!(found("0::/\n", root), None);
        file(root, "pod/memory.max", "536870912\n");
        file(root, "pod/broker/memory.max", "max\n");
        assert_eq!(found("0::/pod/broker\n", root), Some(536_870_912));
        file(root, "memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(found("5:memory:/kubepods/x\n3:cpu:/\n", root), None);
        file(root, "memory/memory.limit_in_bytes", "134217728\n");
        assert_eq!(found("5:cpu,memory:/kubepods/x\n", root), Some(134_217_728));
        assert_eq!(found("", root), None);
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        let root = tempfile::tempdir().unwrap();
        file(root.path(), "memory.max", "268435456");
        assert_eq!(
            found("0::/../../kubepods/pod1/c\n", root.path()),
            Some(268_435_456)
        );
    }
}
