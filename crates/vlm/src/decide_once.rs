//! A method inside the language model that decides once for a whole conversation.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use diffprune_pruner::{
    Budget, DecoderContext, DecoderEmbeds, DecoderPruner, DecoderSelection, DecoderSignals, DecoderStage,
    PositionRule, PruneError, PruneResult, Pruner, PruningContext, Selection, Signals,
};

/// Lets a method inside the language model choose for the first prompt of a conversation, and repeats its choice for
/// later ones: no signal is computed again and the method is not called.
///
/// Attention is causal, so visual tokens enter each layer of a later turn as they entered it in the first one: merged
/// vectors can be repeated like kept indices. A prompt with another number of visual tokens (a turn that brings images)
/// or another budget is decided on anew, for all its images.
///
/// It is meant for one sequence at a time. In a batch of several with images the method chooses for each of them, every
/// time, and nothing of it is repeated. A batch may not follow a conversation whose tokens are as many as those of its
/// first sequence: that sequence was taken for the next turn, so the pass is refused, and the decision forgotten.
pub struct DecideOnce<'a> {
    inner: &'a dyn DecoderPruner,
    decision: Mutex<Decision>,
}

/// The choices of a pass, and what the pass under way does with them.
#[derive(Default, Clone)]
pub(crate) struct Decision {
    /// Layers, visual tokens and budget of the pass; `None` when nothing of it may be repeated.
    about: Option<(usize, usize, Budget)>,
    n_stages: usize,
    made: Vec<(DecoderStage, DecoderSelection)>,
    pass: Pass,
}

/// The role of the pass under way, as its first sequence was told.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// It lets the method choose. What it chooses is repeated by later passes only.
    #[default]
    Chooses,
    /// It is to repeat what an earlier pass chose, and no layer has asked yet. A pass names all its sequences before that.
    Announced,
    /// It repeats what an earlier pass chose.
    Repeats,
}

impl Decision {
    /// `true` if the pass went through all its stages; without any there is nothing to repeat.
    fn is_made(&self) -> bool {
        self.about.is_some() && self.n_stages > 0 && self.made.len() == self.n_stages
    }

    /// The choice of an earlier pass at this stage, when the pass under way repeats it.
    fn repeated(&mut self, stage: &DecoderStage) -> Option<DecoderSelection> {
        if self.pass == Pass::Chooses {
            return None;
        }
        self.pass = Pass::Repeats;
        let (_, selection) = self.made.iter().find(|(made, _)| made.layer == stage.layer)?;
        Some(selection.clone())
    }
}

impl<'a> DecideOnce<'a> {
    /// The method `inner`, which has not decided yet.
    pub fn new(inner: &'a dyn DecoderPruner) -> Self {
        Self {
            inner,
            decision: Mutex::default(),
        }
    }

    /// The decision as it stands, to return to after a pass that fails.
    pub(crate) fn decided(&self) -> Decision {
        self.decision().clone()
    }

    /// Returns to an earlier decision.
    pub(crate) fn return_to(&self, decision: Decision) {
        *self.decision() = decision;
    }

    /// A panic of the method between two stages leaves an unfinished decision, which is not repeated.
    fn decision(&self) -> MutexGuard<'_, Decision> {
        self.decision.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DecideOnce<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecideOnce")
            .field("inner", &self.inner.name())
            .field("about", &self.decision().about)
            .finish_non_exhaustive()
    }
}

impl Pruner for DecideOnce<'_> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signals(&self) -> Signals {
        self.inner.signals()
    }

    fn positions(&self) -> PositionRule {
        self.inner.positions()
    }

    fn decoder(&self) -> Option<&dyn DecoderPruner> {
        Some(self)
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        self.inner.select(context)
    }
}

impl DecoderPruner for DecideOnce<'_> {
    fn stages(&self, n_layers: usize, n_visual: usize, budget: &Budget) -> PruneResult<Vec<DecoderStage>> {
        let mut decision = self.decision();
        if decision.pass == Pass::Announced {
            *decision = Decision::default();
            return Err(PruneError::Shape {
                what: "sequences in a pass that repeats a decision",
                found: 2,
                wanted: 1,
            });
        }
        let about = Some((n_layers, n_visual, *budget));
        if decision.about == about && decision.is_made() {
            decision.pass = Pass::Announced;
            let silent = |(stage, _): &(DecoderStage, DecoderSelection)| DecoderStage {
                signals: DecoderSignals::default(),
                ..*stage
            };
            return Ok(decision.made.iter().map(silent).collect());
        }
        let stages = self.inner.stages(n_layers, n_visual, budget)?;
        *decision = Decision {
            about,
            n_stages: stages.len(),
            ..Decision::default()
        };
        Ok(stages)
    }

    fn raters(&self, embeds: &DecoderEmbeds) -> Result<Vec<usize>, PruneError> {
        self.inner.raters(embeds)
    }

    fn select_at(&self, stage: &DecoderStage, context: &DecoderContext) -> PruneResult<DecoderSelection> {
        let mut decision = self.decision();
        if let Some(selection) = decision.repeated(stage) {
            return Ok(selection);
        }
        if context.row > 0 {
            // A batch, whose sequences take turns at every layer.
            decision.about = None;
        }
        let selection = self.inner.select_at(stage, context)?;
        decision.made.push((*stage, selection.clone()));
        Ok(selection)
    }
}
