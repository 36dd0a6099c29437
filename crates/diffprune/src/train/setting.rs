//! What stays the same during a run, and the arithmetic of one update and one validation.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Instant;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use diffprune_pruner::{Grid, Layout};
use diffprune_training::learner::burn_train::InferenceStep;
use diffprune_training::{Workers, clip_global_norm, scale_gradients, shard_ranges};
use diffprune_vlm::{PruneOptions, Vlm, loss, prepare_encoded};

use super::features::SharedData;
use super::learner::{CaptionShard, HeldOutPart};
use super::metrics::StepMetrics;
use super::shard::Shard;
use super::text::count_targets;
use crate::{
    CaptionBatch, CaptionPrompt, ConfigError, DataError, FeatureStore, LearnedPruner, TrainConfig,
    TrainError, Trainee, training_loss,
};

/// Everything that stays the same during a run.
pub(super) struct Setting {
    pub(super) config: TrainConfig,
    /// Where the model in training lives and gradients are summed: the device of the first copy of the model.
    pub(super) device: Device,
    workers: Workers,
    replicas: Vec<Replica>,
    prompt: CaptionPrompt,
    data: FeatureStore<'static>,
    n_samples: usize,
    validation: Option<(FeatureStore<'static>, usize)>,
}

/// The model on one device, with a copy for each thread that works there (they share the weights).
struct Replica {
    device: Device,
    copies: Vec<Mutex<Box<dyn Vlm>>>,
}

/// The number of threads that a run has on one device, and that read its data.
pub(super) fn n_threads(config: &TrainConfig) -> usize {
    match config.threads {
        0 => available_parallelism().map_or(1, |count| count.get()),
        threads => threads,
    }
}

impl Setting {
    /// Checks settings and data and brings up the threads: as many as the settings say for one copy of the model, one for each
    /// of several copies.
    pub(super) fn new(
        vlms: &[&dyn Vlm],
        config: &TrainConfig,
        data: SharedData,
        validation: Option<SharedData>,
    ) -> Result<Self, TrainError> {
        let Some(&vlm) = vlms.first() else {
            return Err(ConfigError::new("models", 0, "a copy for each device, one at least").into());
        };
        let device = vlm.device();
        check_replicas(vlms)?;
        let mut config = config.clone();
        if vlms.len() > 1 && device != Device::flex() {
            // A shard for each device; on CPUs the usual number, so that the result is that of one.
            config.shards.get_or_insert(vlms.len());
        }
        let config = config.resolve(vlm.d_descriptor(), &device)?;
        for (name, data) in [
            ("training data", Some(&data)),
            ("validation data", validation.as_ref()),
        ] {
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
        let (workers, copies) = match vlms.len() {
            1 => {
                let n_threads = n_threads(&config).min(config.shards.unwrap_or(1));
                (Workers::new(n_threads), n_threads)
            }
            n_devices => (Workers::new(n_devices), 1),
        };
        let replica = |vlm: &&dyn Vlm| Replica {
            device: vlm.device(),
            copies: (0..copies).map(|_| Mutex::new(vlm.clone_box())).collect(),
        };
        let validation = validation.filter(|_| config.validation.every > 0).map(|data| {
            let size = config.validation.size.min(data.len());
            let limit = config.cache_bytes / 8;
            (FeatureStore::shared(data, config.cache_precision, limit), size)
        });
        Ok(Self {
            prompt: CaptionPrompt::new(vlm, &config.prompt, config.max_caption_tokens)?,
            n_samples: data.len(),
            data: FeatureStore::shared(data, config.cache_precision, config.cache_bytes),
            replicas: vlms.iter().map(replica).collect(),
            config,
            device,
            workers,
            validation,
        })
    }

    /// The model in training before the first update, on the plain device: each shard records on a copy of its own.
    pub(super) fn trainee(&self) -> Result<Trainee, ConfigError> {
        let d_descriptor = self.with_vlm(|vlm| vlm.d_descriptor());
        let config = &self.config;
        config.diffprune.init(d_descriptor, config.seed, &self.device)
    }

    /// Samples to learn from.
    pub(super) fn n_samples(&self) -> usize {
        self.n_samples
    }

    /// Parts of a batch.
    pub(super) fn n_shards(&self) -> usize {
        self.config.shards.unwrap_or(1)
    }

    /// Copies of the frozen model.
    pub(super) fn n_devices(&self) -> usize {
        self.replicas.len()
    }

    /// The number of the copy on that device; the first where there is none.
    pub(super) fn copy_on(&self, device: &Device) -> usize {
        let plain = device.clone().inner();
        let place = self.replicas.iter().position(|replica| replica.device == plain);
        place.unwrap_or(0)
    }

    /// The parts that a validation looks at; none without held-out data.
    pub(super) fn held_out(self: &Arc<Self>) -> Vec<HeldOutPart> {
        let Some((_, size)) = &self.validation else {
            return Vec::new();
        };
        let ranges = shard_ranges(*size, size.div_ceil(self.config.micro_batch.unwrap_or(*size)));
        let parts = ranges
            .into_iter()
            .map(|range| HeldOutPart::new(self.clone(), range));
        parts.collect()
    }

    /// Gradient and measurements of update `step`, counted from 0, from its shards.
    pub(super) fn gradient(
        &self,
        model: &Trainee,
        shards: &[CaptionShard],
        step: usize,
    ) -> Result<(GradientsParams, StepMetrics), TrainError> {
        let (config, started) = (&self.config, Instant::now());
        let outcomes = self.run(shards.len(), |device, i| {
            let worker = self.on_device(model, device).for_worker();
            let shard = shards[i].clone().on_device(device).learned_by(&worker)?;
            Ok(match self.replicas[device].device == self.device {
                true => shard,
                false => shard.moved_to(&self.device, &worker),
            })
        });
        let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, TrainError>>()?;
        let Shard { grads, sums } = Shard::sum(outcomes, model);
        let nll = finite(sums.nll(), "loss", step)?;
        // Shards carry sums over targets, so that the batch is a mean over targets however it was split.
        let grads = scale_gradients(grads, model, 1.0 / sums.targets as f64);
        let (grads, grad_norm) = clip_global_norm(grads, model, config.clip_norm);
        finite(grad_norm, "norm of the gradients", step)?;
        let metrics = StepMetrics {
            nll,
            penalty: sums.penalty.map(|sum| sum / sums.targets as f64),
            grad_norm,
            lr: config.schedule().at(step),
            tau: config.diffprune.tau_at(step, config.steps),
            weights: sums.weights.over(sums.images),
            budget: sums.budget as f64 / sums.images.max(1) as f64,
            targets_per_second: sums.targets as f64 / started.elapsed().as_secs_f64().max(1e-9),
        };
        Ok((grads, metrics))
    }

    /// Gradients of a part of the batch, in micro-batches one after the other.
    pub(super) fn shard(&self, model: &Trainee, shard: &CaptionShard) -> Result<Shard, TrainError> {
        let size = self.config.micro_batch.unwrap_or(shard.indices.len()).max(1);
        let mut whole = Shard::nothing();
        for (i, indices) in shard.indices.chunks(size).enumerate() {
            let first = shard.first + (i * size) as u64;
            let batch = CaptionBatch {
                store: &self.data,
                prompt: &self.prompt,
                indices: indices.to_vec(),
                draws: (first..first + indices.len() as u64).collect(),
                seed: self.config.seed,
                tau: shard.tau,
                recompute: self.config.recompute,
            };
            let loss = self.with_vlm_on(shard.device, |vlm| {
                training_loss(model, vlm, &self.config.diffprune, &batch)
            })?;
            // Added as they come: a part's gradients are as large as the model in training.
            whole = Shard::sum(vec![whole, Shard::of(loss, model)], model);
        }
        Ok(whole)
    }

    /// Negative log-likelihood of held-out captions with tokens pruned as at inference, for each part its sum over the targets
    /// and their number.
    pub(super) fn validate(
        &self,
        model: &Trainee,
        parts: &[HeldOutPart],
    ) -> Vec<Result<(f64, usize), TrainError>> {
        self.run(parts.len(), |device, i| {
            let model = self.on_device(model, device);
            InferenceStep::step(&model, parts[i].clone().on_device(device)).outcome
        })
    }

    /// One part of a validation.
    pub(super) fn look(&self, model: &Trainee, part: &HeldOutPart) -> Result<(f64, usize), TrainError> {
        let Some((store, _)) = &self.validation else {
            return Ok((0.0, 0));
        };
        let pruner = LearnedPruner::new(model.head.clone());
        let options = PruneOptions::new(self.config.diffprune.budget);
        let indices: Vec<usize> = part.range.clone().collect();
        self.with_vlm_on(part.device, |vlm| {
            let (encoded, captions) = store.encode(vlm, &indices)?;
            let images = prepare_encoded(vlm, &encoded, &pruner, &options)?;
            let text = store.text(vlm, &self.prompt, &indices, &captions)?;
            let nll = f64::from(loss(vlm, &text, &images)?.into_scalar::<f32>());
            Ok((nll * count_targets(&text) as f64, count_targets(&text)))
        })
    }

    /// Works with a copy of the model on the first device that no other thread uses.
    pub(super) fn with_vlm<T>(&self, work: impl FnOnce(&dyn Vlm) -> T) -> T {
        self.with_vlm_on(0, work)
    }

    fn with_vlm_on<T>(&self, device: usize, work: impl FnOnce(&dyn Vlm) -> T) -> T {
        let copies = &self.replicas[device].copies;
        let free = copies.iter().find_map(|vlm| vlm.try_lock().ok());
        let vlm = free.unwrap_or_else(|| copies[0].lock().unwrap_or_else(PoisonError::into_inner));
        work(vlm.as_ref())
    }

    /// The model in training where a copy of the frozen one is.
    fn on_device(&self, model: &Trainee, device: usize) -> Trainee {
        let device = &self.replicas[device].device;
        match *device == self.device {
            true => model.clone(),
            false => model.clone().to_device(device),
        }
    }

    /// Runs `job(device, i)` for every `i`: on one device whichever thread is free takes the next; on several, job `i` runs on
    /// device `i % n`, a thread for each. Results come in the order of the jobs.
    fn run<T: Send>(&self, n_jobs: usize, job: impl Fn(usize, usize) -> T + Sync) -> Vec<T> {
        let n_devices = self.replicas.len();
        if n_devices == 1 {
            return self.workers.run(n_jobs, |i| job(0, i));
        }
        let parts = self.workers.run(n_devices, |device| {
            let own = (device..n_jobs).step_by(n_devices);
            own.map(|i| (i, job(device, i))).collect::<Vec<_>>()
        });
        let mut all: Vec<(usize, T)> = parts.into_iter().flatten().collect();
        all.sort_by_key(|(i, _)| *i);
        all.into_iter().map(|(_, result)| result).collect()
    }
}

/// Refuses models with gradients, and copies that are not of one model.
fn check_replicas(vlms: &[&dyn Vlm]) -> Result<(), ConfigError> {
    let facts = |vlm: &dyn Vlm| {
        let widths = [vlm.d_vision(), vlm.group(), vlm.d_model()];
        format!("{} with widths {widths:?}", vlm.family())
    };
    for vlm in vlms {
        if vlm.device().is_autodiff() {
            // On the plain device nothing can change the model, whatever an optimiser does.
            let found = "an autodiff device";
            return Err(ConfigError::new("device of the model", found, "the plain one"));
        }
        if facts(*vlm) != facts(vlms[0]) {
            return Err(ConfigError::new(
                "copies of the model",
                facts(*vlm),
                facts(vlms[0]),
            ));
        }
    }
    Ok(())
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
