//! CDPruner (Zhang et al., NeurIPS 2025, arXiv 2506.10967).

use diffprune_pruner::{PositionRule, PruneError, Pruner, PruningContext, Selection, Signals};

use crate::registry::{Baseline, Check, Paper};
use crate::tools::crops::select_by_crop;
use crate::tools::host::{Matrix, argmax, dot, projected_tokens};
use crate::tools::top::{host_scores, min_max};

/// Keeps tokens that fit the question and differ from one another: greedy search for the most likely subset of a
/// determinantal point process whose kernel is cosine times the relevance of both tokens.
///
/// Relevance is `text_relevance`, higher is better, scaled to 0..1 over all crops of the image (plus 1e-6). **The models
/// of this project do not hand over the authors' relevance.** Theirs is minus the cosine of a patch and the question in
/// CLIP's joint space ([`clip_relevance`]), which needs CLIP's text tower; no LLaVA or Qwen checkpoint has it. Ours is the
/// cosine of a projected token and the mean embedding of the question in the language model. So numbers of the
/// authors' code check the algorithm, not what goes into it here, and a table has to name the relevance, as the row of
/// [`crate::table`] does. A model that computes CLIP cosines has to hand over their negative.
///
/// The crops of LLaVA-NeXT get equal shares. A smaller budget keeps a subset of what a larger one keeps (of one crop).
/// Apart from the relevance, code and paper agree.
#[derive(Debug, Clone, Copy)]
pub struct CdPruner {
    /// Position ids of the kept tokens; the published code counts anew.
    pub positions: PositionRule,
}

impl Default for CdPruner {
    fn default() -> Self {
        Self {
            positions: PositionRule::Reindex,
        }
    }
}

pub(crate) const ENTRY: Baseline = Baseline::arm(
    "cdpruner",
    "fit the question and differ; fit by cosine to the mean word embedding of the language model (ours), not by CLIP (theirs)",
    || Box::new(CdPruner::default()),
)
.cost("N K D + N K²")
.text_aware()
.paper(Paper {
    arxiv: "2506.10967",
    venue: "NeurIPS 2025",
    licence: "Apache-2.0",
    check: Check::OracleOfAlgorithm,
});

/// Gains are taken as at least this much, so that a kernel without full rank gives no NaN.
const LEAST_GAIN: f32 = 1e-12;

/// The relevance of the published code: minus the cosine of each patch and the question, mean over the segments of the
/// question. Both sides in CLIP's joint space.
pub fn clip_relevance(patches: &Matrix, segments: &Matrix) -> Vec<f32> {
    let (patches, segments) = (patches.normalised(0.0), segments.normalised(0.0));
    let n_segments = segments.n_rows().max(1) as f32;
    let of_patch =
        |patch: &[f32]| -segments.rows().map(|segment| dot(segment, patch)).sum::<f32>() / n_segments;
    patches.rows().map(of_patch).collect()
}

/// The first `k` tokens in the order in which they are picked.
///
/// Rows of the kernel are computed when their token is picked; beside the features K rows of N numbers are held.
pub fn order(features: &Matrix, relevance: &[f32], k: usize) -> Vec<usize> {
    let unit = features.normalised(0.0);
    let n_tokens = unit.n_rows();
    let k = k.min(n_tokens);
    // Relevances whose range is no number give gains that are none; such tokens come last too.
    let mut gains: Vec<f32> = (0..n_tokens)
        .map(|i| (relevance[i] * relevance[i] * dot(unit.row(i), unit.row(i))).max(f32::MIN))
        .collect();
    let mut factors: Vec<f32> = Vec::with_capacity(k * n_tokens);
    let mut picked = Vec::with_capacity(k);
    let mut row = vec![0.0; n_tokens];
    while let Some(next) = argmax(gains.iter().copied()).filter(|_| picked.len() < k) {
        unit.products(unit.row(next), &mut row);
        for (value, relevance_i) in row.iter_mut().zip(relevance) {
            *value *= relevance[next] * relevance_i;
        }
        for factor in factors.chunks_exact(n_tokens) {
            let of_next = factor[next];
            row.iter_mut()
                .zip(factor)
                .for_each(|(value, factor)| *value -= of_next * factor);
        }
        let root = gains[next].max(LEAST_GAIN).sqrt();
        for (value, gain) in row.iter_mut().zip(gains.iter_mut()) {
            *value /= root;
            // Beyond the rank of the kernel rounding may give anything; such tokens come last.
            *gain = (*gain - *value * *value).max(f32::MIN);
        }
        factors.extend_from_slice(&row);
        picked.push(next);
        picked.iter().for_each(|&token| gains[token] = f32::NEG_INFINITY);
    }
    picked
}

impl Pruner for CdPruner {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn signals(&self) -> Signals {
        Signals {
            projected: true,
            text_relevance: true,
            ..Signals::default()
        }
    }

    fn positions(&self) -> PositionRule {
        self.positions
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let (features, _) = projected_tokens(context, self.name())?;
        let wanted = "relevance to the question";
        let relevance = context.require(|observed| &observed.text_relevance, self.name(), wanted)?;
        let relevance = host_scores(context, relevance.clone(), self.name(), wanted)?;
        let relevance: Vec<Vec<f32>> = relevance.iter().map(|row| min_max(row, 1e-6)).collect();
        Ok(select_by_crop(context, |row, crop| {
            let features = features[row].selected(&crop.tokens);
            order(&features, &crop.of(&relevance[row]), crop.k)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_picked_where_no_gain_is_a_number() {
        let features = Matrix::new(vec![1.0, 0.0, 0.5, 2.0, 0.0, 0.0], 2);
        for relevance in [[f32::NAN; 3], [f32::INFINITY; 3], [0.0; 3], [1.0, f32::NAN, 0.5]] {
            let mut picked = order(&features, &relevance, 2);
            picked.sort_unstable();
            picked.dedup();
            assert_eq!(picked.len(), 2, "{relevance:?}");
        }
        assert_eq!(order(&features, &[f32::NAN, 0.1, 1.0], 1), [1]);
    }
}
