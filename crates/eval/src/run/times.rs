//! Times of the batches of a run. They depend on the clock, so they are no part of records or reports.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use diffprune_pruner::Budget;
use serde::{Deserialize, Serialize};

use crate::stats::quantile;

/// The seconds of one batch: encoding and selection for a picture, reading and decoding for a prompt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Laps {
    pub(crate) prompts: usize,
    /// `None` without a picture.
    pub(crate) encode: Option<f64>,
    pub(crate) select: Option<f64>,
    pub(crate) prefill: f64,
    pub(crate) decode: f64,
}

/// Collects the times of a run, see [`RunOptions::times`](crate::RunOptions). Copies collect into the same place.
#[derive(Debug, Clone, Default)]
pub struct RunTimes(Arc<Mutex<Batches>>);

/// The times of every batch, by arm and budget.
type Batches = BTreeMap<(String, String), Vec<Laps>>;

/// The median times of an arm at a budget, over the batches that were answered while somebody measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmTimes {
    /// The arm.
    pub arm: String,
    /// The budget.
    pub budget: String,
    /// Batches behind the medians.
    pub batches: usize,
    /// Prompts in them.
    pub prompts: usize,
    /// The vision tower, milliseconds for a picture; arms share its work, so that it runs once for all of them. `None`
    /// without a picture.
    pub encode_ms: Option<f64>,
    /// Selection and projection, milliseconds for a picture (for a question where the method reads it).
    pub select_ms: Option<f64>,
    /// Until the first scores are there, milliseconds for a prompt.
    pub prefill_ms: f64,
    /// From then to the end of the answers, milliseconds for a prompt.
    pub decode_ms: f64,
}

impl RunTimes {
    /// Adds the times of a batch.
    pub(crate) fn add(&self, arm: &str, budget: Budget, laps: Laps) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (arm.to_string(), budget.to_string());
        times.entry(key).or_default().push(laps);
    }

    /// Medians over the batches, by arm and budget.
    pub fn medians(&self) -> Vec<ArmTimes> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |((arm, budget), laps): (&(String, String), &Vec<Laps>)| {
            let of = |stage: fn(&Laps) -> Option<f64>| median_ms(laps.iter().filter_map(stage));
            ArmTimes {
                arm: arm.clone(),
                budget: budget.clone(),
                batches: laps.len(),
                prompts: laps.iter().map(|laps| laps.prompts).sum(),
                encode_ms: of(|laps| laps.encode),
                select_ms: of(|laps| laps.select),
                prefill_ms: of(|laps| Some(laps.prefill)).unwrap_or(0.0),
                decode_ms: of(|laps| Some(laps.decode)).unwrap_or(0.0),
            }
        };
        times.iter().map(row).collect()
    }
}

impl PartialEq for RunTimes {
    /// True when both collect into the same place.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// `None` without values.
fn median_ms(seconds: impl Iterator<Item = f64>) -> Option<f64> {
    let mut seconds: Vec<f64> = seconds.collect();
    seconds.sort_unstable_by(f64::total_cmp);
    Some(1e3 * quantile(&seconds, 0.5)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_those_of_the_batches() {
        let times = RunTimes::default();
        for seconds in [0.3, 0.1, 0.2] {
            let laps = Laps {
                prompts: 4,
                encode: Some(seconds),
                select: None,
                prefill: 2.0 * seconds,
                decode: 0.0,
            };
            times.clone().add("full", Budget::All, laps);
        }
        let rows = times.medians();
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (rows[0].batches, rows[0].prompts, rows[0].select_ms),
            (3, 12, None)
        );
        assert!((rows[0].encode_ms.unwrap() - 200.0).abs() < 1e-9);
        assert!((rows[0].prefill_ms - 400.0).abs() < 1e-9 && rows[0].decode_ms == 0.0);
    }
}
