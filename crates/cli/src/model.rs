//! Which model, and reading it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use burn::tensor::{DType, Device};
use clap::{Args, ValueEnum};
use diffprune::vlm::{Family, HubOptions, Progress, resolve_checkpoint_with, resolve_settings_with};
use diffprune::{LoadOptions, Vlm, load_vlm};
use diffprune_mini::model_name;
use indicatif::{ProgressBar, ProgressStyle};

use crate::family::{FamilyArgs, told};
use crate::{device, digest};

/// The folder of the shipped models in the repository.
const ASSETS: &str = "assets";

/// Which model runs where.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// Checkpoint in Hugging Face layout: a folder, a shipped small model (mini-llava-1.5, mini-llava-next,
    /// mini-qwen2.5-vl), or a name on the hub such as llava-hf/llava-1.5-7b-hf, which is fetched into the usual cache
    /// (HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured) [default: mini-llava-1.5].
    #[arg(long, value_name = "DIR|NAME|ID")]
    pub model: Option<String>,
    /// cpu, wgpu, vulkan or cuda, with an index as in cuda:1.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Type that the weights are held in [default: f32]. In 16 bit a 7B model takes 14 GB; a CPU computes f16 far faster
    /// than bf16.
    #[arg(long, value_enum, value_name = "TYPE")]
    pub dtype: Option<WeightType>,
    /// The same as --dtype f16.
    #[arg(long, conflicts_with = "dtype")]
    pub half: bool,
    /// What only one family has.
    #[command(flatten)]
    pub family: FamilyArgs,
}

/// Types that weights can be held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WeightType {
    /// 32 bit.
    F32,
    /// 16 bit, 10 of them mantissa.
    F16,
    /// 16 bit, 7 of them mantissa.
    Bf16,
}

impl WeightType {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

impl From<WeightType> for DType {
    fn from(dtype: WeightType) -> Self {
        match dtype {
            WeightType::F32 => Self::F32,
            WeightType::F16 => Self::F16,
            WeightType::Bf16 => Self::BF16,
        }
    }
}

/// A model that was read.
pub struct Loaded {
    /// The frozen model.
    pub vlm: Box<dyn Vlm>,
    /// Its folder.
    pub dir: PathBuf,
    /// Type that its weights are held in.
    pub dtype: WeightType,
    /// What of the options of its family is not the default, in the words of the command line; mostly empty.
    pub options: String,
}

impl ModelArgs {
    /// Reads the model.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        let device = device::parse(&self.device)?;
        let dir = self.dir()?;
        let options = self.options(&dir)?;
        Ok(Loaded {
            vlm: load_vlm(&dir, &device, options)?,
            dir,
            dtype: self.weights(),
            options: told(&options),
        })
    }

    /// The folder of the checkpoint, fetched from the hub where that is meant.
    pub fn dir(&self) -> anyhow::Result<PathBuf> {
        match &self.model {
            Some(model) => resolve(model, true),
            None => shipped(Family::default()),
        }
    }

    /// As [`Self::dir`]; of a model on the hub no weights are fetched.
    pub fn settings_dir(&self) -> anyhow::Result<PathBuf> {
        match &self.model {
            Some(model) => resolve(model, false),
            None => shipped(Family::default()),
        }
    }

    /// Type that the weights are to be held in.
    fn weights(&self) -> WeightType {
        match (self.dtype, self.half) {
            (Some(dtype), _) => dtype,
            (None, true) => WeightType::F16,
            (None, false) => WeightType::F32,
        }
    }

    /// How the checkpoint in `dir` is read.
    ///
    /// # Errors
    /// When options were given that its family does not have, or that contradict each other.
    pub fn options(&self, dir: &Path) -> anyhow::Result<LoadOptions> {
        self.family.check(dir)?;
        let options = LoadOptions {
            dtype: self.weights().into(),
            ..LoadOptions::default()
        };
        Ok(self.family.onto(options)?)
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

    /// `text` with the options of the family behind it, where some are not the default.
    pub fn with_options(&self, text: &str) -> String {
        match self.options.as_str() {
            "" => text.to_string(),
            options => format!("{text}; {options}"),
        }
    }

    /// Hash of configuration, texts and weights, and of the options of the family: other options, other answers.
    pub fn fingerprint(&self) -> anyhow::Result<String> {
        let names = [
            "config.json",
            "tokenizer.json",
            "preprocessor_config.json",
            "generation_config.json",
        ];
        let digest = digest::of_folder(&self.dir, &names)?;
        // Without options the hash is that of the folder.
        Ok(match self.options.as_str() {
            "" => digest.hex(),
            options => digest.text(options).hex(),
        })
    }
}

/// Reads a checkpoint folder as it is published, in f32.
pub fn load(dir: &Path, device: &Device) -> anyhow::Result<Loaded> {
    Ok(Loaded {
        vlm: load_vlm(dir, device, LoadOptions::default())?,
        dir: dir.to_path_buf(),
        dtype: WeightType::F32,
        options: String::new(),
    })
}

/// The folder that a text names: one on this machine, a shipped model, or a model of the hub in the cache, fetched if
/// need be, with its weights or without.
fn resolve(model: &str, with_weights: bool) -> anyhow::Result<PathBuf> {
    if let Some(family) = Family::ALL
        .into_iter()
        .find(|&family| model_name(family) == model)
        && !Path::new(model).is_dir()
    {
        return shipped(family);
    }
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{msg} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut show = |progress: Progress<'_>| {
        bar.set_message(progress.file.to_string());
        bar.set_length(progress.size);
        bar.set_position(progress.done);
    };
    let options = HubOptions::from_env();
    let dir = match with_weights {
        true => resolve_checkpoint_with(model, &options, &mut show),
        false => resolve_settings_with(model, &options, &mut show),
    };
    bar.finish_and_clear();
    dir.with_context(|| {
        format!(
            "model {model}: wanted a folder or a name on the hub; train the small one with `cargo xtask mini`"
        )
    })
}

/// Where the small model of a family is shipped, in the repository.
pub fn shipped_folder(family: Family) -> PathBuf {
    Path::new(ASSETS).join(model_name(family))
}

/// A shipped model: below the current folder, above it, or above the program's own file.
fn shipped(family: Family) -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    let program = std::env::current_exe().unwrap_or_default();
    let folder = shipped_folder(family);
    let found = here
        .ancestors()
        .chain(program.ancestors())
        .map(|dir| dir.join(&folder))
        .find(|dir| dir.is_dir());
    found.with_context(|| {
        format!(
            "{}: not found in {} or above; train it with `cargo xtask mini --model {family}` or name a checkpoint with \
             --model",
            folder.display(),
            here.display()
        )
    })
}
