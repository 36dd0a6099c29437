//! Memory of this process.

/// The most memory that this process has held at once, bytes; `None` where the system does not tell.
///
/// Read from the kernel's high-water mark on Linux. Memory of a GPU is not in it, and the mark never falls: measure each
/// configuration in a process of its own.
pub fn peak_memory() -> Option<u64> {
    peak_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The value of `VmHWM` in the text of the status file.
fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_read() {
        let status = "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t  321 kB\n";
        assert_eq!(peak_in(status), Some(321 * 1024));
        assert_eq!(peak_in("VmHWM:\tmany kB\n"), None);
        assert_eq!(peak_in(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn it_rises_with_what_is_held() {
        let before = peak_memory().unwrap();
        let block = vec![1u8; 1 << 26];
        let held = std::hint::black_box(&block)
            .iter()
            .filter(|&&byte| byte == 1)
            .count();
        assert!(peak_memory().unwrap() >= (held as u64).max(before));
    }
}
