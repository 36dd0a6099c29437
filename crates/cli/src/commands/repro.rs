//! `diffprune run repro`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::model::ModelArgs;
use crate::repro::{Repro, ReproPlan};

/// The whole experiment on the shipped small model, or on any LLaVA-1.5 checkpoint.
///
/// Writes the small world, trains a scorer by DiffPrune and one by Gumbel top-k with straight-through gradients, asks
/// every question with every arm, and reports. Each stage is skipped when it is complete with the same parameters and
/// continued when it was interrupted.
#[derive(Debug, Args)]
pub struct ReproArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// A few minutes instead of a quarter of an hour: fewer updates, pictures and seeds.
    #[arg(long)]
    quick: bool,
    /// Seed of data, training and intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the report and of everything behind it.
    #[arg(long, default_value = "runs/repro", value_name = "DIR")]
    out: PathBuf,
    /// Counts that replace those of the plan.
    #[arg(long, value_name = "TOML", hide = true)]
    plan: Option<PathBuf>,
}

impl ReproArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let plan = match &self.plan {
            None if self.quick => ReproPlan::quick(),
            None => ReproPlan::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                toml::from_str(&text).with_context(|| format!("{}: wanted a plan in TOML", path.display()))?
            }
        };
        let model = self.model.load()?;
        let repro = Repro {
            plan,
            model: &model,
            seed: self.seed,
            device: self.model.device,
            out: self.out,
        };
        repro.run()
    }
}
