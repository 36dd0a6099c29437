//! The training of a run directory, from the outside.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diffprune_training::learner::{LearnOptions, View, learn};
use diffprune_training::{FolderLock, Progress, Stop, TrainingError};
use diffprune_vlm::Vlm;
use serde::{Deserialize, Serialize};

use super::config::Inputs;
use super::features::SharedData;
use super::loader::{CaptionLoader, HeldOutLoader};
use super::run::{Run, SHOWN, train_gauges, valid_gauges};
use super::serve::serve;
use super::setting::{Setting, n_threads};
use crate::{CaptionData, TrainConfig, TrainError, TrainWarning};

/// Name of the file with the resolved settings in a run directory.
pub const SETTINGS_FILE: &str = "train.toml";
/// Name of the file with the measurements in a run directory.
pub const METRICS_FILE: &str = "metrics.jsonl";
/// Name of the folder with the logs of `burn-train` in a run directory.
pub const LEARNER_DIR: &str = "learner";

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
/// The run directory gets `train.toml` (all settings, before the first step), `metrics.jsonl`, `checkpoints/`, `best/`,
/// `learner/` (the metric logs of `burn-train`, a folder for each interval between validations)
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

/// [`train`] with more to say: other devices, a view, a way to stop.
pub struct Trainer<'a> {
    vlms: Vec<&'a dyn Vlm>,
    config: TrainConfig,
    stop: Stop,
    stop_after: Option<usize>,
    model_digest: Option<String>,
    view: View,
}

impl<'a> Trainer<'a> {
    /// A trainer for one model.
    pub fn new(vlm: &'a dyn Vlm, config: &TrainConfig) -> Self {
        Self {
            vlms: vec![vlm],
            config: config.clone(),
            stop: Stop::default(),
            stop_after: None,
            model_digest: None,
            view: View::default(),
        }
    }

    /// Computes on more devices: copies of the same model, each on a device of its own. A thread for each of them takes every
    /// n-th shard of a batch; gradients are summed on the device of the first, in the order of the shards. Without
    /// [`TrainConfig::shards`] a batch has one for each device, on CPUs the usual number.
    pub fn with_devices(mut self, copies: impl IntoIterator<Item = &'a dyn Vlm>) -> Self {
        self.vlms.extend(copies);
        self
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

    /// Shows the run in another view than plain lines.
    pub fn with_view(mut self, view: View) -> Self {
        self.view = view;
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
        let (out_dir, n_threads) = (out_dir.as_ref(), n_threads(&self.config));
        serve(data, n_threads, |data| match validation {
            None => self.walk(data, None, out_dir, progress),
            Some(validation) => serve(validation, n_threads, |validation| {
                self.walk(data, Some(validation), out_dir, progress)
            }),
        })
    }

    fn walk(
        &self,
        data: SharedData,
        validation: Option<SharedData>,
        out_dir: &Path,
        progress: &mut Progress,
    ) -> Result<TrainReport, TrainError> {
        let setting = Setting::new(&self.vlms, &self.config, data.clone(), validation.clone())?;
        let setting = Arc::new(setting);
        let _lock = FolderLock::take(out_dir).map_err(TrainingError::from)?;
        let inputs = Inputs {
            model: self.model_digest.clone(),
            captions: data.digest()?,
            held_out: match validation.filter(|_| setting.config.validation.every > 0) {
                Some(held_out) => held_out.digest()?,
                None => None,
            },
        };
        let mut run = Run::open(setting.clone(), inputs, out_dir, self.stop_after)?;
        if run.step() > 0 {
            progress.note(&format!("resuming after step {}", run.step()));
        }
        if !run.is_over() {
            let (train, valid) = (
                Arc::new(CaptionLoader::shards(setting.clone())),
                Arc::new(HeldOutLoader::new(&setting)),
            );
            let options = LearnOptions::new(out_dir.join(LEARNER_DIR), "training")
                .with_train(train_gauges())
                .with_valid(valid_gauges())
                .with_shown(SHOWN)
                .with_view(self.view)
                .with_stop(self.stop.clone());
            let learned = learn(run, train, valid, options, progress)?;
            run = learned.run;
            if learned.stopped {
                return Ok(run.report(false));
            }
        }
        run.finish()?;
        for warning in run.warnings() {
            progress.note(&warning);
        }
        Ok(run.report(true))
    }
}
