//! Hard selection: the sharp limit of the soft operator, and what inference uses.

use burn::tensor::{Bool, DType, Device, Element, IndexingUpdateOp, Int, Tensor, TensorData};
use rayon::prelude::*;

use crate::rank::{PAIRS_AT_ONCE, ranking_keys, ranks};
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
    let [batch, n_tokens] = scores.dims();
    let dtype = scores.dtype();
    if k == 0 || n_tokens == 0 {
        return scores.without_autodiff().zeros_like();
    }
    let (scores, k) = (to_working_precision(scores.without_autodiff()), k.min(n_tokens));
    let ones = if is_cpu(&scores.device()) {
        let ones = Tensor::ones([batch, k], (&scores.device(), scores.dtype()));
        let places = host_topk(scores.clone(), k, mask);
        let zeros = scores.zeros_like();
        zeros.scatter(1, places, ones, IndexingUpdateOp::Add)
    } else {
        kept(scores, k, mask)
    };
    ones.cast(dtype)
}

fn host_topk(scores: Tensor<2>, k: usize, mask: Option<Tensor<2, Bool>>) -> Tensor<2, Int> {
    let [batch, _] = scores.dims();
    let device: Device = scores.device();
    let real = mask.map(|mask| {
        mask.without_autodiff()
            .into_data()
            .iter::<bool>()
            .collect::<Vec<_>>()
    });
    let indices = match scores.dtype() {
        DType::F64 => largest::<f64>(scores, k, real.as_deref()),
        _ => largest::<f32>(scores, k, real.as_deref()),
    };
    Tensor::from_data(TensorData::new(indices, [batch, k]), &device)
}

/// Numbers with whole numbers in their order, which are faster to select among.
trait Ranked: Element + Copy + Send + Sync {
    type Key: Ord + Copy + Send + Sync;

    /// The key of a score as [`ranking_keys`] makes it; that of a masked token is the lowest.
    fn key(self, is_real: bool) -> Self::Key;
}

impl Ranked for f32 {
    type Key = i32;

    fn key(self, is_real: bool) -> i32 {
        // `max` takes the other of a NaN and a number; adding zero turns -0.0 into 0.0.
        let score = if is_real {
            self.max(Self::MIN) + 0.0
        } else {
            Self::NEG_INFINITY
        };
        let bits = score.to_bits().cast_signed();
        bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
    }
}

impl Ranked for f64 {
    type Key = i64;

    fn key(self, is_real: bool) -> i64 {
        let score = if is_real {
            self.max(Self::MIN) + 0.0
        } else {
            Self::NEG_INFINITY
        };
        let bits = score.to_bits().cast_signed();
        bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
    }
}

/// The places of the `k` largest of each row, ascending: what lies above the `k`-th largest key, and of its equals the first.
fn largest<T: Ranked>(scores: Tensor<2>, k: usize, real: Option<&[bool]>) -> Vec<i64> {
    let [batch, n_tokens] = scores.dims();
    let scores = scores
        .into_data()
        .try_into_vec::<T>()
        .expect("the type was asked for");
    let mut indices = vec![0_i64; batch * k];
    let rows = indices.par_chunks_mut(k).zip(scores.par_chunks(n_tokens));
    rows.enumerate().for_each(|(row, (indices, scores))| {
        let is_real = |token: usize| real.is_none_or(|real| real[row * n_tokens + token]);
        let keys: Vec<T::Key> = scores
            .iter()
            .enumerate()
            .map(|(token, score)| score.key(is_real(token)))
            .collect();
        let least = *keys.clone().select_nth_unstable_by(k - 1, |a, b| b.cmp(a)).1;
        let mut equals = k - keys.iter().filter(|key| **key > least).count();
        let mut place = 0;
        for (token, key) in keys.iter().enumerate() {
            let is_equal = *key == least && equals > 0;
            equals -= usize::from(is_equal);
            if is_equal || *key > least {
                indices[place] = token as i64;
                place += 1;
            }
        }
    });
    indices
}

/// Ones for the `k` first in rank, zeros for the rest, without leaving the device.
fn kept(scores: Tensor<2>, k: usize, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
    let dtype = scores.dtype();
    let ranks = ranks(ranking_keys(scores, mask), PAIRS_AT_ONCE);
    ranks.lower_elem(k as i64).float().cast(dtype)
}

/// Column numbers of the `k` ones of each row.
fn indices_of(kept: Tensor<2>, k: usize) -> Tensor<2, Int> {
    let [batch, n_tokens] = kept.dims();
    let device = kept.device();
    let kept = kept.int();
    let place = (kept.clone().cumsum(1) - 1).clamp(0, k as i64 - 1);
    let column = Tensor::<1, Int>::arange(0..n_tokens as i64, &device).reshape([1, n_tokens]);
    let start = Tensor::<2, Int>::zeros([batch, k], &device);
    start.scatter(1, place, kept * column, IndexingUpdateOp::Add)
}

#[cfg(test)]
mod tests {
    use diffprune_test_support::cases;
    use proptest::prelude::*;

    use super::*;
    use crate::rank::{host_ranks, token_order};

    fn read(tensor: Tensor<2, Int>) -> Vec<i64> {
        tensor.into_data().iter::<i64>().collect()
    }

    /// The indices that the device path and the host path agree on.
    fn both(scores: Tensor<2>, k: usize, mask: Option<Tensor<2, Bool>>) -> Vec<i64> {
        let device = indices_of(kept(scores.clone(), k, mask.clone()), k);
        let host = host_topk(scores, k, mask);
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

    /// Two rows of scores with ties, infinities, NaN and every order of magnitude, and which tokens are real.
    fn rows() -> impl Strategy<Value = (Vec<f32>, Vec<bool>)> {
        let score = prop_oneof![
            4 => (-3..4_i8).prop_map(f32::from),
            4 => prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO,
            1 => prop::sample::select(vec![f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN]),
        ];
        (1..60_usize).prop_flat_map(move |n| {
            let real = prop::sample::select(vec![0.0, 0.2, 0.9, 1.0]);
            let real =
                real.prop_flat_map(move |share| prop::collection::vec(prop::bool::weighted(share), 2 * n));
            (prop::collection::vec(score.clone(), 2 * n), real)
        })
    }

    /// By definition: a stable sort by (real, score), NaN as the lowest score.
    fn by_sorting(scores: &[f32], real: &[bool], k: usize) -> Vec<i64> {
        let score = |i: usize| match scores[i] {
            s if s.is_nan() => f32::MIN,
            s => s.max(f32::MIN) + 0.0,
        };
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| {
            real[b].cmp(&real[a]).then_with(|| match real[a] {
                true => score(b).total_cmp(&score(a)),
                false => std::cmp::Ordering::Equal,
            })
        });
        let mut first: Vec<i64> = order[..k].iter().map(|&i| i as i64).collect();
        first.sort_unstable();
        first
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(cases(128)))]

        #[test]
        fn both_paths_are_the_sorted_order((scores, real) in rows(), share in 0.0..=1.0_f64, masked: bool) {
            let n = scores.len() / 2;
            let real = if masked { real } else { vec![true; 2 * n] };
            let device = Device::flex();
            let tensor = Tensor::<2>::from_data(TensorData::new(scores.clone(), [2, n]), &device);
            let mask = masked.then(|| {
                Tensor::<2, Bool>::from_data(TensorData::new(real.clone(), [2, n]), &device)
            });
            for k in [1, 1 + (share * (n - 1) as f64) as usize, n] {
                let wanted: Vec<i64> = scores.chunks(n).zip(real.chunks(n))
                    .flat_map(|(scores, real)| by_sorting(scores, real, k)).collect();
                prop_assert_eq!(&both(tensor.clone(), k, mask.clone()), &wanted);
                let ones = hard_topk_mask(tensor.clone(), k, mask.clone()).into_data();
                let same = kept(tensor.clone(), k, mask.clone()).into_data();
                prop_assert_eq!(ones, same);
            }
        }

        #[test]
        fn blocks_do_not_change_the_ranks((scores, _) in rows(), pairs in 1..4000_usize) {
            let n = scores.len() / 2;
            let keys = Tensor::<2>::from_data(TensorData::new(scores, [2, n]), &Device::flex());
            let keys = ranking_keys(keys, None);
            let mut found = read(ranks(keys.clone(), pairs));
            prop_assert_eq!(&found, &read(ranks(keys.clone(), PAIRS_AT_ONCE)));
            let host = host_ranks(keys);
            prop_assert_eq!(&found, &read(host.clone()));
            // The order is the inverse of the ranks.
            let order = read(token_order(host));
            for (ranks, order) in found.chunks(n).zip(order.chunks(n)) {
                prop_assert!(order.iter().enumerate().all(|(rank, &token)| ranks[token as usize] == rank as i64));
            }
            found.chunks_mut(n).for_each(<[i64]>::sort_unstable);
            prop_assert_eq!(found, (0..2).flat_map(|_| 0..n as i64).collect::<Vec<_>>());
        }
    }
}
