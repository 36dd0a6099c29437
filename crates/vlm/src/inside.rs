//! Methods between the layers of the language model: the hook, and what it reports.

use std::fmt;

use diffprune_pruner::{Budget, DecoderPruner, PositionRule, Pruner, counted_average, processed_average};

/// A method that acts inside the language model, and how much it may keep.
#[derive(Clone, Copy)]
pub struct DecoderPruning<'a> {
    /// The method.
    pub pruner: &'a dyn DecoderPruner,
    /// Its budget, of the visual tokens of each sequence.
    pub budget: Budget,
    /// Position ids after a drop; `None` takes the method's own rule.
    pub positions: Option<PositionRule>,
}

impl<'a> DecoderPruning<'a> {
    /// A method with its own position rule.
    pub fn new(pruner: &'a dyn DecoderPruner, budget: Budget) -> Self {
        Self {
            pruner,
            budget,
            positions: None,
        }
    }

    /// The part of a method that acts inside the language model, when it has one.
    pub fn of(pruner: &'a dyn Pruner, budget: Budget, positions: Option<PositionRule>) -> Option<Self> {
        let pruner = pruner.decoder()?;
        Some(Self {
            pruner,
            budget,
            positions,
        })
    }

    /// The rule for position ids after a drop.
    pub fn rule(&self) -> PositionRule {
        self.positions.unwrap_or_else(|| self.pruner.positions())
    }
}

impl fmt::Debug for DecoderPruning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecoderPruning")
            .field("pruner", &self.pruner.name())
            .field("budget", &self.budget)
            .field("positions", &self.positions)
            .finish()
    }
}

/// The tokens dropped at each layer, for each sequence of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DecoderReport {
    /// The sequences, in the order of the prompts.
    pub sequences: Vec<SequenceReport>,
}

/// The tokens dropped at each layer in one sequence.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SequenceReport {
    /// Visual tokens that entered each layer.
    pub visual_tokens: Vec<usize>,
    /// Keys and values that each layer holds when the prompt is read.
    pub kv_lengths: Vec<usize>,
    /// The drops, by ascending layer.
    pub stages: Vec<StageReport>,
}

/// One drop.
#[derive(Debug, Clone, PartialEq)]
pub struct StageReport {
    /// Layers that had run.
    pub layer: usize,
    /// Kept visual tokens, counted among those that were there (merged ones last).
    pub keep: Vec<usize>,
    /// Vectors that were made of others and appended.
    pub merged: usize,
}

impl SequenceReport {
    /// The average of the visual tokens that entered each layer.
    pub fn processed_average(&self) -> f64 {
        processed_average(&self.visual_tokens)
    }

    /// The average of the visual tokens that left each layer; see [`counted_average`].
    pub fn counted_average(&self) -> f64 {
        counted_average(&self.visual_tokens)
    }
}
