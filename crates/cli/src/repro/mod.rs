//! The whole experiment: data, two trainings, the comparison, the report.

mod ledger;
mod pictures;
mod plan;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use diffprune::training::Progress;
use diffprune::{CaptionData, DiffPrune, GumbelBackward, Method, TrainReport, train};
use diffprune_eval::{
    Annotations, Arm, Format, Meta, Question, Record, Report, ReportOptions, Run, RunOptions,
};
use serde::Serialize;

use crate::annotations::SceneTruth;
use crate::arms::ArmSource;
use crate::commands::{eval, mini_data, train as train_command};
use crate::model::Loaded;
use crate::{data, digest, pruners};

use ledger::Ledger;
pub use pictures::collect as pictures;
pub use plan::ReproPlan;

/// Arms of the comparison, in the order of the tables.
const ARMS: [&str; 15] = [
    "full",
    "diffprune",
    "diffprune-reindexed",
    "gumbel-ste",
    "cls-attention",
    "random",
    "stratified",
    "uniform-grid",
    "average-pool",
    "downsampled-image",
    "untrained",
    "inverted",
    "oracle-keep",
    "oracle-drop",
    "text-only",
];
/// Folder of data, trainings and records below that of the report. The names in it follow the parameters, so that runs
/// with others stand beside each other.
const STAGES: &str = "stages";
/// Name of the result beside a finished training.
const TRAINED: &str = "train-report.json";

/// One experiment.
pub struct Repro<'a> {
    /// How much of everything.
    pub plan: ReproPlan,
    /// The frozen model.
    pub model: &'a Loaded,
    /// Seed of data, training and intervals.
    pub seed: u64,
    /// Name of the device, for the report.
    pub device: String,
    /// Folder of the report.
    pub out: PathBuf,
}

/// Names of the stages of an experiment, each with a hash of all that it depends on.
struct Names {
    data: String,
    diffprune: String,
    gumbel: String,
    records: String,
}

/// Both trainings.
struct Trained {
    scorers: BTreeMap<String, DiffPrune>,
    reports: BTreeMap<String, TrainReport>,
}

impl Repro<'_> {
    /// Runs every stage that is not complete.
    pub fn run(&self) -> anyhow::Result<()> {
        let names = self.names()?;
        let stages = self.out.join(STAGES);
        eval::make_folder(&stages)?;
        let mut ledger = Ledger::open(&stages.join("stages.json"), revision())?;
        let folder = stages.join(&names.data);
        stage(1, "data", ledger.has(&names.data));
        ledger.time(&names.data, || {
            mini_data::write(&self.plan.world(self.seed), &folder)
        })?;
        let trained = self.train(&names, &stages, &mut ledger)?;
        let questions = data::questions(&folder, data::protocol(self.model.vlm.as_ref()))?;
        let questions = data::thinned(questions, self.plan.pope_per_image);
        let source = ArmSource {
            vlm: self.model.vlm.as_ref(),
            scorers: trained.scorers.clone(),
            random_seeds: self.plan.random_seeds,
            seed: self.seed,
        };
        let arms = ARMS
            .iter()
            .map(|name| source.arms(name))
            .collect::<anyhow::Result<Vec<_>>>()?
            .concat();
        stage(4, "comparison", ledger.has(&names.records));
        let truth = SceneTruth::open(&folder)?;
        let truth = truth.as_ref().map(|truth| truth as &dyn Annotations);
        let records = ledger.time(&names.records, || {
            self.compare(&questions, &arms, truth, &names, &stages.join(&names.records))
        })?;
        stage(5, "report", false);
        let report = self.report(
            &records,
            &trained,
            &names,
            &ledger,
            &questions,
            eval::note(self.model, &arms, &questions),
        )?;
        self.write(&report, &questions, &trained)?;
        println!("{}\n{}", report.to_text(), self.out.join("report.md").display());
        Ok(())
    }

    /// What each stage is called: what it depends on decides.
    fn names(&self) -> anyhow::Result<Names> {
        let model = self.model.fingerprint()?;
        // Weights in f16 give other answers; those in f32 keep the names that they always had.
        let half = if self.model.half { " half" } else { "" };
        let device = &format!("{}{half}", self.device);
        let data = digest::of_settings(&self.plan.world(self.seed))?.short();
        let training = |method: Method| -> anyhow::Result<String> {
            let config = self.plan.train(method, self.model.vlm.d_descriptor(), self.seed);
            Ok(digest::of_settings(&(&config, &data, &model, device))?.short())
        };
        let (diffprune, gumbel) = (training(Method::Throttle)?, training(contrast())?);
        let plan = &self.plan;
        let records = digest::of_settings(&(
            (&data, &diffprune, &gumbel, &model, device),
            (
                plan.pope_per_image,
                &plan.budgets,
                plan.random_seeds,
                plan.max_new_tokens,
                self.seed,
                ARMS,
            ),
        ))?;
        Ok(Names {
            data: format!("data-{data}"),
            diffprune: format!("diffprune-{diffprune}"),
            gumbel: format!("gumbel-ste-{gumbel}"),
            records: format!("records-{}.jsonl", records.short()),
        })
    }

    /// Stages two and three.
    fn train(&self, names: &Names, stages: &Path, ledger: &mut Ledger) -> anyhow::Result<Trained> {
        let vlm = self.model.vlm.as_ref();
        let mut trained = Trained {
            scorers: BTreeMap::new(),
            reports: BTreeMap::new(),
        };
        let trainings = [
            (2, "diffprune", Method::Throttle, &names.diffprune),
            (3, "gumbel-ste", contrast(), &names.gumbel),
        ];
        for (number, arm, method, name) in trainings {
            let dir = stages.join(name);
            stage(number, &format!("training of {arm}"), ledger.has(name));
            if !ledger.has(name) {
                ledger.time(name, || {
                    self.train_one(arm, method, &stages.join(&names.data), &dir)
                })?;
            }
            trained
                .scorers
                .insert(arm.to_string(), pruners::scorer(&dir, vlm)?);
            trained
                .reports
                .insert(arm.to_string(), read_json(&dir.join(TRAINED))?);
        }
        Ok(trained)
    }

    fn train_one(&self, label: &str, method: Method, data: &Path, dir: &Path) -> anyhow::Result<()> {
        let vlm = self.model.vlm.as_ref();
        let config = self.plan.train(method, vlm.d_descriptor(), self.seed);
        let (captions, held_out) = data::captions(data, method.needs_relevance())?;
        let held_out = held_out.as_ref().map(|folder| folder as &dyn CaptionData);
        let mut progress = Progress::new(label, config.steps);
        let report = train(vlm, &captions, held_out, &config, dir, &mut progress)?;
        eprintln!("{}", train_command::summary(&report));
        write_json(&dir.join(TRAINED), &report)
    }

    /// Stage four.
    fn compare(
        &self,
        questions: &[Question],
        arms: &[Arm],
        annotations: Option<&dyn Annotations>,
        names: &Names,
        path: &Path,
    ) -> anyhow::Result<Vec<Record>> {
        let options = RunOptions {
            max_new_tokens: Some(self.plan.max_new_tokens),
            fingerprint: names.records.clone(),
            ..eval::run_options(self.model)
        };
        let run = Run {
            questions,
            arms,
            budgets: &self.plan.budgets,
            annotations,
            options,
        };
        Ok(run.execute(self.model.vlm.as_ref(), path)?)
    }

    /// Stage five, the numbers.
    fn report(
        &self,
        records: &[Record],
        trained: &Trained,
        names: &Names,
        ledger: &Ledger,
        questions: &[Question],
        note: String,
    ) -> anyhow::Result<Report> {
        let mut options: ReportOptions = eval::report_options(&ARMS.map(String::from));
        options.bootstrap.seed = self.seed;
        options.bootstrap.resamples = self.plan.resamples;
        options.cost = eval::cost(self.model, questions)?;
        let stages = [&names.data, &names.diffprune, &names.gumbel, &names.records];
        let seconds_of = |name: &str| ledger.stage(name).seconds.unwrap_or(0.0);
        let seconds: BTreeMap<&String, f64> = stages
            .iter()
            .map(|&name| (name, (10.0 * seconds_of(name)).round() / 10.0))
            .collect();
        let made: BTreeMap<&String, serde_json::Value> = stages
            .iter()
            .map(|&name| (name, origin(&ledger.stage(name))))
            .collect();
        let trainings: BTreeMap<&String, serde_json::Value> = trained
            .reports
            .iter()
            .map(|(arm, report)| (arm, facts(report)))
            .collect();
        let vlm = self.model.vlm.as_ref();
        let config = serde_json::json!({
            "model": self.model.name(), "d_vision": vlm.d_vision(), "d_model": vlm.d_model(), "plan": self.plan,
            "train": self.plan.train(Method::Throttle, vlm.d_descriptor(), self.seed), "trainings": trainings,
            "stages_s": seconds, "stages": made, "half": self.model.half, "records": format!("{STAGES}/{}", names.records), "report": options,
        });
        let meta = Meta {
            revision: ledger.revision(&stages.map(String::as_str)),
            device: self.device.clone(),
            seed: self.seed,
            // Its data is the small world, whatever the model.
            tier: eval::MINI.into(),
            config,
            wall_s: stages.iter().map(|name| seconds_of(name)).sum(),
            title: format!("DiffPrune on {}", self.model.name()),
            note,
        };
        Ok(Report::from_records(records, meta, &options)?)
    }

    /// Stage five, the files.
    fn write(&self, report: &Report, questions: &[Question], trained: &Trained) -> anyhow::Result<()> {
        let vlm = self.model.vlm.as_ref();
        report.write(&self.out)?;
        let mut methods = vec![("cls-attention", pruners::Method::parse("cls", vlm, self.seed)?)];
        for name in ["diffprune", "gumbel-ste"] {
            let scorer = trained.scorers.get(name).context("a scorer that was trained")?;
            methods.push((name, pruners::Method::Learned(Arc::new(scorer.clone()))));
        }
        let (count, budget) = (self.plan.pictures, self.plan.train_budget);
        pictures::draw_some(vlm, questions, count, &methods, budget, &self.out)?;
        let figures = pictures::collect(&self.out)?;
        report.write_as(&self.out, &[Format::Markdown, Format::Html], &figures)?;
        Ok(())
    }
}

/// The controlled contrast.
fn contrast() -> Method {
    Method::GumbelSte {
        backward: GumbelBackward::Identity,
    }
}

/// What a report says of a training; folders stay out of it.
fn facts(report: &TrainReport) -> serde_json::Value {
    serde_json::json!({
        "steps": report.steps, "stopped_early": report.stopped_early, "best_step": report.best_step,
        "best_val_nll": report.best_val_nll, "last_nll": report.last_nll,
    })
}

/// What a report says of who made a stage; the time of a resumed one is that of its last call.
fn origin(stage: &ledger::Stage) -> serde_json::Value {
    serde_json::json!({ "revision": stage.revisions.join(", "), "resumed": stage.resumed })
}

fn stage(number: usize, name: &str, complete: bool) {
    eprintln!("[{number}/5] {name}{}", if complete { " (complete)" } else { "" });
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    Ok(diffprune::vlm::write_atomic(
        path,
        &serde_json::to_vec_pretty(value)?,
    )?)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{}: not what a training writes", path.display()))
}

/// The revision of the code: given at build time, or that of the repository around the current folder.
pub fn revision() -> String {
    if let Some(revision) = option_env!("DIFFPRUNE_REVISION") {
        return revision.to_string();
    }
    let git = |args: &[&str]| {
        let output = std::process::Command::new("git").args(args).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_string();
    };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    format!("{head}{}", if changed { "+" } else { "" })
}
