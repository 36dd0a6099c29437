//! DiffPrune at inference: a scorer and a hard top-k.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};
use diffprune_pruner::{PruneError, Pruner, PruningContext, Selection};
use diffprune_scorer::{CheckpointError, Scorer, ScorerCheckpoint};
use diffprune_softtopk::hard_topk;

use crate::{ConfigError, DiffPruneConfig};

/// Keeps the tokens that a trained [`Scorer`] ranks highest.
///
/// At inference nothing of the training path is left: scores, the K highest of each image (ties to the lowest index),
/// gather. A budget of at least the number of tokens keeps all.
#[derive(Debug, Clone)]
pub struct DiffPrune {
    scorer: Scorer,
    name: String,
    inverted: bool,
}

impl DiffPrune {
    /// A pruner around a scorer, on the scorer's device; any autodiff state is dropped.
    pub fn new(scorer: Scorer) -> Self {
        Self {
            scorer: scorer.valid(),
            name: "diffprune".to_string(),
            inverted: false,
        }
    }

    /// Reads a scorer checkpoint for vision tokens of width `d_vision`; the name is that of the method that trained it.
    ///
    /// # Errors
    /// When the files are missing, damaged, or belong to tokens of another width.
    pub fn load(dir: impl AsRef<Path>, d_vision: usize, device: &Device) -> Result<Self, CheckpointError> {
        let (scorer, metadata) =
            ScorerCheckpoint::load_for_width(dir, d_vision, &device.clone().without_autodiff())?;
        Ok(Self::new(scorer).with_name(metadata.method))
    }

    /// A sanity arm: a scorer as it is before training.
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

    /// A sanity arm: the same scorer, keeping the lowest scores.
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

    /// The scorer.
    pub fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// The scores by which tokens are ranked, higher first; negated for the inverted arm.
    ///
    /// # Shapes
    /// - tokens: [`descriptors`](diffprune_pruner::descriptors), `[b, n, d]`; mask: `[b, n]`, true = real
    /// - output: `[b, n]`
    pub fn scores(&self, tokens: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
        let scores = self.scorer.forward(tokens, mask);
        if self.inverted { scores.neg() } else { scores }
    }
}

impl Pruner for DiffPrune {
    fn name(&self) -> &str {
        &self.name
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let tokens = context.descriptors();
        let [batch, n_tokens, width] = tokens.dims();
        let wanted = self.scorer.config().d_model;
        if width != wanted {
            return Err(PruneError::Shape {
                what: "width of the vision tokens",
                found: width,
                wanted,
            });
        }
        let scores = self.scores(tokens, context.mask.clone());
        self.check_finite(&scores, context)?;
        // Real tokens stand first in a row, and budgets may differ: row by row, without the padding.
        let rows = (0..batch).map(|row| {
            let real = scores
                .clone()
                .slice([row..row + 1, 0..context.n_tokens(row).min(n_tokens)]);
            let kept = hard_topk(real, context.budget(row), None).into_data();
            kept.iter::<i64>().map(|index| index as usize).collect()
        });
        Ok(Selection::keep(rows.collect()))
    }
}

impl DiffPrune {
    fn check_finite(&self, scores: &Tensor<2>, context: &PruningContext) -> Result<(), PruneError> {
        let [_, n_tokens] = scores.dims();
        let values: Vec<f32> = scores.clone().into_data().iter::<f32>().collect();
        for (row, values) in values.chunks(n_tokens.max(1)).enumerate() {
            if values[..context.n_tokens(row)]
                .iter()
                .any(|score| !score.is_finite())
            {
                return Err(PruneError::NotFinite {
                    method: self.name.clone(),
                    what: "scores",
                    row,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ScorerChoice, ScorerPreset};
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
