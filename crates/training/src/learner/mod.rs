//! Runs by updates under the learner of `burn-train`: its metrics, file logger, dashboard, interrupter and early stopping
//! around a loop that goes on exactly where it was left.
//!
//! `burn-train` counts epochs and keeps the learner's optimiser and schedule for itself, so that a run which it resumes is another one
//! than a run that was never interrupted. Here its `SupervisedTraining` is launched with a strategy of ours
//! ([`learn`]) that walks a [`SteppedRun`]: the run owns optimiser, schedules and checkpoints, and an epoch is what lies between
//! two validations.

mod launch;
mod readings;
mod renderer;
mod stepped;
mod strategy;

pub use launch::{LearnOptions, Learned, View, learn};
pub use readings::{Gauge, Readings};
pub use stepped::{Reported, StepPlan, SteppedRun};

/// All of `burn-train`.
pub use burn_train;
