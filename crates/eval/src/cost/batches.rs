//! Several requests answered in one batch.

use std::fmt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::memory::{peak_memory, reset_peak_memory};
use super::timing::{StageTimer, Timing, TimingContext};

/// One number of requests that are answered together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchPoint {
    /// Requests in the batch.
    pub batch: usize,
    /// Answers per second over the measured runs.
    pub answers_per_second: f64,
    /// New tokens per second over the measured runs.
    pub tokens_per_second: f64,
    /// Time until every request of a batch is answered.
    pub latency: Timing,
    /// The most memory that the process held during this batch size, bytes; `None` where the system cannot tell it
    /// apart from what came before. Memory of a GPU is not in it.
    pub peak_bytes: Option<u64>,
}

impl fmt::Display for BatchPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} together: {:.3} answers/s, {:.3} tokens/s; {}",
            self.batch, self.answers_per_second, self.tokens_per_second, self.latency
        )
    }
}

/// Options of a comparison of batch sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchSweep {
    /// Batches of each size before the clock counts.
    pub warm_up: usize,
    /// Batches of each size that count; the caller marks medians of fewer than [`StageTimer::LEAST_RUNS`].
    pub runs: usize,
    /// New tokens of each answer.
    pub tokens_per_answer: usize,
    /// The circumstances; the batch size is filled in.
    pub context: TimingContext,
}

impl BatchSweep {
    /// Three batches to warm up, thirty that count.
    pub fn new(tokens_per_answer: usize, context: TimingContext) -> Self {
        Self {
            warm_up: 3,
            runs: StageTimer::LEAST_RUNS,
            tokens_per_answer,
            context,
        }
    }

    /// Measures each batch size, in this order. `prepare` makes the input of a size; what it gives back answers one batch
    /// and waits for the device.
    ///
    /// # Errors
    /// When `prepare` or a batch fails.
    pub fn measure<E, W: FnMut() -> Result<(), E>>(
        &self,
        sizes: &[usize],
        mut prepare: impl FnMut(usize) -> Result<W, E>,
    ) -> Result<Vec<BatchPoint>, E> {
        let mut point = |&batch: &usize| {
            let mark = reset_peak_memory();
            let mut work = prepare(batch)?;
            let mut seconds = Vec::with_capacity(self.runs);
            for run in 0..self.warm_up + self.runs {
                let start = Instant::now();
                work()?;
                if run >= self.warm_up {
                    seconds.push(start.elapsed().as_secs_f64());
                }
            }
            let answers_per_second = (batch * seconds.len()) as f64 / seconds.iter().sum::<f64>();
            let context = TimingContext {
                batch,
                ..self.context.clone()
            };
            Ok(BatchPoint {
                batch,
                answers_per_second,
                tokens_per_second: answers_per_second * self.tokens_per_answer as f64,
                latency: Timing::new("until all are answered", seconds, &context),
                peak_bytes: if mark { peak_memory() } else { None },
            })
        };
        sizes.iter().map(&mut point).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_of_a_batch_share_its_time() {
        let sweep = BatchSweep {
            warm_up: 2,
            runs: 5,
            ..BatchSweep::new(7, TimingContext::new("f32", "none", "sleep", 1))
        };
        let done = RefCell::new(Vec::new());
        let points = sweep
            .measure(&[1, 4], |batch| {
                let done = &done;
                Ok::<_, ()>(move || {
                    done.borrow_mut().push(batch);
                    std::thread::sleep(Duration::from_millis(5));
                    Ok(())
                })
            })
            .unwrap();
        assert_eq!(done.into_inner(), [vec![1; 7], vec![4; 7]].concat());
        for (point, batch) in points.iter().zip([1, 4]) {
            assert_eq!(
                (point.batch, point.latency.context.batch, point.latency.runs),
                (batch, batch, 5)
            );
            assert!(point.latency.median_ms >= 5.0, "{point}");
            // No more than the sleep allows.
            assert!(
                point.answers_per_second <= 200.0 * batch as f64 && point.answers_per_second > 0.0,
                "{point}"
            );
            assert!((point.tokens_per_second - 7.0 * point.answers_per_second).abs() < 1e-9);
            assert!(
                point.to_string().contains("5 runs; f32, attention none, sleep"),
                "{point}"
            );
        }
        assert!(
            points[1].answers_per_second > 2.0 * points[0].answers_per_second,
            "{points:?}"
        );
    }

    #[test]
    fn failures_end_the_sweep() {
        let sweep = BatchSweep::new(1, TimingContext::new("f32", "none", "none", 1));
        let mut started = Vec::new();
        let found = sweep.measure(&[1, 2, 3], |batch| {
            started.push(batch);
            Ok(move || if batch == 2 { Err("full") } else { Ok(()) })
        });
        assert_eq!((found, started), (Err("full"), vec![1, 2]));
    }
}
