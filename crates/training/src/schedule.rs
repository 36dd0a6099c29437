//! Values that depend on the step alone.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Learning rate with a linear warm-up and a cosine decay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WarmupCosine {
    /// Rate at the end of the warm-up.
    pub base_lr: f64,
    /// Steps of the warm-up; 0 starts at `base_lr`.
    pub warmup_steps: usize,
    /// Steps of the whole run, warm-up included.
    pub total_steps: usize,
    /// Rate from `total_steps` on.
    #[serde(default)]
    pub final_lr: f64,
}

impl WarmupCosine {
    /// A schedule that ends at 0.
    pub fn new(base_lr: f64, warmup_steps: usize, total_steps: usize) -> Self {
        Self {
            base_lr,
            warmup_steps,
            total_steps,
            final_lr: 0.0,
        }
    }

    /// The rate of the update number `step`, counted from 0: Eq. (15) of `docs/method.md`.
    ///
    /// The first warm-up step has rate 0, as in the schedule of Hugging Face Transformers; past `total_steps` the rate
    /// stays at `final_lr`.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return self.base_lr * (step as f64 / self.warmup_steps as f64);
        }
        let total = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / total as f64).min(1.0);
        self.final_lr + (self.base_lr - self.final_lr) * (0.5 * (1.0 + (PI * progress).cos()))
    }
}

/// Half a cosine from `start` (step 0) to `end` (step `total` and later): Eq. (14) of `docs/method.md`.
///
/// With `total` 0 the value is `end`.
pub fn cosine_anneal(start: f64, end: f64, step: usize, total: usize) -> f64 {
    if step >= total {
        return end;
    }
    end + (start - end) * (0.5 * (1.0 + (PI * step as f64 / total as f64).cos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_rises_and_cosine_falls() {
        let schedule = WarmupCosine {
            base_lr: 2.0,
            warmup_steps: 4,
            total_steps: 12,
            final_lr: 0.5,
        };
        assert_eq!(schedule.at(0), 0.0);
        assert_eq!(schedule.at(2), 1.0);
        assert_eq!(schedule.at(4), 2.0);
        assert!((schedule.at(8) - 1.25).abs() < 1e-12);
        assert_eq!(schedule.at(12), 0.5);
        assert_eq!(schedule.at(99), 0.5);
    }

    #[test]
    fn degenerate_schedules_are_finite() {
        for schedule in [
            WarmupCosine::new(1.0, 0, 0),
            WarmupCosine::new(1.0, 5, 2),
            WarmupCosine::new(1.0, 3, 3),
        ] {
            for step in 0..10 {
                assert!(schedule.at(step).is_finite());
            }
        }
    }

    #[test]
    fn annealing_meets_both_ends() {
        assert_eq!(cosine_anneal(1.0, 0.1, 0, 10), 1.0);
        assert!((cosine_anneal(1.0, 0.1, 5, 10) - 0.55).abs() < 1e-12);
        assert_eq!(cosine_anneal(1.0, 0.1, 10, 10), 0.1);
        assert_eq!(cosine_anneal(1.0, 0.1, 0, 0), 0.1);
    }
}
