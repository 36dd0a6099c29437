//! The training run: loop, checkpoints, validation, result.

use std::path::{Path, PathBuf};

use burn::module::Module;
use diffprune_learned::HeadCheckpoint;
use diffprune_scorer::ScorerCheckpoint;
use diffprune_training::{CheckpointDir, FolderLock, MetricsLog, Optimizer, Progress, Stop, TrainingError};
use diffprune_vlm::Vlm;
use serde::{Deserialize, Serialize};

use super::config::{Inputs, RunFile};
use super::health::Health;
use super::metrics::ValidationMetrics;
use super::model::StoredTrainee;
use super::order::DataOrder;
use super::step::Setting;
use crate::{CaptionData, TrainConfig, TrainError, TrainWarning, Trainee};

/// Name of the file with the resolved settings in a run directory.
pub const SETTINGS_FILE: &str = "train.toml";
/// Name of the file with the measurements in a run directory.
pub const METRICS_FILE: &str = "metrics.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const BEST: &str = "best";

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// Updates done, over all interruptions.
    pub steps: usize,
    /// `true` if the run is over; false after [`Trainer::stop_after`] and when it was asked to stop.
    pub finished: bool,
    /// `true` if validation ended the run before its last step.
    pub stopped_early: bool,
    /// Negative log-likelihood of the last batch, nats per token; `None` when nothing was left to do.
    pub last_nll: Option<f64>,
    /// Negative log-likelihood before the first update, nats per token; `None` without validation.
    #[serde(default)]
    pub start_val_nll: Option<f64>,
    /// Step of the best validation; 0 is the state before the first update.
    pub best_step: Option<usize>,
    /// Its negative log-likelihood, nats per token.
    pub best_val_nll: Option<f64>,
    /// Warnings that a reader of the result needs.
    #[serde(default)]
    pub warnings: Vec<TrainWarning>,
    /// The run directory, which is the scorer's checkpoint once the run is over.
    pub out_dir: PathBuf,
}

/// Trains scorer and denoiser on captions; the model is frozen.
///
/// The run directory gets `train.toml` (all settings, before the first step), `metrics.jsonl`, `checkpoints/`, `best/`
/// and at the end the scorer's checkpoint (`diffprune.json`, `model.safetensors`). Run again on the same directory, it
/// goes on after the newest checkpoint, to the bits of a run that was never interrupted. A directory belongs to its settings
/// and to the content of its captions and pictures ([`CaptionData::digest`]); with others it is refused. Of the model's
/// weights the run knows what [`Trainer::with_model_digest`] is told.
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
    stop: Stop,
    stop_after: Option<usize>,
    model_digest: Option<String>,
}

/// The content of a checkpoint beside weights and moments.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct RunState {
    best: Option<Best>,
    since_best: usize,
    stopped_early: bool,
    /// Absent in checkpoints of earlier releases.
    #[serde(default)]
    health: Health,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Best {
    step: usize,
    /// The loss bit for bit, which decimal JSON does not promise.
    nll_bits: u64,
}

impl<'a> Trainer<'a> {
    /// A trainer for one model.
    pub fn new(vlm: &'a dyn Vlm, config: &TrainConfig) -> Self {
        Self {
            vlm,
            config: config.clone(),
            stop: Stop::default(),
            stop_after: None,
            model_digest: None,
        }
    }

    /// Names the content of the model's files, so that the run belongs to it: with other weights it is not gone on with.
    pub fn with_model_digest(mut self, digest: impl Into<String>) -> Self {
        self.model_digest = Some(digest.into());
        self
    }

    /// Returns after the update in which `stop` is requested, with a checkpoint of it: the next run goes on there.
    pub fn with_stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
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
        let setting = Setting::new(self.vlm, &self.config, data, validation)?;
        let config = &setting.config;
        let _lock = FolderLock::take(out_dir).map_err(TrainingError::from)?;
        let checkpoints = CheckpointDir::open(out_dir.join(CHECKPOINTS), config.keep_checkpoints)?;
        let inputs = Inputs {
            model: self.model_digest.clone(),
            captions: data.digest()?,
            held_out: match validation.filter(|_| config.validation.every > 0) {
                Some(held_out) => held_out.digest()?,
                None => None,
            },
        };
        RunFile::new(self.vlm, inputs, config).write_or_compare(&out_dir.join(SETTINGS_FILE))?;

        // On the plain device: each shard records on a copy of its own.
        let mut model = config
            .diffprune
            .init(self.vlm.d_descriptor(), config.seed, &setting.device)?;
        let mut optimizer = Optimizer::new(config.optimizer());
        let (mut state, mut step) = (RunState::default(), 0);
        if let Some(checkpoint) = checkpoints.latest()? {
            let stored: StoredTrainee;
            (stored, state) = checkpoint.restore(model.into(), &mut optimizer)?;
            model = stored.into();
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
            // An untrained scorer can be better than what a training makes of it.
            if state.record(0, val_nll, &setting) {
                setting.save(out_dir.join(BEST), &model, 0, &state)?;
            }
        }
        let mut saved = step;
        while step < config.steps && !state.stopped_early {
            if self.stop.is_requested() {
                if step > saved {
                    checkpoints.save(step, &StoredTrainee::from(model.clone()), &optimizer, &state)?;
                }
                progress.finish();
                return Ok(report(&setting, &state, step, last_nll, out_dir, false));
            }
            if self.stop_after == Some(step) {
                return Ok(report(&setting, &state, step, last_nll, out_dir, false));
            }
            let metrics;
            (model, metrics) = setting.update(model, &mut optimizer, &mut order, step)?;
            step += 1;
            log.log(step, &metrics)?;
            if state
                .health
                .update(step, config.steps, &metrics, config.clip_norm)
            {
                let norm = metrics.grad_norm;
                progress.note(&format!(
                    "warning: step {step}: the gradients have a norm of {norm:.0}"
                ));
            }
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
                saved = step;
                checkpoints.save(step, &StoredTrainee::from(model.clone()), &optimizer, &state)?;
            }
        }
        progress.finish();
        setting.finish(&model, &state, step, out_dir)?;
        for warning in state.health.warnings(config.clip_norm) {
            progress.note(&format!("warning: {warning}"));
        }
        Ok(report(&setting, &state, step, last_nll, out_dir, true))
    }
}

impl Setting<'_> {
    fn save(&self, dir: PathBuf, model: &Trainee, step: usize, state: &RunState) -> Result<(), TrainError> {
        let model = model.valid();
        let summary = serde_json::json!({
            "step": step,
            "best_val_nll": state.best.map(|best| f64::from_bits(best.nll_bits)),
            "settings": &self.config.diffprune,
            "seed": self.config.seed,
        });
        let family = self.with_vlm(|vlm| vlm.family().name());
        let metadata = HeadCheckpoint::describe(self.config.diffprune.method.name(), &model.head)
            .with_vlm(family)
            .with_training(summary);
        Ok(HeadCheckpoint::save_with_denoiser(
            dir,
            &model.head,
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
                let (head, _) = HeadCheckpoint::load(&dir, &self.device)?;
                let denoiser = ScorerCheckpoint::load_denoiser(&dir, model.valid().denoiser)?;
                let model = Trainee::new(head, denoiser, &self.device);
                self.save(out_dir.to_path_buf(), &model, best.step, state)
            }
        }
    }
}

impl RunState {
    /// Notes a validation; true when it is the best so far.
    fn record(&mut self, step: usize, nll: f64, setting: &Setting<'_>) -> bool {
        self.health.validation(step, nll);
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
        start_val_nll: state.health.start(),
        warnings: state.health.warnings(setting.config.clip_norm),
        best_step: state.best.map(|best| best.step),
        best_val_nll: state.best.map(|best| f64::from_bits(best.nll_bits)),
        out_dir: out_dir.to_path_buf(),
    }
}
