//! A method that remembers what it saw and said, and can say it again.

use std::sync::Mutex;

use diffprune_pruner::{
    Budget, DecoderContext, DecoderEmbeds, DecoderPruner, DecoderSelection, DecoderStage, PositionRule,
    PruneError, PruneResult, Pruner, PruningContext, Selection,
};

/// What a method saw and said at a stage.
#[derive(Clone)]
pub struct Seen {
    pub layer: usize,
    pub context: DecoderContext,
    pub selection: DecoderSelection,
}

/// Passes everything on to a method, and remembers.
pub struct Recorder<P> {
    pub inner: P,
    pub seen: Mutex<Vec<Seen>>,
    pub embeds: Mutex<Vec<DecoderEmbeds>>,
    /// Whether to say again what was said, instead of asking the method.
    pub replay: bool,
}

impl<P: DecoderPruner> Recorder<P> {
    pub fn new(inner: P) -> Self {
        Self {
            inner,
            seen: Mutex::default(),
            embeds: Mutex::default(),
            replay: false,
        }
    }

    /// What was seen, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panicked").clone()
    }
}

impl<P: DecoderPruner> Pruner for Recorder<P> {
    fn name(&self) -> &str {
        self.inner.name()
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

impl<P: DecoderPruner> DecoderPruner for Recorder<P> {
    fn stages(&self, n_layers: usize, n_visual: usize, budget: &Budget) -> PruneResult<Vec<DecoderStage>> {
        self.inner.stages(n_layers, n_visual, budget)
    }

    fn raters(&self, embeds: &DecoderEmbeds) -> Result<Vec<usize>, PruneError> {
        self.embeds.lock().expect("no test panicked").push(embeds.clone());
        self.inner.raters(embeds)
    }

    fn select_at(&self, stage: &DecoderStage, context: &DecoderContext) -> PruneResult<DecoderSelection> {
        let mut seen = self.seen.lock().expect("no test panicked");
        if self.replay {
            let same = |seen: &&Seen| seen.layer == stage.layer && seen.context.row == context.row;
            return Ok(seen.iter().find(same).expect("recorded before").selection.clone());
        }
        let selection = self.inner.select_at(stage, context)?;
        seen.push(Seen {
            layer: stage.layer,
            context: context.clone(),
            selection: selection.clone(),
        });
        Ok(selection)
    }
}
