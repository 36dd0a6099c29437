//! Memory of this process.

/// The most memory that this process has held at once since it began or since the last measurement reset it, bytes;
/// `None` where the system does not tell.
///
/// Read from the kernel's high-water mark on Linux. Memory of a GPU is not in it.
pub fn peak_memory() -> Option<u64> {
    peak_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Lowers the mark of [`peak_memory`] to what the process holds at the moment; false where the system cannot (anywhere
/// but Linux).
pub(crate) fn reset_peak_memory() -> bool {
    // 5 stands for the mark, see proc(5).
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
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
