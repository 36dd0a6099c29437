//! The input of a method.

use burn::tensor::{Bool, FloatDType, Tensor};

use crate::pruner::required;
use crate::{Budget, Layout, Observed, PruneError, PruneResult};

/// The visual tokens of a batch of images, the budget of each, and the signals that the method asked for.
#[derive(Debug, Clone)]
pub struct PruningContext {
    /// Visual tokens, `[b, n, d_vision]`: what is gathered, or merged, and then projected. Rows shorter than `n` are
    /// padded at the end.
    pub tokens: Tensor<3>,
    /// Vectors that make up a token, side by side in its `d_vision` numbers; see [`descriptors`].
    pub group: usize,
    /// Real tokens of each row, `[b, n]`, true = real; `None` when every row is full.
    pub mask: Option<Tensor<2, Bool>>,
    /// The layout of each image's tokens, `b` of them.
    pub layouts: Vec<Layout>,
    /// The signals computed beside the tokens.
    pub observed: Observed,
    /// Seed of methods that draw at random; the same seed and sample give the same choice.
    pub seed: u64,
    /// A stable number for each image (independent of batching), `b` of them.
    pub sample_ids: Vec<u64>,
    counts: Vec<usize>,
    budgets: Vec<usize>,
}

impl PruningContext {
    /// A context of full rows that share one layout; sample ids count from 0 and the seed is 0.
    ///
    /// # Errors
    /// When the layout does not cover the tokens, or the budget keeps nothing.
    pub fn new(tokens: Tensor<3>, layout: impl Into<Layout>, budget: &Budget) -> Result<Self, PruneError> {
        let [batch, _, _] = tokens.dims();
        Self::ragged(tokens, None, vec![layout.into(); batch], budget)
    }

    /// A context of images with different numbers of tokens: `layouts[i].n_tokens()` real tokens stand first in row `i`.
    ///
    /// # Errors
    /// When the number of layouts is not `b`, a layout has more tokens than `n` (or, without a mask, another number than
    /// `n`), or the budget keeps nothing.
    pub fn ragged(
        tokens: Tensor<3>,
        mask: Option<Tensor<2, Bool>>,
        layouts: Vec<impl Into<Layout>>,
        budget: &Budget,
    ) -> Result<Self, PruneError> {
        let layouts: Vec<Layout> = layouts.into_iter().map(Into::into).collect();
        let [batch, n_tokens, _] = tokens.dims();
        if layouts.len() != batch {
            return Err(PruneError::Shape {
                what: "layouts",
                found: layouts.len(),
                wanted: batch,
            });
        }
        let counts: Vec<usize> = layouts.iter().map(Layout::n_tokens).collect();
        for &count in &counts {
            if count > n_tokens || (mask.is_none() && count != n_tokens) {
                return Err(PruneError::Shape {
                    what: "tokens of a layout",
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
            group: 1,
            mask,
            layouts,
            observed: Observed::default(),
            seed: 0,
            sample_ids,
            counts,
            budgets,
        })
    }

    /// The same context with a budget of its own for each image.
    ///
    /// # Errors
    /// When there is not one budget per image, or one keeps nothing.
    pub fn with_budgets(mut self, budgets: &[usize]) -> Result<Self, PruneError> {
        if budgets.len() != self.batch() {
            return Err(PruneError::Shape {
                what: "budgets",
                found: budgets.len(),
                wanted: self.batch(),
            });
        }
        let resolved = budgets.iter().zip(&self.counts);
        self.budgets = resolved
            .map(|(&k, &count)| Budget::Tokens(k).resolve(count))
            .collect::<Result<_, _>>()?;
        Ok(self)
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

    /// The input of a scorer; see [`descriptors`].
    ///
    /// # Shapes
    /// - output: `[b, n, d_vision / group]`
    pub fn descriptors(&self) -> Tensor<3> {
        descriptors(self.tokens.clone(), self.group)
    }

    /// An observed signal, or the error that tells which method misses which signal.
    ///
    /// # Errors
    /// [`PruneError::MissingSignal`] when the model or the data has none, or was not asked.
    pub fn require<'a, T>(
        &'a self,
        field: impl FnOnce(&'a Observed) -> &'a Option<T>,
        method: &str,
        signal: &'static str,
    ) -> PruneResult<&'a T> {
        required(field(&self.observed), method, signal)
    }

    /// The `[CLS]` attention, `[b, n_heads, n]`, or the error that tells which method misses it.
    ///
    /// # Errors
    /// As [`Self::require`].
    pub fn require_cls_attention(&self, method: &str) -> Result<&Tensor<3>, PruneError> {
        self.require(|observed| &observed.cls_attention, method, "[CLS] attention")
    }

    /// The relevance by the scene's truth, `[b, n]`, or the error that tells which method misses it.
    ///
    /// # Errors
    /// As [`Self::require`].
    pub fn require_relevance(&self, method: &str) -> Result<&Tensor<2>, PruneError> {
        self.require(|observed| &observed.relevance, method, "annotated relevance")
    }
}

/// One vector per token for a scorer to look at.
///
/// Where a token is one vector (`group` = 1) it is that vector. Where the projector fuses several vectors into a token
/// (the four patches of a cell in Qwen2.5-VL), it is their mean, scaled to unit root mean square: such towers end
/// without a norm, and the raw vectors differ in length by orders of magnitude.
///
/// # Shapes
/// - tokens: `[b, n, group * d]`
/// - output: `[b, n, d]`
///
/// # Panics
/// When the width is not a multiple of `group`.
pub fn descriptors(tokens: Tensor<3>, group: usize) -> Tensor<3> {
    if group == 1 {
        return tokens;
    }
    let [batch, n_tokens, width] = tokens.dims();
    assert_eq!(
        width % group,
        0,
        "width of the tokens must be a multiple of the group"
    );
    let dtype = tokens.dtype();
    let mean = tokens
        .cast(FloatDType::F32)
        .reshape([batch, n_tokens, group, width / group])
        .mean_dim(2)
        .reshape([batch, n_tokens, width / group]);
    let square = mean.clone().square().mean_dim(2);
    (mean / (square + 1e-6).sqrt()).cast(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_normed_means_of_the_group() {
        let tokens = diffprune_test_support::uniform::<3>(1, [2, 3, 8]);
        let same = descriptors(tokens.clone(), 1).into_data();
        same.assert_eq(&tokens.clone().into_data(), true);
        let found: Vec<f32> = descriptors(tokens.clone(), 4).into_data().try_to_vec().unwrap();
        let values: Vec<f32> = tokens.into_data().try_to_vec().unwrap();
        let mean = |i: usize| (0..4).map(|j| values[2 * j + i]).sum::<f32>() / 4.0;
        let (a, b) = (mean(0), mean(1));
        let norm = ((a * a + b * b) / 2.0 + 1e-6).sqrt();
        assert!((found[0] - a / norm).abs() < 1e-5 && (found[1] - b / norm).abs() < 1e-5);
    }
}
