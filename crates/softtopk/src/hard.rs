//! Hard selection: the sharp limit of the soft operator, and what inference uses.

use burn::tensor::{Bool, DType, Device, FloatDType, Int, Tensor, TensorData};
use rayon::prelude::*;

use crate::soft::{is_cpu, to_working_precision};

/// The `k` highest scores of each row, as ascending indices: Eq. (5) of docs/method.md.
///
/// Ties go to the lowest index, on every device. `k` larger than `n_tokens` gives all of them. NaN ranks
/// with the lowest real score. Masked tokens rank below every real one: they are taken (lowest index
/// first) only in rows with fewer than `k` real tokens. No gradient.
///
/// # Shapes
/// - scores: `[batch, n_tokens]`; mask: `[batch, n_tokens]`, true = real token
/// - output: `[batch, min(k, n_tokens)]`
pub fn hard_topk(scores: Tensor<2>, k: usize, mask: Option<Tensor<2, Bool>>) -> Tensor<2, Int> {
    let [batch, n_tokens] = scores.dims();
    let k = k.min(n_tokens);
    let device = scores.device().without_autodiff();
    if k == 0 || k == n_tokens {
        let all = (0..batch).flat_map(|_| 0..k as i64).collect();
        return Tensor::from_data(TensorData::new(all, [batch, k]), &device);
    }
    let scores = to_working_precision(scores.without_autodiff());
    if is_cpu(&device) {
        host_topk(scores, k, mask)
    } else {
        indices_of(kept(scores, k, mask), k)
    }
}

/// [`hard_topk`] as a mask of ones and zeros, in the precision of the scores. No gradient.
///
/// # Shapes
/// - scores, mask, output: `[batch, n_tokens]`
pub fn hard_topk_mask(scores: Tensor<2>, k: usize, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
    let [_, n_tokens] = scores.dims();
    let dtype = scores.dtype();
    if k == 0 || n_tokens == 0 {
        return scores.without_autodiff().zeros_like();
    }
    kept(
        to_working_precision(scores.without_autodiff()),
        k.min(n_tokens),
        mask,
    )
    .cast(dtype)
}

fn host_topk(scores: Tensor<2>, k: usize, mask: Option<Tensor<2, Bool>>) -> Tensor<2, Int> {
    let [batch, n_tokens] = scores.dims();
    let device: Device = scores.device();
    let keys = ranking_keys(scores, mask);
    // Exact for f32 and f64 alike.
    let keys = keys.into_data().convert_dtype(DType::F64);
    let keys = keys
        .try_into_vec::<f64>()
        .expect("the data was converted to this type");
    let mut indices = vec![0_i64; batch * k];
    indices
        .par_chunks_mut(k)
        .zip(keys.par_chunks(n_tokens))
        .for_each(|(indices, keys)| {
            let mut order: Vec<usize> = (0..n_tokens).collect();
            order.select_nth_unstable_by(k - 1, |&a, &b| keys[b].total_cmp(&keys[a]).then(a.cmp(&b)));
            order.truncate(k);
            order.sort_unstable();
            for (place, index) in indices.iter_mut().zip(order) {
                *place = index as i64;
            }
        });
    Tensor::from_data(TensorData::new(indices, [batch, k]), &device)
}

/// Scores without NaN and with masked tokens at minus infinity, which no real token has.
fn ranking_keys(scores: Tensor<2>, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
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

/// Ones for the `k` first in rank, zeros for the rest, without leaving the device.
fn kept(scores: Tensor<2>, k: usize, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
    let [batch, n_tokens] = scores.dims();
    let dtype = scores.dtype();
    let keys = ranking_keys(scores, mask);
    let edge = keys.clone().topk(k, 1).min_dim(1).expand([batch, n_tokens]);
    let above = keys.clone().greater(edge.clone()).float().cast(FloatDType::F32);
    let tied = keys.equal(edge).float().cast(FloatDType::F32);
    let places = above.clone().sum_dim(1).neg() + k as f64;
    // Counts are exact in f32 up to 2^24 tokens.
    let order = tied.clone().cumsum(1);
    let first = order
        .lower_equal(places.expand([batch, n_tokens]))
        .float()
        .cast(FloatDType::F32);
    (above + tied * first).cast(dtype)
}

/// Column numbers of the `k` ones of each row.
fn indices_of(kept: Tensor<2>, k: usize) -> Tensor<2, Int> {
    let [batch, n_tokens] = kept.dims();
    let device = kept.device();
    let kept = kept.int();
    let place = (kept.clone().cumsum(1) - 1).clamp(0, k as i64 - 1);
    let column = Tensor::<1, Int>::arange(0..n_tokens as i64, &device).reshape([1, n_tokens]);
    let start = Tensor::<2, Int>::zeros([batch, k], &device);
    start.scatter(1, place, kept * column, burn::tensor::IndexingUpdateOp::Add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(scores: Tensor<2>, k: usize, mask: Option<Tensor<2, Bool>>) -> Vec<i64> {
        let device = indices_of(kept(scores.clone(), k, mask.clone()), k);
        let host = hard_topk(scores, k, mask);
        let read = |x: Tensor<2, Int>| x.into_data().iter::<i64>().collect::<Vec<_>>();
        let host = read(host);
        assert_eq!(read(device), host);
        host
    }

    #[test]
    fn ties_go_to_the_lowest_index_and_masked_tokens_last() {
        let device = Device::flex();
        let nan = f32::NAN;
        let rows = [[1.0, 3.0, 3.0, 3.0, 0.0], [0.0, -0.0, 0.0, nan, 2.0]];
        let scores = Tensor::<2>::from_floats(rows, &device);
        assert_eq!(both(scores.clone(), 2, None), [1, 2, 0, 4]);
        let mask = [
            [true, false, true, true, true],
            [false, false, false, true, false],
        ];
        let mask = Tensor::<2, Bool>::from_data(TensorData::from(mask), &device);
        assert_eq!(both(scores, 3, Some(mask)), [0, 2, 3, 0, 1, 3]);
    }

    #[test]
    fn a_budget_of_none_or_all_is_allowed() {
        let scores = Tensor::<2>::from_floats([[1.0, 2.0], [4.0, 3.0]], &Device::flex());
        assert_eq!(hard_topk(scores.clone(), 0, None).dims(), [2, 0]);
        assert_eq!(
            hard_topk(scores.clone(), 5, None)
                .into_data()
                .iter::<i64>()
                .collect::<Vec<_>>(),
            [0, 1, 0, 1]
        );
        let ones = hard_topk_mask(scores, 5, None).into_data();
        assert_eq!(ones.iter::<f32>().sum::<f32>(), 4.0);
    }
}
