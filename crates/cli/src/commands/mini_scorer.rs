//! `diffprune mini scorer`.

use std::path::PathBuf;

use clap::Args;
use diffprune_lab::{SCORER, train_shipped_scorer, training_summary};

use crate::model::ModelArgs;
use crate::print::say;
use crate::signals;
use crate::watch::Terminal;

/// Trains the scorer that a small model brings along, as the default plan of an experiment trains DiffPrune, and writes it
/// beside the weights: `ask` and `show` then use it unless told otherwise.
///
/// An interrupted run is continued by the same command.
#[derive(Debug, Args)]
pub struct ScorerArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder of the run: captions, settings, checkpoints.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of captions, weights, order and noise.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl ScorerArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        self.model.family.refuse("mini scorer")?;
        let model = self.model.load()?;
        let (_watch, stop) = signals::after("update")?;
        let into = model.dir.join(SCORER);
        let mut terminal = Terminal::new("mini", stop);
        let report = train_shipped_scorer(&model, self.seed, &self.out, &into, &mut terminal)?;
        say!("{}\n{}", training_summary(&report), into.display());
        Ok(())
    }
}
