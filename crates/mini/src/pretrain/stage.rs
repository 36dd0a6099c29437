//! The loop that both stages share: data drawn ahead, shards on threads, clipping, AdamW, checkpoints, a log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use diffprune_training::{
    AdamWOptions, CheckpointDir, FolderLock, MetricsLog, Optimizer, Progress, Stop, TrainingError,
    WarmupCosine, Workers, average_gradients, clip_global_norm,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::config::StageConfig;
use crate::MiniError;

/// Steps whose data is drawn ahead.
const AHEAD: usize = 2;

/// What a run carries from checkpoint to checkpoint beside weights and moments.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct RunState {
    loss: f64,
}

/// What one stage needs to know.
pub struct Stage<'a> {
    /// Name of the stage, also of its folder.
    pub name: &'a str,
    /// Its recipe.
    pub recipe: &'a StageConfig,
    /// Shards of a batch.
    pub shards: usize,
    /// Steps between lines of the log.
    pub log_every: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Folder of the run.
    pub dir: &'a Path,
    /// Threads that compute shards; `None` computes one after the other on the calling thread, as GPUs want it.
    pub workers: Option<&'a Workers>,
    /// Ends the stage after the running step, with a checkpoint.
    pub stop: &'a Stop,
}

impl Stage<'_> {
    /// Trains `module` (on the plain device) and returns it, trained, on the plain device.
    ///
    /// `draw(step, shard)` makes the data of a shard on the host; `loss(module, data)` computes its mean loss on an
    /// autodiff copy; `check(module)` is asked now and then for figures worth logging.
    ///
    /// # Errors
    /// When files cannot be written, a stored state does not fit, the loss is not finite, or the stage is stopped.
    pub fn run<M: Module + Sync, D: Send + Sync>(
        &self,
        module: M,
        draw: impl Fn(usize, usize) -> Result<D, MiniError> + Sync,
        loss: impl Fn(&M, &D) -> Result<Tensor<1>, MiniError> + Sync,
        check: impl Fn(&M) -> Result<BTreeMap<String, f64>, MiniError>,
    ) -> Result<M, MiniError> {
        let _lock = FolderLock::take(self.dir).map_err(TrainingError::from)?;
        let mut pupil = Pupil::open(self, module)?;
        let steps = pupil.first..self.recipe.steps;
        let (sender, drawn) = sync_channel(AHEAD);
        let draw = &draw;
        thread::scope(|scope| {
            scope.spawn(move || {
                for step in steps {
                    let shards = (0..self.shards).into_par_iter();
                    let data: Result<Vec<D>, MiniError> = shards.map(|shard| draw(step, shard)).collect();
                    // Nobody receives any more when training ended early.
                    if sender.send(data).is_err() {
                        return;
                    }
                }
            });
            pupil.learn(drawn, &loss, check)
        })?;
        Ok(pupil.module)
    }
}

/// A module in training.
struct Pupil<'a, M> {
    stage: &'a Stage<'a>,
    module: M,
    optimizer: Optimizer,
    checkpoints: CheckpointDir,
    state: RunState,
    /// Steps done before.
    first: usize,
}

impl<'a, M: Module + Sync> Pupil<'a, M> {
    fn open(stage: &'a Stage<'a>, module: M) -> Result<Self, MiniError> {
        let checkpoints = CheckpointDir::open(stage.dir.join(stage.name), 2)?;
        let mut optimizer = Optimizer::new(
            AdamWOptions::default()
                .with_weight_decay(stage.recipe.weight_decay as f32)
                .with_beta2(0.98),
        );
        let (module, state, first) = match checkpoints.latest()? {
            Some(checkpoint) => {
                let (module, state) = checkpoint.restore::<_, RunState>(module, &mut optimizer)?;
                (module, state, checkpoint.step)
            }
            None => (module, RunState::default(), 0),
        };
        Ok(Self {
            stage,
            module,
            optimizer,
            checkpoints,
            state,
            first,
        })
    }

    fn learn<D: Send + Sync>(
        &mut self,
        drawn: Receiver<Result<Vec<D>, MiniError>>,
        loss: &(impl Fn(&M, &D) -> Result<Tensor<1>, MiniError> + Sync),
        check: impl Fn(&M) -> Result<BTreeMap<String, f64>, MiniError>,
    ) -> Result<(), MiniError> {
        let Stage { name, recipe, .. } = *self.stage;
        let schedule = WarmupCosine::new(recipe.lr, recipe.warmup, recipe.steps);
        let mut log = MetricsLog::open(self.stage.dir.join(format!("{name}.jsonl")), self.first)?;
        let mut progress = Progress::new(name, recipe.steps);
        for (step, data) in (self.first..).zip(drawn) {
            let (grads, value) = self.gradients(&data?, loss)?;
            let (grads, norm) = clip_global_norm(grads, &self.module, recipe.clip);
            if !value.is_finite() || !norm.is_finite() {
                return Err(MiniError::Diverged {
                    stage: name.to_string(),
                    step,
                });
            }
            let lr = schedule.at(step);
            self.module = self.optimizer.step(lr, self.module.clone(), grads);
            self.state.loss = match step {
                0 => value,
                _ => 0.98 * self.state.loss + 0.02 * value,
            };
            let done = step + 1;
            let figures = [("loss", self.state.loss), ("lr", lr), ("norm", norm)];
            progress.step(done, &figures);
            if done % self.stage.log_every == 0 {
                log.log(done, &BTreeMap::from(figures))?;
            }
            if done % self.stage.checkpoint_every == 0 || done == recipe.steps {
                self.save(done)?;
                let figures = check(&self.module)?;
                let text: Vec<String> = figures
                    .iter()
                    .map(|(name, value)| format!("{name} {value:.3}"))
                    .collect();
                progress.note(&format!("{name} {done}: {}", text.join(", ")));
                log.log(done, &figures)?;
            } else if self.stage.stop.is_requested() {
                self.save(done)?;
            }
            if self.stage.stop.is_requested() && done < recipe.steps {
                progress.finish();
                return Err(MiniError::Stopped {
                    stage: name.to_string(),
                    step: done,
                });
            }
        }
        progress.finish();
        Ok(())
    }

    fn save(&self, done: usize) -> Result<(), MiniError> {
        self.checkpoints
            .save(done, &self.module, &self.optimizer, &self.state)?;
        Ok(())
    }

    /// Mean gradient and loss over the shards of a step.
    fn gradients<D: Send + Sync>(
        &self,
        data: &[D],
        loss: &(impl Fn(&M, &D) -> Result<Tensor<1>, MiniError> + Sync),
    ) -> Result<(GradientsParams, f64), MiniError> {
        let one = |data: &D| {
            // A fresh copy with gradients for each shard: forking a module that has them already leaves the leaves of
            // unused parameters in Burn's graph store for ever, and every later backward walks over them.
            let copy = self.module.clone().train();
            let loss = loss(&copy, data)?;
            let grads = GradientsParams::from_grads(loss.backward(), &copy);
            // Read last: a GPU then gets the whole step at once.
            let value = loss.into_data().iter::<f64>().sum::<f64>();
            Ok::<_, MiniError>((grads, value))
        };
        let shards: Vec<_> = match self.stage.workers {
            Some(workers) => workers.run(data.len(), |shard| one(&data[shard])),
            None => data.iter().map(one).collect(),
        };
        let mut grads = Vec::with_capacity(shards.len());
        let mut total = 0.0;
        for shard in shards {
            let (gradient, value) = shard?;
            grads.push(gradient);
            total += value;
        }
        let mean = total / grads.len().max(1) as f64;
        Ok((average_gradients(grads, &self.module), mean))
    }
}
