//! `diffprune mini deit`.

use std::path::PathBuf;

use burn::tensor::DType;
use clap::{Args, ValueEnum};
use diffprune::vlm::VitLayout;
use diffprune_files::write_whole;
use diffprune_lab::{RECIPE, make_folder, read_recipe, replace_folder, settle_recipe, unfinished_folder};
use diffprune_mini::{DeitRecipe, WorldConfig, train_deit};

use super::mini_train::threads;
use crate::print::say;
use crate::signals;

/// Trains the small classifier of the pilot studies, and writes it as a checkpoint.
///
/// An interrupted run is continued by the same command. The checkpoint folder appears whole or not at all.
#[derive(Debug, Args)]
pub struct MiniDeitArgs {
    /// Folder of the run: settings and checkpoints.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Folder of the finished checkpoint.
    #[arg(long, value_name = "DIR")]
    assets: PathBuf,
    /// Width of the tokens, a multiple of 32.
    #[arg(long, default_value_t = DeitRecipe::default().width)]
    width: usize,
    /// The recipe; what the file does not name has its default.
    #[arg(long, value_name = "TOML", conflicts_with = "width")]
    config: Option<PathBuf>,
    /// Whose names the files have.
    #[arg(long, value_enum, default_value_t = Layout::Transformers)]
    layout: Layout,
    /// cpu, wgpu, vulkan or cuda, with an index as in cuda:1.
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// Whose names a classifier's files have.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Layout {
    Transformers,
    Timm,
}

impl MiniDeitArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let device = diffprune_devices::parse(&self.device)?;
        let recipe = match &self.config {
            Some(path) => read_recipe(path)?,
            None => DeitRecipe {
                width: self.width,
                ..DeitRecipe::default()
            },
        };
        make_folder(&self.out)?;
        let text = toml::to_string(&recipe)?;
        settle_recipe(&self.out.join(RECIPE), &text)?;
        let world = WorldConfig::default();
        let (_watch, stop) = signals::after("step")?;
        let trained = train_deit(&recipe, &world, &self.out, &device, threads(&device), &stop)?;
        let folder = unfinished_folder(&self.assets)?;
        let layout = match self.layout {
            Layout::Transformers => VitLayout::TransformersDeit,
            Layout::Timm => VitLayout::Timm,
        };
        trained.save_pretrained(&folder, layout, DType::F16)?;
        write_whole(folder.join(RECIPE), text.as_bytes())?;
        replace_folder(&folder, &self.assets)?;
        say!("{}", self.assets.display());
        Ok(())
    }
}
