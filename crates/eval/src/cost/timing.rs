//! Times of stages.

use std::fmt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::stats::quantile;

/// Under which circumstances times were taken; printed with every one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimingContext {
    /// Number format of the weights.
    pub dtype: String,
    /// The implementation of attention.
    pub attention: String,
    /// Name of the device.
    pub device: String,
    /// Pictures at once.
    pub batch: usize,
}

impl TimingContext {
    /// Number format, attention path, device, batch.
    pub fn new(
        dtype: impl Into<String>,
        attention: impl Into<String>,
        device: impl Into<String>,
        batch: usize,
    ) -> Self {
        Self {
            dtype: dtype.into(),
            attention: attention.into(),
            device: device.into(),
            batch,
        }
    }
}

impl fmt::Display for TimingContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            dtype,
            attention,
            device,
            batch,
        } = self;
        write!(f, "{dtype}, attention {attention}, {device}, batch {batch}")
    }
}

/// The times of one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// The stage.
    pub stage: String,
    /// Measured runs.
    pub runs: usize,
    /// Median, milliseconds.
    pub median_ms: f64,
    /// First quartile, milliseconds.
    pub q1_ms: f64,
    /// Third quartile, milliseconds.
    pub q3_ms: f64,
    /// The circumstances.
    pub context: TimingContext,
}

impl Timing {
    /// Median and quartiles of some times in seconds.
    pub fn new(stage: &str, mut seconds: Vec<f64>, context: &TimingContext) -> Self {
        seconds.sort_unstable_by(f64::total_cmp);
        let at = |share| 1e3 * quantile(&seconds, share).unwrap_or(f64::NAN);
        Self {
            stage: stage.into(),
            runs: seconds.len(),
            median_ms: at(0.5),
            q1_ms: at(0.25),
            q3_ms: at(0.75),
            context: context.clone(),
        }
    }

    /// Spread: the third quartile minus the first, milliseconds.
    pub fn iqr_ms(&self) -> f64 {
        self.q3_ms - self.q1_ms
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, spread) = (self.median_ms, self.iqr_ms());
        write!(
            f,
            "{}: {median:.3} ms (IQR {spread:.3}, {} runs; {})",
            self.stage, self.runs, self.context
        )
    }
}

/// Times the stages of a pass again and again.
///
/// ```
/// use diffprune_eval::{StageTimer, TimingContext};
///
/// let timer = StageTimer::new(TimingContext::new("f32", "fused", "cpu", 1));
/// let timings = timer.measure(|| Ok(()), |lap| {
///     let tokens = lap.stage("encode", || vec![1.0; 576])?;
///     let kept = lap.stage("select", || tokens[..64].to_vec())?;
///     lap.stage("prefill", || kept.iter().sum::<f64>())?;
///     Ok(())
/// })?;
/// assert_eq!(timings.iter().map(|row| row.stage.as_str()).collect::<Vec<_>>(), ["encode", "select", "prefill", "total"]);
/// # Ok::<(), diffprune_eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct StageTimer {
    /// Passes before the clock counts.
    pub warm_up: usize,
    /// Passes that count, at least [`StageTimer::LEAST_RUNS`].
    pub runs: usize,
    /// The circumstances.
    pub context: TimingContext,
}

/// The clock of one pass.
pub struct Lap<'a> {
    sync: &'a dyn Fn() -> Result<(), EvalError>,
    stages: Vec<(&'static str, f64)>,
}

impl Lap<'_> {
    /// Runs a stage and waits for the device, so that nothing of it is left for the next one.
    ///
    /// # Errors
    /// When the device fails.
    pub fn stage<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> Result<T, EvalError> {
        let start = Instant::now();
        let result = work();
        (self.sync)()?;
        self.stages.push((name, start.elapsed().as_secs_f64()));
        Ok(result)
    }
}

impl StageTimer {
    /// Runs behind a median, at least.
    pub const LEAST_RUNS: usize = 30;

    /// Five passes to warm up, thirty that count.
    pub fn new(context: TimingContext) -> Self {
        Self {
            warm_up: 5,
            runs: Self::LEAST_RUNS,
            context,
        }
    }

    /// Times every stage of `pass` and their sum (`total`); `sync` waits until the device has nothing left to do.
    ///
    /// Stages of one name are added up within a pass. A stage that some pass does not have is timed over the others.
    ///
    /// # Errors
    /// When the device or a pass fails.
    pub fn measure(
        &self,
        sync: impl Fn() -> Result<(), EvalError>,
        mut pass: impl FnMut(&mut Lap<'_>) -> Result<(), EvalError>,
    ) -> Result<Vec<Timing>, EvalError> {
        let mut stages: Vec<(&'static str, Vec<f64>)> = Vec::new();
        let mut totals = Vec::new();
        let runs = self.runs.max(Self::LEAST_RUNS);
        for number in 0..self.warm_up + runs {
            sync()?;
            let mut lap = Lap {
                sync: &sync,
                stages: Vec::new(),
            };
            pass(&mut lap)?;
            if number < self.warm_up {
                continue;
            }
            totals.push(lap.stages.iter().map(|stage| stage.1).sum());
            for (name, seconds) in merged(lap.stages) {
                match stages.iter_mut().find(|stage| stage.0 == name) {
                    Some(stage) => stage.1.push(seconds),
                    None => stages.push((name, vec![seconds])),
                }
            }
        }
        stages.push(("total", totals));
        let timing = |(name, seconds)| Timing::new(name, seconds, &self.context);
        Ok(stages.into_iter().map(timing).collect())
    }
}

/// One entry per name.
fn merged(stages: Vec<(&'static str, f64)>) -> Vec<(&'static str, f64)> {
    let mut sums: Vec<(&'static str, f64)> = Vec::new();
    for (name, seconds) in stages {
        match sums.iter_mut().find(|sum| sum.0 == name) {
            Some(sum) => sum.1 += seconds,
            None => sums.push((name, seconds)),
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    fn context() -> TimingContext {
        TimingContext::new("f16", "fused", "test device", 2)
    }

    #[test]
    fn quartiles_of_known_times() {
        let timing = Timing::new("x", vec![0.004, 0.001, 0.003, 0.002, 0.005], &context());
        assert_eq!((timing.q1_ms, timing.median_ms, timing.q3_ms), (2.0, 3.0, 4.0));
        assert_eq!((timing.iqr_ms(), timing.runs), (2.0, 5));
        let text = timing.to_string();
        for part in ["f16", "fused", "test device", "batch 2", "5 runs"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn work_left_on_the_device_belongs_to_its_stage() {
        let (pending, passes) = (Cell::new(0), Cell::new(0));
        let sync = || {
            std::thread::sleep(Duration::from_millis(pending.replace(0)));
            Ok(())
        };
        let timer = StageTimer {
            runs: 1,
            ..StageTimer::new(context())
        };
        let timings = timer
            .measure(sync, |lap| {
                passes.set(passes.get() + 1);
                let given = lap.stage("encode", || {
                    pending.set(2);
                    7
                })?;
                lap.stage("select", || assert_eq!(given, 7))?;
                lap.stage("decode", || std::thread::sleep(Duration::from_millis(1)))?;
                lap.stage("decode", || std::thread::sleep(Duration::from_millis(1)))
            })
            .unwrap();
        assert_eq!(passes.get(), 5 + StageTimer::LEAST_RUNS);
        let names: Vec<_> = timings.iter().map(|timing| timing.stage.as_str()).collect();
        assert_eq!(names, ["encode", "select", "decode", "total"]);
        assert!(timings.iter().all(|timing| timing.runs == StageTimer::LEAST_RUNS));
        let ms = |stage: usize| timings[stage].median_ms;
        assert!(ms(0) >= 2.0 && ms(2) >= 2.0 && ms(1) < 1.0, "{timings:?}");
        assert!(ms(3) >= ms(0) + ms(2) - 0.5, "{timings:?}");
    }

    #[test]
    fn failures_end_the_measurement() {
        let error = || EvalError::Setup {
            subject: "device".into(),
            found: "nothing".into(),
            wanted: "something".into(),
        };
        let timer = StageTimer::new(context());
        assert!(timer.measure(|| Err(error()), |_| Ok(())).is_err());
        assert!(timer.measure(|| Ok(()), |_| Err(error())).is_err());
    }
}
