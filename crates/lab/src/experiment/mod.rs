//! The experiment on one model: trainings, comparison, report.

mod index;
mod learned;
mod ledger;
mod length;
mod lineup;
mod notes;
mod outline;
mod plan;
mod rehearsal;
mod series;
mod studies;
mod times;
mod trainings;
mod transfer;
mod tuning;
mod world;

pub use index::{ModelReport, write_index};
pub use learned::{Learned, Recipe};
pub use ledger::{Ledger, Stage};
pub use lineup::Lineup;
use lineup::contrasts;
pub use plan::{Ablations, Plan};
pub use rehearsal::{RunnableArms, runnable_arms};
pub use series::Series;
pub use studies::{STUDIES, StudyModels, StudyPage, StudySizes, studies_beside, verdict_of};
pub use times::given_times;
pub use trainings::{TunedArms, stopped_after, training_summary};
pub use tuning::{Trial, Tuned, Tuning};
pub use world::{World, write_world};

use std::collections::BTreeMap;
use std::path::Path;

use diffprune::{Method, PositionRule};
use diffprune_eval::{Annotations, Arm, Given, Protocol, Report, Tier};

use crate::annotations::SceneTruth;
use crate::arms::{ArmSource, Scorers};
use crate::comparison::{Answers, Comparison, Heading, Pictures, RunSettings};
use crate::digest::Digest;
use crate::error::LabError;
use crate::files::make_folder;
use crate::model::LoadedModel;
use crate::observer::Observer;
use crate::{data, methods};

use self::trainings::{Outcomes, Training};

/// Folder of data, trainings and records below that of the report. The names in it follow the parameters, so that runs
/// with others stand beside each other.
pub const STAGES: &str = "stages";

/// The experiment on one model: every method of the line-up is trained, every arm answers every question, and a report
/// compares them. A stage that is complete with the same parameters is read again; one that was interrupted goes on.
pub struct Experiment<'a> {
    /// The sizes.
    pub plan: &'a Plan,
    /// The methods that are trained and compared.
    pub lineup: Lineup,
    /// The frozen model.
    pub model: &'a LoadedModel,
    /// The data.
    pub world: &'a World,
    /// The tuning whose recipes the line-up has, for the report; see [`Self::tune`].
    pub tuned: Option<&'a TunedArms>,
    /// Seed of trainings and intervals.
    pub seed: u64,
    /// Name of the device, for the report.
    pub device: &'a str,
    /// Revision of the code, for the report.
    pub revision: &'a str,
    /// Verdicts from elsewhere: those of times on the published shape ([`given_times`]).
    pub given: &'a [Given],
    /// Folder of the report.
    pub out: &'a Path,
}

/// An experiment whose stages before the report are complete.
struct Compared<'a> {
    stages: Stages,
    outcomes: Outcomes,
    comparison: Comparison<'a>,
    answers: Answers,
    left_out: String,
    ledger: Ledger,
}

/// The stages, each named with a hash of everything that it depends on.
struct Stages {
    trainings: Vec<Training>,
    records: String,
}

impl Experiment<'_> {
    /// Runs every stage that is not complete, and writes the report.
    ///
    /// # Errors
    /// When a training or an arm fails, an earlier stage cannot be read, the observer asks to stop, or the disk refuses.
    /// Completed stages stay.
    pub fn run(&self, observer: &mut dyn Observer) -> Result<Report, LabError> {
        let mut compared = self.compare(observer)?;
        self.report(&mut compared, Vec::new(), Vec::new(), observer)
    }

    /// The stages before the report.
    fn compare(&self, observer: &mut dyn Observer) -> Result<Compared<'_>, LabError> {
        let name = self.model.name();
        let stages = self.stages()?;
        let folder = self.out.join(STAGES);
        make_folder(&folder)?;
        let mut ledger = Ledger::open(&folder.join(Ledger::FILE), self.revision.into())?;
        ledger.adopt(&self.world.name, self.world.stage.clone());
        let outcomes = self.train(&stages.trainings, &folder, &mut ledger, observer)?;
        let (comparison, left_out) = self.comparison(&outcomes.scorers, &stages.records)?;
        observer.stage(&format!("{name}: comparison"), ledger.has(&stages.records));
        let answers = ledger.time(&stages.records, || {
            comparison.answer(&folder.join(&stages.records), observer)
        })?;
        let mut timing = comparison.timing(&answers);
        timing.wall_s = ledger.stage(&stages.records).seconds.unwrap_or(0.0);
        timing.write(self.out)?;
        Ok(Compared {
            stages,
            outcomes,
            comparison,
            answers,
            left_out,
            ledger,
        })
    }

    /// The report, with these notes and the verdicts of the studies among them, and the table of times beside it.
    fn report(
        &self,
        made: &mut Compared<'_>,
        studies: Vec<StudyPage>,
        notes: Vec<String>,
        observer: &mut dyn Observer,
    ) -> Result<Report, LabError> {
        LabError::unless_stopped(observer, "before the report, with every answer saved")?;
        observer.stage(&format!("{}: report", self.model.name()), false);
        let mut heading = self.heading(&made.comparison, &made.outcomes, &made.stages, &made.ledger)?;
        heading.note += &format!("{}{}", made.left_out, made.answers.unanswered);
        heading
            .notes
            .extend(studies::note_about(&studies).into_iter().chain(notes));
        let comparison = &mut made.comparison;
        let findings = studies.iter().flat_map(|study| &study.findings);
        comparison.given.extend(findings.map(|finding| Given {
            id: finding.claim.clone(),
            tier: Tier::Mini,
            verdict: verdict_of(finding),
        }));
        let report = comparison.report(&made.answers.records, &heading)?;
        let pictures = self.pictures(comparison, &made.outcomes.scorers)?;
        comparison.write(&report, &pictures, self.out, observer)?;
        self.times(comparison, &self.out.join(STAGES), &mut made.ledger, observer)?;
        Ok(report)
    }

    fn stages(&self) -> Result<Stages, LabError> {
        let trainings = self.trainings()?;
        let (plan, protocol) = (self.plan, self.protocol());
        let names: Vec<&str> = trainings.iter().map(|training| training.stage.as_str()).collect();
        let (model, device) = (self.model.fingerprint()?, self.device_and_weights());
        let records = Digest::of_settings(&(
            (self.data(), names, &model, device, protocol, &self.lineup),
            (
                plan.pope_per_image,
                (plan.random_seeds, plan.untrained_seeds),
                plan.oracle_questions,
                self.max_new_tokens(),
                self.seed,
            ),
        ))?;
        Ok(Stages {
            trainings,
            records: format!("records-{}.jsonl", records.short()),
        })
    }

    fn protocol(&self) -> Protocol {
        data::protocol(self.model.vlm.as_ref())
    }

    /// The questions in the words of the model's protocol, and the arms that can answer them; and a note about the samples
    /// of the data that are left out.
    fn comparison(&self, scorers: &Scorers, fingerprint: &str) -> Result<(Comparison<'_>, String), LabError> {
        let vlm = self.model.vlm.as_ref();
        let set = self.world.questions(self.protocol(), self.plan.pope_per_image)?;
        set.list_problems(self.out)?;
        let left_out = set.note();
        let questions = set.questions;
        let source = ArmSource {
            vlm,
            scorers,
            random_seeds: self.plan.random_seeds,
            untrained_seeds: self.plan.untrained_seeds,
            oracle_questions: self.plan.oracle_questions,
            seed: self.seed,
        };
        let arms = source.all(&self.lineup.arms)?;
        let truth = SceneTruth::open(&self.world.folder)?;
        let truth = truth.map(|truth| Box::new(truth) as Box<dyn Annotations>);
        let no_questions = || LabError::NoQuestions {
            root: self.world.folder.clone(),
        };
        let first = questions.first().ok_or_else(no_questions)?;
        let mut runnable = runnable_arms(vlm, arms, &self.lineup.budgets, first, truth.as_deref())?;
        runnable.absent.extend(self.lineup.absent.iter().cloned());
        let comparison = Comparison {
            model: self.model,
            device: self.device.into(),
            copies: Vec::new(),
            questions,
            names: self.lineup.arms.clone(),
            arms: runnable.arms,
            absent: runnable.absent,
            budgets: self.lineup.budgets.clone(),
            truth,
            run: RunSettings {
                protocols: self.protocol().into(),
                max_new_tokens: self.max_new_tokens(),
                strict: false,
                threads: None,
                fingerprint: fingerprint.into(),
            },
            seed: self.seed,
            resamples: Some(self.plan.resamples),
            given: self.given.to_vec(),
        };
        Ok((comparison, left_out))
    }

    /// Longest answer in new tokens; on official data the protocol's.
    fn max_new_tokens(&self) -> Option<usize> {
        self.world.is_small.then_some(self.plan.max_new_tokens)
    }

    fn heading(
        &self,
        comparison: &Comparison<'_>,
        outcomes: &Outcomes,
        stages: &Stages,
        ledger: &Ledger,
    ) -> Result<Heading, LabError> {
        let trainings = stages.trainings.iter().map(|training| training.stage.as_str());
        let all: Vec<&str> = std::iter::once(self.world.name.as_str())
            .chain(trainings)
            .chain([stages.records.as_str()])
            .collect();
        let arms = comparison.arms.iter();
        let positions: BTreeMap<&str, PositionRule> =
            arms.map(|arm| (arm.name.as_str(), position_rule(arm))).collect();
        let vlm = self.model.vlm.as_ref();
        let declared = Learned::new("diffprune", Method::default());
        let train = self.plan.train(&declared, None, vlm.d_descriptor(), self.seed)?;
        let tuning = self
            .tuned
            .map(|tuned| serde_json::json!({"model": tuned.model, "arms": tuned.arms}));
        Ok(Heading {
            revision: ledger.revision(&all),
            tier: self.world.tier().into(),
            title: format!("DiffPrune on {}", self.model.name()),
            note: self.note(comparison),
            notes: notes::notes(self.plan, &self.lineup, outcomes, self.tuned),
            records: format!("{STAGES}/{}", stages.records),
            config: serde_json::json!({
                "family": vlm.family(), "table": self.lineup.table, "d_vision": vlm.d_vision(),
                "d_model": vlm.d_model(), "positions": positions, "lineup": self.lineup, "plan": self.plan,
                "train": train, "trainings": outcomes.facts(), "tuning": tuning,
            }),
        })
    }

    /// Model, data, prompts and position rules in a few sentences.
    fn note(&self, comparison: &Comparison<'_>) -> String {
        let mut reindexed: Vec<&str> = Vec::new();
        for arm in &comparison.arms {
            if position_rule(arm) == PositionRule::Reindex && !reindexed.contains(&arm.name.as_str()) {
                reindexed.push(&arm.name);
            }
        }
        let exceptions = match reindexed.is_empty() {
            true => String::new(),
            false => format!("; those of {} are numbered anew", reindexed.join(", ")),
        };
        let world = match (self.world.is_small, self.world.limit) {
            (true, None) => format!("the small world of seed {}", self.seed),
            (true, Some(limit)) => format!("a small world, at most {limit} questions of a benchmark"),
            (false, None) => "the data of a folder in the official formats".into(),
            (false, Some(limit)) => format!("the first {limit} questions of each benchmark in a folder"),
        };
        format!(
            "Model {}; {world}: {} questions about {} pictures, asked and scored by the protocol `{}`. Kept tokens keep their \
             position ids{exceptions}.",
            self.model.name(),
            comparison.questions.len(),
            comparison.n_pictures(),
            self.protocol().name(),
        )
    }

    /// The tokens that `[CLS]` attention, DiffPrune and its contrast keep, as far as they are compared.
    fn pictures(
        &self,
        comparison: &Comparison<'_>,
        scorers: &Scorers,
    ) -> Result<Pictures<'static>, LabError> {
        let vlm = self.model.vlm.as_ref();
        let mut methods = Vec::new();
        if comparison.arms.iter().any(|arm| arm.name == "cls-attention") {
            methods.push(("cls-attention", methods::Method::parse("cls", vlm, self.seed)?));
        }
        for name in ["diffprune", "gumbel-noise"] {
            let first = scorers.get(name).and_then(|trained| trained.first());
            methods.extend(first.map(|first| (name, methods::Method::learned(first.scorer.clone()))));
        }
        Ok(Pictures {
            count: self.plan.pictures,
            methods,
            budget: self.plan.train_budget,
        })
    }
}

/// The position rule of an arm.
fn position_rule(arm: &Arm) -> PositionRule {
    let own = arm.pruner.as_ref().map(|pruner| pruner.positions());
    arm.positions.or(own).unwrap_or_default()
}
