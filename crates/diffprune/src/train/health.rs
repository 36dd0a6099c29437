//! Signs that a run did not train what it says: looked for in every run, and reported beside its result.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::metrics::StepMetrics;

/// A gradient this many times longer than the clip norm has lost all but its direction: clipping leaves a hundredth of it.
const EXPLODED: f64 = 100.0;
/// Share of the budget by which the weights may miss it.
const OFF_TARGET: f64 = 0.1;

/// Something that a reader of the result must know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TrainWarning {
    /// Gradients were more than a hundred times as long as the clip norm.
    ExplodingGradients {
        /// Updates in which they were.
        updates: usize,
        /// The longest, before clipping.
        largest: f64,
        /// Its update, counted from 1.
        step: usize,
        /// The clip norm.
        clip_norm: f64,
    },
    /// The last validation is above the one before the first update: the run unlearnt.
    WorseThanStart {
        /// Negative log-likelihood before the first update, nats per token.
        start: f64,
        /// That of the last validation.
        found: f64,
        /// Its step.
        step: usize,
    },
    /// The weights summed to another number of tokens than the budget: the run was trained at another budget than it is used at.
    OffBudget {
        /// Mean sum of the weights of an image in the last quarter of the updates.
        kept: f64,
        /// Mean budget of an image.
        budget: f64,
    },
}

impl fmt::Display for TrainWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExplodingGradients {
                updates,
                largest,
                step,
                clip_norm,
            } => write!(
                f,
                "gradients exploded in {updates} updates, to a norm of {largest:.0} in update {step} (clipped to \
                 {clip_norm})"
            ),
            Self::WorseThanStart { start, found, step } => write!(
                f,
                "the validation nll after {step} updates is {found:.4}, above the {start:.4} before the first"
            ),
            Self::OffBudget { kept, budget } => write!(
                f,
                "weights summed to {kept:.1} tokens in the last quarter of the updates, the budget is {budget:.1}: the head was \
                 trained at another budget than it is used at"
            ),
        }
    }
}

/// The numbers behind warnings, for checkpoints too: floats as bits, which decimal JSON does not promise.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Health {
    exploded: usize,
    largest_norm: u64,
    largest_step: usize,
    kept: u64,
    budget: u64,
    updates: usize,
    start: Option<u64>,
    last: Option<(usize, u64)>,
}

impl Health {
    /// Notes update `step` of `steps`, counted from 1. True when its gradients are the first that exploded.
    pub(super) fn update(
        &mut self,
        step: usize,
        steps: usize,
        metrics: &StepMetrics,
        clip_norm: f64,
    ) -> bool {
        if metrics.grad_norm > f64::from_bits(self.largest_norm) {
            self.largest_norm = metrics.grad_norm.to_bits();
            self.largest_step = step;
        }
        let exploded = metrics.grad_norm > EXPLODED * clip_norm;
        self.exploded += usize::from(exploded);
        if 4 * step > 3 * steps {
            let add = |sum: u64, value: f64| (f64::from_bits(sum) + value).to_bits();
            self.kept = add(self.kept, metrics.weights.alpha_sum);
            self.budget = add(self.budget, metrics.budget);
            self.updates += 1;
        }
        exploded && self.exploded == 1
    }

    /// Notes a validation after `step` updates.
    pub(super) fn validation(&mut self, step: usize, nll: f64) {
        match step {
            0 => self.start = Some(nll.to_bits()),
            _ => self.last = Some((step, nll.to_bits())),
        }
    }

    /// Negative log-likelihood before the first update.
    pub(super) fn start(&self) -> Option<f64> {
        self.start.map(f64::from_bits)
    }

    /// All that is to be said.
    pub(super) fn warnings(&self, clip_norm: f64) -> Vec<TrainWarning> {
        let exploded = (self.exploded > 0).then(|| TrainWarning::ExplodingGradients {
            updates: self.exploded,
            largest: f64::from_bits(self.largest_norm),
            step: self.largest_step,
            clip_norm,
        });
        let worse = match (self.start(), self.last) {
            (Some(start), Some((step, found))) => {
                let found = f64::from_bits(found);
                (found > start || found.is_nan()).then_some(TrainWarning::WorseThanStart {
                    start,
                    found,
                    step,
                })
            }
            _ => None,
        };
        let mean = |sum: u64| f64::from_bits(sum) / self.updates.max(1) as f64;
        let (kept, budget) = (mean(self.kept), mean(self.budget));
        let off = self.updates > 0 && (kept - budget).abs() > OFF_TARGET * budget;
        let off = off.then_some(TrainWarning::OffBudget { kept, budget });
        [exploded, worse, off].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::metrics::WeightStats;

    fn metrics(grad_norm: f64, alpha_sum: f64) -> StepMetrics {
        StepMetrics {
            nll: 1.0,
            penalty: None,
            grad_norm,
            lr: 1e-3,
            tau: 1.0,
            weights: WeightStats {
                alpha_sum,
                ..WeightStats::default()
            },
            budget: 32.0,
            targets_per_second: 0.0,
        }
    }

    #[test]
    fn a_sound_run_has_no_warning() {
        let mut health = Health::default();
        health.validation(0, 0.5);
        for step in 1..=8 {
            assert!(!health.update(step, 8, &metrics(3.9, 32.0), 1.0));
        }
        health.validation(8, 0.2);
        assert!(health.warnings(1.0).is_empty());
        assert_eq!(health.start(), Some(0.5));
    }

    #[test]
    fn exploding_gradients_a_worse_end_and_another_budget_are_told() {
        let mut health = Health::default();
        health.validation(0, 0.25);
        let told: Vec<bool> = [33.0, 250.0, 6212.0, 1.0]
            .into_iter()
            .zip(1..)
            .map(|(norm, step)| health.update(step, 4, &metrics(norm, 70.0), 1.0))
            .collect();
        assert_eq!(told, [false, true, false, false], "once, when it begins");
        health.validation(4, 0.65);
        let warnings = health.warnings(1.0);
        assert_eq!(
            warnings,
            [
                TrainWarning::ExplodingGradients {
                    updates: 2,
                    largest: 6212.0,
                    step: 3,
                    clip_norm: 1.0
                },
                TrainWarning::WorseThanStart {
                    start: 0.25,
                    found: 0.65,
                    step: 4
                },
                TrainWarning::OffBudget {
                    kept: 70.0,
                    budget: 32.0
                },
            ]
        );
        let text: Vec<String> = warnings.iter().map(TrainWarning::to_string).collect();
        assert!(
            text[0].contains("6212") && text[1].contains("0.6500") && text[2].contains("70.0"),
            "{text:?}"
        );
        // As it stands in a checkpoint.
        let stored = serde_json::to_string(&health).unwrap();
        let read: Health = serde_json::from_str(&stored).unwrap();
        assert_eq!(read.warnings(1.0), warnings);
    }
}
