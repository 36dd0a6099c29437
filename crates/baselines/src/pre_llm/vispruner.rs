//! VisPruner (Zhang et al., ICCV 2025, arXiv 2412.01818 version 2 and later).

use burn::tensor::Device;
use diffprune_pruner::{PositionRule, PruneError, Pruner, PruningContext, Selection};
use diffprune_pruner::{Signals, descriptors};
use rayon::prelude::*;

use crate::registry::{Baseline, Check, Paper};
use crate::tools::crops::select_by_crop;
use crate::tools::host::{Matrix, inner_products, token_matrices};
use crate::tools::saliency::{saliency, saliency_signals};
use crate::tools::top::top_k;

/// Keeps the tokens with the highest `[CLS]` attention, and of the rest those that are least like others.
///
/// Of the K tokens of a crop `floor(r K)` are kept by attention. The rest is thinned in rounds: every other token of the
/// list is compared with those between, and the ones that are most like one of these leave. The crops of LLaVA-NeXT get
/// equal shares. Code and paper agree; rounds that the published code cannot run (lists of odd length, or shorter than
/// a step) are defined here. Where the encoder has no `[CLS]`, the attention that a token receives takes its place, as in
/// the authors' variant for such an encoder. Likeness is of [`diffprune_pruner::descriptors`], before the projector.
#[derive(Debug, Clone, Copy)]
pub struct VisPruner {
    /// Share r of the budget that is kept by attention; 0.5 in the paper.
    pub important_ratio: f64,
    /// Tokens that leave in a round; 8 in the published code.
    pub step: usize,
    /// Position ids of the kept tokens; the published code counts anew.
    pub positions: PositionRule,
}

impl Default for VisPruner {
    fn default() -> Self {
        Self {
            important_ratio: 0.5,
            step: 8,
            positions: PositionRule::Reindex,
        }
    }
}

pub(crate) const ENTRY: Baseline =
    Baseline::arm("vispruner", "most seen by [CLS], and the least alike", || {
        Box::new(VisPruner::default())
    })
    .cost("N² d + N² (N - K) / 8")
    .paper(Paper {
        arxiv: "2412.01818",
        venue: "ICCV 2025",
        licence: "Apache-2.0",
        check: Check::Oracle,
    });

/// Comparisons below which a round is not worth a second thread.
const LOOKUPS_PER_TASK: usize = 1 << 16;

/// The kept tokens of one crop: the important ones by falling saliency, then the diverse ones.
pub fn order(
    saliency: &[f32],
    features: &Matrix,
    k: usize,
    important_ratio: f64,
    step: usize,
    device: &Device,
) -> Vec<usize> {
    let mut kept = top_k(saliency, saliency.len());
    let n_important = ((k as f64 * important_ratio) as usize).min(k);
    let n_diverse = k - n_important;
    let mut rest = kept.split_off(n_important.min(kept.len()));
    if n_diverse == 0 {
        return kept;
    }
    let unit = features.normalised(0.0).into_tensor(device);
    let similarity = inner_products(unit.clone(), unit);
    while rest.len() > n_diverse {
        let (even, odd) = halves(&rest);
        let n_leaving = step.clamp(1, even.len()).min(rest.len() - n_diverse);
        let most_alike = |&token: &usize| {
            let row = similarity.row(token);
            odd.iter()
                .map(|&other| row[other])
                .fold(f32::NEG_INFINITY, f32::max)
        };
        let scores: Vec<f32> = even
            .par_iter()
            .with_min_len(LOOKUPS_PER_TASK / odd.len())
            .map(most_alike)
            .collect();
        let order = top_k(&scores, scores.len());
        rest = order[n_leaving..].iter().map(|&place| even[place]).collect();
        rest.extend(odd);
    }
    kept.extend(rest);
    kept
}

/// The entries at even and at odd places.
fn halves(list: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let every_other = |from: usize| list.iter().copied().skip(from).step_by(2).collect();
    (every_other(0), every_other(1))
}

impl Pruner for VisPruner {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn signals(&self) -> Signals {
        saliency_signals()
    }

    fn positions(&self) -> PositionRule {
        self.positions
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let saliency = saliency(context, self.name())?;
        let tokens = descriptors(context.tokens.clone(), context.group);
        let features = token_matrices(context, &tokens, self.name(), "tokens")?;
        let device = tokens.device();
        Ok(select_by_crop(context, |row, crop| {
            let (saliency, features) = (crop.of(&saliency[row]), features[row].selected(&crop.tokens));
            order(
                &saliency,
                &features,
                crop.k,
                self.important_ratio,
                self.step,
                &device,
            )
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_is_defined() {
        let features = Matrix::new((0..21).map(|i| ((i * i) % 13) as f32 - 6.0).collect(), 3);
        let saliency: Vec<f32> = (0..7).map(|i| i as f32).collect();
        for k in 1..=7 {
            for ratio in [0.0, 0.3, 0.5, 1.0] {
                let mut kept = order(&saliency, &features, k, ratio, 8, &Device::flex());
                kept.sort_unstable();
                kept.dedup();
                assert_eq!(kept.len(), k, "k {k} ratio {ratio}");
            }
        }
    }
}
