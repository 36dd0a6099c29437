//! `diffprune mini train`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use burn::tensor::{DType, Device};
use clap::Args;
use diffprune_files::write_whole;
use diffprune_lab::{CARD, Digest, RECIPE, card_without_scores, make_folder, write_checksums};
use diffprune_mini::{Family, PretrainConfig, Pretrained, WorldConfig, pretrain, write_processor_files};

use super::mini_card::measure;
use crate::print::say;
use crate::{device, model, signals};

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
        let device = device::parse(&self.device)?;
        let config = self.recipe()?;
        make_folder(&self.out)?;
        let recipe = toml::to_string(&config)?;
        settle(&self.out.join(RECIPE), &recipe)?;
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
            .unwrap_or_else(|| model::shipped_folder(config.family));
        let folder = unfinished(&assets)?;
        write_checkpoint(&trained, config.family, &world, &recipe, &folder)?;
        if self.no_card {
            write_whole(folder.join(CARD), card_without_scores(&recipe)?.as_bytes())?;
        } else {
            measure(&folder, &self.out.join("card"), &device, stop)?;
        }
        replace(&folder, &assets)?;
        say!("{}", assets.display());
        Ok(())
    }

    fn recipe(&self) -> anyhow::Result<PretrainConfig> {
        let start = self.start.as_deref().map(weights_hash).transpose()?;
        let own = PretrainConfig {
            start,
            ..PretrainConfig::of(self.model)
        };
        let Some(path) = &self.config else {
            return Ok(own);
        };
        let wanted = || format!("{}: expected a recipe in TOML", path.display());
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let given: toml::Table = toml::from_str(&text).with_context(wanted)?;
        let mut recipe = toml::Table::try_from(&own)?;
        lay_over(&mut recipe, given);
        let recipe: PretrainConfig = recipe.try_into().with_context(wanted)?;
        if recipe.family != self.model {
            bail!(
                "{}: found family {}, expected {}; name it with --model",
                path.display(),
                recipe.family,
                self.model
            );
        }
        Ok(recipe)
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

/// Hash of a checkpoint's weights.
fn weights_hash(dir: &Path) -> anyhow::Result<String> {
    let path = dir.join("model.safetensors");
    let bytes = fs::read(&path).with_context(|| {
        format!(
            "cannot read {}; --start wants the folder of a small model",
            path.display()
        )
    })?;
    Ok(Digest::new().bytes(&bytes).hex())
}

/// Replaces what the file names, table by table.
fn lay_over(recipe: &mut toml::Table, given: toml::Table) {
    for (key, value) in given {
        match (recipe.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(given)) => lay_over(inner, given),
            (_, value) => {
                recipe.insert(key, value);
            }
        }
    }
}

/// Shards run on as many threads as a CPU has; a GPU takes them one after the other.
pub(super) fn threads(device: &Device) -> Option<usize> {
    let cores = || std::thread::available_parallelism().map_or(1, |count| count.get());
    device::is_cpu(device).then(cores)
}

/// Writes the resolved recipe before the first step; a run with another one is refused.
pub(super) fn settle(path: &Path, recipe: &str) -> anyhow::Result<()> {
    match fs::read_to_string(path) {
        Ok(found) if found == recipe => Ok(()),
        Ok(_) => bail!(
            "{}: found another recipe, expected that of this run; choose another folder with --out or remove it",
            path.display()
        ),
        Err(_) => Ok(write_whole(path, recipe.as_bytes())?),
    }
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

/// An empty hidden folder beside the one that is wanted.
pub(super) fn unfinished(dir: &Path) -> anyhow::Result<PathBuf> {
    let folder = sibling(dir, "unfinished")?;
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    make_folder(&folder)?;
    Ok(folder)
}

/// Renames the finished folder to its place; one that was there goes, and so does what a crash in here left.
pub(super) fn replace(from: &Path, to: &Path) -> anyhow::Result<()> {
    write_checksums(from)?;
    let old = sibling(to, "old")?;
    let moved = |from: &Path, to: &Path| {
        fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
    };
    let gone = |dir: &Path| {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        anyhow::Ok(())
    };
    if to.exists() {
        gone(&old)?;
        moved(to, &old)?;
    }
    moved(from, to)?;
    gone(&old)
}

fn sibling(dir: &Path, what: &str) -> anyhow::Result<PathBuf> {
    let name = dir
        .file_name()
        .with_context(|| format!("{}: expected a path that ends in a name", dir.display()))?;
    Ok(dir.with_file_name(format!(".{}.{what}", name.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_blocks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("model");
        let put = |folder: &Path, text: &str| {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("a"), text).unwrap();
        };
        // Between the renames, and after both: the old folder is there, without and with the one in its place.
        for there in [false, true] {
            let from = unfinished(&to).unwrap();
            put(&from, "new");
            put(&sibling(&to, "old").unwrap(), "old");
            assert_eq!(to.exists(), there);
            replace(&from, &to).unwrap();
            assert_eq!(fs::read_to_string(to.join("a")).unwrap(), "new");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }
}
