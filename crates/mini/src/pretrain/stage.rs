//! The loop that the stages share, under the learner of `burn-train`: data drawn ahead, shards on threads, clipping, AdamW,
//! checkpoints, a log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;
use diffprune_training::learner::burn_train::{InferenceStep, TrainStep};
use diffprune_training::learner::{Gauge, LearnOptions, Reported, StepPlan, SteppedRun, learn};
use diffprune_training::{
    AdamWOptions, CheckpointDir, FolderLock, MetricsLog, Optimizer, Progress, Stop, TrainingError,
    WarmupCosine, Workers, average_gradients, clip_global_norm,
};
use serde::{Deserialize, Serialize};

use super::config::StageConfig;
use super::pupil::{Ahead, Exam, Exams, Exercise, Learned, Marks, Pupil, reading};
use crate::MiniError;

/// What a run carries from checkpoint to checkpoint beside weights and moments.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct RunState {
    loss: f64,
}

/// What one stage needs to know.
pub struct Stage {
    /// Name of the stage, also of its folder.
    pub name: &'static str,
    /// Its recipe.
    pub recipe: StageConfig,
    /// Shards of a batch.
    pub shards: usize,
    /// Steps between lines of the log.
    pub log_every: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Folder of the run.
    pub dir: PathBuf,
    /// Threads that compute shards; `None` computes one after the other on the calling thread, as GPUs want it.
    pub workers: Option<Arc<Workers>>,
    /// Ends the stage after the running step, with a checkpoint.
    pub stop: Stop,
    /// Names of the figures of a check that the learner logs.
    pub figures: Vec<&'static str>,
}

impl Stage {
    /// Trains `module` (on the plain device) and returns it, trained, on the plain device.
    ///
    /// `draw(step, shard)` makes the data of a shard on the host; `loss(module, data)` computes its mean loss on an
    /// autodiff copy; `check(module)` is asked now and then for figures worth logging.
    ///
    /// # Errors
    /// When files cannot be written, a stored state does not fit, the loss is not finite, or the stage is stopped.
    pub fn run<M, D>(
        self,
        module: M,
        draw: impl Fn(usize, usize) -> Result<D, MiniError> + Send + Sync + 'static,
        loss: impl Fn(&M, &D) -> Result<Tensor<1>, MiniError> + Send + Sync + 'static,
        check: impl Fn(&M) -> Result<BTreeMap<String, f64>, MiniError> + Send + Sync + 'static,
    ) -> Result<M, MiniError>
    where
        M: Module + ModuleDisplay + Sync + 'static,
        D: Send + Sync + 'static,
    {
        let _lock = FolderLock::take(&self.dir).map_err(TrainingError::from)?;
        let (name, steps) = (self.name, self.recipe.steps);
        let lessons = Ahead::new(steps, self.shards, draw, loss);
        let exams = Exams::new(self.figures.clone(), check);
        let options = LearnOptions::new(self.dir.join("learner").join(name), name)
            .with_train([
                Gauge::new(reading::VALUE, "Loss"),
                Gauge::new(reading::LOSS, "Smoothed loss"),
                Gauge::new(reading::LR, "Learning rate").with_precision(6),
                Gauge::new(reading::NORM, "Gradient norm"),
            ])
            .with_valid(
                self.figures
                    .iter()
                    .map(|name| Gauge::new(name, name).where_more_is_better()),
            )
            .with_shown([
                ("Smoothed loss", "loss"),
                ("Learning rate", "lr"),
                ("Gradient norm", "norm"),
            ])
            .with_stop(self.stop.clone());
        let run = StageRun::open(self, module)?;
        if run.done >= steps {
            return Ok(run.module);
        }
        let mut progress = Progress::new(name, steps);
        let learned = learn(run, Arc::new(lessons), Arc::new(exams), options, &mut progress)?;
        match learned.stopped {
            false => Ok(learned.run.module),
            true => Err(MiniError::Stopped {
                stage: name.to_string(),
                step: learned.run.done,
            }),
        }
    }
}

/// A module in training.
struct StageRun<M> {
    stage: Stage,
    module: M,
    optimizer: Optimizer,
    checkpoints: CheckpointDir,
    log: MetricsLog,
    state: RunState,
    done: usize,
    /// Step of the newest checkpoint.
    saved: usize,
    lr: f64,
}

impl<M: Module> StageRun<M> {
    fn open(stage: Stage, module: M) -> Result<Self, MiniError> {
        let checkpoints = CheckpointDir::open(stage.dir.join(stage.name), 2)?;
        let mut optimizer = Optimizer::new(
            AdamWOptions::default()
                .with_weight_decay(stage.recipe.weight_decay as f32)
                .with_beta2(0.98),
        );
        let (module, state, done) = match checkpoints.latest()? {
            Some(checkpoint) => {
                let (module, state) = checkpoint.restore::<_, RunState>(module, &mut optimizer)?;
                (module, state, checkpoint.step)
            }
            None => (module, RunState::default(), 0),
        };
        Ok(Self {
            log: MetricsLog::open(stage.dir.join(format!("{}.jsonl", stage.name)), done)?,
            stage,
            module,
            optimizer,
            checkpoints,
            state,
            done,
            saved: done,
            lr: 0.0,
        })
    }

    fn save(&mut self) -> Result<(), MiniError> {
        self.checkpoints
            .save(self.done, &self.module, &self.optimizer, &self.state)?;
        self.saved = self.done;
        Ok(())
    }
}

impl<M: Module + ModuleDisplay + Sync + 'static> SteppedRun<Pupil<M>> for StageRun<M> {
    type Error = MiniError;

    fn plan(&self) -> StepPlan {
        StepPlan {
            done: self.done,
            total: self.stage.recipe.steps,
            per_epoch: self.stage.checkpoint_every,
            items_per_update: self.stage.shards,
        }
    }

    /// An untrained network answers nothing.
    fn validates_first(&self) -> bool {
        false
    }

    fn update(&mut self, exercises: Vec<Exercise<M>>) -> Result<Reported<Learned>, MiniError> {
        let exercises: Vec<_> = exercises.into_iter().map(|one| Mutex::new(Some(one))).collect();
        let one = |shard: usize| {
            let exercise = exercises[shard].lock().ok().and_then(|mut place| place.take());
            // A fresh copy with gradients for each shard: forking a module that has them already leaves the leaves of
            // unused parameters in Burn's graph store for ever, and every later backward walks over them.
            let pupil = Pupil::new(self.module.clone().train());
            exercise.map(|exercise| TrainStep::step(&pupil, exercise))
        };
        let outcomes: Vec<_> = match &self.stage.workers {
            Some(workers) => workers.run(exercises.len(), one),
            None => (0..exercises.len()).map(one).collect(),
        };
        let mut grads = Vec::with_capacity(outcomes.len());
        let mut total = 0.0;
        for outcome in outcomes.into_iter().flatten() {
            grads.push(outcome.grads);
            total += outcome.item.loss?;
        }
        let value = total / grads.len().max(1) as f64;
        let (step, recipe) = (self.done, &self.stage.recipe);
        let grads = average_gradients(grads, &self.module);
        let (grads, norm) = clip_global_norm(grads, &self.module, recipe.clip);
        if !value.is_finite() || !norm.is_finite() {
            return Err(MiniError::Diverged {
                stage: self.stage.name.to_string(),
                step,
            });
        }
        self.lr = WarmupCosine::new(recipe.lr, recipe.warmup, recipe.steps).at(step);
        self.module = self.optimizer.step(self.lr, self.module.clone(), grads);
        self.state.loss = match step {
            0 => value,
            _ => 0.98 * self.state.loss + 0.02 * value,
        };
        self.done += 1;
        let figures = [
            (reading::LOSS, self.state.loss),
            (reading::LR, self.lr),
            (reading::NORM, norm),
        ];
        if self.done.is_multiple_of(self.stage.log_every) {
            self.log.log(self.done, &BTreeMap::from(figures))?;
        }
        Ok(Learned::of_step(value, &figures).into())
    }

    fn learning_rate(&self) -> f64 {
        self.lr
    }

    fn validate(&mut self, exams: Vec<Exam<M>>) -> Result<Reported<Vec<Marks>>, MiniError> {
        let pupil = Pupil::new(self.module.clone());
        let (mut output, mut notes) = (Vec::new(), Vec::new());
        for exam in exams {
            let marks = InferenceStep::step(&pupil, exam);
            let figures = marks.figures?;
            let texts = figures.iter().map(|(name, value)| format!("{name} {value:.3}"));
            let texts: Vec<String> = texts.collect();
            notes.push(format!("{} {}: {}", self.stage.name, self.done, texts.join(", ")));
            self.log.log(self.done, &figures)?;
            output.push(Marks {
                figures: Ok(figures),
                ..marks
            });
        }
        Ok(Reported { output, notes })
    }

    fn settle(&mut self) -> Result<(), MiniError> {
        let (done, stage) = (self.done, &self.stage);
        match done.is_multiple_of(stage.checkpoint_every) || done == stage.recipe.steps {
            true => self.save(),
            false => Ok(()),
        }
    }

    fn pause(&mut self) -> Result<(), MiniError> {
        match self.done > self.saved {
            true => self.save(),
            false => Ok(()),
        }
    }

    fn model(&self) -> Pupil<M> {
        Pupil::new(self.module.clone())
    }
}
