//! The trainee as a model that `burn-train` knows, and the loaders that feed it.

use std::ops::Range;
use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::optim::GradientsParams;
use burn::tensor::{Device, ExecutionError, Tensor};
use diffprune_training::learner::Readings;
use diffprune_training::learner::burn_train::metric::{Adaptor, LossInput};
use diffprune_training::learner::burn_train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use diffprune_training::{scale_gradients, shard_ranges};

use super::metrics::StepMetrics;
use super::order::DataOrder;
use super::setting::Setting;
use super::shard::{Shard, Sums};
use crate::{CaptionData, TrainConfig, TrainError, Trainee};
use diffprune_vlm::Vlm;

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
    task: Arc<Setting>,
    pub(super) device: usize,
    pub(super) indices: Vec<usize>,
    /// Number of the first sample in the run, from which its noise follows.
    pub(super) first: u64,
    pub(super) tau: f64,
    /// True for shards of a larger batch, whose gradient is that of the sum over the targets; else it is that of their mean.
    is_part: bool,
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

/// The training on captions for a learner of your own: [`Trainee`] is a model that `burn-train` knows ([`TrainStep`],
/// [`InferenceStep`]), this makes what it learns from. [`Trainer`](crate::Trainer) needs none of it.
///
/// With the learner's own strategies a run is Burn's: it resumes at epochs, and optimiser and schedule are the learner's.
pub struct CaptionTask(Arc<Setting>);

impl CaptionTask {
    /// Checks settings and data and brings up the threads.
    ///
    /// # Errors
    /// When a setting cannot be used or there is no data.
    pub fn new(
        vlm: &dyn Vlm,
        config: &TrainConfig,
        data: Arc<dyn CaptionData + Send + Sync>,
        held_out: Option<Arc<dyn CaptionData + Send + Sync>>,
    ) -> Result<Self, TrainError> {
        Ok(Self(Arc::new(Setting::new(&[vlm], config, data, held_out)?)))
    }

    /// The modules that are trained, before the first update, with gradients as a learner wants them.
    ///
    /// # Errors
    /// When their sizes do not fit together.
    pub fn trainee(&self) -> Result<Trainee, TrainError> {
        Ok(self.0.trainee()?.for_worker())
    }

    /// Whole batches in the order of the settings, an item each.
    pub fn batches(&self) -> CaptionLoader {
        CaptionLoader::batches(self.0.clone())
    }

    /// The held-out data; empty when there is none or the settings do not validate.
    pub fn held_out(&self) -> HeldOutLoader {
        HeldOutLoader::new(&self.0)
    }
}

/// The shards of all updates of a run, in order, as `burn-train` loads items: an item is a shard.
#[derive(Clone)]
pub struct CaptionLoader {
    task: Arc<Setting>,
    items: Range<usize>,
    /// Shards of an update.
    n_shards: usize,
    is_part: bool,
}

impl CaptionLoader {
    /// Parts of batches, for a strategy that sums them.
    pub(super) fn shards(task: Arc<Setting>) -> Self {
        let n_shards = task.n_shards();
        Self {
            items: 0..task.config.steps * n_shards,
            task,
            n_shards,
            is_part: true,
        }
    }

    /// Whole batches, as the strategies of `burn-train` want them.
    pub(super) fn batches(task: Arc<Setting>) -> Self {
        Self {
            items: 0..task.config.steps,
            task,
            n_shards: 1,
            is_part: false,
        }
    }
}

impl DataLoader<CaptionShard> for CaptionLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<CaptionShard> + 'a> {
        Box::new(Shards {
            loader: self,
            order: DataOrder::new(self.task.config.seed, self.task.n_samples()),
            next: self.items.start,
        })
    }

    fn num_items(&self) -> usize {
        self.items.len()
    }

    /// Items name samples; the device is that of the model.
    fn to_device(&self, _: &Device) -> Arc<dyn DataLoader<CaptionShard>> {
        Arc::new(self.clone())
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<CaptionShard>> {
        let last = (self.items.start + end).min(self.items.end);
        Arc::new(Self {
            items: (self.items.start + start).min(last)..last,
            ..self.clone()
        })
    }
}

struct Shards<'a> {
    loader: &'a CaptionLoader,
    order: DataOrder,
    next: usize,
}

impl Iterator for Shards<'_> {
    type Item = Result<CaptionShard, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let CaptionLoader {
            task,
            items,
            n_shards,
            is_part,
        } = self.loader;
        if self.next >= items.end {
            return None;
        }
        let config = &task.config;
        let (step, part) = (self.next / n_shards, self.next % n_shards);
        self.next += 1;
        let range = shard_ranges(config.batch, *n_shards).swap_remove(part);
        let first = (step * config.batch + range.start) as u64;
        Some(Ok(CaptionShard {
            indices: self.order.at(first..first + range.len() as u64),
            task: task.clone(),
            device: 0,
            first,
            tau: config.diffprune.tau_at(step, config.steps),
            is_part: *is_part,
        }))
    }
}

impl DataLoaderIterator<CaptionShard> for Shards<'_> {
    fn progress(&self) -> Progress {
        let items = &self.loader.items;
        Progress::new(self.next - items.start, items.len(), Some("items".into()))
    }
}

/// The parts of the held-out data, as `burn-train` loads items.
#[derive(Clone)]
pub struct HeldOutLoader {
    parts: Vec<HeldOutPart>,
}

impl HeldOutLoader {
    pub(super) fn new(task: &Arc<Setting>) -> Self {
        Self {
            parts: task.held_out(),
        }
    }
}

impl DataLoader<HeldOutPart> for HeldOutLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<HeldOutPart> + 'a> {
        Box::new(Parts {
            parts: &self.parts,
            next: 0,
        })
    }

    fn num_items(&self) -> usize {
        self.parts.len()
    }

    fn to_device(&self, _: &Device) -> Arc<dyn DataLoader<HeldOutPart>> {
        Arc::new(self.clone())
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<HeldOutPart>> {
        let end = end.min(self.parts.len());
        Arc::new(Self {
            parts: self.parts[start.min(end)..end].to_vec(),
        })
    }
}

struct Parts<'a> {
    parts: &'a [HeldOutPart],
    next: usize,
}

impl Iterator for Parts<'_> {
    type Item = Result<HeldOutPart, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let part = self.parts.get(self.next)?;
        self.next += 1;
        Some(Ok(part.clone()))
    }
}

impl DataLoaderIterator<HeldOutPart> for Parts<'_> {
    fn progress(&self) -> Progress {
        Progress::new(self.next, self.parts.len(), Some("parts".into()))
    }
}
