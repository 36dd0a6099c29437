//! The loop that both stages share: shards on threads, clipping, AdamW, checkpoints, a log.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use diffprune_training::{
    AdamWOptions, CheckpointDir, MetricsLog, Optimizer, Progress, WarmupCosine, Workers, average_gradients,
    clip_global_norm,
};
use serde::{Deserialize, Serialize};

use super::config::{PretrainConfig, StageConfig};
use crate::MiniError;

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
    /// The run's recipe.
    pub config: &'a PretrainConfig,
    /// Folder of the run.
    pub dir: &'a Path,
}

impl Stage<'_> {
    /// Trains `module` (on the plain device) and returns it, trained, on the plain device.
    ///
    /// `loss(module, step, shard)` computes the mean loss of one shard on an autodiff copy; `check(module, step)` is
    /// asked now and then for figures worth logging.
    ///
    /// # Errors
    /// When files cannot be written, a stored state does not fit, or the loss is not finite.
    pub fn run<M: Module + Sync>(
        &self,
        module: M,
        loss: impl Fn(&M, usize, usize) -> Result<Tensor<1>, MiniError> + Sync,
        check: impl Fn(&M, usize) -> Result<BTreeMap<String, f64>, MiniError>,
    ) -> Result<M, MiniError> {
        let checkpoints = CheckpointDir::open(self.dir.join(self.name), 2)?;
        let decay = self.recipe.weight_decay as f32;
        let mut optimizer = Optimizer::new(AdamWOptions {
            weight_decay: decay,
            beta2: 0.98,
            ..Default::default()
        });
        let (mut module, mut state, first) = match checkpoints.latest()? {
            Some(checkpoint) => {
                let (module, state) = checkpoint.restore::<_, RunState>(module, &mut optimizer)?;
                (module, state, checkpoint.step)
            }
            None => (module, RunState::default(), 0),
        };
        let schedule = WarmupCosine::new(self.recipe.lr, self.recipe.warmup, self.recipe.steps);
        let mut log = MetricsLog::open(self.dir.join(format!("{}.jsonl", self.name)), first)?;
        let mut progress = Progress::new(self.name, self.recipe.steps);
        let workers = Workers::default();
        for step in first..self.recipe.steps {
            let (grads, value) = self.gradients(&workers, &module, step, &loss)?;
            let (grads, norm) = clip_global_norm(grads, &module, self.recipe.clip);
            if !value.is_finite() || !norm.is_finite() {
                return Err(MiniError::Diverged {
                    stage: self.name.to_string(),
                    step,
                });
            }
            let lr = schedule.at(step);
            module = optimizer.step(lr, module, grads);
            state.loss = if step == 0 {
                value
            } else {
                0.98 * state.loss + 0.02 * value
            };
            let done = step + 1;
            progress.step(done, &[("loss", state.loss), ("lr", lr), ("norm", norm)]);
            if done % self.config.log_every == 0 {
                log.log(
                    done,
                    &BTreeMap::from([("loss", state.loss), ("lr", lr), ("norm", norm)]),
                )?;
            }
            if done % self.config.checkpoint_every == 0 || done == self.recipe.steps {
                checkpoints.save(done, &module, &optimizer, &state)?;
                let figures = check(&module, done)?;
                let text: Vec<String> = figures
                    .iter()
                    .map(|(name, value)| format!("{name} {value:.3}"))
                    .collect();
                progress.note(&format!("{} {done}: {}", self.name, text.join(", ")));
                log.log(done, &figures)?;
            }
        }
        progress.finish();
        Ok(module)
    }

    /// Mean gradient and loss over the shards of a step.
    fn gradients<M: Module + Sync>(
        &self,
        workers: &Workers,
        module: &M,
        step: usize,
        loss: &(impl Fn(&M, usize, usize) -> Result<Tensor<1>, MiniError> + Sync),
    ) -> Result<(GradientsParams, f64), MiniError> {
        let shards = workers.run(self.config.shards, |shard| {
            // A fresh copy with gradients for each shard: forking a module that has them already leaves the leaves of
            // unused parameters in Burn's graph store for ever, and every later backward walks over them.
            let copy = module.clone().train();
            let loss = loss(&copy, step, shard)?;
            let value = loss.clone().into_data().iter::<f64>().sum::<f64>();
            Ok::<_, MiniError>((GradientsParams::from_grads(loss.backward(), &copy), value))
        });
        let mut grads = Vec::with_capacity(shards.len());
        let mut total = 0.0;
        for shard in shards {
            let (gradient, value) = shard?;
            grads.push(gradient);
            total += value;
        }
        let mean = total / grads.len().max(1) as f64;
        Ok((average_gradients(grads, module), mean))
    }
}
