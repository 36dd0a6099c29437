//! ID-Selection (arXiv 2604.05601), from its text alone: no code is public.

use diffprune_pruner::{PositionRule, PruneError, Pruner, PruningContext, Selection, Signals};

use crate::registry::{Baseline, Check, Paper};
use crate::tools::crops::{Crop, crops};
use crate::tools::host::{Matrix, argmax, projected_tokens};
use crate::tools::saliency::{saliency, saliency_signals};
use crate::tools::top::{host_scores, min_max};

/// The source of a token's importance, from values that were scaled first ([`Scaling`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Importance {
    /// `[CLS]` attention (or received attention).
    #[default]
    Saliency,
    /// Relevance to the question.
    Relevance,
    /// The product of the two.
    Product,
    /// The mean of the two.
    Mean,
}

/// The scaling of saliency and relevance, each over all tokens of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scaling {
    /// To 0..1 by the least and the most of the image; all 1 when there are no differences.
    #[default]
    MinMax,
    /// By softmax.
    Softmax,
    /// Not at all.
    Raw,
}

/// The loss of a token that is like the picked one, as a share of the picked one's importance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Suppression {
    /// `exp(-gamma (1 - cosine)^2)`.
    #[default]
    SquaredDistance,
    /// `exp(-gamma (1 - cosine))`.
    Distance,
}

/// Picks the most important token, lowers the importance of tokens like it, and goes on until K are picked.
///
/// **Not checked against the authors' code, which is not public.** What the paper's text leaves open is a field, and the
/// defaults are our reading:
///
/// | left open | field | default |
/// |---|---|---|
/// | how saliency and relevance are joined | `importance` | saliency alone |
/// | how they are scaled | `scaling` | to 0..1 |
/// | form of the weight | `weight` | falls with the squared distance |
/// | whether importance may fall below zero | `clamp` | no |
/// | whether the crops of LLaVA-NeXT compete | `by_crop` | no, equal shares |
/// | position ids | `positions` | counted anew |
///
/// `gamma` is given (20). Two more things are open that no field here can settle: which relevance the authors take (here
/// `text_relevance`, whatever the model hands over; those of this project take the cosine to the mean word embedding of
/// the language model), and from which layer of the language model the attention comes that is the importance on
/// Qwen2.5-VL (here, before the language model, received attention takes its place). A smaller budget keeps a subset of
/// what a larger one keeps (of one crop).
#[derive(Debug, Clone, Copy)]
pub struct IdSelection {
    /// The rate at which the weight falls with the distance; 20 is the paper's best.
    pub gamma: f32,
    /// The form of the weight.
    pub weight: Suppression,
    /// The source of importance; the paper joins both for LLaVA in a way that it does not spell out.
    pub importance: Importance,
    /// The scaling of saliency and relevance before they are joined.
    pub scaling: Scaling,
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
            weight: Suppression::SquaredDistance,
            importance: Importance::Saliency,
            scaling: Scaling::MinMax,
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

/// Beginning of the names of [`IdSelection::ablation`].
const ABLATION: &str = "id-selection-";

impl IdSelection {
    /// A variant of the paper's ablations by its name: `id-selection-visual` (importance from saliency alone),
    /// `id-selection-instruction` (from the relevance to the question alone), `id-selection-both` (the product of the two),
    /// and `id-selection-gamma-N` (the default with another `gamma`, a positive number); `None` for any other name.
    ///
    /// ```
    /// use diffprune_baselines::{IdSelection, Importance};
    ///
    /// let both = IdSelection::ablation("id-selection-both").ok_or("no such variant")?;
    /// assert_eq!((both.importance, both.gamma), (Importance::Product, 20.0));
    /// assert_eq!(IdSelection::ablation("id-selection-gamma-5").map(|method| method.gamma), Some(5.0));
    /// assert!(IdSelection::ablation("id-selection-gamma-0").is_none());
    /// # Ok::<(), &str>(())
    /// ```
    pub fn ablation(name: &str) -> Option<Self> {
        let of = |importance| Self {
            importance,
            ..Self::default()
        };
        match name.strip_prefix(ABLATION)? {
            "visual" => Some(of(Importance::Saliency)),
            "instruction" => Some(of(Importance::Relevance)),
            "both" => Some(of(Importance::Product)),
            other => {
                let gamma = other.strip_prefix("gamma-")?.parse().ok();
                let gamma = gamma.filter(|gamma: &f32| gamma.is_finite() && *gamma > 0.0)?;
                Some(Self {
                    gamma,
                    ..Self::default()
                })
            }
        }
    }
}

impl Scaling {
    fn of(self, values: &[f32]) -> Vec<f32> {
        match self {
            Self::MinMax => min_max(values, 0.0),
            Self::Softmax => {
                let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f32> = values.iter().map(|value| (value - most).exp()).collect();
                let sum: f32 = powers.iter().sum();
                powers.into_iter().map(|power| power / sum).collect()
            }
            Self::Raw => values.to_vec(),
        }
    }
}

impl Suppression {
    fn of(self, gamma: f32, cosine: f32) -> f32 {
        let distance = (1.0 - cosine).max(0.0);
        match self {
            Self::SquaredDistance => (-gamma * distance * distance).exp(),
            Self::Distance => (-gamma * distance).exp(),
        }
    }
}

/// The first `k` tokens in the order in which they are picked.
///
/// Similarities to a picked token are computed when it is picked, so nothing of size N² is held.
pub fn order(
    features: &Matrix,
    importance: &[f32],
    gamma: f32,
    weight: Suppression,
    clamp: bool,
    k: usize,
) -> Vec<usize> {
    let unit = features.normalised(0.0);
    let n_tokens = unit.n_rows();
    let mut scores = importance.to_vec();
    let mut row = vec![0.0; n_tokens];
    let mut picked = Vec::with_capacity(k.min(n_tokens));
    while let Some(next) = argmax(scores.iter().copied()).filter(|_| picked.len() < k.min(n_tokens)) {
        unit.products(unit.row(next), &mut row);
        let best = scores[next];
        for (score, &similarity) in scores.iter_mut().zip(&row) {
            let lowered = *score - weight.of(gamma, similarity) * best;
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
        let scale = |rows: Vec<Vec<f32>>| rows.iter().map(|row| self.scaling.of(row)).collect::<Vec<_>>();
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
        let (features, _) = projected_tokens(context, self.name())?;
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
                    self.weight,
                    self.clamp,
                    crop.k,
                ))
            });
            kept.collect()
        };
        Ok(Selection::keep((0..context.batch()).map(image).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tensor};
    use diffprune_pruner::{Budget, Grid};

    /// Two of five tokens that are nothing alike, so that importance alone decides.
    fn kept(method: IdSelection, saliency: [f32; 5], relevance: [f32; 5]) -> Vec<usize> {
        let device = Device::flex();
        let tokens = Tensor::<3>::zeros([1, 5, 2], &device);
        let mut context = PruningContext::new(tokens, Grid { rows: 1, cols: 5 }, &Budget::Tokens(2)).unwrap();
        let observed = &mut context.observed;
        observed.projected = Some(Tensor::<2>::eye(5, &device).unsqueeze_dim::<3>(0));
        observed.received_attention = Some(Tensor::from_floats([saliency], &device));
        observed.text_relevance = Some(Tensor::from_floats([relevance], &device));
        method.select(&context).unwrap().keep_indices(0).to_vec()
    }

    #[test]
    fn every_way_to_join_picks_as_its_formula_says() {
        // Scaled: saliency 1, 0.95, 0.6, 0.4, 0 and relevance 0, 0.2, 0.6, 0.5, 1.
        let saliency = [13.0, 12.5, 9.0, 7.0, 3.0];
        let relevance = [-1.0, -0.6, 0.2, 0.0, 1.0];
        for (importance, wanted) in [
            (Importance::Saliency, [0, 1]),
            (Importance::Relevance, [2, 4]),
            // 0, 0.19, 0.36, 0.2, 0
            (Importance::Product, [2, 3]),
            // 0.5, 0.575, 0.6, 0.45, 0.5
            (Importance::Mean, [1, 2]),
        ] {
            let method = IdSelection {
                importance,
                ..IdSelection::default()
            };
            assert_eq!(kept(method, saliency, relevance), wanted, "{importance:?}");
        }
    }

    #[test]
    fn every_scaling_picks_as_its_formula_says() {
        let with = |scaling, saliency, relevance| {
            let method = IdSelection {
                importance: Importance::Mean,
                scaling,
                ..IdSelection::default()
            };
            kept(method, saliency, relevance)
        };
        // Sums: raw 6, 5, 0, 0, 4; to 0..1 they are 1, 0.83, 0, 0, 1; by softmax 0.74, 0.28, 0.02, 0.02, 0.93.
        let (saliency, relevance) = ([6.0, 5.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 4.0]);
        assert_eq!(with(Scaling::Raw, saliency, relevance), [0, 1]);
        assert_eq!(with(Scaling::MinMax, saliency, relevance), [0, 4]);
        assert_eq!(with(Scaling::Softmax, saliency, relevance), [0, 4]);
        // Raw 0.1, 0, 4, 3, 0; to 0..1 they are 1, 0, 1, 0.75, 0; by softmax 0.23, 0.21, 0.90, 0.45, 0.21.
        let (saliency, relevance) = ([0.1, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 4.0, 3.0, 0.0]);
        assert_eq!(with(Scaling::Raw, saliency, relevance), [2, 3]);
        assert_eq!(with(Scaling::MinMax, saliency, relevance), [0, 2]);
        assert_eq!(with(Scaling::Softmax, saliency, relevance), [2, 3]);
    }

    #[test]
    fn weights_and_the_clamp_change_who_is_next() {
        // Distances to the first are 0.4 and 1. Squared, with gamma 2: 0.95 - 0.73 and 0.6 - 0.14 are left; plain:
        // 0.95 - 0.45 and 0.6 - 0.14.
        let features = Matrix::new(vec![1.0, 0.0, 0.6, 0.8, 0.0, 1.0], 2);
        let pick = |weight| order(&features, &[1.0, 0.95, 0.6], 2.0, weight, true, 2);
        assert_eq!(pick(Suppression::SquaredDistance), [0, 2]);
        assert_eq!(pick(Suppression::Distance), [0, 1]);
        // Copies: -0.5 and -0.1 are left, or nothing of both.
        let copies = Matrix::new(vec![1.0; 3], 1);
        let pick = |clamp| order(&copies, &[0.5, 1.0, 0.9], 20.0, Suppression::default(), clamp, 2);
        assert_eq!(pick(false), [1, 2]);
        assert_eq!(pick(true), [1, 0]);
    }
}
