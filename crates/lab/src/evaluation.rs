//! A comparison on data in the benchmarks' official formats.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use diffprune::Budget;
use diffprune_eval::{Annotations, Arm, Benchmark, EvalError, Record, Replica, Report, RunTiming};

use crate::annotations::SceneTruth;
use crate::answers::{ANSWERS, write_answers};
use crate::arms::{ArmSource, ORACLE_QUESTIONS, Scorers, Trained};
use crate::comparison::{Answers, Comparison, Heading, Pictures, RunSettings};
use crate::data::{self, QuestionSet, Reading};
use crate::digest::Digest;
use crate::error::LabError;
use crate::files::{make_folder, read_json, write_json};
use crate::methods::{Method, default_method, load_scorer};
use crate::model::LoadedModel;
use crate::observer::Observer;
use crate::scorer::{OURS, shipped_scorer};

/// Tier of numbers about the small world.
pub const MINI: &str = "mini";
/// Tier of numbers about the benchmarks' own pictures.
pub(crate) const FULL: &str = "full";
/// Name of the records in the folder of the results.
pub const RECORDS: &str = "records.jsonl";
/// Name of what the records depend on, beside them.
const INPUTS: &str = "inputs.json";

/// Trained scorers and training-free methods on a folder of benchmarks.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Folder with benchmarks (gqa, pope, textvqa, mme, ...) in their official formats.
    pub data: PathBuf,
    /// The wording of the questions, and which of them are read.
    pub reading: Reading,
    /// The benchmarks that are asked; empty for all that are there.
    pub benchmarks: Vec<Benchmark>,
    /// At most so many questions of each benchmark.
    pub limit: Option<usize>,
    /// Names of the arms; empty for the controls, every scorer, and `inverted` when a scorer is called `diffprune`.
    pub arms: Vec<String>,
    /// The budgets.
    pub budgets: Vec<Budget>,
    /// Folders of trained scorers with the names of their arms; a scorer that the model brings along is `diffprune` beside
    /// them.
    pub scorers: Vec<(String, PathBuf)>,
    /// Seeds over which the arm `random` is averaged.
    pub random_seeds: u64,
    /// Questions, spread evenly over all, for the arm `oracle-loo`.
    pub oracle_questions: usize,
    /// Longest answer in new tokens; `None` takes the protocol's.
    pub max_new_tokens: Option<usize>,
    /// End at the first unusable sample and at the first failure, in place of leaving them out.
    pub strict: bool,
    /// Also write the answers for official programs, below [`ANSWERS`].
    pub answer_files: bool,
    /// Pictures of kept tokens in the report.
    pub pictures: usize,
    /// Seed of everything that is drawn, intervals included.
    pub seed: u64,
    /// Name of the device, or of several separated by commas.
    pub device: String,
    /// Revision of the code, for the report.
    pub revision: String,
}

/// An evaluation whose data, scorers and arms were read.
pub struct Prepared<'a> {
    evaluation: &'a Evaluation,
    comparison: Comparison<'a>,
    scorers: Scorers,
    set: QuestionSet,
    inputs: BTreeMap<&'static str, String>,
}

/// The end of an evaluation.
pub enum Evaluated {
    /// Numbers and times.
    Report(Box<Report>, RunTiming),
    /// The folder of upload files: only a server knows the right answers.
    Uploads(PathBuf),
}

impl Evaluation {
    /// The default arms that need no training, at the papers' budgets, on all questions of a folder.
    pub fn new(data: impl Into<PathBuf>, reading: Reading) -> Self {
        Self {
            data: data.into(),
            reading,
            benchmarks: Vec::new(),
            limit: None,
            arms: Vec::new(),
            budgets: vec![Budget::rate(1, 3), Budget::rate(2, 9), Budget::rate(1, 9)],
            scorers: Vec::new(),
            random_seeds: 5,
            oracle_questions: ORACLE_QUESTIONS,
            max_new_tokens: None,
            strict: false,
            answer_files: false,
            pictures: 3,
            seed: 0,
            device: "cpu".into(),
            revision: "unknown".into(),
        }
    }

    /// Reads questions, scorers and arms for a model.
    ///
    /// # Errors
    /// When there are no questions, a scorer does not fit the model, or the name of an arm is unknown.
    pub fn prepare<'a>(&'a self, model: &'a LoadedModel) -> Result<Prepared<'a>, LabError> {
        let mut set = QuestionSet::read(&self.data, &self.reading, self.strict, &self.benchmarks)?;
        let questions = data::limited(std::mem::take(&mut set.questions), self.limit);
        let truth = SceneTruth::open(&self.data)?;
        let hashes = self.scorer_hashes(model)?;
        let scorers = self.scorers(model)?;
        let (names, arms) = self.arms(model, &scorers)?;
        let (model_digest, questions_digest) = (model.fingerprint()?, data::question_digest(&questions)?);
        let inputs = BTreeMap::from([
            ("model or its options", model_digest.clone()),
            ("questions", questions_digest.clone()),
            (
                "wording",
                Digest::of_settings(&(&self.reading, self.max_new_tokens))?.hex(),
            ),
            ("scorers", hashes.join(", ")),
            (
                "device and weights",
                format!("{} {}", alike(&self.device), model.dtype.name()),
            ),
        ]);
        let fingerprint = Digest::new()
            .text(&model_digest)
            .text(&questions_digest)
            .text(&format!(
                "{:?} {:?} {hashes:?}",
                self.reading, self.max_new_tokens
            ))
            .text(&format!("{} {}", alike(&self.device), model.dtype.name()));
        let comparison = Comparison {
            model,
            device: self.device.clone(),
            copies: Vec::new(),
            questions,
            names,
            arms,
            absent: Vec::new(),
            budgets: self.budgets.clone(),
            truth: truth.map(|truth| Box::new(truth) as Box<dyn Annotations>),
            run: RunSettings {
                protocols: self.reading.protocols.clone(),
                max_new_tokens: self.max_new_tokens,
                strict: self.strict,
                threads: None,
                fingerprint: fingerprint.hex(),
            },
            seed: self.seed,
            resamples: None,
            given: Vec::new(),
        };
        Ok(Prepared {
            evaluation: self,
            comparison,
            scorers,
            set,
            inputs,
        })
    }

    /// The names of the arms, and the arms for this model.
    fn arms(&self, model: &LoadedModel, scorers: &Scorers) -> Result<(Vec<String>, Vec<Arm>), LabError> {
        let names = self.names(scorers);
        let source = ArmSource {
            vlm: model.vlm.as_ref(),
            scorers,
            random_seeds: self.random_seeds,
            untrained_seeds: 1,
            oracle_questions: self.oracle_questions,
            seed: self.seed,
        };
        let arms = source.all(&names)?;
        Ok((names, arms))
    }

    /// The folders of the scorers: those that were given, and as `diffprune` the one that the model brings along, unless
    /// another has that name.
    fn scorer_folders(&self, model: &LoadedModel) -> Vec<(String, PathBuf)> {
        let mut folders = self.scorers.clone();
        if let Some(own) = shipped_scorer(&model.dir)
            && folders.iter().all(|(name, _)| name != OURS)
        {
            folders.push((OURS.into(), own));
        }
        folders
    }

    /// The scorers for this model.
    fn scorers(&self, model: &LoadedModel) -> Result<Scorers, LabError> {
        let scorer = |(name, dir): &(String, PathBuf)| {
            let trained = Trained {
                seed: self.seed,
                budget: None,
                scorer: load_scorer(dir, model.vlm.as_ref())?,
            };
            Ok((name.clone(), vec![trained]))
        };
        self.scorer_folders(model).iter().map(scorer).collect()
    }

    /// A hash of the files of each scorer.
    fn scorer_hashes(&self, model: &LoadedModel) -> Result<Vec<String>, LabError> {
        let hash = |(name, dir): &(String, PathBuf)| {
            let digest = Digest::of_folder(dir, &["diffprune.json"])?;
            Ok(format!("{name}={}", digest.hex()))
        };
        let mut hashes = self
            .scorer_folders(model)
            .iter()
            .map(hash)
            .collect::<Result<Vec<_>, LabError>>()?;
        hashes.sort();
        Ok(hashes)
    }

    fn names(&self, scorers: &Scorers) -> Vec<String> {
        if !self.arms.is_empty() {
            return self.arms.clone();
        }
        let controls = [
            "full",
            "random",
            "stratified",
            "uniform-grid",
            "average-pool",
            "downsampled-image",
            "cls-attention",
            "untrained",
            "text-only",
        ];
        let inverted = scorers.contains_key(OURS).then(|| "inverted".to_string());
        let controls = controls.into_iter().map(String::from);
        controls.chain(scorers.keys().cloned()).chain(inverted).collect()
    }

    /// `mini` for data with the manifest of a small world.
    fn tier(&self) -> &'static str {
        match self.data.join("manifest.json").is_file() {
            true => MINI,
            false => FULL,
        }
    }
}

impl Prepared<'_> {
    /// A note about the unusable samples that are left out; empty when there are none.
    pub fn left_out(&self) -> String {
        self.set.note()
    }

    /// Lets a copy of the model on another device share the questions.
    ///
    /// # Errors
    /// When a scorer cannot be read there.
    pub fn add_copy(&mut self, model: LoadedModel) -> Result<(), LabError> {
        let scorers = self.evaluation.scorers(&model)?;
        let (_, arms) = self.evaluation.arms(&model, &scorers)?;
        let copy = Replica { vlm: model.vlm, arms };
        self.comparison.copies.push(copy);
        Ok(())
    }

    /// Answers, scores and reports; everything is written below `out`. A call that was interrupted is continued by the next.
    ///
    /// # Errors
    /// As [`Comparison::answer`], [`Comparison::report`] and [`Comparison::write`].
    pub fn run(&self, out: &Path, observer: &mut dyn Observer) -> Result<Evaluated, LabError> {
        let (evaluation, comparison) = (self.evaluation, &self.comparison);
        let answers = self.answer(out, observer)?;
        self.set.list_problems(out)?;
        let write_files = || {
            let (model, questions) = (comparison.model.name(), &comparison.questions);
            write_answers(&evaluation.data, out, &model, questions, &answers.records)
        };
        if evaluation.reading.upload {
            write_files()?;
            return Ok(Evaluated::Uploads(out.join(ANSWERS)));
        }
        let report = comparison.report(&answers.records, &self.heading(&answers.unanswered))?;
        comparison.write(&report, &self.pictures()?, out, observer)?;
        if evaluation.answer_files {
            write_files()?;
        }
        let timing = comparison.timing(&answers);
        timing.write(out)?;
        Ok(Evaluated::Report(Box::new(report), timing))
    }

    /// The scored answers alone, which are kept in `out` as [`Self::run`] keeps them.
    ///
    /// # Errors
    /// As [`Comparison::answer`].
    pub fn answers(&self, out: &Path, observer: &mut dyn Observer) -> Result<Vec<Record>, LabError> {
        Ok(self.answer(out, observer)?.records)
    }

    fn answer(&self, out: &Path, observer: &mut dyn Observer) -> Result<Answers, LabError> {
        let records = out.join(RECORDS);
        if !records.is_file() {
            make_folder(out)?;
            write_json(&out.join(INPUTS), &self.inputs)?;
        }
        self.comparison
            .answer(&records, observer)
            .map_err(|error| self.other_run(error, out))
    }

    /// A refused record file with what its run was about, as far as that is known.
    fn other_run(&self, error: LabError, out: &Path) -> LabError {
        let is_other =
            matches!(&error, LabError::Eval(error) if matches!(**error, EvalError::OtherRun { .. }));
        let before: Result<BTreeMap<String, String>, _> = read_json(&out.join(INPUTS), "the inputs of a run");
        let Some(before) = before.ok().filter(|_| is_other) else {
            return error;
        };
        let differs = |(name, digest): &(&&str, &String)| before.get(**name) != Some(digest);
        let differing: Vec<&str> = self
            .inputs
            .iter()
            .filter(differs)
            .map(|(name, _)| *name)
            .collect();
        match differing.is_empty() {
            true => error,
            false => LabError::OtherRun {
                folder: out.into(),
                differing: differing.join(" and "),
            },
        }
    }

    fn heading(&self, unanswered: &str) -> Heading {
        let (evaluation, comparison) = (self.evaluation, &self.comparison);
        let model = comparison.model;
        let rule = match comparison.arms.iter().any(|arm| arm.positions.is_some()) {
            true => " unless the arm says otherwise",
            false => "",
        };
        let note = format!(
            "Model {}; {} questions about {} pictures; kept tokens keep their position ids{rule}.",
            model.with_options(&model.name()),
            comparison.questions.len(),
            comparison.n_pictures()
        );
        Heading {
            revision: evaluation.revision.clone(),
            tier: evaluation.tier().into(),
            title: format!("Visual-token pruning on {}", model.name()),
            note: note + &self.left_out() + unanswered,
            notes: Vec::new(),
            records: RECORDS.into(),
            config: serde_json::json!({
                "arms": comparison.names, "budgets": evaluation.budgets, "limit": evaluation.limit,
                "random_seeds": evaluation.random_seeds, "reading": evaluation.reading,
                "oracle_questions": evaluation.oracle_questions, "options": model.options,
            }),
        }
    }

    /// The tokens that the usual method and each scorer keep at the last budget.
    fn pictures(&self) -> Result<Pictures<'_>, LabError> {
        let vlm = self.comparison.model.vlm.as_ref();
        let usual = default_method(vlm.family());
        let mut methods = vec![(usual, Method::parse(usual, vlm, self.evaluation.seed)?)];
        for (name, trained) in &self.scorers {
            let first = trained.first().map(|trained| trained.scorer.clone());
            methods.extend(first.map(|scorer| (name.as_str(), Method::learned(scorer))));
        }
        Ok(Pictures {
            count: self.evaluation.pictures,
            methods,
            budget: self.evaluation.budgets.last().copied().unwrap_or(Budget::All),
        })
    }
}

/// The part of a list of devices that names a run: the first where all are of one kind, and so compute alike.
fn alike(devices: &str) -> String {
    let kind = |name: &str| name.split(':').next().map(String::from);
    let names: Vec<&str> = devices.split(',').map(str::trim).collect();
    match names.as_slice() {
        [first, others @ ..] if others.iter().all(|name| kind(name) == kind(first)) => first.to_string(),
        _ => names.join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_one_kind_are_one_run() {
        for (names, wanted) in [
            ("cpu,cpu", "cpu"),
            ("cuda:1, cuda:0", "cuda:1"),
            ("cuda:0,cpu", "cuda:0,cpu"),
            ("cuda:1", "cuda:1"),
        ] {
            assert_eq!(alike(names), wanted);
        }
    }
}
