//! `diffprune train`.

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};
use diffprune::{
    Budget, CaptionData, CaptionPrompt, GateKind, Method, Subset, TrainConfig, Trainer, Variant, View, Vlm,
};
use diffprune_lab::{
    LabError, LoadedModel, TrainingData, check_train_budget, default_training, stopped_after,
    training_summary,
};

use crate::model::ModelArgs;
use crate::print::{self, say, tell};
use crate::signals;

/// Trains a scorer, or the head of a rival, on captions; the model is frozen.
///
/// A run that is interrupted, in whatever way, is continued by the same command and ends with the same weights.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder with captions.jsonl, or with `train` and `val` that have one each.
    #[arg(long, value_name = "DIR", required_unless_present = "features")]
    data: Option<PathBuf>,
    /// Folder that `encode` wrote with this model: no picture is read, and no vision tower runs. With --data they must be made
    /// from that.
    #[arg(long, value_name = "DIR")]
    features: Option<PathBuf>,
    /// Column of the list that has the captions [default: caption; in an image folder caption_enriched, caption or text].
    #[arg(long, value_name = "NAME", requires = "data")]
    caption_column: Option<String>,
    /// Train on this share of every class, as in 0.1; a class is the folder of a picture (n01440764/…).
    #[arg(long, value_name = "SHARE")]
    class_share: Option<f64>,
    /// Seed of the draw of --class-share.
    #[arg(long, value_name = "SEED", default_value_t = 0, requires = "class_share")]
    class_seed: u64,
    /// Folder of the run, which becomes the scorer's checkpoint.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Settings; what the file does not name has its default.
    #[arg(long, value_name = "TOML")]
    config: Option<PathBuf>,
    /// What is trained: throttle (DiffPrune), gumbel-noise, gumbel-gathered or gumbel-ste (hard Gumbel masks, with -soft behind
    /// the name for the soft Jacobian), operator:NAME (DiffPrune with another soft top-k, for example operator:clip), dynamic-vit, dynamic-llava, atp or glimpse-prune (which needs boxes).
    #[arg(long, help_heading = "Pruning")]
    method: Option<Method>,
    /// DiffPrune with one thing changed: diffprune-scale, -global, -no-denoiser, -no-z-score, -fixed-tau, -unit-noise,
    /// -centred-noise or -sigmoid.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["method", "gate"], help_heading = "Pruning")]
    variant: Option<String>,
    /// What a soft top-k does with tokens [default: that of the settings file; without one scale for
    /// operator:NAME, else vp-noise].
    #[arg(long, value_enum, help_heading = "Pruning")]
    gate: Option<GateName>,
    /// Tokens that may pass in training: a count (32), a fraction (2/9) or a percentage (11%).
    #[arg(long, allow_negative_numbers = true, help_heading = "Pruning")]
    keep: Option<Budget>,
    /// Updates.
    #[arg(long)]
    steps: Option<usize>,
    /// Seed of weights, order and noise.
    #[arg(long)]
    seed: Option<u64>,
    /// Leave out the samples that the model cannot take, and say how many and which [default: end at the first].
    #[arg(long)]
    skip_unusable: bool,
    /// Show burn-train's dashboard on a terminal: q, then s, ends the training after the running update, as Ctrl-C does without it.
    #[arg(long, help_heading = "Messages")]
    dashboard: bool,
}

/// So many samples that are left out are named; of the others their number.
const NAMED: usize = 20;

/// Names of gates on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GateName {
    /// What does not pass is replaced by noise.
    VpNoise,
    /// Tokens times weights.
    Scale,
}

impl TrainArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let models = self.model.load_on_each()?;
        let model = &models[0];
        let config = self.settings(model.vlm.d_descriptor())?;
        let data = self.data(model, &config)?;
        let vlm = model.vlm.as_ref();
        check_train_budget(vlm, data.train.as_ref(), config.diffprune.budget)?;
        let (_watch, stop) = signals::after("update")?;
        let trainer = Trainer::new(vlm, &config)
            .with_devices(models[1..].iter().map(|model| model.vlm.as_ref()))
            .with_model_digest(model.fingerprint()?)
            .with_view(self.view())
            .with_stop(stop);
        let mut progress = print::progress("training", config.steps);
        let (train, held_out) = (data.train.as_ref(), data.held_out.as_deref());
        let report = match self.skip_unusable {
            false => {
                let held_out = held_out.map(|held_out| held_out as &dyn CaptionData);
                trainer.run(train, held_out, &self.out, &mut progress)?
            }
            true => {
                let train = usable(vlm, train, &config)?;
                let held_out = held_out
                    .map(|held_out| usable(vlm, held_out, &config))
                    .transpose()?;
                let held_out = held_out.as_ref().map(|usable| usable as &dyn CaptionData);
                trainer.run(&train, held_out, &self.out, &mut progress)?
            }
        };
        if !report.finished {
            let after = stopped_after(report.steps, config.steps);
            return Err(LabError::Stopped { after }.into());
        }
        say!("{}", model.with_options(&training_summary(&report)));
        Ok(())
    }

    /// Captions with their pictures, or with features that were encoded before.
    fn data(&self, model: &LoadedModel, config: &TrainConfig) -> anyhow::Result<TrainingData> {
        let boxes = config.diffprune.method.needs_relevance();
        let column = self.caption_column.as_deref();
        let pictures = self
            .data
            .as_ref()
            .map(|dir| TrainingData::pictures(dir, boxes, column));
        let pictures = pictures.transpose()?;
        let data = match &self.features {
            Some(dir) => TrainingData::features(dir, model, pictures.as_ref())?,
            None => match pictures {
                Some(pictures) => pictures,
                None => bail!("data: found neither --data nor --features, expected one of them"),
            },
        };
        Ok(match self.class_share {
            Some(share) => data.with_class_share(share, self.class_seed)?,
            None => data,
        })
    }

    /// The dashboard where it was asked for and can be shown.
    fn view(&self) -> View {
        let has_terminal = stdout().is_terminal();
        if self.dashboard && !has_terminal {
            tell!("note: standard output is no terminal: lines in the place of the dashboard");
        }
        match self.dashboard && has_terminal {
            true => View::Dashboard,
            false => View::Lines,
        }
    }

    /// Settings of the file (or the defaults for this width), with what the command line says on top.
    fn settings(&self, d_descriptor: usize) -> anyhow::Result<TrainConfig> {
        let mut config = match &self.config {
            Some(path) => TrainConfig::from_file(path)?,
            None => default_training(self.method, d_descriptor),
        };
        config.diffprune.method = self.method.unwrap_or(config.diffprune.method);
        config.diffprune.throttler.gate = match self.gate {
            None => config.diffprune.throttler.gate,
            Some(GateName::VpNoise) => GateKind::VpNoise,
            Some(GateName::Scale) => GateKind::Scale,
        };
        if let Some(name) = &self.variant {
            config.diffprune = Variant::named(name)?.of(&config.diffprune, d_descriptor);
        }
        config.diffprune.budget = self.keep.unwrap_or(config.diffprune.budget);
        config.steps = self.steps.unwrap_or(config.steps);
        config.seed = self.seed.unwrap_or(config.seed);
        Ok(config)
    }
}

/// The samples that a model can learn from; the others are told.
pub fn usable<'a>(
    vlm: &dyn Vlm,
    data: &'a dyn CaptionData,
    config: &TrainConfig,
) -> anyhow::Result<Subset<&'a dyn CaptionData>> {
    let prompt = CaptionPrompt::new(vlm, &config.prompt, config.max_caption_tokens)?;
    let (usable, skipped) = diffprune::usable(vlm, data, &prompt)?;
    if !skipped.is_empty() {
        tell!("{} of {} samples are left out:", skipped.len(), data.len());
        for skipped in skipped.iter().take(NAMED) {
            tell!("  {}", skipped.reason);
        }
        if skipped.len() > NAMED {
            tell!("  and {} more", skipped.len() - NAMED);
        }
    }
    Ok(usable)
}
