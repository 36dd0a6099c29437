//! A run by its updates: optimiser, checkpoints, validation, result.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use diffprune_learned::HeadCheckpoint;
use diffprune_scorer::ScorerCheckpoint;
use diffprune_training::learner::{Gauge, Readings, Reported, StepPlan, SteppedRun};
use diffprune_training::{CheckpointDir, MetricsLog, Optimizer};
use diffprune_vlm::Vlm;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::{Inputs, RunFile};
use super::health::Health;
use super::learner::{CaptionOutput, CaptionShard, HeldOutOutput, HeldOutPart, reading};
use super::metrics::ValidationMetrics;
use super::model::StoredTrainee;
use super::setting::Setting;
use super::trainer::{METRICS_FILE, SETTINGS_FILE};
use crate::{TrainError, TrainReport, Trainee};

pub(super) const CHECKPOINTS: &str = "checkpoints";
const BEST: &str = "best";

/// Measurements that the log of a run keeps for each update.
const LOGGED: [&str; 6] = [
    reading::NLL,
    reading::PENALTY,
    reading::TAU,
    reading::LR,
    reading::GRAD_NORM,
    reading::ABOVE_HALF,
];
/// Names of the metrics that plain lines show, with the words for them.
pub(super) const SHOWN: [(&str, &str); 3] =
    [("Loss", "nll"), ("Temperature", "tau"), ("Learning rate", "lr")];

/// The metrics of an update.
pub(super) fn train_gauges() -> Vec<Gauge> {
    vec![
        Gauge::new(reading::NLL, "Loss").with_unit("nats per token"),
        Gauge::new(reading::TAU, "Temperature"),
        Gauge::new(reading::LR, "Learning rate").with_precision(6),
        Gauge::new(reading::GRAD_NORM, "Gradient norm"),
        Gauge::new(reading::ABOVE_HALF, "Weights above one half").with_unit("of tokens"),
        Gauge::new(reading::SPEED, "Caption tokens per second")
            .with_precision(1)
            .where_more_is_better(),
    ]
}

/// The metrics of a validation.
pub(super) fn valid_gauges() -> Vec<Gauge> {
    vec![Gauge::new(reading::NLL, "Loss").with_unit("nats per token")]
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

/// A run in its directory.
pub(super) struct Run {
    setting: Arc<Setting>,
    out_dir: PathBuf,
    model: Trainee,
    optimizer: Optimizer,
    state: RunState,
    step: usize,
    /// Step of the newest checkpoint.
    saved: usize,
    stop_after: Option<usize>,
    checkpoints: CheckpointDir,
    log: MetricsLog,
    last_nll: Option<f64>,
    lr: f64,
}

impl Run {
    /// Opens the run in `out_dir`, whose lock the caller holds, after its newest checkpoint.
    ///
    /// # Errors
    /// When the directory holds another run, or a file is damaged.
    pub(super) fn open(
        setting: Arc<Setting>,
        inputs: Inputs,
        out_dir: &Path,
        stop_after: Option<usize>,
    ) -> Result<Self, TrainError> {
        let config = &setting.config;
        let checkpoints = CheckpointDir::open(out_dir.join(CHECKPOINTS), config.keep_checkpoints)?;
        let file = setting.with_vlm(|vlm| RunFile::new(vlm, inputs, config));
        file.write_or_compare(&out_dir.join(SETTINGS_FILE))?;
        let mut model = setting.trainee()?;
        let mut optimizer = Optimizer::new(config.optimizer());
        let (mut state, mut step) = (RunState::default(), 0);
        if let Some(checkpoint) = checkpoints.latest()? {
            let stored: StoredTrainee;
            (stored, state) = checkpoint.restore(model.into(), &mut optimizer)?;
            model = stored.into();
            step = checkpoint.step;
        }
        Ok(Self {
            log: MetricsLog::open(out_dir.join(METRICS_FILE), step)?,
            setting,
            out_dir: out_dir.to_path_buf(),
            model,
            optimizer,
            state,
            step,
            saved: step,
            stop_after,
            checkpoints,
            last_nll: None,
            lr: 0.0,
        })
    }

    /// Updates done.
    pub(super) fn step(&self) -> usize {
        self.step
    }

    /// `true` when nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        self.step >= self.setting.config.steps || self.state.stopped_early
    }

    /// What readers of the result need to know.
    pub(super) fn warnings(&self) -> Vec<String> {
        let warnings = self.state.health.warnings(self.setting.config.clip_norm);
        let texts = warnings.iter().map(|warning| format!("warning: {warning}"));
        texts.collect()
    }

    /// Notes a validation, and keeps the model when it is the best so far.
    fn validated(&mut self, val_nll: f64) -> Result<(), TrainError> {
        self.log.log(self.step, &ValidationMetrics { val_nll })?;
        let patience = self.setting.config.validation.patience;
        match self.state.record(self.step, val_nll, patience) {
            true => self.save(self.out_dir.join(BEST), &self.model, self.step),
            false => Ok(()),
        }
    }

    fn checkpoint(&mut self) -> Result<(), TrainError> {
        let stored = StoredTrainee::from(self.model.clone());
        self.checkpoints
            .save(self.step, &stored, &self.optimizer, &self.state)?;
        self.saved = self.step;
        Ok(())
    }

    fn save(&self, dir: PathBuf, model: &Trainee, step: usize) -> Result<(), TrainError> {
        let model = model.valid();
        let config = &self.setting.config;
        let summary = serde_json::json!({
            "step": step,
            "best_val_nll": self.state.best.map(|best| f64::from_bits(best.nll_bits)),
            "settings": &config.diffprune,
            "seed": config.seed,
        });
        let family = self.setting.with_vlm(|vlm: &dyn Vlm| vlm.family().name());
        let metadata = HeadCheckpoint::describe(config.diffprune.method.name(), &model.head)
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
    pub(super) fn finish(&self) -> Result<(), TrainError> {
        let out_dir = self.out_dir.clone();
        let config = &self.setting.config;
        match self.state.best.filter(|_| config.validation.keep_best) {
            None => self.save(out_dir, &self.model, self.step),
            Some(best) => {
                let (dir, device) = (out_dir.join(BEST), &self.setting.device);
                let (head, _) = HeadCheckpoint::load(&dir, device)?;
                let denoiser = ScorerCheckpoint::load_denoiser(&dir, self.model.valid().denoiser)?;
                let model = Trainee::new(head, denoiser, device);
                self.save(out_dir, &model, best.step)
            }
        }
    }

    pub(super) fn report(&self, finished: bool) -> TrainReport {
        let (state, config) = (&self.state, &self.setting.config);
        TrainReport {
            steps: self.step,
            finished,
            stopped_early: state.stopped_early && self.step < config.steps,
            last_nll: self.last_nll,
            start_val_nll: state.health.start(),
            warnings: state.health.warnings(config.clip_norm),
            best_step: state.best.map(|best| best.step),
            best_val_nll: state.best.map(|best| f64::from_bits(best.nll_bits)),
            out_dir: self.out_dir.clone(),
        }
    }
}

impl SteppedRun<Trainee> for Run {
    type Error = TrainError;

    fn plan(&self) -> StepPlan {
        let config = &self.setting.config;
        StepPlan {
            done: self.step,
            total: config.steps,
            per_epoch: match config.validation.every {
                0 => config.steps,
                every => every,
            },
            items_per_update: self.setting.n_shards(),
        }
    }

    fn ended_early(&self) -> bool {
        self.state.stopped_early
    }

    fn is_to_pause(&self) -> bool {
        self.stop_after == Some(self.step)
    }

    fn replay(&self) -> Vec<CaptionOutput> {
        let plan = self.plan();
        let (begin, _) = plan.bounds(plan.epoch());
        // A log that cannot be read is no reason to end the run that writes it.
        let text = std::fs::read_to_string(self.out_dir.join(METRICS_FILE)).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let updates = lines.filter(|line: &Value| {
            let step = line["step"].as_u64().unwrap_or(0) as usize;
            step > begin && line[reading::NLL].is_f64()
        });
        let readings = |line: Value| {
            let known = LOGGED
                .iter()
                .filter_map(|name| Some((*name, line[*name].as_f64()?)));
            known.fold(Readings::new(1), |readings, (name, value)| {
                readings.with(name, value)
            })
        };
        updates.map(|line| CaptionOutput::read(readings(line))).collect()
    }

    fn update(&mut self, shards: Vec<CaptionShard>) -> Result<Reported<CaptionOutput>, TrainError> {
        let (grads, metrics) = self.setting.gradient(&self.model, &shards, self.step)?;
        let stored = StoredTrainee::from(self.model.clone());
        self.model = self.optimizer.step(metrics.lr, stored, grads).into();
        self.step += 1;
        self.lr = metrics.lr;
        self.last_nll = Some(metrics.nll);
        self.log.log(self.step, &metrics)?;
        let config = &self.setting.config;
        let has_exploded = self
            .state
            .health
            .update(self.step, config.steps, &metrics, config.clip_norm);
        let note = || {
            let (step, norm) = (self.step, metrics.grad_norm);
            format!("warning: step {step}: the gradients have a norm of {norm:.0}")
        };
        Ok(Reported {
            notes: has_exploded.then(note).into_iter().collect(),
            output: CaptionOutput::of_update(&metrics),
        })
    }

    fn learning_rate(&self) -> f64 {
        self.lr
    }

    fn validate(&mut self, parts: Vec<HeldOutPart>) -> Result<Reported<Vec<HeldOutOutput>>, TrainError> {
        let outcomes = self.setting.validate(&self.model, &parts);
        let sums = outcomes.into_iter().collect::<Result<Vec<_>, TrainError>>()?;
        let (nll, targets) = sums
            .iter()
            .fold((0.0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        let val_nll = nll / targets.max(1) as f64;
        self.validated(val_nll)?;
        let note = format!("step {}: validation nll {val_nll:.4}", self.step);
        let outputs = sums.into_iter().map(|sums| HeldOutOutput { outcome: Ok(sums) });
        Ok(Reported {
            output: outputs.collect(),
            notes: (self.step > 0).then_some(note).into_iter().collect(),
        })
    }

    fn settle(&mut self) -> Result<(), TrainError> {
        let config = &self.setting.config;
        let is_due = self.step.is_multiple_of(config.checkpoint_every) || self.is_over();
        if is_due { self.checkpoint() } else { Ok(()) }
    }

    fn pause(&mut self) -> Result<(), TrainError> {
        // Told to stop as a kill would do, nothing is saved.
        if self.step > self.saved && !self.is_to_pause() {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn model(&self) -> Trainee {
        self.model.clone()
    }
}

impl RunState {
    /// Notes a validation; true when it is the best so far.
    fn record(&mut self, step: usize, nll: f64, patience: usize) -> bool {
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
            self.stopped_early = patience > 0 && self.since_best >= patience;
        }
        better
    }
}
