//! A method inside the language model that decides once for a whole conversation.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use diffprune_pruner::{
    Budget, DecoderContext, DecoderEmbeds, DecoderPruner, DecoderSelection, DecoderSignals, DecoderStage,
    PositionRule, PruneError, Pruner, PruningContext, Selection, Signals, Stage,
};

/// Lets a method inside the language model choose for the first prompt of a conversation, and repeats its choice for
/// later ones: no signal is computed again and the method is not called.
///
/// Attention is causal, so visual tokens enter each layer of a later turn as they entered it in the first one: merged
/// vectors can be repeated like kept indices. A prompt with another number of visual tokens (a turn that brings images)
/// or another budget is decided on anew, for all its images. It is meant for one sequence at a time; in a batch of
/// several the method chooses every time.
pub struct DecideOnce<'a> {
    inner: &'a dyn DecoderPruner,
    decision: Mutex<Decision>,
}

/// What was chosen in a pass.
#[derive(Default)]
struct Decision {
    /// Layers, visual tokens and budget of the pass; `None` before the first.
    about: Option<(usize, usize, Budget)>,
    n_stages: usize,
    made: Vec<(DecoderStage, DecoderSelection)>,
}

impl Decision {
    /// Whether the pass went through all its stages.
    fn is_made(&self) -> bool {
        self.about.is_some() && self.made.len() == self.n_stages
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

    fn stage(&self) -> Stage {
        self.inner.stage()
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
    fn stages(
        &self,
        n_layers: usize,
        n_visual: usize,
        budget: &Budget,
    ) -> Result<Vec<DecoderStage>, PruneError> {
        let mut decision = self.decision();
        let about = Some((n_layers, n_visual, *budget));
        if decision.about == about && decision.is_made() {
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
            made: Vec::new(),
        };
        Ok(stages)
    }

    fn raters(&self, embeds: &DecoderEmbeds) -> Result<Vec<usize>, PruneError> {
        self.inner.raters(embeds)
    }

    fn select_at(
        &self,
        stage: &DecoderStage,
        context: &DecoderContext,
    ) -> Result<DecoderSelection, PruneError> {
        let mut decision = self.decision();
        let of_stage = |(made, _): &&(DecoderStage, DecoderSelection)| made.layer == stage.layer;
        if decision.is_made()
            && let Some((_, selection)) = decision.made.iter().find(of_stage)
        {
            return Ok(selection.clone());
        }
        let selection = self.inner.select_at(stage, context)?;
        decision.made.push((*stage, selection.clone()));
        Ok(selection)
    }
}
