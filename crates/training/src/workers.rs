//! Data parallelism over threads of one process.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// A fixed set of threads that each do whole jobs, one at a time, without any parallelism inside a job.
///
/// Small models leave a second core idle when operators are parallel inside (their matrices are too small); whole
/// shards of a batch on separate threads use it. A job runs in its own single-thread pool, so its arithmetic, and with
/// it the result of [`Workers::run`], does not depend on the number of threads.
#[derive(Debug)]
pub struct Workers {
    pools: Vec<ThreadPool>,
}

impl Default for Workers {
    /// As many threads as the machine offers.
    fn default() -> Self {
        Self::new(thread::available_parallelism().map_or(1, |count| count.get()))
    }
}

impl Workers {
    /// A set of `n_threads` threads, at least one.
    ///
    /// # Panics
    /// When the operating system refuses to start a thread.
    pub fn new(n_threads: usize) -> Self {
        let pool = |_| {
            ThreadPoolBuilder::new()
                .num_threads(1)
                .build()
                .expect("the system can start a thread")
        };
        Self {
            pools: (0..n_threads.max(1)).map(pool).collect(),
        }
    }

    /// Number of threads.
    pub fn n_threads(&self) -> usize {
        self.pools.len()
    }

    /// Runs `job(0) … job(n_jobs - 1)` and returns the results in the order of the jobs.
    ///
    /// # Panics
    /// When a job panics.
    pub fn run<T: Send>(&self, n_jobs: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<T>>> = (0..n_jobs).map(|_| Mutex::new(None)).collect();
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= n_jobs {
                    return;
                }
                let result = job(index);
                if let Ok(mut slot) = results[index].lock() {
                    *slot = Some(result);
                }
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = self
                .pools
                .iter()
                .take(n_jobs)
                .map(|pool| scope.spawn(|| pool.install(work)))
                .collect();
            for handle in threads {
                if let Err(panic) = handle.join() {
                    resume_unwind(panic);
                }
            }
        });
        results
            .into_iter()
            .filter_map(|slot| slot.into_inner().ok().flatten())
            .collect()
    }
}

/// Splits `0..n_items` into at most `n_shards` consecutive, non-empty ranges whose lengths differ by at most one.
pub fn shard_ranges(n_items: usize, n_shards: usize) -> Vec<Range<usize>> {
    let n_shards = n_shards.clamp(1, n_items.max(1));
    (0..n_shards)
        .map(|i| n_items * i / n_shards..n_items * (i + 1) / n_shards)
        .filter(|r| !r.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        for n_threads in [1, 2, 5] {
            let workers = Workers::new(n_threads);
            let squares = workers.run(9, |i| {
                assert_eq!(rayon::current_num_threads(), 1);
                i * i
            });
            assert_eq!(squares, (0..9).map(|i| i * i).collect::<Vec<_>>());
        }
        assert!(Workers::new(2).run(0, |i| i).is_empty());
    }

    #[test]
    #[should_panic(expected = "job 3")]
    fn panics_reach_the_caller() {
        Workers::new(2).run(5, |i| assert!(i != 3, "job 3"));
    }

    #[test]
    fn shards_cover_all_items_once() {
        for (items, shards) in [(10, 3), (2, 5), (7, 1), (0, 4)] {
            let ranges = shard_ranges(items, shards);
            let covered: Vec<usize> = ranges.iter().cloned().flatten().collect();
            assert_eq!(covered, (0..items).collect::<Vec<_>>());
            assert!(ranges.len() <= shards);
        }
    }
}
