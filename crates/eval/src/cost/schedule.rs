//! The tokens that each decoder layer sees.

use serde::{Deserialize, Serialize};

/// Tokens that enter each decoder layer during prefill, visual and other tokens together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Runs of layers with equal counts: (layers, tokens).
    pub stages: Vec<(usize, usize)>,
    /// Projections per token (1 for queries alone, 2 with keys, 3 with values) that are computed to rank tokens before
    /// each drop and thrown away.
    #[serde(default)]
    pub ranking_projections: usize,
}

impl Schedule {
    /// The same tokens in every layer: pruning before the language model.
    pub fn uniform(n_layers: usize, tokens: usize) -> Self {
        Self::stages([(n_layers, tokens)])
    }

    /// Runs of (layers, tokens), from the first layer on.
    pub fn stages(stages: impl IntoIterator<Item = (usize, usize)>) -> Self {
        Self {
            stages: stages.into_iter().collect(),
            ranking_projections: 0,
        }
    }

    /// One count per layer.
    pub fn per_layer(tokens: &[usize]) -> Self {
        Self::stages(tokens.iter().map(|&tokens| (1, tokens)))
    }

    /// The same with projections that rank tokens before each drop.
    pub fn with_ranking(mut self, projections: usize) -> Self {
        self.ranking_projections = projections;
        self
    }

    /// The same with `tokens` more in every layer.
    pub fn plus(mut self, tokens: usize) -> Self {
        self.stages.iter_mut().for_each(|stage| stage.1 += tokens);
        self
    }

    /// Layers.
    pub fn n_layers(&self) -> usize {
        self.stages.iter().map(|stage| stage.0).sum()
    }

    /// Tokens in the last layer.
    pub fn last(&self) -> usize {
        self.stages.last().map_or(0, |stage| stage.1)
    }

    /// Mean tokens per layer.
    pub fn average(&self) -> f64 {
        self.token_layers() / self.n_layers() as f64
    }

    /// Tokens summed over layers.
    pub(crate) fn token_layers(&self) -> f64 {
        self.sum(|tokens| tokens)
    }

    /// A function of the tokens summed over layers.
    pub(crate) fn sum(&self, of: impl Fn(f64) -> f64) -> f64 {
        self.stages
            .iter()
            .map(|&(layers, tokens)| layers as f64 * of(tokens as f64))
            .sum()
    }

    /// Tokens that are ranked: those before each drop.
    pub(crate) fn ranked(&self) -> f64 {
        let drops = self.stages.windows(2).filter(|pair| pair[1].1 < pair[0].1);
        drops.map(|pair| pair[0].1 as f64).sum()
    }
}
