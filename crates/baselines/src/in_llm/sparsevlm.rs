//! SparseVLM (Zhang et al., ICML 2025), releases 1.x and 2.0.

use burn::tensor::{FloatDType, Int, Tensor, TensorData, activation};
use diffprune_pruner::{
    AttentionRows, Budget, DecoderContext, DecoderEmbeds, DecoderPruner, DecoderSelection, DecoderSignals,
    DecoderStage, PositionRule, PruneError, PruneResult, Pruner, Queries, RowsOf, counted_average,
};

use super::schedule::{self, Case, Row};
use super::{Schedule, density_peak_means, scores};
use crate::registry::{Baseline, Check, Paper};
use crate::tools::top::{highest, top_k};

/// Keeps fewer visual tokens after each of three layers: those to which chosen text tokens, the raters, attend most in
/// that layer; ties go to the lower index.
///
/// Raters are the text tokens after the image that the visual tokens resemble more than average, by products of the
/// embeddings that the first layer takes. Counts are constants of the authors' code; the rank of the attention that
/// their paper derives counts from is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseVlm {
    /// Which release.
    pub version: SparseVlmVersion,
    /// The meaning of a budget. [`Schedule::Average`], the authors' reading, uses their counts for 192, 128, 96 and 64 of
    /// 576 tokens and scales the nearest of them otherwise; a layer on whose output tokens leave counts as pruned.
    /// Published is the same. [`Schedule::Kept`] scales so that the last stage keeps the budget beside what it merges.
    pub schedule: Schedule,
    /// Heads that count in release 2.0: those with the most attention from raters to visual tokens.
    pub kept_heads: usize,
}

/// A release of the authors' code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SparseVlmVersion {
    /// 1.x, of the paper: a share of the dropped tokens is clustered and the means stand after the kept tokens;
    /// positions are numbered anew.
    #[default]
    V1,
    /// 2.0: attention is divided by what the rotary positions alone would score, only some heads count, nothing is
    /// merged, position ids stay. The divisor may be small or negative, and then so is the score's sign: as in the
    /// authors' code.
    V2,
}

const fn row(average: usize, keep: [usize; 3]) -> Row {
    // Pruned on the output of layers 2, 6 and 15.
    let drops = [(3, keep[0]), (7, keep[1]), (16, keep[2])];
    Row { average, drops }
}

const V1: [Row; 4] = [
    row(192, [300, 200, 110]),
    row(128, [303, 110, 36]),
    row(96, [238, 48, 26]),
    row(64, [66, 30, 17]),
];

const V2: [Row; 4] = [
    row(192, [300, 200, 118]),
    row(128, [238, 108, 60]),
    row(96, [246, 54, 28]),
    row(64, [66, 34, 20]),
];

impl Default for SparseVlm {
    fn default() -> Self {
        Self {
            version: SparseVlmVersion::V1,
            schedule: Schedule::Average,
            kept_heads: 14,
        }
    }
}

impl SparseVlm {
    /// Release 2.0 with its defaults.
    pub fn v2() -> Self {
        Self {
            version: SparseVlmVersion::V2,
            ..Self::default()
        }
    }

    /// The similarity of the visual tokens to each text token: `mean_j softmax_q(v_j . e_q)`, one number per text token.
    ///
    /// # Errors
    /// When the embeddings are not finite.
    pub fn rater_scores(&self, embeds: &DecoderEmbeds) -> Result<Vec<f32>, PruneError> {
        let (visual, text) = (embeds.visual.clone(), embeds.text.clone());
        let products = visual
            .cast(FloatDType::F32)
            .matmul(text.cast(FloatDType::F32).transpose());
        let scores = activation::softmax(products, 1).mean_dim(0);
        scores::finite(scores, self.name(), "embeddings", embeds.row)
    }

    /// The score of each visual token: the attention that it receives from the raters.
    ///
    /// # Errors
    /// When the attention is missing or not finite.
    pub fn scores(&self, context: &DecoderContext) -> Result<Vec<f32>, PruneError> {
        let attention = context.require(
            |observed| &observed.attention,
            self.name(),
            "attention of text tokens",
        )?;
        let attention = match self.version {
            SparseVlmVersion::V1 => attention.clone(),
            SparseVlmVersion::V2 => self.unbiased(context, attention.clone())?,
        };
        scores::received(context, attention, self.name())
    }

    /// Attention without the rotary positions' share, of the heads that count.
    fn unbiased(&self, context: &DecoderContext, attention: Tensor<3>) -> Result<Tensor<3>, PruneError> {
        let bias = context.require(|observed| &observed.rotary_bias, self.name(), "rotary bias")?;
        let [n_heads, n_rows, n_tokens] = attention.dims();
        let attention = attention / bias.clone().unsqueeze_dim(0);
        let index = |values: Vec<usize>| {
            let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
            let n = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &attention.device())
        };
        let sums = attention
            .clone()
            .reshape([n_heads * n_rows, n_tokens])
            .select(1, index(context.visual.clone()))
            .sum_dim(1)
            .reshape([n_heads, n_rows])
            .sum_dim(1);
        let sums = scores::finite(sums, self.name(), "attention", context.row)?;
        let heads = top_k(&sums, self.kept_heads.max(1));
        Ok(attention.clone().select(0, index(heads)))
    }

    /// The dropped tokens that are merged: the best three tenths and one more, by descending score.
    pub fn recycled(&self, scores: &[f32], keep: &[usize]) -> Vec<usize> {
        let dropped: Vec<usize> = (0..scores.len()).filter(|i| !keep.contains(i)).collect();
        let n_recycled = n_recycled(dropped.len());
        highest(scores, n_recycled, dropped)
    }

    /// Stages with the counts of merged vectors.
    fn stages_of(&self, case: &Case<'_>, drops: &[(usize, usize)]) -> Vec<DecoderStage> {
        let mut n_current = case.n_visual;
        let mut stages = Vec::with_capacity(drops.len());
        for &(layer, keep) in drops {
            if n_current < 2 {
                break;
            }
            let keep = keep.min(n_current - 1);
            let merged = match self.version {
                SparseVlmVersion::V1 => n_recycled(n_current - keep) / 10 + 1,
                SparseVlmVersion::V2 => 0,
            };
            n_current = keep + merged;
            stages.push(DecoderStage {
                layer,
                keep,
                merged,
                signals: self.signals_at(),
            });
        }
        stages
    }

    fn signals_at(&self) -> DecoderSignals {
        DecoderSignals {
            attention: Some(AttentionRows {
                layer: RowsOf::Previous,
                queries: Queries::Raters,
            }),
            hidden: self.version == SparseVlmVersion::V1,
            rotary_bias: self.version == SparseVlmVersion::V2,
            ..DecoderSignals::default()
        }
    }

    fn drops(&self, case: &Case<'_>) -> Result<Vec<(usize, usize)>, PruneError> {
        let rows = match self.version {
            SparseVlmVersion::V1 => &V1,
            SparseVlmVersion::V2 => &V2,
        };
        match &self.schedule {
            Schedule::Fixed(drops) => Ok(drops.clone()),
            Schedule::Kept => Ok(case.kept(rows)),
            Schedule::Average | Schedule::Published => case.averaged(rows, |case, drops| {
                counted_average(&case.per_layer(&self.stages_of(case, drops)))
            }),
        }
    }
}

/// Dropped tokens that are merged, of so many.
fn n_recycled(n_dropped: usize) -> usize {
    ((0.3 * n_dropped as f64) as usize + 1).min(n_dropped)
}

pub(crate) const ENTRY: Baseline = Baseline::arm(
    "sparsevlm",
    "most seen by chosen text tokens, rest merged; average over layers",
    || Box::new(SparseVlm::default()),
)
.cost("N Q H d_head")
.merging()
.text_aware()
.paper(PAPER)
.differs(CONSTANTS, BY_RANK);
pub(crate) const RELEASE_2: Baseline = Baseline::arm(
    "sparsevlm-2",
    "the same by release 2.0: rotary bias divided out, nothing merged",
    || Box::new(SparseVlm::v2()),
)
.cost("N Q H d_head")
.text_aware()
.paper(PAPER)
.differs(CONSTANTS, BY_RANK);
const CONSTANTS: &str = "counts are constants";
const BY_RANK: &str = "counts by the rank of the attention (not here)";
const PAPER: Paper = Paper {
    arxiv: "2410.04417",
    venue: "ICML 2025",
    licence: "Apache-2.0",
    check: Check::Oracle,
};

impl Pruner for SparseVlm {
    fn name(&self) -> &str {
        match self.version {
            SparseVlmVersion::V1 => "sparsevlm",
            SparseVlmVersion::V2 => "sparsevlm-2",
        }
    }

    fn positions(&self) -> PositionRule {
        match self.version {
            SparseVlmVersion::V1 => PositionRule::Reindex,
            SparseVlmVersion::V2 => PositionRule::Keep,
        }
    }

    fn decoder(&self) -> Option<&dyn DecoderPruner> {
        Some(self)
    }
}

impl DecoderPruner for SparseVlm {
    fn stages(&self, n_layers: usize, n_visual: usize, budget: &Budget) -> PruneResult<Vec<DecoderStage>> {
        schedule::stages(self.name(), n_layers, n_visual, budget, |case| {
            Ok(self.stages_of(case, &self.drops(case)?))
        })
    }

    fn raters(&self, embeds: &DecoderEmbeds) -> Result<Vec<usize>, PruneError> {
        if embeds.text.dims()[0] == 0 {
            return Ok(Vec::new());
        }
        let scores = self.rater_scores(embeds)?;
        let mean = (scores.iter().map(|&score| f64::from(score)).sum::<f64>() / scores.len() as f64) as f32;
        let raters: Vec<usize> = (0..scores.len()).filter(|&i| scores[i] > mean).collect();
        // Text tokens that are all alike all ask.
        Ok(match raters.is_empty() {
            true => (0..scores.len()).collect(),
            false => raters,
        })
    }

    fn select_at(&self, stage: &DecoderStage, context: &DecoderContext) -> PruneResult<DecoderSelection> {
        let scores = self.scores(context)?;
        let selection = scores::keep_best(&scores, stage);
        if stage.merged == 0 {
            return Ok(selection);
        }
        let hidden = context.require(|observed| &observed.hidden, self.name(), "hidden states")?;
        let recycled: Vec<i64> = self
            .recycled(&scores, &selection.keep)
            .into_iter()
            .map(|i| context.visual[i] as i64)
            .collect();
        let n = recycled.len();
        let index = Tensor::<1, Int>::from_data(TensorData::new(recycled, [n]), &hidden.device());
        let merged = density_peak_means(
            hidden.clone().select(0, index),
            stage.merged.min(n),
            self.name(),
            context.row,
        )?;
        Ok(selection.with_merged(merged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffprune_pruner::{processed_average, visual_tokens_per_layer};

    fn per_layer(method: &SparseVlm, budget: usize) -> Vec<usize> {
        let stages = method.stages(32, 576, &Budget::Tokens(budget)).unwrap();
        visual_tokens_per_layer(32, 576, &stages)
    }

    #[test]
    fn the_authors_counts_and_both_averages() {
        let rows = [
            (192, [309, 204, 113], 192.03, 206.5),
            (128, [312, 117, 39], 128.6, 145.4),
            (96, [249, 55, 27], 96.9, 114.1),
            (64, [82, 32, 18], 64.8, 82.3),
        ];
        for (budget, with_merged, counted, processed) in rows {
            let tokens = per_layer(&SparseVlm::default(), budget);
            assert_eq!([tokens[3], tokens[7], tokens[16]], with_merged);
            assert!((counted_average(&tokens) - counted).abs() < 0.06, "{budget}");
            assert!((processed_average(&tokens) - processed).abs() < 0.06, "{budget}");
        }
        for (row, budget) in V2.iter().zip([192, 128, 96, 64]) {
            let tokens = per_layer(&SparseVlm::v2(), budget);
            assert_eq!(
                [tokens[3], tokens[7], tokens[16]],
                row.drops.map(|(_, keep)| keep)
            );
        }
    }

    #[test]
    fn other_sizes_scale_the_nearest_counts() {
        for (n_layers, n_visual, budget) in [(32, 576, 160), (28, 400, 60), (40, 2880, 640)] {
            for method in [SparseVlm::default(), SparseVlm::v2()] {
                let stages = method
                    .stages(n_layers, n_visual, &Budget::Tokens(budget))
                    .unwrap();
                let average = counted_average(&visual_tokens_per_layer(n_layers, n_visual, &stages));
                let budget = budget as f64;
                assert!(
                    (average - budget).abs() < 1.5 + 0.02 * budget,
                    "{budget}: {average}"
                );
            }
        }
    }
}
