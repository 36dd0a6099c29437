//! Splitting rows over the threads of the pool we are called in.

use std::ops::Range;

use rayon::prelude::*;

/// Work of fewer elements than this runs on the calling thread: handing it out would cost as much.
const PARALLEL_FROM: usize = 64 * 1024;

/// Parts per thread, so that an interrupted thread does not hold up the others for long.
const PARTS_PER_THREAD: usize = 4;

/// Cuts `rows` rows of `width` elements into one part per piece of work: a single one if it is small or there is one
/// thread.
pub(super) fn parts(rows: usize, width: usize) -> Vec<Range<usize>> {
    let threads = rayon::current_num_threads();
    if rows == 0 {
        return Vec::new();
    }
    let part = if threads == 1 || rows.saturating_mul(width) < PARALLEL_FROM {
        rows
    } else {
        rows.div_ceil(threads * PARTS_PER_THREAD)
    };
    (0..rows)
        .step_by(part)
        .map(|start| start..(start + part).min(rows))
        .collect()
}

/// Runs `f` on every part, on several threads if there is more than one part, and collects what it returns in order.
pub(super) fn for_parts<T: Send>(
    parts: &[Range<usize>],
    f: impl Fn(Range<usize>) -> T + Send + Sync,
) -> Vec<T> {
    match parts {
        [] => Vec::new(),
        [only] => vec![f(only.clone())],
        many => many.par_iter().cloned().map(f).collect(),
    }
}

/// A buffer of f32 that several threads write, each its own places.
#[derive(Clone, Copy)]
pub(super) struct SharedOut {
    start: *mut f32,
    len: usize,
}

// SAFETY: the pointer is only followed by `slice`, whose callers promise disjoint ranges.
unsafe impl Send for SharedOut {}
// SAFETY: as above.
unsafe impl Sync for SharedOut {}

impl SharedOut {
    /// Shares `out`, which must not be touched otherwise until the last use of the result.
    pub(super) fn new(out: &mut [f32]) -> Self {
        SharedOut {
            start: out.as_mut_ptr(),
            len: out.len(),
        }
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// The shared buffer must still be alive, and no two ranges in use at the same time may overlap.
    #[allow(
        clippy::mut_from_ref,
        reason = "the caller promises that no two slices in use overlap"
    )]
    pub(super) unsafe fn slice(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the buffer by the assertion, alive and disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.end - range.start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_row_once() {
        for (rows, width) in [(0, 5), (1, 1 << 20), (7, 1), (1000, 128), (1001, 512)] {
            let parts = parts(rows, width);
            let covered: Vec<usize> = parts.into_iter().flatten().collect();
            assert_eq!(covered, (0..rows).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_pool_of_one_thread_is_not_split() {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .expect("a pool");
        assert_eq!(pool.install(|| parts(10_000, 128)).len(), 1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(2)
            .build()
            .expect("a pool");
        assert_eq!(pool.install(|| parts(10_000, 128)).len(), 8);
    }
}
