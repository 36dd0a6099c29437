//! Methods by the text that names them.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Tensor;
use diffprune::pruning::{PerView, descriptors};
use diffprune::vlm::Family;
use diffprune::{
    CheckpointError, DiffPruneConfig, HeadCheckpoint, LearnedPruner, PruneError, Pruner, ScorerChoice,
    ScorerPreset, Vlm,
};
use diffprune_baselines::{Encoder, find_for, registry};

use crate::error::LabError;
use crate::suggestion::with_nearest;

/// The texts that name methods.
const WANTED: &str = "cls, random, stratified, uniform-grid, average-pool, first-k, last-k, centre, untrained, a published \
                      method by its name, or a trained scorer (or rival) as diffprune:DIR, inverted:DIR or at-budget:DIR";

/// Added to a name: each view of a picture chooses by itself.
pub const PER_VIEW: &str = "-per-view";

/// The words before the folder of a scorer.
pub(crate) const KINDS: [&str; 4] = ["diffprune", "scorer", "at-budget", "inverted"];

/// The name of the method for models of a family when none is given: the tokens that the encoder attends to most, by `[CLS]`
/// where there is one and by the attention that tokens receive elsewhere.
pub fn default_method(family: Family) -> &'static str {
    match family {
        Family::Qwen25Vl => "holov-qwen",
        _ => "cls",
    }
}

/// Widest descriptors for which the small scorer is the default.
const SMALL: usize = 256;

/// A method as [`Method::parse`] finds it: one that needs no training, or a trained scorer.
pub struct Method {
    pruner: Arc<dyn Pruner>,
    scorer: Option<LearnedPruner>,
    merges: bool,
}

impl Method {
    /// The method that a text names, for this model: a name, or the folder of a scorer behind `diffprune:`, `scorer:`,
    /// `inverted:` or `at-budget:`; each with [`PER_VIEW`] behind the name or not. `seed` draws the weights of `untrained`.
    ///
    /// # Errors
    /// When the text names no method, or a scorer cannot be read or belongs to another model.
    pub fn parse(text: &str, vlm: &dyn Vlm, seed: u64) -> Result<Self, LabError> {
        let name = Name::parse(text)?;
        let scorer = match (name.dir, name.base) {
            (Some(dir), "at-budget") => Some(load_scorer(dir, vlm)?.at_budget()),
            (Some(dir), "inverted") => Some(load_scorer(dir, vlm)?.inverted()),
            (Some(dir), _) => Some(load_scorer(dir, vlm)?),
            (None, "untrained") => Some(untrained(vlm, seed)?),
            (None, _) => None,
        };
        Ok(match (scorer, name.per_view) {
            (Some(scorer), false) => Self::learned(scorer),
            (Some(scorer), true) => Self {
                pruner: Arc::new(PerView::new(scorer.clone())),
                scorer: Some(scorer),
                merges: false,
            },
            (None, per_view) => Self {
                pruner: fixed(name.base, per_view, vlm.family())?,
                scorer: None,
                merges: registry()
                    .iter()
                    .any(|known| known.name == name.base && known.merges),
            },
        })
    }

    /// A trained method.
    pub fn learned(scorer: LearnedPruner) -> Self {
        Self {
            pruner: Arc::new(scorer.clone()),
            scorer: Some(scorer),
            merges: false,
        }
    }

    /// True when kept tokens may be made of several: tokens that it drops are then not lost.
    pub fn merges(&self) -> bool {
        self.merges
    }

    /// The method itself.
    pub fn pruner(&self) -> Arc<dyn Pruner> {
        self.pruner.clone()
    }

    /// The method's score of each token of one picture, in the order of the layout; empty when it has none.
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

/// The parts of a text that names a method.
struct Name<'a> {
    /// The method, or the use of the scorer in `dir`.
    base: &'a str,
    /// The folder of a scorer.
    dir: Option<&'a Path>,
    /// True when each view chooses by itself.
    per_view: bool,
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Result<Self, LabError> {
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
            false if dir.is_none() && KINDS.contains(&base) => Err(LabError::UnknownMethod {
                found: text.into(),
                wanted: format!(
                    "the folder of the scorer behind it, as in {base}:DIR (no trained scorer lies beside this model)"
                ),
            }),
            false if dir.is_none() && HeadCheckpoint::metadata(text).is_ok() => {
                Err(LabError::UnknownMethod {
                    found: text.into(),
                    wanted: format!("the use of the scorer before its folder, as in diffprune:{text}"),
                })
            }
            false => Err(unknown(text)),
        }
    }
}

/// A method that needs no training, in its form for a family.
fn fixed(name: &str, per_view: bool, family: Family) -> Result<Arc<dyn Pruner>, LabError> {
    let encoder = match family {
        Family::Qwen25Vl => Encoder::WithoutClass,
        _ => Encoder::WithClass,
    };
    match find_for(name, encoder) {
        None => Err(unknown(name)),
        Some(pruner) if per_view => Ok(Arc::new(in_each_view(pruner)?)),
        Some(pruner) => Ok(pruner.into()),
    }
}

fn unknown(text: &str) -> LabError {
    LabError::UnknownMethod {
        found: text.into(),
        wanted: with_nearest(text, names().into_iter().chain(KINDS), WANTED),
    }
}

/// The method, view by view.
///
/// # Errors
/// When it acts inside the language model, where views are no longer told apart.
pub(crate) fn in_each_view(pruner: Box<dyn Pruner>) -> Result<PerView, LabError> {
    if pruner.decoder().is_some() {
        return Err(LabError::Setup {
            subject: "pruner".into(),
            found: format!("`{}{PER_VIEW}`", pruner.name()),
            wanted: format!("a method that chooses before the language model; leave {PER_VIEW} out"),
        });
    }
    Ok(PerView::from(pruner))
}

/// Checks a text that names a method without reading weights; gives the method where it has no weights of its own.
///
/// # Errors
/// When the text names no method, or one that models of this family cannot run.
pub fn check_method(text: &str, family: Family) -> Result<Option<Arc<dyn Pruner>>, LabError> {
    let name = Name::parse(text)?;
    if let Some(dir) = name.dir {
        HeadCheckpoint::metadata(dir).map_err(|source| unreadable(dir, source))?;
    }
    if name.dir.is_some() || name.base == "untrained" {
        return Ok(None);
    }
    let pruner = fixed(name.base, name.per_view, family)?;
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

/// Reads a trained scorer for this model.
///
/// # Errors
/// When the folder holds none, or one for another width.
pub fn load_scorer(dir: &Path, vlm: &dyn Vlm) -> Result<LearnedPruner, LabError> {
    LearnedPruner::load(dir, vlm.d_descriptor(), &vlm.device()).map_err(|source| unreadable(dir, source))
}

/// The family of models that the scorer named by `text` was trained on, if that is known and another than `family`.
pub fn foreign_scorer(text: &str, family: Family) -> Option<String> {
    let (_, dir) = text.split_once(':')?;
    let trained = HeadCheckpoint::metadata(dir).ok()?.vlm?;
    (trained != family.to_string()).then_some(trained)
}

pub(crate) fn unreadable(dir: &Path, source: CheckpointError) -> LabError {
    LabError::Scorer {
        dir: dir.into(),
        source: Box::new(source),
    }
}

/// The scorer that a training of this seed starts from.
pub(crate) fn untrained(vlm: &dyn Vlm, seed: u64) -> Result<LearnedPruner, LabError> {
    let config = DiffPruneConfig {
        scorer: default_scorer(vlm.d_descriptor()),
        ..DiffPruneConfig::default()
    };
    Ok(config.untrained(vlm.d_descriptor(), seed, &vlm.device())?)
}

/// The default scorer for descriptors of this width.
pub fn default_scorer(d_descriptor: usize) -> ScorerChoice {
    let preset = if d_descriptor <= SMALL {
        ScorerPreset::Mini
    } else {
        ScorerPreset::Base
    };
    ScorerChoice::Preset(preset)
}

/// The default peak learning rate for descriptors of this width.
pub fn default_learning_rate(d_descriptor: usize) -> f64 {
    if d_descriptor <= SMALL { 1e-3 } else { 1e-4 }
}

/// The names of all methods that need no training.
pub(crate) fn names() -> Vec<&'static str> {
    registry().iter().map(|baseline| baseline.name).collect()
}
