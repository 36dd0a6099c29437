//! Wall-clock time of work.

use std::time::Instant;

/// Runs `work`; gives its result and its wall-clock time in seconds.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed().as_secs_f64())
}
