//! The wish that long work ends early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The wish that long work ends early. Copies share one answer: whoever holds one may ask, and the work looks at its own
/// between two steps, leaves what it has done on the disk, and returns.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the work to end.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// True once anybody has asked.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl PartialEq for Stop {
    /// True when both are copies of one.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_one_answer() {
        let (asked, other) = (Stop::default(), Stop::default());
        let copy = asked.clone();
        assert!(!copy.is_requested());
        asked.request();
        assert!(copy.is_requested() && copy == asked);
        assert!(!other.is_requested() && other != asked);
    }
}
