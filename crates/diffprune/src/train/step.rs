//! One update and one validation.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use diffprune_pruner::{Grid, Layout};
use diffprune_training::{
    Optimizer, Workers, clip_global_norm, scale_gradients, shard_ranges, sum_gradients,
};
use diffprune_vlm::{PruneOptions, Vlm, loss, prepare_encoded};

use super::metrics::{StepMetrics, WeightStats};
use super::model::StoredTrainee;
use super::order::DataOrder;
use super::text::count_targets;
use crate::{
    CaptionBatch, CaptionData, CaptionPrompt, ConfigError, DataError, FeatureStore, LearnedPruner,
    TrainConfig, TrainError, Trainee, TrainingLoss, training_loss,
};

/// Everything that stays the same during a run.
pub(super) struct Setting<'a> {
    pub(super) config: TrainConfig,
    pub(super) device: Device,
    workers: Workers,
    vlms: Vec<Mutex<Box<dyn Vlm>>>,
    prompt: CaptionPrompt,
    data: FeatureStore<'a>,
    validation: Option<(FeatureStore<'a>, usize)>,
}

/// Sums over a part of a batch.
struct Shard {
    grads: GradientsParams,
    nll: f64,
    penalty: Option<f64>,
    targets: usize,
    weights: WeightStats,
    images: usize,
    budget: usize,
}

impl<'a> Setting<'a> {
    /// Checks settings and data and brings up the threads, each with its copy of the model (they share the weights).
    pub(super) fn new(
        vlm: &dyn Vlm,
        config: &TrainConfig,
        data: &'a dyn CaptionData,
        validation: Option<&'a dyn CaptionData>,
    ) -> Result<Self, TrainError> {
        let device = vlm.device();
        if device.is_autodiff() {
            // On the plain device nothing can change the model, whatever an optimiser does.
            return Err(
                ConfigError::new("device of the model", "an autodiff device", "the plain one").into(),
            );
        }
        let config = config.resolve(vlm.d_descriptor(), &device)?;
        for (name, data) in [("training data", Some(data)), ("validation data", validation)] {
            if data.is_some_and(|data| data.is_empty()) {
                return Err(DataError::Empty {
                    path: PathBuf::from(name),
                }
                .into());
            }
        }
        // The rest of the data is looked at as it comes; a folder without boxes is refused before anything is written.
        let method = config.diffprune.method;
        let whole = Layout::from(Grid { rows: 1, cols: 1 });
        if method.needs_relevance() && data.relevance(0, &whole)?.is_none() {
            return Err(DataError::NoBoxes {
                method: method.name(),
                samples: vec![0],
            }
            .into());
        }
        let threads = match config.threads {
            0 => available_parallelism().map_or(1, |count| count.get()),
            threads => threads,
        };
        let workers = Workers::new(threads.min(config.shards.unwrap_or(1)));
        let vlms = (0..workers.n_threads())
            .map(|_| Mutex::new(vlm.clone_box()))
            .collect();
        let validation = validation.filter(|_| config.validation.every > 0).map(|data| {
            let size = config.validation.size.min(data.len());
            (
                FeatureStore::new(data, config.cache_precision, config.cache_bytes / 8),
                size,
            )
        });
        Ok(Self {
            prompt: CaptionPrompt::new(vlm, &config.prompt, config.max_caption_tokens)?,
            data: FeatureStore::new(data, config.cache_precision, config.cache_bytes),
            config,
            device,
            workers,
            vlms,
            validation,
        })
    }
}

impl Setting<'_> {
    /// One update, number `step` from 0.
    pub(super) fn update(
        &self,
        model: Trainee,
        optimizer: &mut Optimizer,
        order: &mut DataOrder,
        step: usize,
    ) -> Result<(Trainee, StepMetrics), TrainError> {
        let config = &self.config;
        let tau = config.diffprune.tau_at(step, config.steps);
        let lr = config.schedule().at(step);
        let first = (step * config.batch) as u64;
        let indices = order.at(first..first + config.batch as u64);
        let ranges = shard_ranges(config.batch, config.shards.unwrap_or(1));
        let shards = self.workers.run(ranges.len(), |i| {
            let range = ranges[i].clone();
            self.shard(&model, &indices[range.clone()], first + range.start as u64, tau)
        });
        let shards = shards.into_iter().collect::<Result<Vec<_>, _>>()?;
        let shard = Shard::sum(shards, &model);
        let nll = finite(shard.nll / shard.targets as f64, "loss", step)?;
        // Shards carry sums over targets, so that the batch is a mean over targets however it was split.
        let grads = scale_gradients(shard.grads, &model, 1.0 / shard.targets as f64);
        let (grads, grad_norm) = clip_global_norm(grads, &model, config.clip_norm);
        finite(grad_norm, "norm of the gradients", step)?;
        let weights = shard.weights.over(shard.images);
        let penalty = shard.penalty.map(|sum| sum / shard.targets as f64);
        Ok((
            optimizer.step(lr, StoredTrainee::from(model), grads).into(),
            StepMetrics {
                nll,
                penalty,
                grad_norm,
                lr,
                tau,
                weights,
                budget: shard.budget as f64 / shard.images.max(1) as f64,
            },
        ))
    }

    /// Gradients of a part of the batch, in micro-batches one after the other.
    fn shard(&self, model: &Trainee, indices: &[usize], first: u64, tau: f64) -> Result<Shard, TrainError> {
        let model = model.for_worker();
        let size = self.config.micro_batch.unwrap_or(indices.len());
        let parts = indices.chunks(size).enumerate().map(|(i, indices)| {
            let first = first + (i * size) as u64;
            let batch = CaptionBatch {
                store: &self.data,
                prompt: &self.prompt,
                indices: indices.to_vec(),
                draws: (first..first + indices.len() as u64).collect(),
                seed: self.config.seed,
                tau,
            };
            let loss = self.with_vlm(|vlm| training_loss(&model, vlm, &self.config.diffprune, &batch))?;
            Ok(Shard::of(loss, &model))
        });
        Ok(Shard::sum(parts.collect::<Result<Vec<_>, TrainError>>()?, &model))
    }

    /// Works with a copy of the model that no other thread uses; there are as many as threads.
    pub(super) fn with_vlm<T>(&self, work: impl FnOnce(&dyn Vlm) -> T) -> T {
        let free = self.vlms.iter().find_map(|vlm| vlm.try_lock().ok());
        let vlm = free.unwrap_or_else(|| self.vlms[0].lock().unwrap_or_else(PoisonError::into_inner));
        work(vlm.as_ref())
    }

    pub(super) fn validate_when_due(&self, model: &Trainee, step: usize) -> Result<Option<f64>, TrainError> {
        let every = self.config.validation.every;
        let due = every > 0 && (step.is_multiple_of(every) || step == self.config.steps);
        if due { self.validate(model) } else { Ok(None) }
    }

    /// Negative log-likelihood of held-out captions with tokens pruned as at inference; `None` without such data.
    pub(super) fn validate(&self, model: &Trainee) -> Result<Option<f64>, TrainError> {
        let Some((store, size)) = &self.validation else {
            return Ok(None);
        };
        let pruner = LearnedPruner::new(model.head.clone());
        let options = PruneOptions::new(self.config.diffprune.budget);
        let ranges = shard_ranges(*size, size.div_ceil(self.config.micro_batch.unwrap_or(*size)));
        let parts = self.workers.run(ranges.len(), |i| {
            let indices: Vec<usize> = ranges[i].clone().collect();
            self.with_vlm(|vlm| {
                let (encoded, captions) = store.encode(vlm, &indices)?;
                let images = prepare_encoded(vlm, &encoded, &pruner, &options)?;
                let text = store.text(vlm, &self.prompt, &indices, &captions)?;
                let nll = f64::from(loss(vlm, &text, &images)?.into_scalar::<f32>());
                Ok((nll * count_targets(&text) as f64, count_targets(&text)))
            })
        });
        let parts = parts.into_iter().collect::<Result<Vec<_>, TrainError>>()?;
        let (nll, targets) = parts
            .iter()
            .fold((0.0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        Ok(Some(nll / targets.max(1) as f64))
    }
}

impl Shard {
    /// Walks backward from the sum over the targets.
    fn of(loss: TrainingLoss, model: &Trainee) -> Self {
        let (weights, images) = WeightStats::of(&loss.weights, loss.mask.as_ref());
        let budget = loss.budgets.iter().sum();
        let over_targets = |mean: &Tensor<1>| {
            let sum = mean.clone().without_autodiff() * loss.n_targets as f64;
            f64::from(sum.into_scalar::<f32>())
        };
        let (nll, penalty) = (over_targets(&loss.nll), loss.penalty.as_ref().map(over_targets));
        let sum = loss.objective() * loss.n_targets as f64;
        let grads = GradientsParams::from_grads(sum.backward(), model);
        Self {
            grads,
            nll,
            penalty,
            targets: loss.n_targets,
            weights,
            images,
            budget,
        }
    }

    /// Adds in the order given.
    fn sum(shards: Vec<Self>, model: &Trainee) -> Self {
        let (mut nll, mut targets, mut weights) = (0.0, 0, WeightStats::default());
        let (mut images, mut budget) = (0, 0);
        let penalty = shards
            .iter()
            .filter_map(|shard| shard.penalty)
            .reduce(|a, b| a + b);
        for shard in &shards {
            nll += shard.nll;
            targets += shard.targets;
            weights = weights.plus(&shard.weights);
            images += shard.images;
            budget += shard.budget;
        }
        let grads = sum_gradients(shards.into_iter().map(|shard| shard.grads).collect(), model);
        Self {
            grads,
            nll,
            penalty,
            targets,
            weights,
            images,
            budget,
        }
    }
}

fn finite(value: f64, what: &'static str, step: usize) -> Result<f64, TrainError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(TrainError::NotFinite {
            step: step + 1,
            what,
            found: value,
        })
    }
}
