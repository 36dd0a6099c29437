//! A run as a learner walks it.

use burn_train::{InferenceStep, LearnerModel, TrainStep};

/// The place of a run, in updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepPlan {
    /// Updates that are done.
    pub done: usize,
    /// Updates in all.
    pub total: usize,
    /// Updates between two validations: what the learner calls an epoch.
    pub per_epoch: usize,
    /// Items of the training loader that make up an update.
    pub items_per_update: usize,
}

impl StepPlan {
    /// Number of epochs.
    pub fn epochs(&self) -> usize {
        self.total.div_ceil(self.per_epoch.max(1))
    }

    /// The epoch of the next update, counted from 1; beyond the last one when nothing is left to do.
    pub fn epoch(&self) -> usize {
        match self.done >= self.total {
            true => self.epochs() + 1,
            false => self.done / self.per_epoch.max(1) + 1,
        }
    }

    /// Number of updates before an epoch and at its end.
    pub fn bounds(&self, epoch: usize) -> (usize, usize) {
        let first = epoch.saturating_sub(1) * self.per_epoch;
        (first.min(self.total), (first + self.per_epoch).min(self.total))
    }
}

/// What an update, or a validation, came to.
#[derive(Debug, Clone)]
pub struct Reported<T> {
    /// The result, for the metrics.
    pub output: T,
    /// Lines for people, to be shown beside the progress.
    pub notes: Vec<String>,
}

impl<T> From<T> for Reported<T> {
    fn from(output: T) -> Self {
        let notes = Vec::new();
        Self { output, notes }
    }
}

/// A training made of updates, which can stop after any of them and go on exactly there.
///
/// It owns the model in training, the optimiser, the checkpoints and the schedules; what it is given are the items that the
/// loaders make. [`learn`](super::learn) hands it to `burn-train`, which calls it in this order: [`Self::validate`] before the
/// first update, then for each update [`Self::update`], at the end of an epoch [`Self::validate`], and
/// [`Self::settle`].
pub trait SteppedRun<M: LearnerModel>: Send + 'static {
    /// Why a run ends without result.
    type Error: Send + 'static;

    /// The place of the run.
    fn plan(&self) -> StepPlan;

    /// `true` when it should end before its last update, as if all were done: nothing improves any more.
    fn ended_early(&self) -> bool {
        false
    }

    /// `true` when it should be left where it is, to be gone on with later.
    fn is_to_pause(&self) -> bool {
        false
    }

    /// `true` when the model before the first update is validated too.
    fn validates_first(&self) -> bool {
        true
    }

    /// The updates of the running epoch that are done, so that its log is whole when the run is gone on with in the middle of it.
    /// Nothing where that is not known.
    fn replay(&self) -> Vec<<M as TrainStep>::Output> {
        Vec::new()
    }

    /// One update, from its items in the order of the loader.
    ///
    /// # Errors
    /// When the update cannot be done.
    fn update(
        &mut self,
        items: Vec<<M as TrainStep>::Input>,
    ) -> Result<Reported<<M as TrainStep>::Output>, Self::Error>;

    /// The learning rate of the last update.
    fn learning_rate(&self) -> f64;

    /// A look at the held-out data: all items of the validation loader. One result for each of them.
    ///
    /// # Errors
    /// When an item cannot be looked at, or the result cannot be stored.
    fn validate(
        &mut self,
        items: Vec<<M as InferenceStep>::Input>,
    ) -> Result<Reported<Vec<<M as InferenceStep>::Output>>, Self::Error>;

    /// The update is over, with its validation if there was one: the time for a checkpoint.
    ///
    /// # Errors
    /// When the checkpoint cannot be written.
    fn settle(&mut self) -> Result<(), Self::Error>;

    /// The run is left where it is, because somebody asked for it: what was done since the last checkpoint is to be saved.
    ///
    /// # Errors
    /// When the checkpoint cannot be written.
    fn pause(&mut self) -> Result<(), Self::Error>;

    /// The model as it is now.
    fn model(&self) -> M;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_the_intervals_between_validations() {
        let plan = |done| StepPlan {
            done,
            total: 8,
            per_epoch: 3,
            items_per_update: 2,
        };
        assert_eq!(plan(0).epochs(), 3);
        let epochs: Vec<usize> = (0..=8).map(|done| plan(done).epoch()).collect();
        assert_eq!(epochs, [1, 1, 1, 2, 2, 2, 3, 3, 4]);
        assert_eq!(
            [1, 2, 3].map(|epoch| plan(0).bounds(epoch)),
            [(0, 3), (3, 6), (6, 8)]
        );
    }
}
