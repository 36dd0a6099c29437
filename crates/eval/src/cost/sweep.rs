//! Several requests at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::timing::{Timing, TimingContext};

/// One number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// Threads that work at once.
    pub threads: usize,
    /// Requests per second over all threads.
    pub per_second: f64,
    /// Time of one request as its thread sees it.
    pub latency: Timing,
}

/// Answers `requests` requests with each number of threads; `work` gets the number of its thread and does one request,
/// waiting for its device. One request per thread goes before the clock starts.
///
/// # Panics
/// When `work` does.
pub fn concurrency_sweep(
    threads: &[usize],
    requests: usize,
    context: &TimingContext,
    work: impl Fn(usize) + Sync,
) -> Vec<SweepPoint> {
    threads
        .iter()
        .map(|&threads| point(threads.max(1), requests, context, &work))
        .collect()
}

fn point(
    threads: usize,
    requests: usize,
    context: &TimingContext,
    work: &(impl Fn(usize) + Sync),
) -> SweepPoint {
    in_threads(threads, work);
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let seconds = in_threads(threads, |thread| {
        let mut seconds = Vec::new();
        while next.fetch_add(1, Ordering::Relaxed) < requests {
            let start = Instant::now();
            work(thread);
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds
    });
    SweepPoint {
        threads,
        per_second: requests as f64 / start.elapsed().as_secs_f64(),
        latency: Timing::new(
            &format!("request at {threads} threads"),
            seconds.concat(),
            context,
        ),
    }
}

/// The results of one task per thread, by thread.
fn in_threads<T: Send>(threads: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let task = &task;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || task(thread)))
            .collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    #[test]
    fn sleepers_share_the_wait() {
        let context = TimingContext::new("f32", "none", "sleep", 1);
        let seen = Mutex::new(Vec::new());
        let work = |thread: usize| {
            seen.lock().unwrap().push(thread);
            std::thread::sleep(Duration::from_millis(4));
        };
        let points = concurrency_sweep(&[1, 4], 20, &context, work);
        assert_eq!(
            points.iter().map(|point| point.threads).collect::<Vec<_>>(),
            [1, 4]
        );
        // Every request and one warm-up per thread.
        assert_eq!(seen.lock().unwrap().len(), (20 + 1) + (20 + 4));
        assert!(points[1].per_second > 1.3 * points[0].per_second, "{points:?}");
        for point in &points {
            assert_eq!(point.latency.runs, 20);
            assert!(point.latency.median_ms >= 4.0, "{point:?}");
        }
    }
}
