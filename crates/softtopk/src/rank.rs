//! Ranks of the tokens of a row: who comes first, with one rule for ties on every device.

use burn::tensor::{Bool, DType, IndexingUpdateOp, Int, Tensor, TensorData};
use rayon::prelude::*;

use crate::soft::{is_cpu, to_working_precision};

/// Comparisons in memory at once on the device path.
pub(crate) const PAIRS_AT_ONCE: usize = 1 << 24;

/// The rank of every token, 0 for the highest score: ties to the lowest index, NaN as the lowest real score, masked
/// tokens last. No gradient. On the CPU a sort per row, elsewhere counts of comparisons.
///
/// # Shapes
/// - scores, mask, output: `[batch, n_tokens]`
pub(crate) fn token_ranks(scores: Tensor<2>, mask: Option<Tensor<2, Bool>>) -> Tensor<2, Int> {
    let keys = ranking_keys(to_working_precision(scores.without_autodiff()), mask);
    match is_cpu(&keys.device()) {
        true => host_ranks(keys),
        false => ranks(keys, PAIRS_AT_ONCE),
    }
}

/// The token at every rank: the inverse of [`token_ranks`], `[batch, n_tokens]`.
pub(crate) fn token_order(ranks: Tensor<2, Int>) -> Tensor<2, Int> {
    let [batch, n_tokens] = ranks.dims();
    let device = ranks.device();
    let token = Tensor::<1, Int>::arange(0..n_tokens as i64, &device).reshape([1, n_tokens]);
    let token = token.expand([batch, n_tokens]);
    let start = Tensor::<2, Int>::zeros([batch, n_tokens], &device);
    start.scatter(1, ranks, token, IndexingUpdateOp::Add)
}

/// Ones for tokens that rank before the budget of their row, in the precision of the scores. No gradient.
///
/// # Shapes
/// - k: `[batch, 1]`, whole numbers; scores, mask, output: `[batch, n_tokens]`
pub(crate) fn first_in_rank(scores: Tensor<2>, k: Tensor<2>, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
    let dtype = scores.dtype();
    let [batch, n_tokens] = scores.dims();
    let ranks = token_ranks(scores, mask).float().cast(dtype);
    let k = k.without_autodiff().expand([batch, n_tokens]);
    ranks.lower(k).float().cast(dtype)
}

pub(crate) fn host_ranks(keys: Tensor<2>) -> Tensor<2, Int> {
    let [batch, n_tokens] = keys.dims();
    let device = keys.device();
    // Exact for f32 and f64 alike.
    let keys = keys.into_data().convert_dtype(DType::F64);
    let keys = keys
        .try_into_vec::<f64>()
        .expect("the data was converted to this type");
    let mut ranks = vec![0_i64; batch * n_tokens];
    let width = n_tokens.max(1);
    ranks
        .par_chunks_mut(width)
        .zip(keys.par_chunks(width))
        .for_each(|(ranks, keys)| {
            let mut order: Vec<usize> = (0..n_tokens).collect();
            order.sort_unstable_by(|&a, &b| keys[b].total_cmp(&keys[a]).then(a.cmp(&b)));
            for (rank, token) in order.into_iter().enumerate() {
                ranks[token] = rank as i64;
            }
        });
    Tensor::from_data(TensorData::new(ranks, [batch, n_tokens]), &device)
}

/// Scores without NaN and with masked tokens at minus infinity, which no real token has.
pub(crate) fn ranking_keys(scores: Tensor<2>, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
    let lowest = match scores.dtype() {
        DType::F64 => f64::MIN,
        _ => f64::from(f32::MIN),
    };
    let absent = scores.clone().is_nan();
    // Adding zero turns -0.0 into 0.0: the two are equal scores.
    let keys = scores.mask_fill(absent, lowest).clamp_min(lowest) + 0.0;
    match mask {
        Some(mask) => keys.mask_fill(mask.without_autodiff().bool_not(), f64::NEG_INFINITY),
        None => keys,
    }
}

/// The number of tokens of the row that come first: those with a larger key, and those with the same key and a lower
/// index. Comparisons and counts only, so exact for any spread, any number of ties and minus infinity;
/// quadratic in the tokens, in blocks of about `pairs` comparisons. (A top-k primitive would keep `k` values
/// per thread, more than the shared memory of a GPU holds.)
pub(crate) fn ranks(keys: Tensor<2>, pairs: usize) -> Tensor<2, Int> {
    let [batch, n_tokens] = keys.dims();
    let device = keys.device();
    let index = Tensor::<1, Int>::arange(0..n_tokens as i64, &device);
    let own = keys.clone().reshape([batch, n_tokens, 1]);
    let own_index = index.clone().reshape([1, n_tokens, 1]);
    let block = (pairs / (batch * n_tokens).max(1)).clamp(1, n_tokens);
    let mut ranks = Tensor::<2, Int>::zeros([batch, n_tokens], &device);
    for start in (0..n_tokens).step_by(block) {
        let width = block.min(n_tokens - start);
        let shape = [batch, n_tokens, width];
        let own = own.clone().expand(shape);
        let other = keys.clone().narrow(1, start, width).reshape([batch, 1, width]);
        let other = other.expand(shape);
        let other_index = index.clone().narrow(0, start, width).reshape([1, 1, width]);
        let earlier = other_index.expand(shape).lower(own_index.clone().expand(shape));
        let tied = other.clone().equal(own.clone()).bool_and(earlier);
        let first = other.greater(own).bool_or(tied);
        ranks = ranks + first.int().sum_dim(2).reshape([batch, n_tokens]);
    }
    ranks
}
