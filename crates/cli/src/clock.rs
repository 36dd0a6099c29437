//! Wall-clock time of stages.

use std::time::Instant;

/// Runs `work` and gives its seconds too.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed().as_secs_f64())
}
