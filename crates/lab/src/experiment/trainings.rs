//! The trainings of an experiment: their stages, and the tuning before them.

use std::collections::BTreeMap;
use std::path::Path;

use diffprune::{Budget, CaptionData, TrainReport, Trainer};

use super::tuning::{Trial, Tuned, tried};
use super::{Experiment, Learned, Ledger, STAGES};
use crate::arms::{Scorers, Trained};
use crate::data;
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

/// The outcome of a tuning, for the models that take its recipes over.
#[derive(Debug, Clone, PartialEq)]
pub struct TunedArms {
    /// The model on which the arms were tuned.
    pub model: String,
    /// The result for each of them.
    pub arms: Vec<Tuned>,
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
        let mut arms = Vec::new();
        for learned in tried(&self.lineup.learned) {
            let mut trials = Vec::new();
            for &recipe in &recipes {
                let trial = Learned {
                    recipe: (recipe != declared).then_some(recipe),
                    ..learned.clone()
                };
                let training = self.training(trial, None, self.seed)?;
                observer.stage(
                    &format!("{}: tuning of {}, {recipe}", self.model.name(), learned.arm),
                    ledger.has(&training.stage),
                );
                let report = self.train_or_read(&training, &folder, &mut ledger, observer)?;
                trials.push(Trial::of(recipe, &report));
            }
            arms.push(Tuned {
                arm: learned.arm,
                trials,
            });
        }
        Ok(TunedArms {
            model: self.model.name(),
            arms,
        })
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
        for training in trainings {
            let name = training.name();
            observer.stage(
                &format!("{}: training of {name}", self.model.name()),
                ledger.has(&training.stage),
            );
            let report = self.train_or_read(training, folder, ledger, observer)?;
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
        folder: &Path,
        ledger: &mut Ledger,
        observer: &mut dyn Observer,
    ) -> Result<TrainReport, LabError> {
        let dir = folder.join(&training.stage);
        if !ledger.has(&training.stage) {
            ledger.time(&training.stage, || self.train_one(training, &dir, observer))?;
        }
        read_json(
            &dir.join(TRAIN_REPORT),
            "no report of a training; remove the folder",
        )
    }

    fn train_one(
        &self,
        training: &Training,
        dir: &Path,
        observer: &mut dyn Observer,
    ) -> Result<(), LabError> {
        let vlm = self.model.vlm.as_ref();
        let learned = &training.learned;
        let config = self
            .plan
            .train(learned, training.budget, vlm.d_descriptor(), training.seed)?;
        let (captions, held_out) = data::read_captions(&self.world.folder, learned.method.needs_relevance())?;
        let held_out = held_out.as_ref().map(|folder| folder as &dyn CaptionData);
        let mut progress = observer.progress(&training.name(), config.steps);
        let trainer = Trainer::new(vlm, &config).with_model_digest(self.model.fingerprint()?);
        let trainer = trainer.with_stop(observer.stop());
        let report = trainer.run(&captions, held_out, dir, &mut progress)?;
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
