//! Methods by what a person types.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use burn::tensor::Tensor;
use diffprune::pruning::{PerView, descriptors};
use diffprune::vlm::Family;
use diffprune::{
    DiffPrune, DiffPruneConfig, PositionRule, PruneError, Pruner, ScorerChoice, ScorerPreset,
    SelectorCheckpoint, Vlm,
};
use diffprune_baselines::{find, registry};

/// Help for arguments that name a method.
pub const HELP: &str = "How tokens are chosen: cls, random, stratified, uniform-grid, average-pool, first-k, last-k, \
                        centre, untrained, any published method by its name, or a trained scorer (or rival) as \
                        diffprune:DIR, inverted:DIR or at-budget:DIR. With -per-view behind the name (random-per-view, \
                        diffprune-per-view:DIR) each view of LLaVA-NeXT chooses by itself with its share of the budget \
                        [default: cls, or holov-qwen for Qwen2.5-VL, whose encoder has no [CLS]]";

/// What names of methods may be.
const WANTED: &str = "cls, random, stratified, uniform-grid, average-pool, first-k, last-k, centre, untrained, a published \
                      method by its name, or a trained scorer (or rival) as diffprune:DIR, inverted:DIR or at-budget:DIR";

/// Added to a name: each view of a picture chooses by itself.
pub const PER_VIEW: &str = "-per-view";

/// What precedes the folder of a scorer.
const KINDS: [&str; 4] = ["diffprune", "scorer", "at-budget", "inverted"];

/// The method for models of a family when none is named: what the encoder looks at most, told by `[CLS]` where there is
/// one and by the attention that tokens receive elsewhere.
pub fn default_for(family: Family) -> &'static str {
    match family {
        Family::Qwen25Vl => "holov-qwen",
        _ => "cls",
    }
}

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
pub struct Method {
    pruner: Arc<dyn Pruner>,
    scorer: Option<DiffPrune>,
}

impl Method {
    /// The method that a text names, for this model.
    pub fn parse(text: &str, vlm: &dyn Vlm, seed: u64) -> anyhow::Result<Self> {
        let name = Name::parse(text)?;
        let scorer = match (name.dir, name.base) {
            (Some(dir), "at-budget") => Some(scorer(dir, vlm)?.at_budget()),
            (Some(dir), "inverted") => Some(scorer(dir, vlm)?.inverted()),
            (Some(dir), _) => Some(scorer(dir, vlm)?),
            (None, "untrained") => Some(untrained(vlm, seed)?),
            (None, _) => None,
        };
        Ok(match (scorer, name.per_view) {
            (Some(scorer), false) => Self::learned(scorer),
            (Some(scorer), true) => Self {
                pruner: Arc::new(PerView::new(scorer.clone())),
                scorer: Some(scorer),
            },
            (None, per_view) => Self {
                pruner: fixed(name.base, per_view)?,
                scorer: None,
            },
        })
    }

    /// A scorer.
    pub fn learned(scorer: DiffPrune) -> Self {
        Self {
            pruner: Arc::new(scorer.clone()),
            scorer: Some(scorer),
        }
    }

    /// The method itself.
    pub fn pruner(&self) -> Arc<dyn Pruner> {
        self.pruner.clone()
    }

    /// What the method thinks of each token of one picture, `[1, n]`; empty when it has no opinion.
    pub fn scores(&self, encoded: &diffprune::vlm::Encoded, group: usize) -> Vec<f32> {
        let signals = self.pruner.signals();
        let observed = &encoded.observed;
        let by_class = || observed.cls_attention.clone().filter(|_| signals.cls_attention);
        let received = || {
            let received = observed.received_attention.clone();
            received.filter(|_| signals.received_attention)
        };
        let scores: Option<Tensor<2>> = match &self.scorer {
            Some(scorer) => {
                Some(scorer.scores(descriptors(encoded.tokens.clone(), group), encoded.mask.clone()))
            }
            None => by_class()
                .map(|rows| rows.mean_dim(1).squeeze_dim(1))
                .or_else(received),
        };
        scores
            .map(|scores| scores.into_data().iter::<f32>().collect())
            .unwrap_or_default()
    }
}

/// The parts of what a person types for a method.
struct Name<'a> {
    /// The method, or what the scorer in `dir` is used as.
    base: &'a str,
    /// The folder of a scorer.
    dir: Option<&'a Path>,
    /// Whether each view chooses by itself.
    per_view: bool,
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> anyhow::Result<Self> {
        let (name, dir) = match text.split_once(':') {
            Some((kind, dir)) => (kind, Some(Path::new(dir))),
            None => (text, None),
        };
        let (base, per_view) = match name.strip_suffix(PER_VIEW) {
            Some(base) => (base, true),
            None => (name, false),
        };
        let base = if base == "cls" { "cls-attention" } else { base };
        let known = match dir {
            Some(_) => KINDS.contains(&base),
            None => base == "untrained" || names().contains(&base),
        };
        match known {
            true => Ok(Self { base, dir, per_view }),
            false => bail!("pruner: found `{text}`, wanted {WANTED}"),
        }
    }
}

/// A method that needs no training.
fn fixed(name: &str, per_view: bool) -> anyhow::Result<Arc<dyn Pruner>> {
    match find(name) {
        None => bail!("pruner: found `{name}`, wanted {WANTED}"),
        Some(pruner) if per_view => Ok(Arc::new(in_each_view(pruner)?)),
        Some(pruner) => Ok(pruner.into()),
    }
}

/// The method, view by view.
///
/// # Errors
/// When it acts inside the language model, where views are no longer told apart.
pub fn in_each_view(pruner: Box<dyn Pruner>) -> anyhow::Result<PerView> {
    if pruner.decoder().is_some() {
        bail!(
            "pruner: found `{}{PER_VIEW}`, wanted a method that chooses before the language model; leave {PER_VIEW} out",
            pruner.name()
        );
    }
    Ok(PerView::from(pruner))
}

/// Refuses, without reading weights, a text that names no method, or one that models of this family cannot run. Gives the
/// method where it has no weights of its own.
pub fn check(text: &str, family: Family) -> anyhow::Result<Option<Arc<dyn Pruner>>> {
    let name = Name::parse(text)?;
    if let Some(dir) = name.dir {
        SelectorCheckpoint::metadata(dir).with_context(|| format!("scorer {}", dir.display()))?;
    }
    if name.dir.is_some() || name.base == "untrained" {
        return Ok(None);
    }
    let pruner = fixed(name.base, name.per_view)?;
    let signals = pruner.signals();
    // Methods that can do with the attention that tokens receive ask for it too.
    let no_class = family == Family::Qwen25Vl && !signals.received_attention;
    let missing = [
        (signals.relevance, "the truth about the picture"),
        (signals.cls_attention && no_class, "[CLS] attention"),
        (signals.keys && no_class, "the keys of the encoder"),
    ];
    match missing.into_iter().find(|(missing, _)| *missing) {
        Some((_, signal)) => Err(PruneError::missing(name.base, signal).into()),
        None => Ok(Some(pruner)),
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
