//! `diffprune run repro`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use diffprune_lab::{
    CLASSIFIER, Plan, Series, StudyModels, WeightType, find_shipped, revision, shipped_model, sizes_beside,
};
use diffprune_mini::{Family, model_name};

use crate::model::ModelArgs;
use crate::print::say;
use crate::signals;
use crate::watch::Terminal;

/// The papers' three tables in small, on the three shipped models or on others.
///
/// Writes the small world once, and for each model trains a scorer by DiffPrune and its learned rivals, asks every question
/// with every arm, and reports. Each stage is skipped when it is complete with the same parameters and continued when it was
/// interrupted. Each model has a folder of its own, report.md in the folder above shows all of them; with --model there is
/// one report only.
#[derive(Debug, Args)]
pub struct ReproArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Several models, named as for --model [default: the three shipped ones].
    #[arg(long, value_delimiter = ',', value_name = "A,B,C", conflicts_with = "model")]
    models: Vec<String>,
    /// The same as --plan quick: one training seed, few updates and questions; a sign, not a result.
    #[arg(long, conflicts_with = "plan")]
    quick: bool,
    /// How much is trained and asked: quick (minutes), default (below an hour), full (a night: tuning, every ablation, four
    /// times the questions), or a TOML file with counts that replace those of the default.
    #[arg(long, value_name = "NAME|TOML", default_value = "default")]
    plan: String,
    /// Folder with benchmarks (gqa, pope, textvqa, …) and captions (captions/train, captions/val) in their official formats, in place of
    /// the small world; samples that cannot be used are left out and told.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// At most so many questions of each benchmark of --data, for a first look.
    #[arg(long, value_name = "N", requires = "data")]
    limit: Option<usize>,
    /// A table of times of the published shape, by which the claims about times are judged: what `diffprune bench --shape
    /// llava-1.5-7b --methods prunesid,pyramiddrop-published,holov,diffprune --out DIR` writes [default: no such verdicts].
    #[arg(long, value_name = "JSON")]
    times: Option<PathBuf>,
    /// What an earlier tuning chose (tuning.json of a run of the plan full), compared in place of a tuning.
    #[arg(long, value_name = "JSON")]
    tuned: Option<PathBuf>,
    /// Leave the pilot studies out.
    #[arg(long)]
    no_studies: bool,
    /// Seed of data, training and intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the report and of everything behind it.
    #[arg(long, default_value = "runs/repro", value_name = "DIR")]
    out: PathBuf,
}

impl ReproArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let plan = plan(if self.quick { "quick" } else { &self.plan })?;
        diffprune_devices::parse(&self.model.device)?;
        // Its numbers are those of weights in f32, whatever the files store.
        let model = self.model.clone().held_in(WeightType::F32);
        let series = Series {
            plan,
            seed: self.seed,
            device: model.device.clone(),
            revision: revision(),
            study_models: study_models()?,
            data: self.data,
            limit: self.limit,
            times: self.times,
            tuned: self.tuned,
            studies: !self.no_studies,
            out: self.out,
        };
        let dirs = match model.model.is_some() {
            true => vec![model.dir()?],
            false if self.models.is_empty() => model.dirs(&Family::ALL.map(model_name))?,
            false => model.dirs(&self.models)?,
        };
        let (_watch, stop) = signals::after("step")?;
        let mut terminal = Terminal::new("repro", stop);
        let page = match model.model.is_some() {
            true => series.one(|| model.load_from(&dirs[0]), &mut terminal)?,
            false => series.several(&dirs, |dir| model.load_from(dir), &mut terminal)?,
        };
        say!("{}", page.display());
        Ok(())
    }
}

/// The shipped models of the pilot studies, as far as they are here.
fn study_models() -> anyhow::Result<StudyModels> {
    let sizes = shipped_model(Family::Qwen25Vl).ok().map(|dir| sizes_beside(&dir));
    Ok(StudyModels {
        classifier: find_shipped(CLASSIFIER, "deit").ok(),
        sizes: sizes.transpose()?.unwrap_or_default(),
    })
}

/// A plan by its name, or as it stands in a file.
fn plan(text: &str) -> anyhow::Result<Plan> {
    if let Some(plan) = Plan::named(text) {
        return Ok(plan);
    }
    let read = std::fs::read_to_string(text).with_context(|| {
        format!(
            "cannot read the plan {text}: expected {}, or a TOML file",
            Plan::NAMES.join(", ")
        )
    })?;
    toml::from_str(&read).with_context(|| format!("{text}: expected a plan in TOML"))
}
