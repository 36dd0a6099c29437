//! `diffprune mini train`.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use clap::Args;
use diffprune_files::write_whole;
use diffprune_lab::{
    CARD, RECIPE, card_without_scores, make_folder, pretrain_recipe, replace_folder, settle_recipe,
    shipped_folder, unfinished_folder,
};
use diffprune_mini::{Family, Pretrained, WorldConfig, pretrain, write_processor_files};

use super::mini_card::measure;
use crate::print::say;
use crate::signals;

/// Trains a small model from scratch, measures it, and writes it as a checkpoint in Hugging Face layout.
///
/// A run that is interrupted is continued by the same command. The checkpoint folder appears whole or not at all.
#[derive(Debug, Args)]
pub struct MiniTrainArgs {
    /// Which one: llava-1.5, llava-next or qwen2.5-vl.
    #[arg(long, default_value_t = Family::default(), value_parser = small_model)]
    model: Family,
    /// Folder of the run: settings, checkpoints, measurements.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Folder of the finished checkpoint [default: that of the model below assets].
    #[arg(long, value_name = "DIR")]
    assets: Option<PathBuf>,
    /// cpu, wgpu, vulkan or cuda, with an index as in cuda:1.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// The recipe; what the file does not name has the model's default.
    #[arg(long, value_name = "TOML")]
    config: Option<PathBuf>,
    /// Checkpoint to start from instead of random weights; its part of a stage without steps stays as it is. Give the
    /// recipe another seed, or the scenes are those that it has seen.
    #[arg(long, value_name = "DIR")]
    start: Option<PathBuf>,
    /// Leave out the measurement at the end; the card then has no scores.
    #[arg(long)]
    no_card: bool,
}

impl MiniTrainArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let device = diffprune_devices::parse(&self.device)?;
        let config = pretrain_recipe(self.model, self.start.as_deref(), self.config.as_deref())?;
        make_folder(&self.out)?;
        let recipe = toml::to_string(&config)?;
        settle_recipe(&self.out.join(RECIPE), &recipe)?;
        let world = WorldConfig::default();
        let (_watch, stop) = signals::after("step")?;
        let trained = pretrain(
            &config,
            &world,
            &self.out,
            &device,
            threads(&device),
            self.start.as_deref(),
            &stop,
        )?;
        let assets = self
            .assets
            .unwrap_or_else(|| shipped_folder(&config.model_name()));
        let folder = unfinished_folder(&assets)?;
        write_checkpoint(&trained, config.family, &world, &recipe, &folder)?;
        if self.no_card {
            write_whole(folder.join(CARD), card_without_scores(&recipe)?.as_bytes())?;
        } else {
            measure(&folder, &self.out.join("card"), &device, stop)?;
        }
        replace_folder(&folder, &assets)?;
        say!("{}", assets.display());
        Ok(())
    }
}

/// The family of a small model by its name, with `mini-` in front or without.
fn small_model(text: &str) -> Result<Family, String> {
    let family = text.strip_prefix("mini-").unwrap_or(text);
    family.parse().map_err(|_| {
        let known = Family::ALL.map(Family::name).join(", ");
        format!("found `{text}`, expected one of {known}")
    })
}

/// Shards run on as many threads as a CPU has; a GPU takes them one after the other.
pub(super) fn threads(device: &Device) -> Option<usize> {
    let cores = || std::thread::available_parallelism().map_or(1, |count| count.get());
    diffprune_devices::is_cpu(device).then(cores)
}

fn write_checkpoint(
    trained: &Pretrained,
    family: Family,
    world: &WorldConfig,
    recipe: &str,
    dir: &Path,
) -> anyhow::Result<()> {
    trained.save_pretrained(dir, DType::F16)?;
    write_processor_files(dir, family, world)?;
    write_whole(dir.join(RECIPE), recipe.as_bytes())?;
    Ok(())
}
