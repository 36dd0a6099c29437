//! One model: trainings, comparison, report.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use diffprune::training::Progress;
use diffprune::{CaptionData, DiffPrune, Method, PositionRule, TrainReport, train};
use diffprune_eval::{
    Annotations, Arm, Format, Meta, Protocol, Question, Record, Report, ReportOptions, Run, RunOptions,
    RunTimes, RunTiming,
};
use serde::Serialize;

use crate::annotations::SceneTruth;
use crate::arms::ArmSource;
use crate::commands::{eval, train as train_command};
use crate::model::{Loaded, WeightType};
use crate::{data, digest, pruners};

use super::ledger::Ledger;
use super::lineup::Lineup;
use super::rehearsal::{Cast, rehearse};
use super::world::World;
use super::{ReproPlan, STAGES, announce, pictures, revision};

/// Name of the result beside a finished training.
const TRAINED: &str = "train-report.json";

/// The experiment on one model.
pub struct Experiment<'a> {
    /// How much of everything.
    pub plan: &'a ReproPlan,
    /// What is compared.
    pub lineup: Lineup,
    /// The frozen model.
    pub model: &'a Loaded,
    /// The data.
    pub world: &'a World,
    /// Seed of trainings and intervals.
    pub seed: u64,
    /// Name of the device, for the report.
    pub device: &'a str,
    /// Folder of the report.
    pub out: &'a Path,
}

/// Names of the stages, each with a hash of all that it depends on.
struct Names {
    /// One for each training of the lineup, in its order.
    trainings: Vec<String>,
    records: String,
}

/// Every training.
struct Trained {
    scorers: BTreeMap<String, DiffPrune>,
    reports: BTreeMap<String, TrainReport>,
}

/// What was asked and who answered.
struct Asked {
    questions: Vec<Question>,
    cast: Cast,
    protocol: Protocol,
}

impl Experiment<'_> {
    /// Runs every stage that is not complete.
    pub fn run(&self) -> anyhow::Result<Report> {
        let name = self.model.name();
        let names = self.names()?;
        let stages = self.out.join(STAGES);
        eval::make_folder(&stages)?;
        let mut ledger = Ledger::open(&stages.join("stages.json"), revision())?;
        ledger.adopt(&self.world.name, self.world.stage.clone());
        let trained = self.train(&names, &stages, &mut ledger)?;
        let truth = SceneTruth::open(&self.world.folder)?;
        let truth = truth.as_ref().map(|truth| truth as &dyn Annotations);
        let asked = self.ask(&trained, truth)?;
        announce(&format!("{name}: comparison"), ledger.has(&names.records));
        let times = RunTimes::default();
        let records = ledger.time(&names.records, || {
            self.compare(&asked, truth, &names, &times, &stages.join(&names.records))
        })?;
        self.timing(&names, &ledger, &times).write(self.out)?;
        announce(&format!("{name}: report"), false);
        let report = self.report(&records, &trained, &names, &ledger, &asked)?;
        self.write(&report, &asked, &trained)?;
        Ok(report)
    }

    /// What each stage is called: what it depends on decides.
    fn names(&self) -> anyhow::Result<Names> {
        let model = self.model.fingerprint()?;
        // Weights in 16 bit give other answers; those in f32 keep the names that they always had.
        let held = match self.model.dtype {
            WeightType::F32 => "",
            WeightType::F16 => " half",
            WeightType::Bf16 => " bf16",
        };
        let device = &format!("{}{held}", self.device);
        let data = self.world.name.trim_start_matches("data-");
        let training = |method: Method| -> anyhow::Result<String> {
            let config = self.plan.train(method, self.model.vlm.d_descriptor(), self.seed);
            Ok(digest::of_settings(&(&config, data, &model, device))?.short())
        };
        let learned = self.lineup.learned.iter();
        let trainings = learned
            .map(|learned| Ok(format!("{}-{}", learned.arm, training(learned.method)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (plan, protocol) = (self.plan, data::protocol(self.model.vlm.as_ref()));
        let records = digest::of_settings(&(
            (data, &trainings, &model, device, protocol, &self.lineup),
            (
                plan.pope_per_image,
                plan.random_seeds,
                plan.oracle_questions,
                plan.max_new_tokens,
                self.seed,
            ),
        ))?;
        Ok(Names {
            trainings,
            records: format!("records-{}.jsonl", records.short()),
        })
    }

    fn train(&self, names: &Names, stages: &Path, ledger: &mut Ledger) -> anyhow::Result<Trained> {
        let vlm = self.model.vlm.as_ref();
        let mut trained = Trained {
            scorers: BTreeMap::new(),
            reports: BTreeMap::new(),
        };
        for (learned, name) in self.lineup.learned.iter().zip(&names.trainings) {
            let dir = stages.join(name);
            let what = format!("{}: training of {}", self.model.name(), learned.arm);
            announce(&what, ledger.has(name));
            if !ledger.has(name) {
                ledger.time(name, || self.train_one(&learned.arm, learned.method, &dir))?;
            }
            let arm = learned.arm.clone();
            trained.scorers.insert(arm.clone(), pruners::scorer(&dir, vlm)?);
            trained.reports.insert(arm, read_json(&dir.join(TRAINED))?);
        }
        Ok(trained)
    }

    fn train_one(&self, label: &str, method: Method, dir: &Path) -> anyhow::Result<()> {
        let vlm = self.model.vlm.as_ref();
        let config = self.plan.train(method, vlm.d_descriptor(), self.seed);
        let (captions, held_out) = data::captions(&self.world.folder, method.needs_relevance())?;
        let held_out = held_out.as_ref().map(|folder| folder as &dyn CaptionData);
        let mut progress = Progress::new(label, config.steps);
        let report = train(vlm, &captions, held_out, &config, dir, &mut progress)?;
        eprintln!("{}", train_command::summary(&report));
        write_json(&dir.join(TRAINED), &report)
    }

    /// The questions in the words of the model's protocol, and the arms that can answer them.
    fn ask(&self, trained: &Trained, truth: Option<&dyn Annotations>) -> anyhow::Result<Asked> {
        let vlm = self.model.vlm.as_ref();
        let protocol = data::protocol(vlm);
        let questions = data::questions(&self.world.folder, protocol)?;
        let questions = data::thinned(questions, self.plan.pope_per_image);
        let source = ArmSource {
            vlm,
            scorers: trained.scorers.clone(),
            random_seeds: self.plan.random_seeds,
            seed: self.seed,
        };
        let names = self.lineup.arms.iter();
        let mut arms = names
            .map(|name| source.arms(name))
            .collect::<anyhow::Result<Vec<_>>>()?
            .concat();
        let limited = arms.iter_mut().filter_map(|arm| arm.questions.as_mut());
        limited.for_each(|count| *count = self.plan.oracle_questions);
        let first = questions.first().context("at least one question")?;
        let cast = rehearse(vlm, arms, &self.lineup.budgets, first, truth)?;
        Ok(Asked {
            questions,
            cast,
            protocol,
        })
    }

    fn compare(
        &self,
        asked: &Asked,
        annotations: Option<&dyn Annotations>,
        names: &Names,
        times: &RunTimes,
        path: &Path,
    ) -> anyhow::Result<Vec<Record>> {
        let options = RunOptions {
            times: Some(times.clone()),
            protocols: asked.protocol.into(),
            max_new_tokens: Some(self.plan.max_new_tokens),
            fingerprint: names.records.clone(),
            ..eval::run_options(self.model)
        };
        let run = Run {
            questions: &asked.questions,
            arms: &asked.cast.arms,
            budgets: &self.lineup.budgets,
            annotations,
            options,
        };
        Ok(run.execute(self.model.vlm.as_ref(), path)?)
    }

    /// What the answers took. The times of the stages are in the ledger.
    fn timing(&self, names: &Names, ledger: &Ledger, times: &RunTimes) -> RunTiming {
        let options = eval::run_options(self.model);
        RunTiming {
            wall_s: ledger.stage(&names.records).seconds.unwrap_or(0.0),
            context: eval::context(self.model, self.device, options.prompts_per_batch),
            workers: options.threads.max(1),
            arms: times.medians(),
        }
    }

    /// The numbers.
    fn report(
        &self,
        records: &[Record],
        trained: &Trained,
        names: &Names,
        ledger: &Ledger,
        asked: &Asked,
    ) -> anyhow::Result<Report> {
        let mut options: ReportOptions = eval::report_options(&self.lineup.arms);
        options.bootstrap.seed = self.seed;
        options.bootstrap.resamples = self.plan.resamples;
        options.cost = eval::cost(self.model, &asked.questions)?;
        options.prompt_rules = diffprune_eval::PromptRules::of(&asked.questions, &asked.protocol.into());
        options.absent = asked.cast.absent.clone();
        let stages: Vec<&str> = std::iter::once(self.world.name.as_str())
            .chain(names.trainings.iter().map(String::as_str))
            .chain([names.records.as_str()])
            .collect();
        let trainings = trained.reports.iter();
        let trainings: BTreeMap<&String, serde_json::Value> =
            trainings.map(|(arm, report)| (arm, facts(report))).collect();
        let vlm = self.model.vlm.as_ref();
        let positions: BTreeMap<&str, PositionRule> = asked
            .cast
            .arms
            .iter()
            .map(|arm| (arm.name.as_str(), rule(arm)))
            .collect();
        let config = serde_json::json!({
            "model": self.model.name(), "family": vlm.family(), "table": self.lineup.table, "d_vision": vlm.d_vision(),
            "d_model": vlm.d_model(), "prompts": asked.protocol, "positions": positions, "lineup": self.lineup,
            "plan": self.plan, "train": self.plan.train(Method::Throttle, vlm.d_descriptor(), self.seed),
            "trainings": trainings, "dtype": self.model.dtype.name(),
            "records": format!("{STAGES}/{}", names.records), "report": options,
        });
        let meta = Meta {
            revision: ledger.revision(&stages),
            device: self.device.to_string(),
            seed: self.seed,
            // Its data is the small world, whatever the model.
            tier: eval::MINI.into(),
            config,
            title: format!("DiffPrune on {}", self.model.name()),
            note: self.note(asked)?,
        };
        Ok(Report::from_records(records, meta, &options)?)
    }

    /// Model, data, prompts and position rules in a few sentences.
    fn note(&self, asked: &Asked) -> anyhow::Result<String> {
        let images: std::collections::BTreeSet<_> = asked
            .questions
            .iter()
            .map(|question| (question.benchmark, &question.image))
            .collect();
        let mut reindexed: Vec<&str> = Vec::new();
        for arm in asked
            .cast
            .arms
            .iter()
            .filter(|arm| rule(arm) == PositionRule::Reindex)
        {
            if !reindexed.contains(&arm.name.as_str()) {
                reindexed.push(&arm.name);
            }
        }
        Ok(format!(
            "Model {}; the small world of seed {}: {} questions about {} pictures, asked and scored by the protocol `{}`. \
             Kept tokens keep their position ids; those of {} are numbered anew.",
            self.model.name(),
            self.seed,
            asked.questions.len(),
            images.len(),
            asked.protocol.name(),
            reindexed.join(", "),
        ))
    }

    /// The files.
    fn write(&self, report: &Report, asked: &Asked, trained: &Trained) -> anyhow::Result<()> {
        let vlm = self.model.vlm.as_ref();
        report.write(self.out)?;
        let mut methods = Vec::new();
        if asked.cast.arms.iter().any(|arm| arm.name == "cls-attention") {
            methods.push(("cls-attention", pruners::Method::parse("cls", vlm, self.seed)?));
        }
        for name in ["diffprune", "gumbel-ste"] {
            let scorer = trained.scorers.get(name).context("a scorer that was trained")?;
            methods.push((name, pruners::Method::learned(scorer.clone())));
        }
        let (count, budget) = (self.plan.pictures, self.plan.train_budget);
        pictures::draw_some(vlm, &asked.questions, count, &methods, budget, self.out)?;
        let figures = pictures::collect(self.out)?;
        report.write_as(self.out, &[Format::Markdown, Format::Html], &figures)?;
        Ok(())
    }
}

/// The position rule of an arm.
fn rule(arm: &Arm) -> PositionRule {
    let own = arm.pruner.as_ref().map(|pruner| pruner.positions());
    arm.positions.or(own).unwrap_or_default()
}

/// What a report says of a training; folders stay out of it.
fn facts(report: &TrainReport) -> serde_json::Value {
    serde_json::json!({
        "steps": report.steps, "stopped_early": report.stopped_early, "best_step": report.best_step,
        "best_val_nll": report.best_val_nll, "last_nll": report.last_nll,
    })
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
