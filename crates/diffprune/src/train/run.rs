//! The training run: loop, checkpoints, validation, result.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use diffprune_scorer::{Metadata, ScorerCheckpoint};
use diffprune_training::{
    CheckpointDir, MetricsLog, Optimizer, Progress, Workers, clip_global_norm, cosine_anneal,
    scale_gradients, shard_ranges, sum_gradients,
};
use diffprune_vlm::{PruneOptions, Vlm, prune};
use serde::{Deserialize, Serialize};

use super::config::RunFile;
use super::metrics::{StepMetrics, ValidationMetrics, WeightStats};
use super::order::DataOrder;
use super::text::count_targets;
use crate::{
    CaptionBatch, CaptionData, CaptionPrompt, DataError, DiffPrune, FeatureStore, TrainConfig, TrainError,
    Trainee, TrainingLoss, training_loss,
};

/// Name of the file with the resolved settings in a run directory.
pub const SETTINGS_FILE: &str = "train.toml";
/// Name of the file with the measurements in a run directory.
pub const METRICS_FILE: &str = "metrics.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const BEST: &str = "best";

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// Updates done, over all interruptions.
    pub steps: usize,
    /// Whether the run is over; false after [`Trainer::stop_after`].
    pub finished: bool,
    /// Whether validation ended the run before its last step.
    pub stopped_early: bool,
    /// Negative log-likelihood of the last batch, nats per token; `None` when nothing was left to do.
    pub last_nll: Option<f64>,
    /// Step of the best validation.
    pub best_step: Option<usize>,
    /// Its negative log-likelihood, nats per token.
    pub best_val_nll: Option<f64>,
    /// The run directory, which is the scorer's checkpoint once the run is over.
    pub out_dir: PathBuf,
}

/// Trains scorer and denoiser on captions; the model is frozen.
///
/// The run directory gets `train.toml` (all settings, before the first step), `metrics.jsonl`, `checkpoints/`, `best/`
/// and at the end the scorer's checkpoint (`diffprune.json`, `model.safetensors`). Run again on the same directory, it
/// goes on after the newest checkpoint, to the bits of a run that was never interrupted.
///
/// # Errors
/// See [`TrainError`]. Nothing half-written is left, and a run can be resumed after any of them.
pub fn train(
    vlm: &dyn Vlm,
    data: &dyn CaptionData,
    validation: Option<&dyn CaptionData>,
    config: &TrainConfig,
    out_dir: impl AsRef<Path>,
    progress: &mut Progress,
) -> Result<TrainReport, TrainError> {
    Trainer::new(vlm, config).run(data, validation, out_dir, progress)
}

/// [`train`] with the possibility to stop in between.
pub struct Trainer<'a> {
    vlm: &'a dyn Vlm,
    config: TrainConfig,
    stop_after: Option<usize>,
}

/// What a checkpoint stores beside weights and moments.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct RunState {
    best: Option<Best>,
    since_best: usize,
    stopped_early: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Best {
    step: usize,
    /// The loss bit for bit, which decimal JSON does not promise.
    nll_bits: u64,
}

/// Everything that stays the same during a run.
struct Setting<'a> {
    config: TrainConfig,
    device: Device,
    workers: Workers,
    vlms: Vec<Mutex<Box<dyn Vlm>>>,
    prompt: CaptionPrompt,
    data: FeatureStore<'a>,
    validation: Option<(FeatureStore<'a>, usize)>,
}

struct Shard {
    grads: GradientsParams,
    nll: f64,
    targets: usize,
    weights: WeightStats,
    images: usize,
}

impl<'a> Trainer<'a> {
    /// A trainer for one model.
    pub fn new(vlm: &'a dyn Vlm, config: &TrainConfig) -> Self {
        Self {
            vlm,
            config: config.clone(),
            stop_after: None,
        }
    }

    /// Returns once `steps` updates are done, as if the process had been killed there.
    pub fn stop_after(mut self, steps: usize) -> Self {
        self.stop_after = Some(steps);
        self
    }

    /// Starts or resumes the run in `out_dir`; see [`train`].
    ///
    /// # Errors
    /// See [`TrainError`].
    pub fn run(
        &self,
        data: &dyn CaptionData,
        validation: Option<&dyn CaptionData>,
        out_dir: impl AsRef<Path>,
        progress: &mut Progress,
    ) -> Result<TrainReport, TrainError> {
        let out_dir = out_dir.as_ref();
        let setting = self.prepare(data, validation)?;
        let config = &setting.config;
        let checkpoints = CheckpointDir::open(out_dir.join(CHECKPOINTS), config.keep_checkpoints)?;
        RunFile::new(self.vlm, config).write_or_compare(&out_dir.join(SETTINGS_FILE))?;

        let autodiff = setting.device.clone().autodiff();
        let mut model = config
            .diffprune
            .init(self.vlm.d_vision(), config.seed, &autodiff)?;
        let mut optimizer = Optimizer::new(config.optimizer());
        let (mut state, mut step) = (RunState::default(), 0);
        if let Some(checkpoint) = checkpoints.latest()? {
            (model, state) = checkpoint.restore(model, &mut optimizer)?;
            step = checkpoint.step;
            progress.note(&format!("resuming after step {step}"));
        }
        let mut log = MetricsLog::open(out_dir.join(METRICS_FILE), step)?;
        let mut order = DataOrder::new(config.seed, data.len());
        let mut last_nll = None;
        if step == 0
            && let Some(val_nll) = setting.validate(&model)?
        {
            log.log(0, &ValidationMetrics { val_nll })?;
        }
        while step < config.steps && !state.stopped_early {
            if self.stop_after == Some(step) {
                return Ok(report(&setting, &state, step, last_nll, out_dir, false));
            }
            let metrics;
            (model, metrics) = setting.update(model, &mut optimizer, &mut order, step)?;
            step += 1;
            log.log(step, &metrics)?;
            last_nll = Some(metrics.nll);
            progress.step(
                step,
                &[("nll", metrics.nll), ("tau", metrics.tau), ("lr", metrics.lr)],
            );
            if let Some(val_nll) = setting.validate_when_due(&model, step)? {
                log.log(step, &ValidationMetrics { val_nll })?;
                progress.note(&format!("step {step}: validation nll {val_nll:.4}"));
                if state.record(step, val_nll, &setting) {
                    setting.save(out_dir.join(BEST), &model, step, &state)?;
                }
            }
            if step.is_multiple_of(config.checkpoint_every) || step == config.steps || state.stopped_early {
                checkpoints.save(step, &model, &optimizer, &state)?;
            }
        }
        progress.finish();
        setting.finish(&model, &state, step, out_dir)?;
        Ok(report(&setting, &state, step, last_nll, out_dir, true))
    }

    fn prepare<'b>(
        &self,
        data: &'b dyn CaptionData,
        validation: Option<&'b dyn CaptionData>,
    ) -> Result<Setting<'b>, TrainError> {
        let device = self.vlm.device().without_autodiff();
        let config = self.config.resolve(self.vlm.d_vision(), &device)?;
        for (name, data) in [("training data", Some(data)), ("validation data", validation)] {
            if data.is_some_and(|data| data.is_empty()) {
                return Err(DataError::Empty {
                    path: PathBuf::from(name),
                }
                .into());
            }
        }
        let threads = match config.threads {
            0 => available_parallelism().map_or(1, |count| count.get()),
            threads => threads,
        };
        let workers = Workers::new(threads.min(config.shards.unwrap_or(1)));
        let vlms = (0..workers.n_threads())
            .map(|_| Mutex::new(self.vlm.clone_box()))
            .collect();
        let validation = validation.filter(|_| config.validation.every > 0).map(|data| {
            let size = config.validation.size.min(data.len());
            (
                FeatureStore::new(data, config.cache_precision, config.cache_bytes / 8),
                size,
            )
        });
        Ok(Setting {
            prompt: CaptionPrompt::new(self.vlm, &config.prompt, config.max_caption_tokens)?,
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
    fn update(
        &self,
        model: Trainee,
        optimizer: &mut Optimizer,
        order: &mut DataOrder,
        step: usize,
    ) -> Result<(Trainee, StepMetrics), TrainError> {
        let config = &self.config;
        let tau = cosine_anneal(
            config.diffprune.tau_start,
            config.diffprune.tau_end,
            step,
            config.steps.saturating_sub(1),
        );
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
        Ok((
            optimizer.step(lr, model, grads),
            StepMetrics {
                nll,
                grad_norm,
                lr,
                tau,
                weights,
            },
        ))
    }

    /// Gradients of a part of the batch, in micro-batches one after the other.
    fn shard(&self, model: &Trainee, indices: &[usize], first: u64, tau: f64) -> Result<Shard, TrainError> {
        let model = model.for_worker(&self.device.clone().autodiff());
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
    fn with_vlm<T>(&self, work: impl FnOnce(&dyn Vlm) -> T) -> T {
        let free = self.vlms.iter().find_map(|vlm| vlm.try_lock().ok());
        let vlm = free.unwrap_or_else(|| self.vlms[0].lock().unwrap_or_else(PoisonError::into_inner));
        work(vlm.as_ref())
    }

    fn validate_when_due(&self, model: &Trainee, step: usize) -> Result<Option<f64>, TrainError> {
        let every = self.config.validation.every;
        let due = every > 0 && (step.is_multiple_of(every) || step == self.config.steps);
        if due { self.validate(model) } else { Ok(None) }
    }

    /// Negative log-likelihood of held-out captions with tokens pruned as at inference; `None` without such data.
    fn validate(&self, model: &Trainee) -> Result<Option<f64>, TrainError> {
        let Some((store, size)) = &self.validation else {
            return Ok(None);
        };
        let pruner = DiffPrune::new(model.scorer.clone());
        let options = PruneOptions::new(self.config.diffprune.budget);
        let ranges = shard_ranges(*size, size.div_ceil(self.config.micro_batch.unwrap_or(*size)));
        let parts = self.workers.run(ranges.len(), |i| {
            let indices: Vec<usize> = ranges[i].clone().collect();
            self.with_vlm(|vlm| {
                let (encoded, captions) = store.encode(vlm, &indices)?;
                let (visual, _) = prune(vlm, &encoded, &pruner, &options)?;
                let text = self.prompt.batch(vlm, &captions)?;
                let nll = f64::from(vlm.loss(&text, Some(&visual))?.into_scalar::<f32>());
                Ok((nll * count_targets(&text) as f64, count_targets(&text)))
            })
        });
        let parts = parts.into_iter().collect::<Result<Vec<_>, TrainError>>()?;
        let (nll, targets) = parts
            .iter()
            .fold((0.0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        Ok(Some(nll / targets.max(1) as f64))
    }

    fn save(&self, dir: PathBuf, model: &Trainee, step: usize, state: &RunState) -> Result<(), TrainError> {
        let model = model.valid();
        let summary = serde_json::json!({
            "step": step,
            "best_val_nll": state.best.map(|best| f64::from_bits(best.nll_bits)),
            "settings": &self.config.diffprune,
            "seed": self.config.seed,
        });
        let family = self.with_vlm(|vlm| vlm.family());
        let metadata = Metadata::new(self.config.diffprune.method.name(), &model.scorer)
            .with_vlm(family)
            .with_training(summary);
        Ok(ScorerCheckpoint::save_with_denoiser(
            dir,
            &model.scorer,
            &model.denoiser,
            &metadata,
        )?)
    }

    /// Writes the result: the best weights if they are wanted and known, else the last ones.
    fn finish(
        &self,
        model: &Trainee,
        state: &RunState,
        step: usize,
        out_dir: &Path,
    ) -> Result<(), TrainError> {
        match state.best.filter(|_| self.config.validation.keep_best) {
            None => self.save(out_dir.to_path_buf(), model, step, state),
            Some(best) => {
                let dir = out_dir.join(BEST);
                let (scorer, _) = ScorerCheckpoint::load(&dir, &self.device)?;
                let denoiser = ScorerCheckpoint::load_denoiser(&dir, model.valid().denoiser)?;
                let model = Trainee::new(scorer, denoiser, &self.device);
                self.save(out_dir.to_path_buf(), &model, best.step, state)
            }
        }
    }
}

impl RunState {
    /// Notes a validation; true when it is the best so far.
    fn record(&mut self, step: usize, nll: f64, setting: &Setting<'_>) -> bool {
        let better = nll.is_finite() && self.best.is_none_or(|best| nll < f64::from_bits(best.nll_bits));
        if better {
            self.best = Some(Best {
                step,
                nll_bits: nll.to_bits(),
            });
            self.since_best = 0;
        } else {
            self.since_best += 1;
            let patience = setting.config.validation.patience;
            self.stopped_early = patience > 0 && self.since_best >= patience;
        }
        better
    }
}

impl Shard {
    /// Walks backward from the sum over the targets.
    fn of(loss: TrainingLoss, model: &Trainee) -> Self {
        let (weights, images) = WeightStats::of(&loss.weights, loss.mask.as_ref());
        let sum = loss.nll * loss.n_targets as f64;
        let nll = f64::from(sum.clone().without_autodiff().into_scalar::<f32>());
        let grads = GradientsParams::from_grads(sum.backward(), model);
        Self {
            grads,
            nll,
            targets: loss.n_targets,
            weights,
            images,
        }
    }

    /// Adds in the order given.
    fn sum(shards: Vec<Self>, model: &Trainee) -> Self {
        let (mut nll, mut targets, mut weights, mut images) = (0.0, 0, WeightStats::default(), 0);
        for shard in &shards {
            nll += shard.nll;
            targets += shard.targets;
            weights = weights.plus(&shard.weights);
            images += shard.images;
        }
        let grads = sum_gradients(shards.into_iter().map(|shard| shard.grads).collect(), model);
        Self {
            grads,
            nll,
            targets,
            weights,
            images,
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

fn report(
    setting: &Setting<'_>,
    state: &RunState,
    steps: usize,
    last_nll: Option<f64>,
    out_dir: &Path,
    finished: bool,
) -> TrainReport {
    TrainReport {
        steps,
        finished,
        stopped_early: state.stopped_early && steps < setting.config.steps,
        last_nll,
        best_step: state.best.map(|best| best.step),
        best_val_nll: state.best.map(|best| f64::from_bits(best.nll_bits)),
        out_dir: out_dir.to_path_buf(),
    }
}
