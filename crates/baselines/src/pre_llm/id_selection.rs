//! ID-Selection (arXiv 2604.05601), from its text alone: no code is public.

use diffprune_pruner::{PositionRule, PruneError, Pruner, PruningContext, Selection, Signals};

use crate::crops::{Crop, crops};
use crate::host::{Matrix, argmax, token_matrices};
use crate::registry::{Baseline, Check, Paper};
use crate::saliency::{saliency, saliency_signals};
use crate::top::{host_scores, min_max};

/// What a token's importance is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Importance {
    /// `[CLS]` attention (or received attention) scaled to 0..1.
    #[default]
    Saliency,
    /// Relevance to the question scaled to 0..1.
    Relevance,
    /// The product of the two.
    Product,
    /// The mean of the two.
    Mean,
}

/// Picks the most important token, lowers the importance of tokens like it, and goes on until K are picked.
///
/// **Not checked against the authors' code, which is not public.** The paper leaves open how saliency and relevance are
/// joined, how they are scaled, the form of the weight, whether importance may fall below zero, and whether the crops
/// of LLaVA-NeXT compete: these are the fields here, and their defaults are our reading. A smaller budget keeps a subset
/// of what a larger one keeps (of one crop).
#[derive(Debug, Clone, Copy)]
pub struct IdSelection {
    /// How fast the weight `exp(-gamma (1 - cosine)^2)` falls; 20 is the paper's best.
    pub gamma: f32,
    /// What importance is made of; the paper joins both for LLaVA in a way that it does not spell out.
    pub importance: Importance,
    /// Importance does not fall below zero.
    pub clamp: bool,
    /// The crops of an image get equal shares instead of competing for one budget.
    pub by_crop: bool,
    /// Position ids of the kept tokens; counted anew, as the other methods for LLaVA do.
    pub positions: PositionRule,
}

impl Default for IdSelection {
    fn default() -> Self {
        Self {
            gamma: 20.0,
            importance: Importance::Saliency,
            clamp: true,
            by_crop: true,
            positions: PositionRule::Reindex,
        }
    }
}

pub(crate) const ENTRY: Baseline =
    Baseline::arm("id-selection", "important, and unlike those picked", || {
        Box::new(IdSelection::default())
    })
    .cost("N K D")
    .paper(Paper {
        arxiv: "2604.05601",
        venue: "preprint",
        licence: "no code",
        check: Check::Text,
    });

/// The first `k` tokens in the order in which they are picked.
///
/// Similarities to a picked token are computed when it is picked, so nothing of size N² is held.
pub fn order(features: &Matrix, importance: &[f32], gamma: f32, clamp: bool, k: usize) -> Vec<usize> {
    let unit = features.normalised(0.0);
    let n_tokens = unit.n_rows();
    let mut scores = importance.to_vec();
    let mut row = vec![0.0; n_tokens];
    let mut picked = Vec::with_capacity(k.min(n_tokens));
    while let Some(next) = argmax(scores.iter().copied()).filter(|_| picked.len() < k.min(n_tokens)) {
        unit.products(unit.row(next), &mut row);
        let best = scores[next];
        for (score, similarity) in scores.iter_mut().zip(&row) {
            let distance = (1.0 - similarity).max(0.0);
            let lowered = *score - (-gamma * distance * distance).exp() * best;
            *score = lowered.max(if clamp { 0.0 } else { f32::MIN });
        }
        picked.push(next);
        picked.iter().for_each(|&token| scores[token] = f32::NEG_INFINITY);
    }
    picked
}

impl IdSelection {
    /// The importance of each image's tokens.
    fn importance(&self, context: &PruningContext) -> Result<Vec<Vec<f32>>, PruneError> {
        let scale = |rows: Vec<Vec<f32>>| rows.iter().map(|row| min_max(row, 0.0)).collect::<Vec<_>>();
        let seen = || Ok(scale(saliency(context, self.name())?));
        let relevant = || {
            let wanted = "relevance to the question";
            let relevance = context.require(|observed| &observed.text_relevance, self.name(), wanted)?;
            Ok(scale(host_scores(
                context,
                relevance.clone(),
                self.name(),
                wanted,
            )?))
        };
        let joined = |join: fn(f32, f32) -> f32| {
            let rows = seen()?.into_iter().zip(relevant()?);
            let row = |(a, b): (Vec<f32>, Vec<f32>)| a.into_iter().zip(b).map(|(a, b)| join(a, b)).collect();
            Ok(rows.map(row).collect())
        };
        match self.importance {
            Importance::Saliency => seen(),
            Importance::Relevance => relevant(),
            Importance::Product => joined(|a, b| a * b),
            Importance::Mean => joined(|a, b| (a + b) / 2.0),
        }
    }
}

impl Pruner for IdSelection {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn signals(&self) -> Signals {
        let reads_question = Signals {
            projected: true,
            text_relevance: self.importance != Importance::Saliency,
            ..Signals::default()
        };
        match self.importance {
            Importance::Relevance => reads_question,
            _ => reads_question.union(saliency_signals()),
        }
    }

    fn positions(&self) -> PositionRule {
        self.positions
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let importance = self.importance(context)?;
        let projected = context.require(|observed| &observed.projected, self.name(), "projected tokens")?;
        let features = token_matrices(context, projected, self.name(), "projected tokens")?;
        let image = |row: usize| {
            let k = context.budget(row);
            let crops = match self.by_crop {
                true => crops(&context.layouts[row], k),
                false => vec![Crop {
                    tokens: (0..context.n_tokens(row)).collect(),
                    k,
                }],
            };
            let kept = crops.iter().flat_map(|crop| {
                let features = features[row].selected(&crop.tokens);
                crop.indices(order(
                    &features,
                    &crop.of(&importance[row]),
                    self.gamma,
                    self.clamp,
                    crop.k,
                ))
            });
            kept.collect()
        };
        Ok(Selection::keep((0..context.batch()).map(image).collect()))
    }
}
