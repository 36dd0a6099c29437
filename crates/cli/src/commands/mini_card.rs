//! `diffprune mini card`.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::Args;
use diffprune::LoadOptions;
use diffprune_eval::Stop;
use diffprune_lab::{CARD, LoadedModel, write_card};

use crate::model::ModelArgs;
use crate::print::say;
use crate::signals;
use crate::watch::Terminal;

/// Measures a small model on the ten question sets and writes its card.
#[derive(Debug, Args)]
pub struct CardArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder for questions, records and report.
    #[arg(long, value_name = "DIR", default_value = "runs/mini-card")]
    out: PathBuf,
}

impl CardArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        self.model.family.refuse("mini card")?;
        let device = diffprune_devices::parse(&self.model.device)?;
        let dir = self.model.dir()?;
        let (_watch, stop) = signals::after("answers")?;
        measure(&dir, &self.out, &device, stop)?;
        say!("{}", dir.join(CARD).display());
        Ok(())
    }
}

/// Measures the model in `dir` as it was published, in f32, and writes its card; records and report go to `out`.
pub fn measure(dir: &Path, out: &Path, device: &Device, stop: Stop) -> anyhow::Result<()> {
    let model = LoadedModel::load(dir, device, LoadOptions::f32())?;
    let report = write_card(&model, out, &mut Terminal::new("mini", stop))?;
    say!("{}", report.to_text());
    Ok(())
}
