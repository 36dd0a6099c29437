//! The trainee as a model that `burn-train` knows.

use std::ops::Range;
use std::sync::Arc;

use burn::optim::GradientsParams;
use burn::tensor::{Device, ExecutionError, Tensor};
use diffprune_training::learner::Readings;
use diffprune_training::learner::burn_train::metric::{Adaptor, LossInput};
use diffprune_training::learner::burn_train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use diffprune_training::scale_gradients;

use super::metrics::StepMetrics;
use super::setting::Setting;
use super::shard::{Shard, Sums};
use crate::{TrainError, Trainee};

/// Names of measurements.
pub(super) mod reading {
    pub const NLL: &str = "nll";
    pub const PENALTY: &str = "penalty";
    pub const TAU: &str = "tau";
    pub const LR: &str = "lr";
    pub const GRAD_NORM: &str = "grad_norm";
    pub const ABOVE_HALF: &str = "above_half";
    pub const SPEED: &str = "targets_per_second";
}

/// A part of a batch: which samples, at which temperature, with which noise. They are read and encoded where they are learned.
#[derive(Clone)]
pub struct CaptionShard {
    pub(super) task: Arc<Setting>,
    pub(super) device: usize,
    pub(super) indices: Vec<usize>,
    /// Number of the first sample in the run, from which its noise follows.
    pub(super) first: u64,
    pub(super) tau: f64,
    /// True for shards of a larger batch, whose gradient is that of the sum over the targets; else it is that of their mean.
    pub(super) is_part: bool,
}

impl CaptionShard {
    /// The same for the copy of the model with that number.
    pub(super) fn on_device(mut self, device: usize) -> Self {
        self.device = device;
        self
    }

    /// What a model learns from it, through its [`TrainStep`].
    pub(super) fn learned_by(self, model: &Trainee) -> Result<Shard, TrainError> {
        let TrainOutput { grads, item } = TrainStep::step(model, self);
        Ok(Shard {
            grads,
            sums: item.outcome?,
        })
    }
}

/// What a part of a batch, or a whole one, came to.
pub struct CaptionOutput {
    outcome: Result<Sums, TrainError>,
    readings: Readings,
}

impl CaptionOutput {
    /// The reason why a sample could not be learned from, if there is one. There are no gradients then.
    pub fn error(&self) -> Option<&TrainError> {
        self.outcome.as_ref().err()
    }

    /// A whole update.
    pub(super) fn of_update(metrics: &StepMetrics) -> Self {
        let readings = Readings::new(1)
            .with(reading::NLL, metrics.nll)
            .with(reading::TAU, metrics.tau)
            .with(reading::LR, metrics.lr)
            .with(reading::GRAD_NORM, metrics.grad_norm)
            .with(reading::ABOVE_HALF, metrics.weights.above_half)
            .with(reading::SPEED, metrics.targets_per_second);
        Self::read(match metrics.penalty {
            Some(penalty) => readings.with(reading::PENALTY, penalty),
            None => readings,
        })
    }

    /// An update of which these measurements are known.
    pub(super) fn read(readings: Readings) -> Self {
        Self {
            outcome: Ok(Sums::default()),
            readings,
        }
    }

    fn of_shard(outcome: Result<Sums, TrainError>) -> Self {
        let readings = match &outcome {
            Ok(sums) => Readings::new(sums.targets)
                .with(reading::NLL, sums.nll())
                .with(reading::ABOVE_HALF, sums.weights.over(sums.images).above_half),
            Err(_) => Readings::new(0),
        };
        Self { outcome, readings }
    }
}

impl ItemLazy for CaptionOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<Readings> for CaptionOutput {
    fn adapt(&self) -> Readings {
        self.readings.clone()
    }
}

impl Adaptor<LossInput> for CaptionOutput {
    /// Nats per token, for the metric of `burn-train`.
    fn adapt(&self) -> LossInput {
        LossInput::new(scalar(self.readings.get(reading::NLL)))
    }
}

/// A number as metrics of `burn-train` take it, NaN where it is not known.
fn scalar(value: Option<f64>) -> Tensor<1> {
    Tensor::from_floats([value.unwrap_or(f64::NAN) as f32], &Device::flex())
}

impl TrainStep for Trainee {
    type Input = CaptionShard;
    type Output = CaptionOutput;

    /// Forward and backward over the samples of a shard, in micro-batches; `self` has gradients.
    fn step(&self, shard: CaptionShard) -> TrainOutput<CaptionOutput> {
        match shard.task.shard(self, &shard) {
            Ok(Shard { grads, sums }) => TrainOutput {
                grads: match shard.is_part {
                    true => grads,
                    false => scale_gradients(grads, self, 1.0 / sums.targets.max(1) as f64),
                },
                item: CaptionOutput::of_shard(Ok(sums)),
            },
            Err(error) => TrainOutput {
                grads: GradientsParams::new(),
                item: CaptionOutput::of_shard(Err(error)),
            },
        }
    }
}

/// A part of the held-out data.
#[derive(Clone)]
pub struct HeldOutPart {
    task: Arc<Setting>,
    pub(super) device: usize,
    pub(super) range: Range<usize>,
}

impl HeldOutPart {
    pub(super) fn new(task: Arc<Setting>, range: Range<usize>) -> Self {
        Self {
            task,
            device: 0,
            range,
        }
    }

    /// The same for the copy of the model with that number.
    pub(super) fn on_device(mut self, device: usize) -> Self {
        self.device = device;
        self
    }

    /// The same for the copy of the model on that device.
    pub(super) fn at(self, device: &Device) -> Self {
        let copy = self.task.copy_on(device);
        self.on_device(copy)
    }
}

/// What a part of the held-out data came to: tokens pruned as at inference.
pub struct HeldOutOutput {
    pub(super) outcome: Result<(f64, usize), TrainError>,
}

impl HeldOutOutput {
    /// The reason why a sample could not be looked at, if there is one.
    pub fn error(&self) -> Option<&TrainError> {
        self.outcome.as_ref().err()
    }
}

impl ItemLazy for HeldOutOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<Readings> for HeldOutOutput {
    fn adapt(&self) -> Readings {
        match &self.outcome {
            Ok((nll, targets)) => Readings::new(*targets).with(reading::NLL, nll / (*targets).max(1) as f64),
            Err(_) => Readings::new(0),
        }
    }
}

impl Adaptor<LossInput> for HeldOutOutput {
    fn adapt(&self) -> LossInput {
        let readings: Readings = self.adapt();
        LossInput::new(scalar(readings.get(reading::NLL)))
    }
}

impl InferenceStep for Trainee {
    type Input = HeldOutPart;
    type Output = HeldOutOutput;

    /// Negative log-likelihood of held-out captions behind the tokens that a hard top-k keeps.
    fn step(&self, part: HeldOutPart) -> HeldOutOutput {
        HeldOutOutput {
            outcome: part.task.look(self, &part),
        }
    }
}
