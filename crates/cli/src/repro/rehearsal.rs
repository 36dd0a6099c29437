//! Which arms can run at which budgets.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};

use diffprune::vlm::{Encoded, Hooks, PruneOptions, Turn, VlmError, encode, prepare_encoded, respond};
use diffprune::{Budget, PruneError, Pruner, Signals, Vlm};
use diffprune_eval::{Absent, Annotations, Arm, Question};

/// Arms with the budgets at which they can run, and what cannot run with its reason.
pub struct Cast {
    /// What can run.
    pub arms: Vec<Arm>,
    /// What cannot.
    pub absent: Vec<Absent>,
}

/// Tries every method at every budget on one question. A budget that a method cannot reach and a signal that the model
/// does not have are reasons to go without; every other failure is an error.
pub fn rehearse(
    vlm: &dyn Vlm,
    arms: Vec<Arm>,
    budgets: &[Budget],
    question: &Question,
    annotations: Option<&dyn Annotations>,
) -> anyhow::Result<Cast> {
    let trial = Trial::of(vlm, &arms, question, annotations)?;
    let mut verdicts: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    let mut cast = Cast {
        arms: Vec::new(),
        absent: Vec::new(),
    };
    for mut arm in arms {
        let Some(pruner) = arm.pruner.clone() else {
            cast.arms.push(arm);
            continue;
        };
        if !verdicts.contains_key(&arm.name) {
            let tried = |budget: &Budget| trial.reason(&arm, pruner.as_ref(), *budget);
            let reasons = budgets.iter().map(tried).collect::<anyhow::Result<Vec<_>>>()?;
            for (budget, reason) in budgets.iter().zip(&reasons) {
                cast.absent.extend(reason.as_ref().map(|reason| Absent {
                    arm: arm.name.clone(),
                    budget: budget.to_string(),
                    reason: reason.clone(),
                }));
            }
            verdicts.insert(arm.name.clone(), reasons);
        }
        let reasons = &verdicts[&arm.name];
        let can = |(budget, reason): (&Budget, &Option<String>)| reason.is_none().then_some(*budget);
        let only: Vec<Budget> = budgets.iter().zip(reasons).filter_map(can).collect();
        if only.is_empty() {
            continue;
        }
        arm.only_at = (only.len() < budgets.len()).then_some(only);
        cast.arms.push(arm);
    }
    Ok(cast)
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
    ) -> anyhow::Result<Self> {
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

    /// Why the method cannot run at this budget.
    fn reason(&self, arm: &Arm, pruner: &dyn Pruner, budget: Budget) -> anyhow::Result<Option<String>> {
        match self.answer(arm, pruner, budget) {
            Ok(()) => Ok(None),
            Err(VlmError::Prune(
                error @ (PruneError::UnreachableBudget { .. } | PruneError::MissingSignal { .. }),
            )) => Ok(Some(error.to_string())),
            Err(error) => Err(anyhow::Error::new(error).context(format!("arm `{}` at {budget}", arm.name))),
        }
    }

    fn answer(&self, arm: &Arm, pruner: &dyn Pruner, budget: Budget) -> Result<(), VlmError> {
        let signals = pruner.signals();
        let relevance = self.relevance.as_ref().filter(|_| signals.relevance).map(|rows| {
            let data = TensorData::new(rows.clone(), [1, rows.len()]);
            Tensor::<2>::from_data(data, &self.vlm.device())
        });
        let options = PruneOptions {
            positions: arm.positions,
            seed: arm.seed,
            relevance,
            questions: signals.text_relevance.then(|| vec![self.words.clone()]),
            ..PruneOptions::new(budget)
        };
        let images = prepare_encoded(self.vlm, &self.encoded, pruner, &options)?;
        if images.inside().is_some() {
            let one = self.vlm.generate_options().with_max_new_tokens(1);
            let prompts = [self.prompt.clone()];
            respond(self.vlm, &prompts, &images, &one, &mut Hooks::default())?;
        }
        Ok(())
    }
}
