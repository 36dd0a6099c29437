//! DART (Wen et al., EMNLP 2025).

use std::collections::BTreeSet;

use burn::tensor::{FloatDType, Int, Tensor, TensorData};
use diffprune_pruner::{
    Budget, DecoderContext, DecoderPruner, DecoderSelection, DecoderSignals, DecoderStage, PruneError,
    Pruner, PruningContext, Selection, Stage,
};

use super::schedule::Case;
use super::{Schedule, keep_all, scores};
use crate::registry::{Baseline, Check, Paper};
use crate::top::highest;

/// Keeps, from layer K on, a few pivots and the visual tokens that resemble each pivot least. Position ids stay.
///
/// Pivots are the tokens with the largest L1 norm of their rotated keys in the layer before, some among the visual
/// tokens and some among the text after them. Each pivot in turn takes the `m` untaken visual tokens whose hidden state
/// (after the model's last norm) has the smallest cosine to its own; ties go to the lower index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dart {
    /// K, the number of layers that see every token; at most one less than the decoder has.
    pub layer: usize,
    /// Number of visual pivots, `p`; they are kept.
    pub image_pivots: usize,
    /// Number of pivots among the text after the visual tokens, `q`.
    pub text_pivots: usize,
    /// What a budget means. [`Schedule::Kept`], the authors' reading, is their setting B: each pivot takes
    /// `m = B / (p + q)` tokens (rounded down), so that `m (p + q) + p` are kept, B + 4 by default. [`Schedule::Fixed`]
    /// counts B in the same way, Published is B = 128, and [`Schedule::Average`] takes the largest B that stays within
    /// the average.
    pub schedule: Schedule,
    /// In which order pivots take tokens.
    pub order: PivotOrder,
}

/// In which order pivots take tokens; it changes who is left for the later ones.
///
/// The authors' code visits a hash set of places, whose order is an accident of the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PivotOrder {
    /// Visual pivots by descending norm, then text pivots by descending norm.
    #[default]
    Norm,
    /// By the order of these places of the sequence; pivots that are not named come last.
    Places(Vec<usize>),
}

impl Default for Dart {
    fn default() -> Self {
        Self {
            layer: 2,
            image_pivots: 4,
            text_pivots: 4,
            schedule: Schedule::Kept,
            order: PivotOrder::Norm,
        }
    }
}

impl Dart {
    /// Places of the visual pivots and of the text pivots in the sequence, each by descending norm.
    ///
    /// # Errors
    /// When the keys are missing or not finite.
    pub fn pivots(&self, context: &DecoderContext) -> Result<[Vec<usize>; 2], PruneError> {
        let keys = context.require(|observed| &observed.keys, self.name(), "keys of the layer before")?;
        let [n_tokens, n_heads, head_dim] = keys.dims();
        let norms = keys
            .clone()
            .cast(FloatDType::F32)
            .abs()
            .reshape([n_tokens, n_heads * head_dim])
            .sum_dim(1);
        let norms = scores::finite(norms, self.name(), "keys", context.row)?;
        let after = context.visual.last().map_or(0, |last| last + 1);
        Ok([
            highest(&norms, self.image_pivots, context.visual.clone()),
            highest(&norms, self.text_pivots, (after..n_tokens).collect()),
        ])
    }

    /// Cosine of the hidden state of each pivot to that of each visual token, one list per pivot.
    fn cosines(&self, context: &DecoderContext, pivots: &[usize]) -> Result<Vec<Vec<f32>>, PruneError> {
        let normed = context.require(|observed| &observed.normed, self.name(), "hidden states")?;
        let normed = normed.clone().cast(FloatDType::F32);
        let unit = normed.clone() / normed.square().sum_dim(1).sqrt().clamp_min(1e-8);
        let rows = |places: &[usize]| {
            let index: Vec<i64> = places.iter().map(|&place| place as i64).collect();
            let index = TensorData::new(index, [places.len()]);
            unit.clone()
                .select(0, Tensor::<1, Int>::from_data(index, &unit.device()))
        };
        let cosines = rows(pivots).matmul(rows(&context.visual).transpose());
        let values = scores::finite(cosines, self.name(), "hidden states", context.row)?;
        Ok(values.chunks(context.visual.len()).map(<[f32]>::to_vec).collect())
    }

    fn n_pivots(&self) -> usize {
        (self.image_pivots + self.text_pivots).max(1)
    }

    /// Tokens kept with the authors' setting B.
    fn kept_with(&self, setting: usize) -> usize {
        setting / self.n_pivots() * self.n_pivots() + self.image_pivots
    }

    fn drops(&self, case: &Case<'_>) -> Result<Vec<(usize, usize)>, PruneError> {
        let single = |setting: &dyn Fn(usize) -> Result<usize, PruneError>| {
            let layer = case.single_layer(self.layer)?;
            Ok(vec![(layer, setting(layer)?)])
        };
        match &self.schedule {
            Schedule::Published => single(&|_| Ok(128)),
            Schedule::Kept => single(&|_| Ok(case.wanted)),
            Schedule::Fixed(drops) => Ok(drops.clone()),
            Schedule::Average => single(&|layer| match case.after_single_drop(layer).floor()
                - self.image_pivots as f64
            {
                setting if setting >= 0.0 => Ok(setting as usize),
                _ => Err(case.unreachable(case.least_average(layer, self.image_pivots))),
            }),
        }
    }
}

pub(crate) const ENTRY: Baseline = Baseline::arm(
    "dart",
    "least alike to pivots; budget counted after the drop",
    || Box::new(Dart::default()),
)
.cost("8 N D")
.text_aware()
.paper(PAPER);
pub(crate) const AVERAGE: Baseline = Baseline::arm("dart-average", "the same, average over layers", || {
    Box::new(Dart {
        schedule: Schedule::Average,
        ..Dart::default()
    })
})
.cost("8 N D")
.text_aware()
.paper(PAPER);
const PAPER: Paper = Paper {
    arxiv: "2502.11494",
    venue: "EMNLP 2025",
    licence: "not looked up",
    check: Check::Oracle,
};

impl Pruner for Dart {
    fn name(&self) -> &str {
        match self.schedule {
            Schedule::Average => "dart-average",
            Schedule::Published => "dart-published",
            Schedule::Kept | Schedule::Fixed(_) => "dart",
        }
    }

    fn stage(&self) -> Stage {
        Stage::Decoder(self.layer)
    }

    fn decoder(&self) -> Option<&dyn DecoderPruner> {
        Some(self)
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        Ok(keep_all(context))
    }
}

impl DecoderPruner for Dart {
    fn stages(
        &self,
        n_layers: usize,
        n_visual: usize,
        budget: &Budget,
    ) -> Result<Vec<DecoderStage>, PruneError> {
        let Some(case) = Case::new(self.name(), n_layers, n_visual, budget)? else {
            return Ok(Vec::new());
        };
        let signals = DecoderSignals {
            keys: true,
            normed: true,
            ..DecoderSignals::default()
        };
        let mut drops = self.drops(&case)?;
        drops
            .iter_mut()
            .for_each(|(_, setting)| *setting = self.kept_with(*setting));
        Ok(case.stages(&drops, signals))
    }

    fn select_at(
        &self,
        stage: &DecoderStage,
        context: &DecoderContext,
    ) -> Result<DecoderSelection, PruneError> {
        let [image, text] = self.pivots(context)?;
        let mut pivots = [image.clone(), text].concat();
        if let PivotOrder::Places(order) = &self.order {
            let rank = |place: &usize| order.iter().position(|other| other == place);
            pivots.sort_by_key(|place| rank(place).unwrap_or(order.len()));
        }
        let each = stage
            .keep
            .saturating_sub(self.image_pivots)
            .div_ceil(self.n_pivots());
        let is_pivot = |i: &usize| image.contains(&context.visual[*i]);
        let (mut keep, candidates): (Vec<usize>, Vec<usize>) = (0..context.visual.len()).partition(is_pivot);
        let mut candidates: BTreeSet<usize> = candidates.into_iter().collect();
        for cosines in self.cosines(context, &pivots)? {
            let mut order: Vec<usize> = candidates.iter().copied().collect();
            order.sort_by(|&a, &b| cosines[a].total_cmp(&cosines[b]));
            order.truncate(each);
            order.iter().for_each(|taken| {
                candidates.remove(taken);
            });
            keep.extend(order);
        }
        Ok(DecoderSelection::keep(keep))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authors_setting_keeps_four_more() {
        let kept = |schedule, budget| {
            let method = Dart {
                schedule,
                ..Dart::default()
            };
            method.stages(32, 576, &Budget::Tokens(budget)).unwrap()[0].keep
        };
        for budget in [64, 128, 192] {
            assert_eq!(kept(Schedule::Kept, budget), budget + 4);
        }
        assert_eq!(kept(Schedule::Kept, 70), 68);
        assert_eq!(kept(Schedule::Published, 64), 132);
        // 166, 98 and 29 tokens after layer 2 are the averages.
        for (average, after) in [(192, 164), (128, 92), (64, 28)] {
            assert_eq!(kept(Schedule::Average, average), after);
        }
    }
}
