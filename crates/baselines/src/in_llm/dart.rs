//! DART (Wen et al., EMNLP 2025).

use std::collections::BTreeSet;

use burn::tensor::{FloatDType, Int, Tensor, TensorData};
use diffprune_pruner::{
    Budget, DecoderContext, DecoderPruner, DecoderSelection, DecoderSignals, DecoderStage, PruneError,
    PruneResult, Pruner,
};

use super::schedule::{self, Case};
use super::{Schedule, scores};
use crate::fidelity::Fidelity;
use crate::registry::{Baseline, Check, Paper};
use crate::tools::top::highest;

/// Keeps, from layer K on, a few pivots and the visual tokens that resemble each pivot least. Position ids stay.
///
/// Pivots are the tokens with the largest L1 norm of their rotated keys in the layer before, some among the visual
/// tokens and some among the text after them. Each pivot in turn takes the `m` untaken visual tokens whose hidden state
/// (after the model's last norm) has the smallest cosine to its own; ties go to the lower index.
///
/// - Reference: the authors' setting B gives each of the `p + q` pivots `m = B / (p + q)` tokens (rounded down) and
///   the visual pivots come on top: `m (p + q) + p` tokens, B + 4 by default for B divisible by 8, and 4 for B below 8.
/// - Corrected: B tokens in all, as the tables of the paper count; visual pivots are among them (the longest B of them
///   when B is less than `p`), and what is left is shared out equally, the first pivots taking one more.
///
/// Where the text after the image has fewer than `q` tokens the published code fails. Here the pivots that are there take
/// the shares of the missing ones too, so that a stage keeps what it promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dart {
    /// K, the number of layers that see every token; at most one less than the decoder has.
    pub layer: usize,
    /// Number of visual pivots, `p`; they are kept.
    pub image_pivots: usize,
    /// Number of pivots among the text after the visual tokens, `q`.
    pub text_pivots: usize,
    /// The meaning of a budget. [`Schedule::Kept`], the authors' reading, is their setting B. [`Schedule::Fixed`] counts B in
    /// the same way, Published is B = 128, and [`Schedule::Average`] takes the largest B that stays within the average.
    pub schedule: Schedule,
    /// The number of tokens that a setting B keeps; the published code by default.
    pub fidelity: Fidelity,
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
            fidelity: Fidelity::Reference,
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
        match self.fidelity {
            Fidelity::Reference => setting / self.n_pivots() * self.n_pivots() + self.image_pivots,
            Fidelity::Corrected => setting,
        }
    }

    /// The largest setting B that keeps no more than `after` tokens, and the fewest tokens that any B keeps.
    fn setting_for(&self, after: f64) -> (Option<usize>, usize) {
        let (beside, least) = match self.fidelity {
            Fidelity::Reference => (self.image_pivots, self.image_pivots),
            Fidelity::Corrected => (0, 1),
        };
        let setting = after.floor() - beside as f64;
        let reached = setting >= (least - beside) as f64;
        (reached.then_some(setting as usize), least)
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
            Schedule::Average => single(&|layer| {
                let (setting, least) = self.setting_for(case.after_single_drop(layer));
                setting.ok_or_else(|| case.unreachable(case.least_average(layer, least)))
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
.paper(PAPER)
.differs("B + 4 tokens stay", "B tokens stay");
pub(crate) const CORRECTED: Baseline = ENTRY.corrected("dart-corrected", || {
    Box::new(Dart {
        fidelity: Fidelity::Corrected,
        ..Dart::default()
    })
});
pub(crate) const AVERAGE: Baseline = Baseline::arm("dart-average", "the same, average over layers", || {
    Box::new(Dart {
        schedule: Schedule::Average,
        ..Dart::default()
    })
})
.cost("8 N D")
.text_aware()
.paper(PAPER)
.differs("B + 4 tokens stay", "B tokens stay");
const PAPER: Paper = Paper {
    arxiv: "2502.11494",
    venue: "EMNLP 2025",
    licence: "Apache-2.0",
    check: Check::Oracle,
};

impl Pruner for Dart {
    fn name(&self) -> &str {
        match (&self.schedule, self.fidelity) {
            (Schedule::Average, Fidelity::Reference) => "dart-average",
            (Schedule::Average, Fidelity::Corrected) => "dart-average-corrected",
            (Schedule::Published, Fidelity::Reference) => "dart-published",
            (Schedule::Published, Fidelity::Corrected) => "dart-published-corrected",
            (Schedule::Kept | Schedule::Fixed(_), Fidelity::Reference) => "dart",
            (Schedule::Kept | Schedule::Fixed(_), Fidelity::Corrected) => "dart-corrected",
        }
    }

    fn decoder(&self) -> Option<&dyn DecoderPruner> {
        Some(self)
    }
}

impl DecoderPruner for Dart {
    fn stages(&self, n_layers: usize, n_visual: usize, budget: &Budget) -> PruneResult<Vec<DecoderStage>> {
        let signals = DecoderSignals {
            keys: true,
            normed: true,
            ..DecoderSignals::default()
        };
        schedule::stages(self.name(), n_layers, n_visual, budget, |case| {
            let mut drops = self.drops(case)?;
            drops
                .iter_mut()
                .for_each(|(_, setting)| *setting = self.kept_with(*setting));
            Ok(case.stages(&drops, signals))
        })
    }

    fn select_at(&self, stage: &DecoderStage, context: &DecoderContext) -> PruneResult<DecoderSelection> {
        let [mut image, text] = self.pivots(context)?;
        image.truncate(stage.keep);
        let mut pivots = [image.clone(), text].concat();
        if let PivotOrder::Places(order) = &self.order {
            let rank = |place: &usize| order.iter().position(|other| other == place);
            pivots.sort_by_key(|place| rank(place).unwrap_or(order.len()));
        }
        let n_picked = stage.keep.min(context.visual.len()) - image.len();
        if pivots.is_empty() && n_picked > 0 {
            return Err(PruneError::Shape {
                what: "pivots that pick visual tokens",
                found: 0,
                wanted: 1,
            });
        }
        let is_pivot = |i: &usize| image.contains(&context.visual[*i]);
        let (mut keep, candidates): (Vec<usize>, Vec<usize>) = (0..context.visual.len()).partition(is_pivot);
        let mut candidates: BTreeSet<usize> = candidates.into_iter().collect();
        for (nth, cosines) in self.cosines(context, &pivots)?.into_iter().enumerate() {
            let each = n_picked / pivots.len() + usize::from(nth < n_picked % pivots.len());
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
    use burn::tensor::Device;
    use diffprune_pruner::DecoderObserved;

    /// Two tokens of system, `n_visual` visual ones, `n_text` after them; directions spread over a half circle.
    fn context(n_visual: usize, n_text: usize) -> DecoderContext {
        let n_tokens = 2 + n_visual + n_text;
        let angle = |i: usize| (7 * i % n_tokens) as f32 / n_tokens as f32 * std::f32::consts::PI;
        let normed: Vec<f32> = (0..n_tokens)
            .flat_map(|i| [angle(i).cos(), angle(i).sin()])
            .collect();
        let keys: Vec<f32> = (0..n_tokens).map(|i| (5 * i % n_tokens) as f32).collect();
        let device = Device::flex();
        DecoderContext {
            row: 0,
            n_tokens,
            visual: (2..2 + n_visual).collect(),
            observed: DecoderObserved {
                keys: Some(Tensor::from_data(
                    TensorData::new(keys, [n_tokens, 1, 1]),
                    &device,
                )),
                normed: Some(Tensor::from_data(TensorData::new(normed, [n_tokens, 2]), &device)),
                ..DecoderObserved::default()
            },
        }
    }

    fn kept(fidelity: Fidelity, n_visual: usize, n_text: usize, budget: usize) -> (usize, usize) {
        let method = Dart {
            fidelity,
            ..Dart::default()
        };
        let stage = method
            .stages(32, n_visual, &Budget::Tokens(budget))
            .unwrap()
            .remove(0);
        let selection = method.select_at(&stage, &context(n_visual, n_text)).unwrap();
        selection.check(n_visual, 2).unwrap();
        (stage.keep, selection.keep.len())
    }

    #[test]
    fn a_stage_keeps_what_it_promises_however_short_the_text() {
        for n_text in [0, 1, 2, 3, 4, 9] {
            for budget in [1, 2, 3, 4, 7, 8, 30, 63, 64, 97, 98] {
                let reference = (budget / 8 * 8 + 4).min(99);
                assert_eq!(
                    kept(Fidelity::Reference, 99, n_text, budget),
                    (reference, reference)
                );
                assert_eq!(kept(Fidelity::Corrected, 99, n_text, budget), (budget, budget));
            }
        }
        assert_eq!(kept(Fidelity::Reference, 3, 1, 2), (3, 3));
    }

    #[test]
    fn shares_of_missing_pivots_go_to_those_that_are_there() {
        // One visual pivot (token 3, at place 5) and one text token in the place of two; four more tokens to pick.
        let keys = [0f32, 0., 1., 1., 1., 9., 1., 1., 1., 5.];
        let normed = [
            [0f32, 1.],
            [0., 1.],
            [1., 0.],
            [0.9, 0.1],
            [0.7, 0.7],
            [1., 0.],
            [0.1, 0.9],
            [0., 1.],
            [0.8, 0.3],
            [0., 1.],
        ];
        let device = Device::flex();
        let context = DecoderContext {
            visual: (2..9).collect(),
            observed: DecoderObserved {
                keys: Some(Tensor::from_data(
                    TensorData::new(keys.to_vec(), [10, 1, 1]),
                    &device,
                )),
                normed: Some(Tensor::from_data(normed, &device)),
                ..DecoderObserved::default()
            },
            ..context(7, 1)
        };
        let method = Dart {
            image_pivots: 1,
            text_pivots: 2,
            schedule: Schedule::Fixed(vec![(2, 3)]),
            ..Dart::default()
        };
        let stage = method.stages(32, 7, &Budget::Tokens(3)).unwrap().remove(0);
        assert_eq!(stage.keep, 4);
        // The visual pivot takes the two least like it, 5 and 4; the text pivot the one of the rest, 0.
        let selection = method.select_at(&stage, &context).unwrap();
        assert_eq!(selection.keep, [0, 3, 4, 5]);
    }

    #[test]
    fn without_any_pivot_there_is_a_typed_error() {
        let method = Dart {
            image_pivots: 0,
            ..Dart::default()
        };
        let stage = method.stages(32, 20, &Budget::Tokens(8)).unwrap().remove(0);
        let error = method.select_at(&stage, &context(20, 0)).unwrap_err();
        assert!(matches!(error, PruneError::Shape { found: 0, .. }), "{error}");
    }

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
        let corrected = Dart {
            schedule: Schedule::Average,
            fidelity: Fidelity::Corrected,
            ..Dart::default()
        };
        for (average, after) in [(192, 166), (128, 98), (64, 29)] {
            let stages = corrected.stages(32, 576, &Budget::Tokens(average)).unwrap();
            assert_eq!(stages[0].keep, after);
        }
        let error = corrected.stages(32, 576, &Budget::Tokens(36)).unwrap_err();
        assert!(
            matches!(error, PruneError::UnreachableBudget { least: 37, .. }),
            "{error}"
        );
    }
}
