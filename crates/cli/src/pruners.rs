//! Methods by what a person types.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use burn::tensor::Tensor;
use diffprune::pruning::descriptors;
use diffprune::{DiffPrune, DiffPruneConfig, PositionRule, Pruner, ScorerChoice, ScorerPreset, Vlm};
use diffprune_baselines::{find, registry};

/// Help for arguments that name a method.
pub const HELP: &str = "cls, random, stratified, uniform-grid, average-pool, first-k, last-k, centre, untrained, or a \
                        trained scorer (or rival) as diffprune:DIR, inverted:DIR or at-budget:DIR";

/// Position ids of kept tokens, by what a person types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Positions {
    /// Those of the full sequence.
    Keep,
    /// 0, 1, 2, … over the shortened sequence.
    Reindex,
}

impl From<Positions> for PositionRule {
    fn from(positions: Positions) -> Self {
        match positions {
            Positions::Keep => Self::Keep,
            Positions::Reindex => Self::Reindex,
        }
    }
}

/// Widest tokens for which the small scorer is the default.
const SMALL: usize = 256;

/// A method, and its scores when it has some.
pub enum Method {
    /// A scorer.
    Learned(Arc<DiffPrune>),
    /// Anything else.
    Fixed(Arc<dyn Pruner>),
}

impl Method {
    /// The method that a text names, for this model.
    pub fn parse(text: &str, vlm: &dyn Vlm, seed: u64) -> anyhow::Result<Self> {
        if let Some((kind, dir)) = text.split_once(':') {
            let scorer = scorer(Path::new(dir), vlm)?;
            return match kind {
                "diffprune" | "scorer" => Ok(Self::Learned(Arc::new(scorer))),
                "at-budget" => Ok(Self::Learned(Arc::new(scorer.at_budget()))),
                "inverted" => Ok(Self::Learned(Arc::new(scorer.inverted()))),
                _ => bail!("pruner: found `{text}`, wanted {HELP}"),
            };
        }
        match text {
            "untrained" => Ok(Self::Learned(Arc::new(untrained(vlm, seed)?))),
            "cls" => Self::parse("cls-attention", vlm, seed),
            name => match find(name) {
                Some(pruner) => Ok(Self::Fixed(pruner.into())),
                None => bail!("pruner: found `{text}`, wanted {HELP}"),
            },
        }
    }

    /// The method itself.
    pub fn pruner(&self) -> Arc<dyn Pruner> {
        match self {
            Self::Learned(scorer) => scorer.clone(),
            Self::Fixed(pruner) => pruner.clone(),
        }
    }

    /// What the method thinks of each token of one picture, `[1, n]`; empty when it has no opinion.
    pub fn scores(&self, encoded: &diffprune::vlm::Encoded, group: usize) -> Vec<f32> {
        let scores: Option<Tensor<2>> = match self {
            Self::Learned(scorer) => {
                Some(scorer.scores(descriptors(encoded.tokens.clone(), group), encoded.mask.clone()))
            }
            Self::Fixed(pruner) if pruner.signals().cls_attention => encoded
                .observed
                .cls_attention
                .clone()
                .map(|rows| rows.mean_dim(1).squeeze_dim(1)),
            Self::Fixed(_) => None,
        };
        scores
            .map(|scores| scores.into_data().iter::<f32>().collect())
            .unwrap_or_default()
    }
}

/// A trained scorer for this model.
pub fn scorer(dir: &Path, vlm: &dyn Vlm) -> anyhow::Result<DiffPrune> {
    DiffPrune::load(dir, vlm.d_descriptor(), &vlm.device())
        .with_context(|| format!("scorer {}", dir.display()))
}

/// The scorer that training would start from.
pub fn untrained(vlm: &dyn Vlm, seed: u64) -> anyhow::Result<DiffPrune> {
    let config = DiffPruneConfig {
        scorer: preset(vlm.d_descriptor()),
        ..DiffPruneConfig::default()
    };
    Ok(DiffPrune::untrained(
        &config,
        vlm.d_descriptor(),
        seed,
        &vlm.device(),
    )?)
}

/// The scorer that goes with tokens of this width.
pub fn preset(d_vision: usize) -> ScorerChoice {
    let preset = if d_vision <= SMALL {
        ScorerPreset::Mini
    } else {
        ScorerPreset::Base
    };
    ScorerChoice::Preset(preset)
}

/// The peak learning rate that goes with tokens of this width.
pub fn learning_rate(d_vision: usize) -> f64 {
    if d_vision <= SMALL { 1e-3 } else { 1e-4 }
}

/// Names of all methods that need no training.
pub fn names() -> Vec<&'static str> {
    registry().iter().map(|baseline| baseline.name).collect()
}
