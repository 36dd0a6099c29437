//! Adaptive average pooling of the token grid.

use burn::tensor::{FloatDType, Tensor, TensorData};
use diffprune_pruner::{PruneError, Pruner, PruningContext, Selection};

use crate::cells::{LayoutCell, layout_cells};
use crate::registry::Baseline;

/// Replaces each of K compact cells of the grid by the mean of its tokens, standing at the cell's middle.
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
        let sums = members.matmul(context.tokens.clone().cast(FloatDType::F32));
        let merged = (sums / sizes).cast(context.tokens.dtype());
        let places = |pools: &Vec<LayoutCell>| pools.iter().map(LayoutCell::middle).collect();
        Ok(Selection::merge(pools.iter().map(places).collect(), merged))
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
}
