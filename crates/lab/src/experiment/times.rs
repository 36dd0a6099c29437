//! Table 4 as a stage of an experiment.

use std::path::Path;
use std::sync::Arc;

use diffprune::Pruner;
use diffprune::vlm::Turn;
use diffprune_baselines::registry;
use diffprune_eval::{Given, ModelShape, Tier, TimesTable, judge_times};

use super::{Experiment, Ledger};
use crate::bench::TableBench;
use crate::comparison::{Comparison, timing_context};
use crate::digest::Digest;
use crate::error::LabError;
use crate::files::make_folder;
use crate::observer::Observer;

/// Rounds before the clock counts.
const WARM_UP: usize = 3;

/// The verdicts of a table of times that was measured on the published shape, as the options of a report take them.
///
/// # Errors
/// When the table cannot be read.
pub fn given_times(path: &Path) -> Result<Vec<Given>, LabError> {
    let entered = |(id, verdict)| Given {
        id,
        tier: Tier::Shape,
        verdict,
    };
    let table = TimesTable::read(path)?;
    let verdicts: Vec<Given> = judge_times(&table)?.into_iter().map(entered).collect();
    if verdicts.is_empty() {
        return Err(LabError::Setup {
            subject: path.display().to_string(),
            found: format!(
                "times of {}, {} visual tokens, budget {}",
                table.model, table.visual, table.budget
            ),
            wanted: "times of the papers' table: `diffprune bench --shape llava-1.5-7b --keep 1/9 --methods \
                     prunesid,pyramiddrop-published,holov,diffprune`"
                .into(),
        });
    }
    Ok(verdicts)
}

impl Experiment<'_> {
    /// Measures Table 4 on the model: the unpruned model, DiffPrune, and every published method of the comparison, in turn on one
    /// picture and question at the smallest budget that all tables have. The times stand beside the report, not in it: a
    /// report is the same however often its run was interrupted. Nothing is measured where the plan has no rounds.
    pub(super) fn times(
        &self,
        comparison: &Comparison<'_>,
        stages: &Path,
        ledger: &mut Ledger,
        observer: &mut dyn Observer,
    ) -> Result<(), LabError> {
        let rounds = self.plan.rounds;
        let (Some(budget), Some(question)) = (
            self.lineup.budgets.get(SMALLEST).or(self.lineup.budgets.last()),
            comparison.questions.first(),
        ) else {
            return Ok(());
        };
        let vlm = self.model.vlm.as_ref();
        let Ok(shape) = ModelShape::from_config(&self.model.dir.join("config.json"), &self.model.name())
        else {
            return Ok(());
        };
        if rounds == 0 {
            return Ok(());
        }
        let methods = timed(comparison);
        let names: Vec<&String> = methods.iter().map(|(name, _)| name).collect();
        let settings = (
            names,
            rounds,
            budget,
            self.model.fingerprint()?,
            self.device_and_weights(),
        );
        let stage = format!("times-{}", Digest::of_settings(&settings)?.short());
        let dir = stages.join(&stage);
        observer.stage(&format!("{}: times", self.model.name()), ledger.has(&stage));
        if !ledger.has(&stage) {
            let turn = Turn::ask(question.text.clone());
            let bench = TableBench {
                vlm,
                model: self.model.name(),
                published: None,
                shape: &shape,
                picture: question.load_image()?,
                prompt: vlm.prompt_ids(&[turn])?,
                question: vlm.text_ids(&question.text)?,
                budget: *budget,
                rounds,
                warm_up: WARM_UP,
                context: timing_context(self.model.dtype, self.model.is_on_cpu(), self.device, 1),
                revision: self.revision.into(),
            };
            let stop = observer.stop();
            let mut progress = observer.progress("times", rounds + WARM_UP);
            ledger.time(&stage, || {
                let table = bench.measure(&methods, &mut |done| {
                    progress.step(done, &[]);
                    !stop.is_requested()
                })?;
                make_folder(&dir)?;
                table.write(&dir)?;
                Ok(())
            })?;
        }
        TimesTable::read(&dir.join(TimesTable::FILE))?.write(self.out)?;
        Ok(())
    }
}

/// Place of 1/9 among the budgets of a line-up: the smallest that all tables have.
const SMALLEST: usize = 2;

/// DiffPrune of the first training seed, and the published methods that run without annotations.
fn timed(comparison: &Comparison<'_>) -> Vec<(String, Arc<dyn Pruner>)> {
    let mut methods: Vec<(String, Arc<dyn Pruner>)> = Vec::new();
    for arm in &comparison.arms {
        let is_published = || {
            registry()
                .iter()
                .any(|entry| entry.name == arm.name && entry.paper.is_some())
        };
        let Some(pruner) = &arm.pruner else {
            continue;
        };
        let is_new = methods.iter().all(|(name, _)| *name != arm.name);
        if is_new && (arm.name == "diffprune" || is_published()) && !pruner.signals().relevance {
            methods.push((arm.name.clone(), pruner.clone()));
        }
    }
    methods
}
