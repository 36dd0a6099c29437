//! A method that records what another one is given and chooses, and can repeat its choices.

use std::sync::Mutex;

use diffprune_pruner::{
    Budget, DecoderContext, DecoderEmbeds, DecoderPruner, DecoderSelection, DecoderStage, PositionRule,
    PruneError, PruneResult, Pruner,
};

/// The input and the choice of a method at a stage.
#[derive(Clone)]
pub struct StageCall {
    pub layer: usize,
    pub context: DecoderContext,
    pub selection: DecoderSelection,
}

/// Passes every call on to a method, and records it.
pub struct Recorder<P> {
    pub inner: P,
    pub calls: Mutex<Vec<StageCall>>,
    pub embeds: Mutex<Vec<DecoderEmbeds>>,
    /// `true` to repeat the recorded choices instead of calling the method.
    pub replay: bool,
}

impl<P: DecoderPruner> Recorder<P> {
    pub fn new(inner: P) -> Self {
        Self {
            inner,
            calls: Mutex::default(),
            embeds: Mutex::default(),
            replay: false,
        }
    }

    /// The recorded calls, in order.
    pub fn calls(&self) -> Vec<StageCall> {
        self.calls.lock().expect("no test panicked").clone()
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
        let mut calls = self.calls.lock().expect("no test panicked");
        if self.replay {
            let same = |call: &&StageCall| call.layer == stage.layer && call.context.row == context.row;
            return Ok(calls
                .iter()
                .find(same)
                .expect("recorded before")
                .selection
                .clone());
        }
        let selection = self.inner.select_at(stage, context)?;
        calls.push(StageCall {
            layer: stage.layer,
            context: context.clone(),
            selection: selection.clone(),
        });
        Ok(selection)
    }
}
