//! The model of a command: its arguments, its folder, its weights.

use std::path::{Path, PathBuf};

use anyhow::Context;
use burn::tensor::Device;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use diffprune::vlm::{HubOptions, Progress, resolve_checkpoint_with, resolve_settings_with, take_notes};
use diffprune::{Budget, LoadOptions};
use diffprune_eval::free_memory;
use diffprune_lab::{LoadedModel, WeightType, foreign_scorer, nearest};
use diffprune_mini::{Family, model_name};
use indicatif::ProgressStyle;

use crate::arithmetic;
use crate::device;
use crate::family::FamilyArgs;
use crate::print::{self, detail, tell};
use crate::signals;

/// The values of `--dtype`.
pub fn weight_types() -> impl TypedValueParser<Value = WeightType> {
    PossibleValuesParser::new(WeightType::ALL.map(WeightType::name))
        .try_map(|name| name.parse::<WeightType>())
}

/// The folder of the shipped models in the repository.
const ASSETS: &str = "assets";

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
        let device = device::parse(&self.device)?;
        let start = std::time::Instant::now();
        let options = self.options(dir)?;
        if device == Device::flex() {
            tell_need(dir, &options);
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
        let devices = device::list(&self.device).into_iter();
        devices.map(|name| on(name).load_from(&dir)).collect()
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

    /// Type that the weights are to be held in; `None` is that of the files.
    fn weights(&self) -> Option<WeightType> {
        // The shipped models are stored in 16 bit to be small, and were trained and are measured in 32.
        let small = self
            .model
            .as_deref()
            .is_none_or(|model| small_model(model).is_some());
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

/// Tells when the weights are larger than the memory that is free. A checkpoint whose files are damaged is told by reading it.
fn tell_need(dir: &Path, options: &LoadOptions) {
    let (Ok(need), Some(free)) = (LoadedModel::needed_bytes(dir, options), free_memory()) else {
        return;
    };
    if let Some(note) = need_note(need, free) {
        tell!("note: {note}");
    }
}

/// The note about weights of `need` bytes where `free` bytes are free.
fn need_note(need: u64, free: u64) -> Option<String> {
    (need > free).then(|| {
        format!(
            "the weights take {}, and {} of memory are free (a limit of the control group counts): expect the system to end the \
             program; --dtype f16 halves what f32 takes, and a GPU has memory of its own",
            arithmetic::bytes(need),
            arithmetic::bytes(free)
        )
    })
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
    if let Some(family) = small_model(model) {
        return shipped(family);
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

/// The family of a shipped model that a text names; a folder of that name comes first.
fn small_model(model: &str) -> Option<Family> {
    let named = Family::ALL
        .into_iter()
        .find(|&family| model_name(family) == model);
    named.filter(|_| !Path::new(model).is_dir())
}

/// The folder of a family's shipped small model, from the root of the repository.
pub fn shipped_folder(family: Family) -> PathBuf {
    Path::new(ASSETS).join(model_name(family))
}

/// A shipped model of a family.
fn shipped(family: Family) -> anyhow::Result<PathBuf> {
    shipped_as(&model_name(family), &family.to_string())
}

/// A folder below the shipped models: below the current folder, above it, or above the program's own file. `model` is its
/// name for `cargo xtask mini`.
pub fn shipped_as(name: &str, model: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    let program = std::env::current_exe().unwrap_or_default();
    let folder = Path::new(ASSETS).join(name);
    let found = here
        .ancestors()
        .chain(program.ancestors())
        .map(|dir| dir.join(&folder))
        .find(|dir| dir.is_dir());
    found.with_context(|| {
        format!(
            "{}: not found in {} or above; train it with `cargo xtask mini --model {model}` or name a checkpoint",
            folder.display(),
            here.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_do_not_fit_are_told_before_they_are_read() {
        let note = need_note(28 << 30, 6 << 30).unwrap();
        assert!(note.contains("28.0 GiB") && note.contains("6.0 GiB"), "{note}");
        assert_eq!(need_note(6 << 30, 28 << 30), None);
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../assets")
            .join(model_name(Family::default()));
        let [f32, f16] = [WeightType::F32, WeightType::F16].map(|dtype| {
            let mut options = LoadOptions::default();
            options.dtype = Some(dtype.into());
            LoadedModel::needed_bytes(&dir, &options).unwrap()
        });
        assert!(f32 == 2 * f16 && f16 > 1 << 20, "{f32} {f16}");
    }
}
