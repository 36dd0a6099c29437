//! HoloV (Zou et al., NeurIPS 2025, arXiv 2510.02912).

use burn::tensor::{Bool, FloatDType, Int, Tensor, TensorData};
use diffprune_pruner::{Grid, PositionRule, PruneError, Pruner, PruningContext, Selection, Signals, Space};

use crate::fidelity::Fidelity;
use crate::registry::{Baseline, Check, Paper};
use crate::tools::host::{check_shape, to_host};
use crate::tools::saliency::{saliency, saliency_signals};
use crate::tools::top::{highest, top_k};

/// Cuts the sequence into runs, shares the budget out among them by attention and by how much their tokens differ, and
/// keeps the tokens of each run with the highest attention.
///
/// All crops of an image are one sequence. Order: run by run, in a run by falling attention (a run that is kept whole
/// in raster order). The tokens are handed over after the projector, as they are.
///
/// - Reference: what a run cannot take is lost; zero vectors at the end fill the budget, at the place of the last token.
/// - Corrected: it goes to the runs with the largest weights that have room.
///
/// The paper draws crops of the image; the code cuts runs, and only runs are here. A budget of all tokens leaves them as
/// they are.
#[derive(Debug, Clone, Copy)]
pub struct HoloV {
    /// Weight of the differences; 0.09 in the published code.
    pub alpha: f32,
    /// Number of runs; `None` for `floor(16 N / 9 K)`, at least 1: the rule of the code for Qwen2.5-VL, which gives 16 at
    /// 64 of 576.
    pub runs: Option<usize>,
    /// The treatment of tokens that a run cannot take; the published code by default.
    pub fidelity: Fidelity,
    /// Only where the encoder has no `[CLS]`: the published code for Qwen2.5-VL leaves the scores in the encoder's window
    /// order while the tokens are in raster order (`Reference`). `Corrected`, the default, matches them.
    pub alignment: Fidelity,
    /// Side of the encoder's windows in tokens, for `alignment`; 4 in Qwen2.5-VL.
    pub window: usize,
    /// Position ids of the kept tokens: counted anew in the published code for LLaVA, kept in that for Qwen2.5-VL. The
    /// method is called after it.
    pub positions: PositionRule,
}

impl Default for HoloV {
    fn default() -> Self {
        Self {
            alpha: 0.09,
            runs: None,
            fidelity: Fidelity::Reference,
            alignment: Fidelity::Corrected,
            window: 4,
            positions: PositionRule::Reindex,
        }
    }
}

impl HoloV {
    /// As published for Qwen2.5-VL: kept tokens keep their position ids.
    pub fn without_class() -> Self {
        Self {
            positions: PositionRule::Keep,
            ..Self::default()
        }
    }
}

const PAPER: Paper = Paper {
    arxiv: "2510.02912",
    venue: "NeurIPS 2025",
    licence: "Apache-2.0",
    check: Check::Oracle,
};

pub(crate) const ENTRY: Baseline = Baseline::arm("holov", "most seen by [CLS] of each run", || {
    Box::new(HoloV::default())
})
.cost("N² D / runs")
.paper(PAPER)
.differs(ZEROS, HANDED_ON);
pub(crate) const CORRECTED: Baseline = ENTRY.corrected("holov-corrected", || {
    Box::new(HoloV {
        fidelity: Fidelity::Corrected,
        ..HoloV::default()
    })
});
const ZEROS: &str = "what a run cannot take becomes zero vectors";
const HANDED_ON: &str = "it goes to runs with room";

pub(crate) const WITHOUT_CLASS: Baseline =
    Baseline::arm("holov-qwen", "most seen of each run, ids kept", || {
        Box::new(HoloV::without_class())
    })
    .cost("N² D / runs")
    .paper(PAPER)
    .differs(
        "what a run cannot take becomes zero vectors (scores matched to their tokens, as theirs are not)",
        HANDED_ON,
    );
pub(crate) const CORRECTED_WITHOUT_CLASS: Baseline = WITHOUT_CLASS.corrected("holov-corrected-qwen", || {
    Box::new(HoloV {
        fidelity: Fidelity::Corrected,
        ..HoloV::without_class()
    })
});

/// Added to lengths and divisors, as in the published code.
const EPSILON: f32 = 1e-6;

/// The lengths of `n_runs` nearly equal runs of `n_tokens`, the longer ones first.
pub fn run_lengths(n_tokens: usize, n_runs: usize) -> Vec<usize> {
    let n_runs = n_runs.clamp(1, n_tokens.max(1));
    (0..n_runs)
        .map(|run| n_tokens / n_runs + usize::from(run < n_tokens % n_runs))
        .collect()
}

/// The weight of each run; NaN when a token of it is not finite.
///
/// `features` are the tokens of one image, `[n, d]`, in f32.
///
/// A token scores its attention (in thousandths) plus `alpha` times the variance of its cosines to the run's other
/// tokens, scaled to the run's mean attention; a run scores the mean of its tokens. The variance is around the mean over
/// the others and takes in the token itself with a cosine of zero, as the published code does.
pub fn run_weights(features: Tensor<2>, attention: &[f32], lengths: &[usize], alpha: f32) -> Vec<f32> {
    let variances = run_variances(&features, lengths);
    let mut start = 0;
    let score = |(&length, variance): (&usize, f32)| {
        let attention = &attention[start..start + length];
        start += length;
        if length < 2 {
            return attention.iter().sum::<f32>() + variance;
        }
        let mean = |f: fn(f32) -> f32| attention.iter().map(|&a| f(1000.0 * a)).sum::<f32>() / length as f32;
        mean(|a| a) + alpha * variance * mean(f32::abs) / (variance + EPSILON)
    };
    let scores: Vec<f32> = lengths.iter().zip(variances).map(score).collect();
    let total: f32 = scores.iter().sum::<f32>() + EPSILON;
    scores.into_iter().map(|score| score / total).collect()
}

/// For each run the mean over its tokens of the variance of their cosines to the others; 0 for a single token. NaN where a
/// token is not finite.
fn run_variances(features: &Tensor<2>, lengths: &[usize]) -> Vec<f32> {
    let width = features.dims()[1];
    let mut start = 0;
    let mut variances = Vec::with_capacity(lengths.len());
    // Runs of one length follow one another: one product for all of them.
    for same in lengths.chunk_by(|a, b| a == b) {
        let (n_runs, length) = (same.len(), same[0]);
        let runs = features.clone().narrow(0, start, n_runs * length);
        start += n_runs * length;
        if length < 2 {
            let zero = |token: &[f32]| token.iter().map(|value| 0.0 * value).sum::<f32>();
            variances.extend(to_host(runs).chunks_exact(width).map(zero));
            continue;
        }
        let runs = runs.reshape([n_runs, length, width]);
        let mut products = to_host(runs.clone().matmul(runs.swap_dims(1, 2)));
        variances.extend(products.chunks_exact_mut(length * length).map(mean_variance));
    }
    variances
}

/// The mean over the rows of a square of inner products of the variance of the row's cosines, around their mean without
/// the diagonal, which counts as 0.
fn mean_variance(products: &mut [f32]) -> f32 {
    let n_rows = products.len().isqrt();
    let others = (n_rows - 1) as f32;
    let scales: Vec<f32> = (0..n_rows)
        .map(|i| 1.0 / (products[i * n_rows + i].sqrt() + EPSILON))
        .collect();
    let variance = |(i, row): (usize, &mut [f32])| {
        row.iter_mut()
            .zip(&scales)
            .for_each(|(value, scale)| *value *= scales[i] * scale);
        row[i] = 0.0;
        let mean = row.iter().sum::<f32>() / others;
        row.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / others
    };
    let rows = products.chunks_exact_mut(n_rows).enumerate();
    rows.map(variance).sum::<f32>() / n_rows as f32
}

/// The number of tokens, `k` in all, allotted to each run: its share cut to a whole number, and one of what
/// is left to each of the runs with the largest weights. A run may be allotted more than it has.
pub fn allocation(weights: &[f32], k: usize) -> Vec<usize> {
    let mut allotted: Vec<usize> = weights
        .iter()
        .map(|weight| (weight * k as f32) as usize)
        .collect();
    let left = k.saturating_sub(allotted.iter().sum());
    for run in top_k(weights, left) {
        allotted[run] += 1;
    }
    allotted
}

/// Hands what runs cannot take to the runs with the largest weights that have room.
fn spill(allotted: &mut [usize], lengths: &[usize], weights: &[f32], k: usize) {
    for (allotted, &length) in allotted.iter_mut().zip(lengths) {
        *allotted = length.min(*allotted);
    }
    let mut left = k.saturating_sub(allotted.iter().sum());
    for run in top_k(weights, weights.len()) {
        let given = left.min(lengths[run] - allotted[run]);
        allotted[run] += given;
        left -= given;
    }
}

/// The kept tokens in order, at most `k`.
pub fn order(attention: &[f32], lengths: &[usize], allotted: &[usize], k: usize) -> Vec<usize> {
    let mut kept = Vec::with_capacity(k);
    let mut start = 0;
    for (&length, &allotted) in lengths.iter().zip(allotted) {
        let run: Vec<usize> = (start..start + length).collect();
        start += length;
        kept.extend(if allotted < length {
            highest(attention, allotted, run)
        } else {
            run
        });
    }
    kept.truncate(k);
    kept
}

/// For each place of the encoder's window order the index of its token: windows of `side` by `side` tokens one after
/// another, cut off at the right and lower edge.
pub fn window_order(grid: Grid, side: usize) -> Vec<usize> {
    let side = side.max(1);
    let mut order: Vec<usize> = (0..grid.n_tokens()).collect();
    order.sort_by_key(|&token| {
        let (row, col) = (token / grid.cols, token % grid.cols);
        (row / side, col / side)
    });
    order
}

impl Pruner for HoloV {
    fn name(&self) -> &str {
        match (self.positions, self.fidelity) {
            (PositionRule::Reindex, Fidelity::Reference) => ENTRY.name,
            (PositionRule::Reindex, Fidelity::Corrected) => CORRECTED.name,
            (PositionRule::Keep, Fidelity::Reference) => WITHOUT_CLASS.name,
            (PositionRule::Keep, Fidelity::Corrected) => CORRECTED_WITHOUT_CLASS.name,
        }
    }

    fn signals(&self) -> Signals {
        Signals {
            projected: true,
            ..saliency_signals()
        }
    }

    fn positions(&self) -> PositionRule {
        self.positions
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let mut saliency = saliency(context, self.name())?;
        let projected = context.require(|observed| &observed.projected, self.name(), "projected tokens")?;
        let what = "projected tokens";
        let counts: Vec<usize> = (0..context.batch()).map(|row| context.n_tokens(row)).collect();
        check_shape(projected, what, &counts)?;
        if context.observed.cls_attention.is_none() && self.alignment == Fidelity::Reference {
            for (scores, layout) in saliency.iter_mut().zip(&context.layouts) {
                let places = layout.offsets().flat_map(|(first, segment)| {
                    let order = window_order(segment.grid, self.window);
                    order.into_iter().map(move |token| first + token)
                });
                *scores = places.map(|token| scores[token]).collect();
            }
        }
        let not_finite = |row| PruneError::NotFinite {
            method: self.name().to_string(),
            what,
            row,
        };
        let image = |row: usize| {
            let (attention, n_tokens, k) = (&saliency[row], counts[row], context.budget(row));
            let [_, most, width] = projected.dims();
            let features = projected.clone().narrow(0, row, 1).reshape([most, width]);
            let features = features.narrow(0, 0, n_tokens).cast(FloatDType::F32);
            if k == n_tokens {
                let finite = to_host(features).iter().all(|value| value.is_finite());
                return finite.then(|| (0..k).collect()).ok_or_else(|| not_finite(row));
            }
            let n_runs = self.runs.unwrap_or(16 * n_tokens / (9 * k));
            let lengths = run_lengths(n_tokens, n_runs);
            let weights = run_weights(features, attention, &lengths, self.alpha);
            if weights.iter().any(|weight| !weight.is_finite()) {
                return Err(not_finite(row));
            }
            let mut allotted = allocation(&weights, k);
            if self.fidelity == Fidelity::Corrected {
                spill(&mut allotted, &lengths, &weights, k);
            }
            Ok(order(attention, &lengths, &allotted, k))
        };
        let kept: Vec<Vec<usize>> = (0..context.batch()).map(image).collect::<Result<_, _>>()?;
        Ok(gathered(context, projected, kept))
    }
}

/// The kept tokens as they are, and zeros up to the budget.
fn gathered(context: &PruningContext, projected: &Tensor<3>, mut kept: Vec<Vec<usize>>) -> Selection {
    let k_max = (0..kept.len()).map(|row| context.budget(row)).max().unwrap_or(0);
    let (mut indices, mut is_zero) = (Vec::new(), Vec::new());
    for (row, kept) in kept.iter_mut().enumerate() {
        let n_kept = kept.len();
        kept.resize(context.budget(row), context.n_tokens(row) - 1);
        indices.extend(kept.iter().map(|&token| token as i64));
        indices.resize((row + 1) * k_max, 0);
        is_zero.extend((0..k_max).map(|place| place >= n_kept));
    }
    let shape = [kept.len(), k_max, projected.dims()[2]];
    let device = projected.device();
    let indices = Tensor::<2, Int>::from_data(TensorData::new(indices, [shape[0], k_max]), &device);
    let mut merged = projected
        .clone()
        .gather(1, indices.unsqueeze_dim::<3>(2).expand(shape));
    if is_zero.contains(&true) {
        let is_zero = Tensor::<2, Bool>::from_data(TensorData::new(is_zero, [shape[0], k_max]), &device);
        merged = merged.mask_fill(is_zero.unsqueeze_dim::<3>(2).expand(shape), 0.0);
    }
    Selection::merge_in(Space::Language, kept, merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_cut_off_at_the_edges() {
        let order = window_order(Grid { rows: 3, cols: 5 }, 2);
        assert_eq!(order, [0, 1, 5, 6, 2, 3, 7, 8, 4, 9, 10, 11, 12, 13, 14]);
    }

    #[test]
    fn what_does_not_fit_is_handed_on() {
        let mut allotted = vec![9, 1, 2];
        spill(&mut allotted, &[4, 4, 4], &[0.6, 0.1, 0.3], 12);
        assert_eq!(allotted, [4, 4, 4]);
        let mut allotted = vec![6, 1, 1];
        spill(&mut allotted, &[4, 4, 4], &[0.6, 0.1, 0.3], 8);
        assert_eq!(allotted, [4, 1, 3]);
    }
}
