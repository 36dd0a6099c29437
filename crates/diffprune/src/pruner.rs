//! DiffPrune and its rivals at inference: a trained selector and a hard choice.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};
use diffprune_pruner::{PruneError, Pruner, PruningContext, Selection};
use diffprune_scorer::CheckpointError;
use diffprune_selectors::{Selector, SelectorCheckpoint};
use diffprune_softtopk::hard_topk;

use crate::train::spatial_rows;
use crate::{ConfigError, DiffPruneConfig};

/// Keeps the tokens that a trained [`Selector`] ranks highest: DiffPrune's scorer, or the head of a rival.
///
/// At inference nothing of the training path is left: scores, the K highest of each image (ties to the lowest index),
/// gather. A budget of at least the number of tokens keeps all.
///
/// ATP's thresholds and GlimpsePrune's predictor decide for themselves how many tokens an image needs: those above them (or
/// more likely important than not) stay, at least one and at most the budget (then those furthest above).
/// [`Self::at_budget`] keeps exactly the budget instead.
#[derive(Debug, Clone)]
pub struct DiffPrune {
    scorer: Selector,
    name: String,
    inverted: bool,
    at_budget: bool,
}

impl DiffPrune {
    /// A pruner around a scorer or another selector, on its device; any autodiff state is dropped.
    pub fn new(scorer: impl Into<Selector>) -> Self {
        Self {
            scorer: scorer.into().valid(),
            name: "diffprune".to_string(),
            inverted: false,
            at_budget: false,
        }
    }

    /// Reads the checkpoint of any selector for vision tokens of width `d_vision`; the name is that of the method that trained it.
    ///
    /// # Errors
    /// When the files are missing, damaged, or belong to tokens of another width.
    pub fn load(dir: impl AsRef<Path>, d_vision: usize, device: &Device) -> Result<Self, CheckpointError> {
        let (scorer, metadata) =
            SelectorCheckpoint::load_for_width(dir, d_vision, &device.clone().without_autodiff())?;
        Ok(Self::new(scorer).with_name(metadata.method))
    }

    /// A sanity arm: a scorer (or another selector) as it is before training.
    ///
    /// # Errors
    /// When the configuration does not fit the width.
    pub fn untrained(
        config: &DiffPruneConfig,
        d_vision: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        let trainee = config.init(d_vision, seed, device)?;
        Ok(Self::new(trainee.scorer).with_name("untrained"))
    }

    /// A sanity arm: the same scorer and the same counts, keeping the lowest scores.
    pub fn inverted(mut self) -> Self {
        self.inverted = !self.inverted;
        self.name.push_str("_inverted");
        self
    }

    /// Another name for tables.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Always as many tokens as the budget allows, also where the method would decide on the count.
    pub fn at_budget(mut self) -> Self {
        self.at_budget = true;
        self
    }

    /// The scorer, or the selector in its place.
    pub fn scorer(&self) -> &Selector {
        &self.scorer
    }

    /// The scores by which tokens are ranked, higher first; negated for the inverted arm. For ATP those of importance
    /// alone: its uniform sample needs the raster, which [`Pruner::select`] knows.
    ///
    /// # Shapes
    /// - tokens: [`descriptors`](diffprune_pruner::descriptors), `[b, n, d]`; mask: `[b, n]`, true = real
    /// - output: `[b, n]`
    pub fn scores(&self, tokens: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
        self.directed(self.scorer.scores(tokens, mask))
    }
}

impl Pruner for DiffPrune {
    fn name(&self) -> &str {
        &self.name
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let tokens = context.descriptors();
        let [batch, n_tokens, width] = tokens.dims();
        let wanted = self.scorer.config().d_model();
        if width != wanted {
            return Err(PruneError::Shape {
                what: "width of the vision tokens",
                found: width,
                wanted,
            });
        }
        let scores = match &self.scorer {
            Selector::Atp(selector) => {
                let spatial = spatial_rows(selector, &context.layouts, n_tokens, &tokens.device());
                let output = selector.forward(tokens, spatial, context.mask.clone());
                self.directed(output.margins)
            }
            _ => self.scores(tokens, context.mask.clone()),
        };
        let values = self.finite_values(&scores, context)?;
        // Real tokens stand first in a row, and budgets may differ: row by row, without the padding.
        let rows = (0..batch).map(|row| {
            let real = scores
                .clone()
                .slice([row..row + 1, 0..context.n_tokens(row).min(n_tokens)]);
            let count = self.count(&values[row], context.budget(row));
            let kept = hard_topk(real, count, None).into_data();
            kept.iter::<i64>().map(|index| index as usize).collect()
        });
        Ok(Selection::keep(rows.collect()))
    }
}

impl DiffPrune {
    fn directed(&self, scores: Tensor<2>) -> Tensor<2> {
        if self.inverted { scores.neg() } else { scores }
    }

    /// How many tokens of an image stay, given its scores.
    fn count(&self, scores: &[f32], budget: usize) -> usize {
        if self.at_budget || !self.scorer.decides_on_the_count() {
            return budget;
        }
        let above = |score: &f32| if self.inverted { *score < 0.0 } else { *score > 0.0 };
        scores
            .iter()
            .filter(|score| above(score))
            .count()
            .clamp(1, budget.max(1))
    }

    /// The scores of the real tokens of each image.
    fn finite_values(
        &self,
        scores: &Tensor<2>,
        context: &PruningContext,
    ) -> Result<Vec<Vec<f32>>, PruneError> {
        let [_, n_tokens] = scores.dims();
        let values: Vec<f32> = scores.clone().into_data().iter::<f32>().collect();
        let rows = values.chunks(n_tokens.max(1)).enumerate();
        rows.map(|(row, values)| {
            let values = &values[..context.n_tokens(row)];
            match values.iter().all(|score| score.is_finite()) {
                true => Ok(values.to_vec()),
                false => Err(PruneError::NotFinite {
                    method: self.name.clone(),
                    what: "scores",
                    row,
                }),
            }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Method, ScorerChoice, ScorerPreset};
    use burn::tensor::TensorData;
    use diffprune_pruner::{Budget, Grid};

    const GRID: Grid = Grid { rows: 3, cols: 4 };

    fn tokens(fill: impl Fn(usize) -> f32) -> Tensor<3> {
        let values: Vec<f32> = (0..2 * 12 * 8).map(fill).collect();
        Tensor::from_data(TensorData::new(values, [2, 12, 8]), &Device::flex())
    }

    fn pruner() -> DiffPrune {
        let config = DiffPruneConfig {
            scorer: ScorerChoice::Preset(ScorerPreset::Mini),
            ..Default::default()
        };
        DiffPrune::untrained(&config, 8, 3, &Device::flex()).unwrap()
    }

    #[test]
    fn inverted_and_straight_share_out_the_tokens() {
        let context =
            PruningContext::new(tokens(|i| (i as f32 * 0.7).sin()), GRID, &Budget::Tokens(6)).unwrap();
        let best = pruner().select(&context).unwrap();
        let worst = pruner().inverted().select(&context).unwrap();
        for row in 0..2 {
            let mut all = [best.keep_indices(row), worst.keep_indices(row)].concat();
            all.sort_unstable();
            assert_eq!(all, (0..12).collect::<Vec<_>>());
        }
        assert_eq!(pruner().inverted().name(), "untrained_inverted");
    }

    #[test]
    fn thresholds_decide_on_the_count_below_the_budget() {
        let config = DiffPruneConfig {
            method: Method::atp(),
            ..Default::default()
        };
        let pruner = DiffPrune::untrained(&config, 8, 3, &Device::flex()).unwrap();
        let counts = |pruner: &DiffPrune, budget| {
            let tokens = tokens(|i| (i as f32 * 0.7).sin() * (1.0 + (i / 96) as f32));
            let context = PruningContext::new(tokens, GRID, &budget).unwrap();
            let selection = pruner.select(&context).unwrap();
            [
                selection.keep_indices(0).to_vec(),
                selection.keep_indices(1).to_vec(),
            ]
        };
        let Selector::Atp(selector) = pruner.scorer() else {
            panic!("{:?}", pruner.scorer().config());
        };
        let free = counts(&pruner, Budget::All);
        let tokens = tokens(|i| (i as f32 * 0.7).sin() * (1.0 + (i / 96) as f32));
        let spatial = selector.spatial(GRID.rows, GRID.cols, &Device::flex());
        let keep: Vec<bool> = selector
            .forward(tokens, spatial, None)
            .keep
            .into_data()
            .iter::<bool>()
            .collect();
        for (row, kept) in free.iter().enumerate() {
            let wanted: Vec<usize> = (0..12).filter(|i| keep[12 * row + i]).collect();
            assert!(!wanted.is_empty() && wanted.len() < 12, "{wanted:?}");
            assert_eq!(*kept, wanted);
        }
        let capped = counts(&pruner, Budget::Tokens(2));
        for (capped, free) in capped.iter().zip(&free) {
            assert!(capped.len() <= 2 && capped.iter().all(|index| free.contains(index)));
        }
        let exact = counts(&pruner.clone().at_budget(), Budget::Tokens(7));
        assert!(exact.iter().all(|row| row.len() == 7));
        let inverted = counts(&pruner.inverted(), Budget::All);
        for (low, high) in inverted.iter().zip(&free) {
            assert_eq!(low.len(), high.len());
        }
    }

    #[test]
    fn padding_is_never_kept_and_does_not_matter() {
        let grids = vec![GRID, Grid { rows: 1, cols: 5 }];
        let mask: Vec<bool> = (0..24).map(|i| i < 12 + 5).collect();
        let mask = Tensor::<2, Bool>::from_data(TensorData::new(mask, [2, 12]), &Device::flex());
        let select = |padding: f32| {
            let tokens = tokens(|i| {
                if i >= (12 + 5) * 8 {
                    padding
                } else {
                    (i as f32 * 0.3).cos()
                }
            });
            let budget = Budget::rate(2, 5);
            let context = PruningContext::ragged(tokens, Some(mask.clone()), grids.clone(), &budget).unwrap();
            pruner().select(&context).unwrap()
        };
        let (zeros, ones) = (select(0.0), select(1.0));
        assert_eq!(zeros.rows(), ones.rows());
        assert_eq!((zeros.count(0), zeros.count(1)), (5, 2));
        assert!(zeros.keep_indices(1).iter().all(|&index| index < 5));
    }

    #[test]
    fn nan_and_other_widths_are_errors_and_large_budgets_keep_all() {
        let context = PruningContext::new(
            tokens(|i| if i == 100 { f32::NAN } else { 0.5 }),
            GRID,
            &Budget::Tokens(2),
        );
        let error = pruner().select(&context.unwrap()).unwrap_err();
        assert!(matches!(error, PruneError::NotFinite { row: 1, .. }), "{error}");
        let narrow = Tensor::<3>::zeros([1, 12, 4], &Device::flex());
        let error = pruner()
            .select(&PruningContext::new(narrow, GRID, &Budget::All).unwrap())
            .unwrap_err();
        assert!(
            matches!(
                error,
                PruneError::Shape {
                    found: 4,
                    wanted: 8,
                    ..
                }
            ),
            "{error}"
        );
        let context = PruningContext::new(tokens(|i| i as f32), GRID, &Budget::Tokens(99)).unwrap();
        assert_eq!(pruner().select(&context).unwrap().count(0), 12);
    }
}
