//! `diffprune train`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use diffprune::training::Progress;
use diffprune::{Budget, CaptionData, GateKind, Method, TrainConfig, train};
use diffprune_lab::{captions, default_learning_rate, default_scorer, training_summary};

use crate::model::ModelArgs;

/// Trains a scorer, or the head of a rival, on captions; the model is frozen.
///
/// A run that is interrupted, in whatever way, is continued by the same command and ends with the same weights.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder with captions.jsonl, or with `train` and `val` that have one each.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Folder of the run, which becomes the scorer's checkpoint.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Settings; what the file does not name has its default.
    #[arg(long, value_name = "TOML")]
    config: Option<PathBuf>,
    /// What is trained: throttle (DiffPrune), gumbel-ste, gumbel-ste-soft, operator:NAME (DiffPrune with another soft
    /// top-k, for example operator:clip), dynamic-vit, dynamic-llava, atp or glimpse-prune (which needs boxes).
    #[arg(long)]
    method: Option<Method>,
    /// What a soft top-k does with tokens [default: that of the settings file; without one scale for
    /// operator:NAME, else vp-noise].
    #[arg(long, value_enum)]
    gate: Option<GateName>,
    /// Tokens that may pass in training: a count (32), a fraction (2/9) or a percentage (11%).
    #[arg(long)]
    keep: Option<Budget>,
    /// Updates.
    #[arg(long)]
    steps: Option<usize>,
    /// Seed of weights, order and noise.
    #[arg(long)]
    seed: Option<u64>,
}

/// Names of gates on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GateName {
    /// What does not pass is replaced by noise.
    VpNoise,
    /// Tokens times weights.
    Scale,
}

impl TrainArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let model = self.model.load()?;
        let config = self.settings(model.vlm.d_descriptor())?;
        let (data, held_out) = captions(&self.data, config.diffprune.method.needs_relevance())?;
        let held_out = held_out.as_ref().map(|folder| folder as &dyn CaptionData);
        let mut progress = Progress::new("training", config.steps);
        let report = train(
            model.vlm.as_ref(),
            &data,
            held_out,
            &config,
            &self.out,
            &mut progress,
        )?;
        println!("{}", model.with_options(&training_summary(&report)));
        Ok(())
    }

    /// Settings of the file (or the defaults for this width), with what the command line says on top.
    fn settings(&self, d_vision: usize) -> anyhow::Result<TrainConfig> {
        let mut config = match &self.config {
            Some(path) => TrainConfig::from_file(path)?,
            None => {
                let mut config = TrainConfig {
                    lr: default_learning_rate(d_vision),
                    ..TrainConfig::default()
                };
                config.diffprune.scorer = default_scorer(d_vision);
                config.diffprune.budget = Budget::rate(2, 9);
                if matches!(self.method, Some(Method::Operator { .. })) {
                    config.diffprune.throttler.gate = GateKind::Scale;
                }
                config
            }
        };
        config.diffprune.method = self.method.unwrap_or(config.diffprune.method);
        config.diffprune.throttler.gate = match self.gate {
            None => config.diffprune.throttler.gate,
            Some(GateName::VpNoise) => GateKind::VpNoise,
            Some(GateName::Scale) => GateKind::Scale,
        };
        config.diffprune.budget = self.keep.unwrap_or(config.diffprune.budget);
        config.steps = self.steps.unwrap_or(config.steps);
        config.seed = self.seed.unwrap_or(config.seed);
        Ok(config)
    }
}
