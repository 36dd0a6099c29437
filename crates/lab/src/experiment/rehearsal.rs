//! The budgets at which each arm can run.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};

use diffprune::vlm::{Encoded, Hooks, PruneOptions, Turn, VlmError, encode, prepare_encoded, respond};
use diffprune::{Budget, PruneError, Pruner, Signals, Vlm};
use diffprune_eval::{Absent, Annotations, Arm, Question};

use crate::error::LabError;

/// The arms of a comparison, sorted by whether they can run.
#[derive(Debug)]
pub struct RunnableArms {
    /// The arms that can run, each with its budgets.
    pub arms: Vec<Arm>,
    /// The arms and budgets that cannot, each with the reason.
    pub absent: Vec<Absent>,
}

/// Tries every method at every budget on one question. A budget that a method cannot reach and a signal that the model
/// does not have are reasons to leave it out; every other failure is an error.
///
/// # Errors
/// When the question cannot be prepared, or a method fails for another reason.
pub fn runnable_arms(
    vlm: &dyn Vlm,
    arms: Vec<Arm>,
    budgets: &[Budget],
    question: &Question,
    annotations: Option<&dyn Annotations>,
) -> Result<RunnableArms, LabError> {
    let trial = Trial::of(vlm, &arms, question, annotations)?;
    let mut verdicts: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    let mut runnable = RunnableArms {
        arms: Vec::new(),
        absent: Vec::new(),
    };
    for mut arm in arms {
        let Some(pruner) = arm.pruner.clone() else {
            runnable.arms.push(arm);
            continue;
        };
        if !verdicts.contains_key(&arm.name) {
            let tried = |budget: &Budget| trial.reason(&arm, pruner.as_ref(), *budget);
            let reasons = budgets.iter().map(tried).collect::<Result<Vec<_>, LabError>>()?;
            for (budget, reason) in budgets.iter().zip(&reasons) {
                runnable.absent.extend(reason.as_ref().map(|reason| Absent {
                    arm: arm.name.clone(),
                    budget: budget.to_string(),
                    reason: reason.clone(),
                }));
            }
            verdicts.insert(arm.name.clone(), reasons);
        }
        let reasons = &verdicts[&arm.name];
        let can = |(budget, reason): (&Budget, &Option<String>)| reason.is_none().then_some(*budget);
        let own = arm.only_at.take();
        let is_own = |budget: &Budget| own.as_ref().is_none_or(|own| own.contains(budget));
        let only: Vec<Budget> = budgets
            .iter()
            .zip(reasons)
            .filter_map(can)
            .filter(is_own)
            .collect();
        if only.is_empty() {
            continue;
        }
        arm.only_at = (only.len() < budgets.len()).then_some(only);
        runnable.arms.push(arm);
    }
    Ok(runnable)
}

/// One question about one picture.
struct Trial<'a> {
    vlm: &'a dyn Vlm,
    encoded: Encoded,
    prompt: Vec<u32>,
    words: Vec<u32>,
    relevance: Option<Vec<f32>>,
}

impl<'a> Trial<'a> {
    fn of(
        vlm: &'a dyn Vlm,
        arms: &[Arm],
        question: &Question,
        annotations: Option<&dyn Annotations>,
    ) -> Result<Self, LabError> {
        let signals = arms.iter().filter_map(|arm| arm.pruner.as_ref());
        let signals = signals.fold(Signals::default(), |all, pruner| all.union(pruner.signals()));
        let encoded = encode(vlm, &[question.load_image()?], signals)?;
        let relevance = annotations.and_then(|truth| truth.relevance(&question.image, &encoded.layouts[0]));
        Ok(Self {
            vlm,
            relevance,
            prompt: vlm.prompt_ids(&[Turn::ask(question.text.clone()).with_images(1)])?,
            words: vlm.text_ids(&question.text)?,
            encoded,
        })
    }

    /// The reason for which the method cannot run at this budget; `None` when it can.
    fn reason(&self, arm: &Arm, pruner: &dyn Pruner, budget: Budget) -> Result<Option<String>, LabError> {
        match self.answer(arm, pruner, budget) {
            Ok(()) => Ok(None),
            Err(VlmError::Prune(
                error @ (PruneError::UnreachableBudget { .. } | PruneError::MissingSignal { .. }),
            )) => Ok(Some(error.to_string())),
            Err(source) => Err(LabError::Arm {
                arm: arm.name.clone(),
                budget: budget.to_string(),
                source: Box::new(source),
            }),
        }
    }

    fn answer(&self, arm: &Arm, pruner: &dyn Pruner, budget: Budget) -> Result<(), VlmError> {
        let signals = pruner.signals();
        let relevance = self.relevance.as_ref().filter(|_| signals.relevance).map(|rows| {
            let data = TensorData::new(rows.clone(), [1, rows.len()]);
            Tensor::<2>::from_data(data, &self.vlm.device())
        });
        let options = PruneOptions::new(budget)
            .with_positions(arm.positions)
            .with_seed(arm.seed)
            .with_relevance(relevance)
            .with_questions(signals.text_relevance.then(|| vec![self.words.clone()]));
        let images = prepare_encoded(self.vlm, &self.encoded, pruner, &options)?;
        if images.inside().is_some() {
            let one = self.vlm.generate_options().with_max_new_tokens(1);
            let prompts = [self.prompt.clone()];
            respond(self.vlm, &prompts, &images, &one, &mut Hooks::default())?;
        }
        Ok(())
    }
}
