//! What a method sees.

use burn::tensor::{Bool, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Budget, PruneError};

/// Rows and columns of the visual tokens of one image, in raster order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grid {
    /// Number of token rows.
    pub rows: usize,
    /// Number of token columns.
    pub cols: usize,
}

impl Grid {
    /// Number of tokens, `rows * cols`.
    pub fn n_tokens(&self) -> usize {
        self.rows * self.cols
    }
}

/// The visual tokens of a batch of images, the budget of each, and the signals that the method asked for.
#[derive(Debug, Clone)]
pub struct PruningContext {
    /// Visual tokens, `[b, n, d_vision]`. Rows shorter than `n` are padded at the end.
    pub tokens: Tensor<3>,
    /// Real tokens of each row, `[b, n]`, true = real; `None` when every row is full.
    pub mask: Option<Tensor<2, Bool>>,
    /// The grid of each image, `b` of them.
    pub grids: Vec<Grid>,
    /// `[CLS]` attention, `[b, n_heads, n]`, when asked for through `Signals::cls_attention`.
    pub cls_attention: Option<Tensor<3>>,
    /// How relevant each token is by the scene's truth, `[b, n]`, for oracle arms only.
    pub relevance: Option<Tensor<2>>,
    /// Seed of methods that draw at random; the same seed and sample give the same choice.
    pub seed: u64,
    /// A stable number for each image (independent of batching), `b` of them.
    pub sample_ids: Vec<u64>,
    counts: Vec<usize>,
    budgets: Vec<usize>,
}

impl PruningContext {
    /// A context of full rows that share one grid; sample ids count from 0 and the seed is 0.
    ///
    /// # Errors
    /// When the grid does not cover the tokens, or the budget keeps nothing.
    pub fn new(tokens: Tensor<3>, grid: Grid, budget: &Budget) -> Result<Self, PruneError> {
        let [batch, _, _] = tokens.dims();
        Self::ragged(tokens, None, vec![grid; batch], budget)
    }

    /// A context of images with different numbers of tokens: `grids[i].n_tokens()` real tokens stand first in row `i`.
    ///
    /// # Errors
    /// When the number of grids is not `b`, a grid has more tokens than `n` (or, without a mask, another number than
    /// `n`), or the budget keeps nothing.
    pub fn ragged(
        tokens: Tensor<3>,
        mask: Option<Tensor<2, Bool>>,
        grids: Vec<Grid>,
        budget: &Budget,
    ) -> Result<Self, PruneError> {
        let [batch, n_tokens, _] = tokens.dims();
        if grids.len() != batch {
            return Err(PruneError::Shape {
                what: "grids",
                found: grids.len(),
                wanted: batch,
            });
        }
        let counts: Vec<usize> = grids.iter().map(Grid::n_tokens).collect();
        for &count in &counts {
            if count > n_tokens || (mask.is_none() && count != n_tokens) {
                return Err(PruneError::Shape {
                    what: "grid tokens",
                    found: count,
                    wanted: n_tokens,
                });
            }
        }
        let budgets = counts
            .iter()
            .map(|&count| budget.resolve(count))
            .collect::<Result<_, _>>()?;
        let sample_ids = (0..batch as u64).collect();
        Ok(Self {
            tokens,
            mask,
            grids,
            cls_attention: None,
            relevance: None,
            seed: 0,
            sample_ids,
            counts,
            budgets,
        })
    }

    /// Number of images, b.
    pub fn batch(&self) -> usize {
        self.counts.len()
    }

    /// Number of real tokens of image `row`.
    pub fn n_tokens(&self, row: usize) -> usize {
        self.counts[row]
    }

    /// Number of tokens that image `row` may keep; at least 1 and at most [`Self::n_tokens`].
    pub fn budget(&self, row: usize) -> usize {
        self.budgets[row]
    }

    /// The `[CLS]` attention, or the error that tells which method misses it.
    ///
    /// # Errors
    /// [`PruneError::MissingSignal`] when the model has none or was not asked.
    pub fn require_cls_attention(&self, method: &str) -> Result<&Tensor<3>, PruneError> {
        self.cls_attention
            .as_ref()
            .ok_or_else(|| PruneError::missing(method, "[CLS] attention"))
    }

    /// The relevance by the scene's truth, or the error that tells which method misses it.
    ///
    /// # Errors
    /// [`PruneError::MissingSignal`] when the data has no annotation.
    pub fn require_relevance(&self, method: &str) -> Result<&Tensor<2>, PruneError> {
        self.relevance
            .as_ref()
            .ok_or_else(|| PruneError::missing(method, "annotated relevance"))
    }
}
