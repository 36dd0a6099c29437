//! Our plain lines and bars as a renderer of `burn-train`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn_train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn_train::metric::{MetricDefinition, MetricId};
use burn_train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};

use super::StepPlan;
use crate::Progress;

/// A [`Progress`] that several threads report to.
#[derive(Debug, Clone)]
pub(super) struct SharedProgress(Arc<Mutex<Progress>>);

impl SharedProgress {
    pub(super) fn new(progress: Progress) -> Self {
        Self(Arc::new(Mutex::new(progress)))
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Progress) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the display back; nothing is shown any more by whoever else holds it.
    pub(super) fn take(&self) -> Progress {
        self.with(|progress| std::mem::replace(progress, Progress::silent()))
    }
}

/// Shows updates through a [`Progress`]: the number of the update in the whole run, and some of the metrics.
pub(super) struct ProgressRenderer {
    progress: SharedProgress,
    /// Names of the metrics that are shown, each with the word for it.
    shown: Vec<(String, &'static str)>,
    places: HashMap<MetricId, usize>,
    values: Vec<Option<f64>>,
    plan: StepPlan,
    epoch: usize,
    is_training: bool,
}

impl ProgressRenderer {
    /// Shows the metrics of those names, each behind its word, for the updates that are not done at the beginning.
    pub(super) fn new(progress: SharedProgress, shown: Vec<(String, &'static str)>, plan: StepPlan) -> Self {
        Self {
            progress,
            values: vec![None; shown.len()],
            shown,
            places: HashMap::new(),
            plan,
            epoch: 1,
            is_training: true,
        }
    }
}

impl MetricsRendererTraining for ProgressRenderer {
    fn update_train(&mut self, state: MetricState) {
        if let MetricState::Numeric(entry, Some(value)) = state
            && let Some(&place) = self.places.get(&entry.metric_id)
        {
            self.values[place] = Some(value.current());
        }
    }

    fn update_valid(&mut self, _: MetricState) {}
}

impl TrainingProgressLogger for ProgressRenderer {
    fn start(&mut self, _: usize, starting_epoch: usize, _: Option<usize>, _: Option<&str>) {
        self.epoch = starting_epoch;
    }

    fn start_split(&mut self, split: &str, _: usize) {
        self.is_training = split == "train";
    }

    fn update_split(&mut self, items_processed: usize) {
        if !self.is_training {
            return;
        }
        let named = self.shown.iter().zip(&self.values);
        let values: Vec<(&str, f64)> = named
            .filter_map(|((_, word), value)| Some((*word, (*value)?)))
            .collect();
        let step = self.epoch.saturating_sub(1) * self.plan.per_epoch + items_processed;
        if step <= self.plan.done {
            return;
        }
        self.progress.with(|progress| progress.step(step, &values));
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.epoch = epoch + 1;
    }

    fn end_split(&mut self) {}

    fn end(&mut self) {
        self.progress.with(|progress| progress.finish());
    }

    fn log_event_training(&mut self, _: String) {}
}

impl MetricsRenderer for ProgressRenderer {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        let place = self.shown.iter().position(|(name, _)| *name == *definition.name);
        if let Some(place) = place {
            self.places.insert(definition.metric_id, place);
        }
    }
}

// A training evaluates nothing else.

impl MetricsRendererEvaluation for ProgressRenderer {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl EvaluationProgressLogger for ProgressRenderer {
    fn start_global_progress(&mut self, _: usize) {}

    fn start_test(&mut self, _: &str, _: usize) {}

    fn update_test_progress(&mut self, _: usize) {}

    fn end_test(&mut self) {}

    fn end_global_progress(&mut self) {}

    fn log_event_evaluation(&mut self, _: String) {}
}
