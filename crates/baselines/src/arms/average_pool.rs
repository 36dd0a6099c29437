//! Adaptive average pooling of the token grid.

use burn::tensor::{FloatDType, Tensor, TensorData};
use diffprune_pruner::{PruneError, Pruner, PruningContext, Selection};

use crate::registry::Baseline;
use crate::tools::cells::{LayoutCell, layout_cells};

/// Replaces each of K compact cells of the grid by the mean of its tokens, standing at the cell's middle.
///
/// A token that is not finite is a typed error; what padding holds is never read.
#[derive(Debug, Clone, Copy, Default)]
pub struct AveragePool;

pub(crate) const ENTRY: Baseline =
    Baseline::arm("average-pool", "mean of each cell", || Box::new(AveragePool))
        .merging()
        .cost("N d");

impl Pruner for AveragePool {
    fn name(&self) -> &str {
        "average-pool"
    }

    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        let pools: Vec<Vec<LayoutCell>> = (0..context.batch())
            .map(|row| layout_cells(&context.layouts[row], context.budget(row)))
            .collect();
        let (members, sizes) = membership(context, &pools);
        let means = members.matmul(real_tokens(context)) / sizes;
        self.check_finite(&means)?;
        let merged = means.cast(context.tokens.dtype());
        let places = |pools: &Vec<LayoutCell>| pools.iter().map(LayoutCell::middle).collect();
        Ok(Selection::merge(pools.iter().map(places).collect(), merged))
    }
}

impl AveragePool {
    /// Every token is in one cell, so that a token that is not finite shows in the means.
    fn check_finite(&self, means: &Tensor<3>) -> Result<(), PruneError> {
        let images = means.clone().is_finite().all_dim(2).all_dim(1);
        let finite: Vec<bool> = images.into_data().iter::<bool>().collect();
        match finite.iter().position(|finite| !finite) {
            Some(row) => Err(PruneError::NotFinite {
                method: self.name().to_string(),
                what: "tokens",
                row,
            }),
            None => Ok(()),
        }
    }
}

/// The tokens in f32, zero where there is padding: a product with NaN is NaN, whatever the other factor.
fn real_tokens(context: &PruningContext) -> Tensor<3> {
    let tokens = context.tokens.clone().cast(FloatDType::F32);
    let shape = tokens.dims();
    match &context.mask {
        Some(real) => {
            let padding = real.clone().bool_not().unsqueeze_dim::<3>(2).expand(shape);
            tokens.mask_fill(padding, 0.0)
        }
        None => tokens,
    }
}

/// Which tokens belong to which cell, `[b, k_max, n]` of 0 and 1, and the cells' sizes, `[b, k_max, 1]` (1 for padding).
fn membership(context: &PruningContext, pools: &[Vec<LayoutCell>]) -> (Tensor<3>, Tensor<3>) {
    let [batch, n_tokens, _] = context.tokens.dims();
    let k_max = pools.iter().map(Vec::len).max().unwrap_or(0);
    let mut members = vec![0f32; batch * k_max * n_tokens];
    let mut sizes = vec![1f32; batch * k_max];
    for (row, pools) in pools.iter().enumerate() {
        for (j, cell) in pools.iter().enumerate() {
            let place = row * k_max + j;
            sizes[place] = cell.len() as f32;
            cell.tokens()
                .for_each(|token| members[place * n_tokens + token] = 1.0);
        }
    }
    let device = context.tokens.device();
    let members = Tensor::from_data(TensorData::new(members, [batch, k_max, n_tokens]), &device);
    (
        members,
        Tensor::from_data(TensorData::new(sizes, [batch, k_max, 1]), &device),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use diffprune_pruner::{Budget, Grid};

    #[test]
    fn pools_are_means_at_the_middle() {
        let tokens = Tensor::<1, burn::tensor::Int>::arange(0..36, &Device::flex())
            .float()
            .reshape([1, 36, 1]);
        let context =
            PruningContext::new(tokens.clone(), Grid { rows: 6, cols: 6 }, &Budget::Tokens(4)).unwrap();
        let selection = AveragePool.select(&context).unwrap();
        let merged = selection.gather(tokens).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(selection.keep_indices(0), [7, 10, 25, 28]);
        assert_eq!(merged, [7.0, 10.0, 25.0, 28.0]);
    }

    /// Two images of 2 by 2 and of 1 by 3 tokens; the last place of the second is padding.
    fn ragged(values: [f32; 8]) -> PruningContext {
        let device = Device::flex();
        let real = [[true; 4], [true, true, true, false]];
        let grids = vec![Grid { rows: 2, cols: 2 }, Grid { rows: 1, cols: 3 }];
        PruningContext::ragged(
            Tensor::from_data(TensorData::new(values.to_vec(), [2, 4, 1]), &device),
            Some(Tensor::from_data(real, &device)),
            grids,
            &Budget::Tokens(1),
        )
        .unwrap()
    }

    #[test]
    fn padding_is_not_read_and_a_bad_token_is_an_error() {
        for bad in [f32::NAN, f32::INFINITY] {
            let context = ragged([1.0, 2.0, 3.0, 6.0, 3.0, 4.0, 8.0, bad]);
            let selection = AveragePool.select(&context).unwrap();
            let merged = selection.gather(context.tokens).into_data();
            assert_eq!(merged.try_to_vec::<f32>().unwrap(), [3.0, 5.0]);
            let error = AveragePool.select(&ragged([1.0, 2.0, 3.0, 6.0, 3.0, bad, 8.0, 0.0]));
            assert!(
                matches!(
                    error,
                    Err(PruneError::NotFinite {
                        row: 1,
                        what: "tokens",
                        ..
                    })
                ),
                "{error:?}"
            );
        }
    }
}
