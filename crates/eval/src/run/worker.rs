//! One unit of work: some pictures, all their questions, every arm.

use diffprune_vlm::Vlm;

use super::arm::ArmInput;
use super::batch::Unit;
use super::failures::{guarded, is_of_a_sample};
use super::prepared::Prepared;
use super::runner::{Setting, Shared};
use crate::EvalError;
use crate::data::Question;

/// A model at work on a unit.
pub(crate) struct Worker<'a> {
    pub(crate) vlm: &'a dyn Vlm,
    pub(crate) shared: &'a Shared<'a>,
    pub(crate) unit: &'a Unit<'a>,
}

impl Worker<'_> {
    /// Answers what is not yet answered. Gives back the settings that failed on some sample, unless every failure ends
    /// the run.
    pub(crate) fn run<'s>(
        &self,
        settings: &[Setting<'s>],
    ) -> Result<Vec<(Setting<'s>, EvalError)>, EvalError> {
        let mut prepared = Prepared::default();
        let mut failed = Vec::new();
        for setting in settings {
            match guarded(|| self.run_setting(setting, &mut prepared)) {
                Ok(()) => {}
                Err(error) if self.shared.run.options.strict || !is_of_a_sample(&error) => return Err(error),
                Err(error) => failed.push((*setting, error)),
            }
        }
        Ok(failed)
    }

    fn run_setting(&self, setting: &Setting<'_>, prepared: &mut Prepared) -> Result<(), EvalError> {
        let n_prompts = self.shared.run.options.prompts_per_batch.max(1);
        let is_asked = |place: &usize| self.shared.asks(setting, self.unit.questions[*place].0);
        let asked: Vec<usize> = (0..self.unit.questions.len()).filter(is_asked).collect();
        let mut selected = None;
        for places in asked.chunks(n_prompts) {
            let questions: Vec<(&Question, usize)> =
                places.iter().map(|&place| self.unit.questions[place]).collect();
            if self.shared.is_done(setting, &questions) {
                continue;
            }
            if self.shared.ends_early() {
                break;
            }
            if setting.arm.reads_the_question() {
                // What stays depends on the question, so each of them selects for itself.
                selected = Some(self.select_timed(setting, prepared, Some(places))?);
            } else if selected.is_none() && setting.arm.input != ArmInput::TextOnly {
                selected = Some(self.select_timed(setting, prepared, None)?);
            }
            let prompts = self.prompts(setting.arm.input, prepared)?;
            let prompts: Vec<Vec<u32>> = places.iter().map(|&place| prompts[place].clone()).collect();
            let (answers, laps) = self.answer(&questions, &prompts, selected.as_ref())?;
            if let Some(times) = &self.shared.run.options.times {
                times.add(&setting.arm.name, setting.budget, laps);
            }
            self.shared
                .record(self.records(setting, &questions, answers, selected.as_ref()))?;
        }
        Ok(())
    }
}
