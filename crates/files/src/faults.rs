//! Failures on purpose: what a full disk does at any moment, as a test can bring it about (feature `faults`).
//!
//! Everything in the family that changes a file asks here first. Without the feature the answer is always yes, and nothing is
//! left of the question in the program.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Asks before a file or folder at `path` is created, renamed or removed.
///
/// # Errors
/// Where a fault was planned for this moment: the storage is full.
#[inline]
pub fn ask(path: &Path) -> io::Result<()> {
    #[cfg(feature = "faults")]
    if armed::is_due(path) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let _ = path;
    Ok(())
}

/// Writes `bytes` to the file at `path`, open as `file`.
///
/// # Errors
/// Those of the system; and where a fault was planned for this moment, after half of the bytes.
#[inline]
pub fn write_all(file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Err(full) = ask(path) {
        file.write_all(&bytes[..bytes.len() / 2])?;
        return Err(full);
    }
    file.write_all(bytes)
}

#[cfg(feature = "faults")]
pub use armed::Faults;

#[cfg(feature = "faults")]
mod armed {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    static PLANS: Mutex<Vec<Arc<Plan>>> = Mutex::new(Vec::new());

    struct Plan {
        root: PathBuf,
        nth: Option<usize>,
        count: AtomicUsize,
    }

    /// A plan for everything below a folder, in all threads of the process, until it is dropped.
    ///
    /// ```
    /// use diffprune_files::{faults::Faults, write_whole};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("a");
    /// write_whole(&path, "old")?;
    /// let fault = Faults::below(folder.path(), Some(0));
    /// assert!(write_whole(&path, "new").is_err());
    /// assert_eq!(std::fs::read(&path)?, b"old");
    /// assert!(fault.count() > 0 && write_whole(&path, "new").is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub struct Faults(Arc<Plan>);

    impl Faults {
        /// Fails the change number `nth`, counted from 0, of anything below `root`; every other one succeeds. `None` counts alone.
        pub fn below(root: impl Into<PathBuf>, nth: Option<usize>) -> Self {
            let plan = Arc::new(Plan {
                root: root.into(),
                nth,
                count: AtomicUsize::new(0),
            });
            plans().push(plan.clone());
            Self(plan)
        }

        /// The number of changes so far.
        pub fn count(&self) -> usize {
            self.0.count.load(Ordering::SeqCst)
        }
    }

    impl Drop for Faults {
        fn drop(&mut self) {
            plans().retain(|plan| !Arc::ptr_eq(plan, &self.0));
        }
    }

    fn plans() -> MutexGuard<'static, Vec<Arc<Plan>>> {
        PLANS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_due(path: &Path) -> bool {
        let plans = plans();
        let mut due = false;
        for plan in plans.iter().filter(|plan| path.starts_with(&plan.root)) {
            due |= plan.nth == Some(plan.count.fetch_add(1, Ordering::SeqCst));
        }
        due
    }
}
