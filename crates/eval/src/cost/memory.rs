//! Memory of this process.

use std::fs;
use std::path::{Path, PathBuf};

/// The most memory that this process has held at once since it began or since the last measurement reset it, bytes;
/// `None` where the system does not tell.
///
/// Read from the kernel's high-water mark on Linux. Memory of a GPU is not in it.
pub fn peak_memory() -> Option<u64> {
    peak_in(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Lowers the mark of [`peak_memory`] to what the process holds at the moment; false where the system cannot (anywhere
/// but Linux).
pub(crate) fn reset_peak_memory() -> bool {
    // 5 stands for the mark, see proc(5).
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The value of `VmHWM` in the text of the status file.
fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kib)
}

/// The memory that this process can still take, bytes: what the system has free or can free, or less where a control group
/// limits it; `None` where the system does not tell (anywhere but Linux). Memory of a GPU is not in it.
pub fn free_memory() -> Option<u64> {
    let system = available_in(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = group_in(&group).and_then(|group| room_in(Path::new("/sys/fs/cgroup"), group));
    Some(groups.map_or(system, |room| room.min(system)))
}

/// The value of `MemAvailable` in the text of `/proc/meminfo`.
fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kib)
}

/// The group of the unified hierarchy in the text of `/proc/self/cgroup`.
fn group_in(groups: &str) -> Option<&str> {
    let line = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(line.trim_start_matches('/'))
}

/// The least room below the limits of a group and of those around it; files that are only cached count as free. `None`
/// without a limit.
fn room_in(root: &Path, group: &str) -> Option<u64> {
    let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let room = |dir: &Path| {
        let most = number(dir.join("memory.max"))?;
        let held = number(dir.join("memory.current"))?;
        let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
        let cached = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
        let cached: u64 = cached.and_then(|cached| cached.trim().parse().ok()).unwrap_or(0);
        Some(most.saturating_sub(held.saturating_sub(cached)))
    };
    let own = root.join(group);
    let around = own.ancestors().take_while(|dir| dir.starts_with(root));
    around.filter_map(room).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_the_least_of_system_and_groups() {
        assert_eq!(
            available_in("MemTotal: 9 kB\nMemAvailable:   7 kB\n"),
            Some(7 * 1024)
        );
        assert_eq!(available_in("MemFree: 9 kB\n"), None);
        assert_eq!(group_in("1:name=x:/y\n0::/a/b\n"), Some("a/b"));
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("a/b");
        fs::create_dir_all(&group).unwrap();
        let write = |place: &str, most: &str, held: &str| {
            let dir = root.path().join(place);
            fs::write(dir.join("memory.max"), most).unwrap();
            fs::write(dir.join("memory.current"), held).unwrap();
        };
        assert_eq!(room_in(root.path(), "a/b"), None);
        write("a/b", "max\n", "50\n");
        assert_eq!(room_in(root.path(), "a/b"), None);
        write("a", "1000\n", "700\n");
        assert_eq!(room_in(root.path(), "a/b"), Some(300));
        fs::write(root.path().join("a/memory.stat"), "anon 1\ninactive_file 200\n").unwrap();
        assert_eq!(room_in(root.path(), "a/b"), Some(500));
        write("a/b", "90\n", "50\n");
        assert_eq!(room_in(root.path(), "a/b"), Some(40));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_room_for_this_test() {
        assert!(free_memory().unwrap() > 1 << 20);
    }

    #[test]
    fn the_mark_is_read() {
        let status = "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t  321 kB\n";
        assert_eq!(peak_in(status), Some(321 * 1024));
        assert_eq!(peak_in("VmHWM:\tmany kB\n"), None);
        assert_eq!(peak_in(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn it_rises_with_what_is_held_and_falls_when_reset() {
        let block = vec![1u8; 1 << 28];
        let held = std::hint::black_box(&block)
            .iter()
            .filter(|&&byte| byte == 1)
            .count() as u64;
        let most = peak_memory().unwrap();
        assert!(most >= held);
        drop(block);
        assert!(reset_peak_memory());
        // Other tests of this process hold less than half of the block.
        assert!(peak_memory().unwrap() < most - held / 2);
    }
}
