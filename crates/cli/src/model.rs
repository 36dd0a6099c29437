//! The model of a command: its arguments, its folder, its weights.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use diffprune::vlm::{HubOptions, Progress, resolve_checkpoint_with, resolve_settings_with, take_notes};
use diffprune::{Budget, LoadOptions};
use diffprune_lab::{
    LoadedModel, WeightType, foreign_scorer, memory_note, nearest, shipped_family, shipped_model,
};
use diffprune_mini::{Family, model_name};
use indicatif::ProgressStyle;

use crate::family::FamilyArgs;
use crate::print::{self, detail, tell};
use crate::signals;

/// The values of `--dtype`.
pub fn weight_types() -> impl TypedValueParser<Value = WeightType> {
    PossibleValuesParser::new(WeightType::ALL.map(WeightType::name))
        .try_map(|name| name.parse::<WeightType>())
}

/// A model, its number format and its device.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// Checkpoint in Hugging Face layout: a folder, a shipped small model (mini-llava-1.5, mini-llava-next,
    /// mini-qwen2.5-vl), or a name on the hub such as llava-hf/llava-1.5-7b-hf, which is fetched into the usual cache
    /// (HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured) [default: mini-llava-1.5].
    #[arg(long, value_name = "DIR|NAME|ID", help_heading = "Model")]
    pub model: Option<String>,
    /// cpu, wgpu, vulkan or cuda, with an index as in cuda:1.
    #[arg(long, default_value = "cpu", help_heading = "Hardware")]
    pub device: String,
    /// Type that the weights are held in [default: f32 for the shipped small models, for all others that of their files].
    /// In 16 bit a 7B model takes 14 GB; a CPU computes f16 far faster than bf16.
    #[arg(long, value_parser = weight_types(), value_name = "TYPE", help_heading = "Hardware")]
    pub dtype: Option<WeightType>,
    /// The same as --dtype f16.
    #[arg(long, conflicts_with = "dtype", help_heading = "Hardware")]
    pub half: bool,
    /// Options of one family.
    #[command(flatten)]
    pub family: FamilyArgs,
}

impl ModelArgs {
    /// Reads the model.
    pub fn load(&self) -> anyhow::Result<LoadedModel> {
        self.load_from(&self.dir()?)
    }

    /// Reads the model in a folder with these options.
    pub fn load_from(&self, dir: &Path) -> anyhow::Result<LoadedModel> {
        let device = diffprune_devices::parse(&self.device)?;
        let start = std::time::Instant::now();
        let options = self.options(dir)?;
        if diffprune_devices::is_cpu(&device)
            && let Some(note) = memory_note(dir, &options)
        {
            tell!("note: {note}");
        }
        let model = LoadedModel::load(dir, &device, options)?;
        tell_notes();
        detail!(
            "{}: read as {} onto {} in {:.1} s",
            dir.display(),
            model.dtype,
            self.device,
            start.elapsed().as_secs_f64()
        );
        Ok(model)
    }

    /// Reads the model onto each device of a list such as `cuda:0,cuda:1`; there is at least one.
    pub fn load_on_each(&self) -> anyhow::Result<Vec<LoadedModel>> {
        let dir = self.dir()?;
        let on = |name: &str| Self {
            device: name.into(),
            ..self.clone()
        };
        let devices = diffprune_devices::list(&self.device).into_iter();
        devices.map(|name| on(name).load_from(&dir)).collect()
    }

    /// The folders of several checkpoints, named as `--model` is; those on the hub are fetched.
    pub fn dirs(&self, names: &[String]) -> anyhow::Result<Vec<PathBuf>> {
        let dir = |name: &String| {
            let model = Self {
                model: Some(name.trim().into()),
                ..self.clone()
            };
            model.dir()
        };
        names.iter().map(dir).collect()
    }

    /// The folder of the checkpoint, fetched from the hub where that is meant.
    pub fn dir(&self) -> anyhow::Result<PathBuf> {
        match &self.model {
            Some(model) => resolve(model, true),
            None => Ok(shipped_model(Family::default())?),
        }
    }

    /// As [`Self::dir`]; of a model on the hub no weights are fetched.
    pub fn settings_dir(&self) -> anyhow::Result<PathBuf> {
        match &self.model {
            Some(model) => resolve(model, false),
            None => Ok(shipped_model(Family::default())?),
        }
    }

    /// Type that the weights are to be held in; `None` is that of the files.
    fn weights(&self) -> Option<WeightType> {
        // The shipped models are stored in 16 bit to be small, and were trained and are measured in 32.
        let small = self
            .model
            .as_deref()
            .is_none_or(|model| shipped_family(model).is_some());
        let given = self.dtype.or(self.half.then_some(WeightType::F16));
        given.or(small.then_some(WeightType::F32))
    }

    /// The same model with its weights in this type, unless another one was asked for.
    pub fn held_in(mut self, dtype: WeightType) -> Self {
        if !self.half {
            self.dtype.get_or_insert(dtype);
        }
        self
    }

    /// The options with which the checkpoint in `dir` is read.
    ///
    /// # Errors
    /// When options were given that its family does not have, or that contradict each other.
    pub fn options(&self, dir: &Path) -> anyhow::Result<LoadOptions> {
        self.family.check(dir)?;
        let mut options = LoadOptions::default();
        options.dtype = self.weights().map(Into::into);
        Ok(self.family.onto(options)?)
    }
}

/// Tells what reading a checkpoint assumed or passed over.
pub fn tell_notes() {
    for note in take_notes() {
        tell!("note: {note}");
    }
}

/// Tells what a method is given that it cannot use as it looks: a scorer of another family of models.
pub fn tell_foreign(method: &str, family: Family) {
    if let Some(trained) = foreign_scorer(method, family) {
        tell!("note: the scorer of {method} was trained on {trained}, and this model is a {family}");
    }
}

/// Tells that a budget keeps everything, where a smaller count was surely meant.
pub fn tell_idle(keep: Budget, total: usize) {
    if let Budget::Tokens(count) = keep
        && count >= total
        && total > 0
    {
        tell!("note: --keep {count} keeps all of the {total} tokens");
    }
}

/// The folder that a text names: one on this machine, a shipped model, or a model of the hub in the cache, fetched if
/// need be, with its weights or without.
fn resolve(model: &str, with_weights: bool) -> anyhow::Result<PathBuf> {
    if let Some(family) = shipped_family(model) {
        return Ok(shipped_model(family)?);
    }
    let bar = print::bar(0);
    let style = ProgressStyle::with_template("{msg} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut watch = None;
    let mut show = |progress: Progress<'_>| {
        // Without a handler a signal ends the download all the same, only without a word.
        watch.get_or_insert_with(|| signals::at_once("download").ok());
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
    let shipped = Family::ALL.map(model_name);
    let meant = nearest(model, shipped.iter().map(String::as_str)).filter(|_| !model.contains('/'));
    dir.with_context(|| match meant {
        Some(name) => format!("model {model}: did you mean `{name}`?"),
        None => format!("model {model}"),
    })
}
