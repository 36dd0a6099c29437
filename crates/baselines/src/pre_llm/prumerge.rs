//! LLaVA-PruMerge and PruMerge+ (Shang et al., ICCV 2025, arXiv 2403.15388).

use burn::tensor::Device;
use diffprune_pruner::{PositionRule, PruneError, Pruner, PruningContext, Selection, Signals, Space};
use rayon::prelude::*;

use crate::fidelity::Fidelity;
use crate::registry::{Baseline, Check, Paper};
use crate::tools::crops::{Crop, crops};
use crate::tools::encoder::{Encoder, MergeInputs};
use crate::tools::host::{Matrix, add_scaled, inner_products, token_matrices};
use crate::tools::merged::{Tokens, selection};
use crate::tools::saliency::received;
use crate::tools::top::{highest, host_scores, top_k};

/// Takes the tokens that `[CLS]` sees most as centres, adds to each its nearest neighbours weighted by their attention,
/// and merges all other tokens into one that comes last.
///
/// Attention and keys are those of the layer that would take the tokens, as one head of full width. Where the encoder
/// has no `[CLS]`, received attention and head-averaged keys take their place (as independent ports do). Crops get equal
/// shares and follow one another (ours; the authors have one crop). The last token stands at the place of the crop's
/// last token. A budget of all tokens leaves them as they are.
///
/// [`PruMerge::without_class`] is the same for Qwen2.5-VL, for which the authors have no code: received attention in place of
/// `[CLS]` attention as in independent ports. Ours is that projected tokens take the place of keys and are what is
/// merged (the norm in front of the merger undoes a token's length), and that position ids are kept.
///
/// - Reference: a centre is itself plus the plain weighted sum of its neighbours, the last token a weighted sum of the
///   rest; the weights are far from adding up to one.
/// - Corrected: both are weighted means, as the paper describes them.
#[derive(Debug, Clone, Copy)]
pub struct PruMerge {
    /// PruMerge+: centres at equal steps beside the most seen ones.
    pub plus: bool,
    /// The rule for the number of centres.
    pub centres: Centres,
    /// Neighbours that join a centre; 32 in the published code.
    pub n_neighbours: usize,
    /// Sums or means; the published code by default.
    pub fidelity: Fidelity,
    /// Position ids of the kept tokens; the published code counts anew.
    pub positions: PositionRule,
    /// For which kind of model.
    pub encoder: Encoder,
}

/// The rule for the number of centres.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Centres {
    /// One less than the budget. PruMerge+ takes the outliers first (as many as fit), then tokens at equal steps among the
    /// rest; this is how the tables of later papers hold a budget, not the authors' code.
    #[default]
    Budget,
    /// As many as there are outliers of attention; the published default. The budget is **not** looked at.
    Adaptive,
    /// This share of the tokens; PruMerge+ adds as many again. The budget is **not** looked at.
    Ratio(f64),
}

impl PruMerge {
    /// PruMerge at the context's budget.
    pub fn new(plus: bool) -> Self {
        Self {
            plus,
            centres: Centres::Budget,
            n_neighbours: 32,
            fidelity: Fidelity::Reference,
            positions: Encoder::WithClass.positions(),
            encoder: Encoder::WithClass,
        }
    }

    /// The same for Qwen2.5-VL: received attention, projected tokens, position ids kept.
    pub fn without_class(plus: bool) -> Self {
        Self {
            positions: Encoder::WithoutClass.positions(),
            encoder: Encoder::WithoutClass,
            ..Self::new(plus)
        }
    }
}

const PAPER: Paper = Paper {
    arxiv: "2403.15388",
    venue: "ICCV 2025",
    licence: "Apache-2.0",
    check: Check::Oracle,
};

pub(crate) const ENTRY: Baseline = Baseline::arm("prumerge", "most seen by [CLS], neighbours added", || {
    Box::new(PruMerge::new(false))
})
.cost("N K d")
.merging()
.paper(PAPER)
.differs(SUMS, MEANS);

pub(crate) const CORRECTED: Baseline = ENTRY.corrected("prumerge-corrected", || {
    Box::new(PruMerge {
        fidelity: Fidelity::Corrected,
        ..PruMerge::new(false)
    })
});

pub(crate) const PLUS: Baseline = Baseline::arm("prumerge-plus", "the same with even centres beside", || {
    Box::new(PruMerge::new(true))
})
.cost("N K d")
.merging()
.paper(PAPER)
.differs(SUMS, MEANS);

pub(crate) const PLUS_CORRECTED: Baseline = PLUS.corrected("prumerge-plus-corrected", || {
    Box::new(PruMerge {
        fidelity: Fidelity::Corrected,
        ..PruMerge::new(true)
    })
});

const SUMS: &str = "weighted sums are added";
const MEANS: &str = "weighted means";

const PAPER_WITHOUT_CLASS: Paper = Paper {
    check: Check::OracleOfAlgorithm,
    ..PAPER
};

pub(crate) const WITHOUT_CLASS: Baseline =
    Baseline::arm("prumerge-qwen", "most seen, neighbours added, no [CLS]", || {
        Box::new(PruMerge::without_class(false))
    })
    .cost("N K D")
    .merging()
    .paper(PAPER_WITHOUT_CLASS)
    .differs(SUMS, MEANS);

pub(crate) const CORRECTED_WITHOUT_CLASS: Baseline =
    WITHOUT_CLASS.corrected("prumerge-corrected-qwen", || {
        Box::new(PruMerge {
            fidelity: Fidelity::Corrected,
            ..PruMerge::without_class(false)
        })
    });

pub(crate) const PLUS_WITHOUT_CLASS: Baseline =
    Baseline::arm("prumerge-plus-qwen", "the same with even centres beside", || {
        Box::new(PruMerge::without_class(true))
    })
    .cost("N K D")
    .merging()
    .paper(PAPER_WITHOUT_CLASS)
    .differs(SUMS, MEANS);

pub(crate) const PLUS_CORRECTED_WITHOUT_CLASS: Baseline =
    PLUS_WITHOUT_CLASS.corrected("prumerge-plus-corrected-qwen", || {
        Box::new(PruMerge {
            fidelity: Fidelity::Corrected,
            ..PruMerge::without_class(true)
        })
    });

/// The number of values above the third quartile by more than one and a half times the distance of the quartiles.
pub fn n_outliers(values: &[f32]) -> usize {
    let mut sorted: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0;
    };
    let quantile = |share: f64| {
        let place = share * last as f64;
        let (low, high) = (sorted[place as usize], sorted[(place as usize + 1).min(last)]);
        low + (high - low) * place.fract()
    };
    let (first, third) = (quantile(0.25), quantile(0.75));
    let bound = third + 1.5 * (third - first);
    sorted.iter().filter(|&&value| value > bound).count()
}

/// The centres of one crop in order; at most `k - 1` of them when the budget counts.
///
/// Where the published code fails (no outlier, or so many that the step of PruMerge+ is zero) there is one centre, or a
/// step of one.
pub fn centres(attention: &[f32], plus: bool, rule: Centres, k: usize) -> Vec<usize> {
    let n_tokens = attention.len();
    let best = |n| top_k(attention, n);
    match rule {
        Centres::Budget if plus => {
            let wanted = k.saturating_sub(1);
            let mut centres = best(n_outliers(attention).min(wanted));
            let rest = without(n_tokens, &centres);
            let n_even = (wanted - centres.len()).min(rest.len());
            centres.extend((0..n_even).map(|nth| rest[(2 * nth + 1) * rest.len() / (2 * n_even)]));
            centres
        }
        Centres::Budget => best(k.saturating_sub(1)),
        Centres::Adaptive => {
            let n_best = n_outliers(attention).max(1);
            let mut centres = best(n_best);
            if plus {
                let step = (n_tokens / n_best / 3).max(1);
                let even = (0..n_tokens.saturating_sub(1)).step_by(step);
                let more: Vec<usize> = even.filter(|token| !centres.contains(token)).collect();
                centres.extend(more);
            }
            centres
        }
        Centres::Ratio(ratio) => {
            let mut centres = best(((n_tokens as f64 * ratio) as usize).clamp(1, n_tokens));
            if plus {
                let step = ((1.0 / ratio) as usize).max(1);
                centres.extend((step / 2..n_tokens.saturating_sub(1)).step_by(step));
            }
            centres
        }
    }
}

/// Tokens that are no centres.
fn without(n_tokens: usize, centres: &[usize]) -> Vec<usize> {
    let mut is_centre = vec![false; n_tokens];
    centres.iter().for_each(|&centre| is_centre[centre] = true);
    (0..n_tokens).filter(|&token| !is_centre[token]).collect()
}

/// The merged tokens: one per centre, then the one made of all other tokens.
pub fn merge(
    features: &Matrix,
    keys: &Matrix,
    attention: &[f32],
    centres: &[usize],
    n_neighbours: usize,
    fidelity: Fidelity,
    device: &Device,
) -> Matrix {
    let unit = keys.normalised(0.0);
    let similarity = match centres {
        [] => Matrix::new(Vec::new(), 1),
        centres => {
            let of_centres = unit.select(centres).into_tensor(device);
            inner_products(of_centres, unit.into_tensor(device))
        }
    };
    let n_tokens = features.n_rows();
    let sum = |tokens: &[usize], own: Option<usize>| {
        let mut sum = vec![0.0; features.width()];
        let mut total = 0.0;
        for &token in tokens {
            add_scaled(&mut sum, attention[token], features.row(token));
            total += attention[token];
        }
        match (fidelity, own) {
            (Fidelity::Reference, Some(centre)) => add_scaled(&mut sum, 1.0, features.row(centre)),
            (Fidelity::Reference, None) => {}
            (Fidelity::Corrected, own) => {
                if let Some(centre) = own {
                    add_scaled(&mut sum, attention[centre], features.row(centre));
                    total += attention[centre];
                }
                if total > 0.0 {
                    sum.iter_mut().for_each(|value| *value /= total);
                }
            }
        }
        sum
    };
    let centre = |(nth, &centre): (usize, &usize)| {
        let others = (0..n_tokens).filter(|&token| token != centre).collect();
        sum(&highest(similarity.row(nth), n_neighbours, others), Some(centre))
    };
    let mut values: Vec<Vec<f32>> = centres.par_iter().enumerate().map(centre).collect();
    values.push(sum(&without(n_tokens, centres), None));
    Matrix::new(values.concat(), features.width())
}

/// Attention, keys and the encoder's tokens.
fn merge_inputs<'a>(context: &'a PruningContext, method: &str) -> Result<MergeInputs<'a>, PruneError> {
    let (attention, keys) = match &context.observed.wide_attention {
        Some(wide) => {
            let attention = host_scores(context, wide.cls.clone(), method, "[CLS] attention")?;
            (attention, &wide.keys)
        }
        None => {
            let wanted = "[CLS] attention of full width or received attention";
            let attention = received(context, method, wanted)?;
            let keys = context.require(|observed| &observed.keys, method, "keys")?;
            (attention, &keys.tokens)
        }
    };
    Ok(MergeInputs {
        attention,
        keys: Some(token_matrices(context, keys, method, "keys")?),
        features: token_matrices(context, &context.tokens, method, "tokens")?,
        space: Space::Vision,
        like: &context.tokens,
    })
}

impl Pruner for PruMerge {
    fn name(&self) -> &str {
        let [reference, corrected] = match (self.encoder, self.plus) {
            (Encoder::WithClass, false) => [ENTRY, CORRECTED],
            (Encoder::WithClass, true) => [PLUS, PLUS_CORRECTED],
            (Encoder::WithoutClass, false) => [WITHOUT_CLASS, CORRECTED_WITHOUT_CLASS],
            (Encoder::WithoutClass, true) => [PLUS_WITHOUT_CLASS, PLUS_CORRECTED_WITHOUT_CLASS],
        };
        match self.fidelity {
            Fidelity::Reference => reference.name,
            Fidelity::Corrected => corrected.name,
        }
    }

    fn signals(&self) -> Signals {
        match self.encoder {
            Encoder::WithClass => Signals {
                wide_attention: true,
                received_attention: true,
                keys: true,
                ..Signals::default()
            },
            Encoder::WithoutClass => MergeInputs::projected_signals(),
        }
    }

    fn positions(&self) -> PositionRule {
        self.positions
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let inputs = match self.encoder {
            Encoder::WithClass => merge_inputs(context, self.name())?,
            Encoder::WithoutClass => MergeInputs::projected(context, self.name())?,
        };
        let device = inputs.like.device();
        let crop = |row: usize, crop: &Crop, out: &mut Tokens| {
            let attention = crop.of(&inputs.attention[row]);
            let centres = centres(&attention, self.plus, self.centres, crop.k);
            let merged = merge(
                &inputs.features[row].selected(&crop.tokens),
                &inputs.keys(row).selected(&crop.tokens),
                &attention,
                &centres,
                self.n_neighbours,
                self.fidelity,
                &device,
            );
            let places = centres.into_iter().chain([crop.tokens.len() - 1]);
            crop.indices(places)
                .zip(merged.rows())
                .for_each(|(place, values)| out.push(place, values));
        };
        let image = |row: usize| {
            let k = context.budget(row);
            if self.centres == Centres::Budget && k == context.n_tokens(row) {
                return Tokens::all(&inputs.features[row]);
            }
            let mut out = Tokens::default();
            let crops = crops(&context.layouts[row], k);
            let budget_counts = self.centres == Centres::Budget;
            crops
                .iter()
                .filter(|of_view| !of_view.tokens.is_empty() && (of_view.k > 0 || !budget_counts))
                .for_each(|of_view| crop(row, of_view, &mut out));
            out
        };
        let images = (0..context.batch()).map(image).collect();
        Ok(selection(images, inputs.space, inputs.like))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tensor;
    use diffprune_pruner::{Budget, Grid};

    #[test]
    fn without_class_projected_tokens_join_the_most_seen_ones() {
        let device = Device::flex();
        let tokens = Tensor::<3>::zeros([1, 6, 5], &device);
        let check = |plus, attention: [f32; 6], kept: [usize; 3], wanted: [f32; 6]| {
            let budget = Budget::Tokens(3);
            let mut context =
                PruningContext::new(tokens.clone(), Grid { rows: 2, cols: 3 }, &budget).unwrap();
            context.observed.received_attention = Some(Tensor::from_floats([attention], &device));
            context.observed.projected = Some(Tensor::from_floats(
                [[[1., 0.], [2., 0.], [0., 1.], [1., 3.], [1., 4.], [1., 1.]]],
                &device,
            ));
            let method = PruMerge {
                n_neighbours: 1,
                ..PruMerge::without_class(plus)
            };
            let selection = method.select(&context).unwrap();
            assert_eq!(selection.keep_indices(0), kept);
            let found = selection.gather(tokens.clone()).into_data();
            let found = found.try_to_vec::<f32>().unwrap();
            let near = found.iter().zip(wanted).all(|(x, y)| (x - y).abs() < 1e-5);
            assert!(found.len() == 6 && near, "{found:?}, expected {wanted:?}");
        };
        // Token 0 joins 1, token 3 joins 4; the last row is made of 0, 2, 3 and 5.
        let attention = [0.1, 0.4, 0.05, 0.2, 0.3, 0.02];
        check(false, attention, [1, 4, 5], [2.1, 0.0, 1.2, 4.6, 0.32, 0.67]);
        // The outlier 3 and the middle of the rest, 2; token 4 joins both.
        let attention = [0.01, 0.01, 0.01, 0.9, 0.01, 0.03];
        check(true, attention, [3, 2, 5], [1.01, 3.04, 0.01, 1.04, 0.07, 0.07]);
    }

    #[test]
    fn outliers_lie_far_above_the_quartiles() {
        assert_eq!(n_outliers(&[1.0, 2.0, 3.0, 4.0, 5.0, 100.0]), 1);
        assert_eq!(n_outliers(&[2.0; 9]), 0);
        assert_eq!(n_outliers(&[]), 0);
    }

    #[test]
    fn a_budget_is_met_by_distinct_centres() {
        let attention: Vec<f32> = (0..40)
            .map(|i| if i % 13 == 5 { 9.0 } else { i as f32 * 0.01 })
            .collect();
        for k in 1..=40 {
            for plus in [false, true] {
                let mut found = centres(&attention, plus, Centres::Budget, k);
                found.sort_unstable();
                found.dedup();
                assert_eq!(found.len(), k - 1, "k {k}");
            }
        }
    }

    #[test]
    fn means_of_equal_tokens_are_those_tokens() {
        let features = Matrix::new([2.0, -3.0].repeat(6), 2);
        let attention = [0.1, 0.2, 0.3, 0.05, 0.05, 0.1];
        let merged = merge(
            &features,
            &features,
            &attention,
            &[2, 1],
            3,
            Fidelity::Corrected,
            &Device::flex(),
        );
        for row in merged.rows() {
            assert!((row[0] - 2.0).abs() < 1e-6 && (row[1] + 3.0).abs() < 1e-6);
        }
    }
}
