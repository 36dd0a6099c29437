//! The trainings of an experiment: their stages, and the tuning before them.

use std::collections::BTreeMap;
use std::path::Path;

use diffprune::{Budget, CachePrecision, CaptionData, FeatureOptions, TrainReport, Trainer};
use serde::{Deserialize, Serialize};

use super::tuning::{Trial, Tuned, tried};
use super::{Experiment, Learned, Ledger, Recipe, STAGES};
use crate::arms::{Scorers, Trained};
use crate::captions::{TrainingData, encode_captions};
use crate::digest::Digest;
use crate::error::LabError;
use crate::files::{make_folder, read_json, write_json};
use crate::methods;
use crate::model::WeightType;
use crate::observer::Observer;

/// Name of the result beside a finished training.
const TRAIN_REPORT: &str = "train-report.json";

/// One training of the line-up.
pub(super) struct Training {
    pub(super) learned: Learned,
    /// The one budget that it is for; `None` for all of them.
    pub(super) budget: Option<Budget>,
    pub(super) seed: u64,
    /// Its stage; a hash of everything that it depends on is part of the name.
    pub(super) stage: String,
}

/// The outcome of every training.
#[derive(Default)]
pub(super) struct Outcomes {
    pub(super) scorers: Scorers,
    /// By the names of the trainings, in the order of the line-up.
    pub(super) reports: Vec<(String, TrainReport)>,
}

/// The outcome of a tuning, for the models and runs that take its recipes over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunedArms {
    /// The model on which the arms were tuned.
    pub model: String,
    /// Revision of the code.
    pub revision: String,
    /// Number of updates of every trial.
    pub steps: usize,
    /// Captions of an update.
    pub batch: usize,
    /// Seed of data and trainings.
    pub seed: u64,
    /// The result for each of them.
    pub arms: Vec<Tuned>,
}

impl TunedArms {
    /// Name of the file in the folder of a run.
    pub const FILE: &str = "tuning.json";

    /// Reads what an earlier run has written.
    ///
    /// # Errors
    /// When the file cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Self, LabError> {
        read_json(path, "the result of a tuning, tuning.json in the folder of a run")
    }

    /// The tuning of the committed run of the plan `full`, on `mini-llava-1.5`.
    ///
    /// # Errors
    /// When this crate's copy of it is damaged.
    pub fn committed() -> Result<Self, LabError> {
        const TEXT: &str = include_str!("tuning.json");
        serde_json::from_str(TEXT).map_err(|source| LabError::Json {
            path: "crates/lab/src/experiment/tuning.json".into(),
            wanted: "the result of a tuning; take the file from a checkout",
            source,
        })
    }

    /// Copies the file of a run that has one.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), LabError> {
        let file = from.join(Self::FILE);
        match file.is_file() {
            true => Self::read(&file)?.write(to),
            false => Ok(()),
        }
    }

    /// The part of it about these arms.
    pub(super) fn of(mut self, arms: &[String]) -> Self {
        self.arms.retain(|tuned| arms.contains(&tuned.arm));
        self
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), LabError> {
        write_json(&folder.join(Self::FILE), self)
    }

    /// The arms for which the tuning chose another recipe than the declared one, with that recipe.
    pub(super) fn chosen(&self) -> impl Iterator<Item = (&str, Recipe)> {
        let chosen = |tuned: &Tuned| tuned.chosen();
        let arms = self.arms.iter();
        arms.filter_map(move |tuned| Some((tuned.arm.as_str(), chosen(tuned)?)))
    }
}

impl Training {
    /// The arm, with budget and seed where it has several trainings.
    pub(super) fn name(&self) -> String {
        let mut name = self.learned.arm.clone();
        if let Some(budget) = self.budget {
            name += &format!(" at {budget}");
        }
        if self.learned.seeds.len() > 1 {
            name += &format!(", seed {}", self.seed);
        }
        name
    }
}

impl Experiment<'_> {
    /// Tunes every method of the line-up: the grid of the plan, one training for each recipe, at the budget and with the number
    /// of updates of the plan. A trial with the declared recipe is the arm's own first training and is not run twice.
    ///
    /// # Errors
    /// When a training fails, an earlier stage cannot be read, or the disk refuses. Completed stages stay.
    pub fn tune(&self, observer: &mut dyn Observer) -> Result<TunedArms, LabError> {
        let folder = self.out.join(STAGES);
        make_folder(&folder)?;
        let mut ledger = Ledger::open(&folder.join(Ledger::FILE), self.revision.into())?;
        let declared = self.plan.declared(self.model.vlm.d_descriptor());
        let recipes = self
            .plan
            .tuning
            .as_ref()
            .map(|grid| grid.recipes(declared))
            .unwrap_or_default();
        let mut trainings = Vec::new();
        for learned in tried(&self.lineup.learned) {
            for &recipe in &recipes {
                let trial = Learned {
                    recipe: (recipe != declared).then_some(recipe),
                    ..learned.clone()
                };
                trainings.push((recipe, self.training(trial, None, self.seed)?));
            }
        }
        let all = trainings.iter().map(|(_, training)| training);
        let features = self.features(all, &folder, &mut ledger, observer)?;
        let mut arms: Vec<Tuned> = Vec::new();
        for (recipe, training) in &trainings {
            let arm = &training.learned.arm;
            observer.stage(
                &format!("{}: tuning of {arm}, {recipe}", self.model.name()),
                ledger.has(&training.stage),
            );
            let report = self.train_or_read(training, features.as_ref(), &mut ledger, observer)?;
            let trial = Trial::of(*recipe, &report);
            match arms.last_mut().filter(|tuned| tuned.arm == *arm) {
                Some(tuned) => tuned.trials.push(trial),
                None => arms.push(Tuned {
                    arm: arm.clone(),
                    trials: vec![trial],
                }),
            }
        }
        let stages = trainings.iter().map(|(_, training)| training.stage.as_str());
        Ok(TunedArms {
            model: self.model.name(),
            revision: ledger.revision(&stages.collect::<Vec<_>>()),
            steps: self.plan.steps,
            batch: self.plan.batch,
            seed: self.seed,
            arms,
        })
    }

    /// The captions of a small world behind the encoder, written once for all of these trainings; `None` for other data, which
    /// can be large beside what a training reads of it, and when every training is complete.
    fn features<'t>(
        &self,
        mut trainings: impl Iterator<Item = &'t Training>,
        folder: &Path,
        ledger: &mut Ledger,
        observer: &mut dyn Observer,
    ) -> Result<Option<TrainingData>, LabError> {
        if !self.world.is_small {
            return Ok(None);
        }
        let named = (self.data(), self.model.fingerprint()?, self.device_and_weights());
        let stage = format!("features-{}", Digest::of_settings(&named)?.short());
        let needless = trainings.all(|training| ledger.has(&training.stage));
        let title = format!("{}: features of the captions", self.model.name());
        observer.stage(&title, needless || ledger.has(&stage));
        if needless {
            return Ok(None);
        }
        let out = folder.join(&stage);
        let pictures = TrainingData::pictures(&self.world.folder, true, None)?;
        let options = FeatureOptions::default()
            .with_precision(CachePrecision::F32)
            // A wish to stop is heard between two files.
            .with_samples_per_file(256)
            .with_stop(observer.stop());
        ledger.time(&stage, || {
            for (name, data) in pictures.splits() {
                let mut progress = observer.progress(&format!("features, {name}"), data.len());
                let mut step = |done, _| progress.step(done, &[]);
                encode_captions(self.model, (name, data), &out, &options, |_| Ok(()), &mut step)?;
                progress.finish();
            }
            Ok(())
        })?;
        Ok(Some(TrainingData::features(&out, self.model, Some(&pictures))?))
    }

    /// Every training of the line-up.
    pub(super) fn trainings(&self) -> Result<Vec<Training>, LabError> {
        let mut trainings = Vec::new();
        for learned in &self.lineup.learned {
            for budget in learned.training_budgets(&self.lineup.budgets) {
                for seed in learned.training_seeds(self.seed) {
                    trainings.push(self.training(learned.clone(), budget, seed)?);
                }
            }
        }
        Ok(trainings)
    }

    fn training(&self, learned: Learned, budget: Option<Budget>, seed: u64) -> Result<Training, LabError> {
        let d_descriptor = self.model.vlm.d_descriptor();
        let config = self.plan.train(&learned, budget, d_descriptor, seed)?;
        let model = self.model.fingerprint()?;
        let hash = Digest::of_settings(&(&config, self.data(), &model, self.device_and_weights()))?.short();
        // A tuned arm is one of the trials under its own name.
        let arm = match learned.recipe {
            Some(_) => learned.arm.trim_end_matches("-tuned"),
            None => &learned.arm,
        };
        Ok(Training {
            stage: format!("{arm}-{hash}"),
            learned,
            budget,
            seed,
        })
    }

    /// Name of the data, as part of what a stage depends on.
    pub(super) fn data(&self) -> &str {
        self.world.name.trim_start_matches("data-")
    }

    /// The device, and the type of the weights where it is not f32: other types give other answers, and f32 keeps the names of
    /// stages that it always had.
    pub(super) fn device_and_weights(&self) -> String {
        let held = match self.model.dtype {
            WeightType::F32 => "",
            WeightType::F16 => " half",
            WeightType::Bf16 => " bf16",
        };
        format!("{}{held}", self.device)
    }

    /// Runs the trainings that are not complete, and reads the others.
    pub(super) fn train(
        &self,
        trainings: &[Training],
        folder: &Path,
        ledger: &mut Ledger,
        observer: &mut dyn Observer,
    ) -> Result<Outcomes, LabError> {
        let mut outcomes = Outcomes::default();
        let features = self.features(trainings.iter(), folder, ledger, observer)?;
        for training in trainings {
            let name = training.name();
            observer.stage(
                &format!("{}: training of {name}", self.model.name()),
                ledger.has(&training.stage),
            );
            let report = self.train_or_read(training, features.as_ref(), ledger, observer)?;
            let trained = Trained {
                seed: training.seed,
                budget: training.budget,
                scorer: methods::load_scorer(&folder.join(&training.stage), self.model.vlm.as_ref())?,
            };
            let arm = training.learned.arm.clone();
            outcomes.scorers.entry(arm).or_default().push(trained);
            outcomes.reports.push((name, report));
        }
        Ok(outcomes)
    }

    fn train_or_read(
        &self,
        training: &Training,
        features: Option<&TrainingData>,
        ledger: &mut Ledger,
        observer: &mut dyn Observer,
    ) -> Result<TrainReport, LabError> {
        let dir = self.out.join(STAGES).join(&training.stage);
        if !ledger.has(&training.stage) {
            ledger.time(&training.stage, || {
                self.train_one(training, features, &dir, observer)
            })?;
        }
        read_json(
            &dir.join(TRAIN_REPORT),
            "no report of a training; remove the folder",
        )
    }

    fn train_one(
        &self,
        training: &Training,
        features: Option<&TrainingData>,
        dir: &Path,
        observer: &mut dyn Observer,
    ) -> Result<(), LabError> {
        let vlm = self.model.vlm.as_ref();
        let learned = &training.learned;
        let config = self
            .plan
            .train(learned, training.budget, vlm.d_descriptor(), training.seed)?;
        let pictures;
        let data = match features {
            Some(features) => features,
            None => {
                let boxes = learned.method.needs_relevance();
                pictures = TrainingData::pictures(&self.world.folder, boxes, None)?;
                &pictures
            }
        };
        let held_out = data
            .held_out
            .as_ref()
            .map(|held_out| held_out.as_ref() as &dyn CaptionData);
        let mut progress = observer.progress(&training.name(), config.steps);
        let trainer = Trainer::new(vlm, &config).with_model_digest(self.model.fingerprint()?);
        let trainer = trainer.with_stop(observer.stop());
        let report = trainer.run(data.train.as_ref(), held_out, dir, &mut progress)?;
        if !report.finished {
            return Err(LabError::Stopped {
                after: format!(
                    "in the training of {} {}",
                    training.name(),
                    stopped_after(report.steps, config.steps)
                ),
            });
        }
        observer.note(&training_summary(&report));
        write_json(&dir.join(TRAIN_REPORT), &report)
    }
}

impl Outcomes {
    /// The result of each training, by its name, without its folder.
    pub(super) fn facts(&self) -> BTreeMap<&str, serde_json::Value> {
        let facts = |report: &TrainReport| {
            serde_json::json!({
                "steps": report.steps, "stopped_early": report.stopped_early, "start_val_nll": report.start_val_nll,
                "best_step": report.best_step, "best_val_nll": report.best_val_nll, "last_nll": report.last_nll,
                "warnings": report.warnings,
            })
        };
        let named = self.reports.iter();
        named
            .map(|(name, report)| (name.as_str(), facts(report)))
            .collect()
    }
}

/// Where a training was stopped.
pub fn stopped_after(done: usize, of: usize) -> String {
    match done {
        0 => "before the first update".into(),
        _ => format!("after update {done} of {of}, which is saved"),
    }
}

/// One sentence about a finished training.
pub fn training_summary(report: &TrainReport) -> String {
    let mut text = format!("{}: {} updates", report.out_dir.display(), report.steps);
    if let (Some(step), Some(nll)) = (report.best_step, report.best_val_nll) {
        text += &format!(", best held-out loss {nll:.4} nats per token after {step}");
    }
    if report.stopped_early {
        text += ", stopped early";
    }
    for warning in &report.warnings {
        text += &format!("\nwarning: {warning}");
    }
    text
}
