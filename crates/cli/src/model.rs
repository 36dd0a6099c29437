//! Which model, and reading it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::tensor::{DType, Device};
use clap::Args;
use diffprune::{LoadOptions, Vlm, load_vlm};

use crate::{device, digest};

/// Where the shipped model lies in the repository.
pub const SHIPPED: &str = "assets/mini-llava-1.5";

/// Which model runs where.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// LLaVA-1.5 checkpoint in Hugging Face layout [default: the shipped small one].
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// cpu, wgpu, vulkan or cuda, with an index as in cuda:1.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Hold the weights in f16: a 7B model then takes 14 GB.
    #[arg(long)]
    pub half: bool,
}

/// A model that was read.
pub struct Loaded {
    /// The frozen model.
    pub vlm: Box<dyn Vlm>,
    /// Its folder.
    pub dir: PathBuf,
    /// Whether its weights are held in f16.
    pub half: bool,
}

impl ModelArgs {
    /// Reads the model.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        let device = device::parse(&self.device)?;
        let dir = match &self.model {
            Some(dir) => dir.clone(),
            None => shipped()?,
        };
        load(&dir, &device, self.half)
    }
}

impl Loaded {
    /// Name of the model for reports: that of its folder.
    pub fn name(&self) -> String {
        let path = self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone());
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_else(|| "model".into())
    }

    /// Hash of configuration, texts and weights.
    pub fn fingerprint(&self) -> anyhow::Result<String> {
        let names = [
            "config.json",
            "tokenizer.json",
            "preprocessor_config.json",
            "generation_config.json",
        ];
        Ok(digest::of_folder(&self.dir, &names)?.hex())
    }
}

/// Reads a checkpoint folder.
pub fn load(dir: &Path, device: &Device, half: bool) -> anyhow::Result<Loaded> {
    if !dir.is_dir() {
        bail!(
            "{}: no such folder, wanted a LLaVA-1.5 checkpoint; train the small one with `cargo xtask mini` or name \
             another with --model",
            dir.display()
        );
    }
    let options = LoadOptions {
        dtype: if half { DType::F16 } else { DType::F32 },
        ..LoadOptions::default()
    };
    let vlm = load_vlm(dir, device, options)?;
    Ok(Loaded {
        vlm,
        dir: dir.to_path_buf(),
        half,
    })
}

/// The shipped model: below the current folder, above it, or above the program's own file.
fn shipped() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    let program = std::env::current_exe().unwrap_or_default();
    let found = here
        .ancestors()
        .chain(program.ancestors())
        .map(|dir| dir.join(SHIPPED))
        .find(|dir| dir.is_dir());
    found.with_context(|| {
        format!(
            "{SHIPPED}: not found in {} or above; train it with `cargo xtask mini` or name a checkpoint with --model",
            here.display()
        )
    })
}
