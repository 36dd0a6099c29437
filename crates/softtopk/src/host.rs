//! Solving on the host: rows in parallel, statistics in f64.

use burn::tensor::{Bool, DType, Device, Element, Tensor, TensorData};
use rayon::prelude::*;

use crate::config::ThresholdKind;
use crate::family::SATURATED;
use crate::iterate::iterate_threshold;
use crate::laplace::laplace_threshold;
use crate::minexp::minexp_threshold;
use crate::soft::{Problem, Solution};

/// From this length on a single row is sorted and mapped by several threads.
const LONG_ROW: usize = 1 << 15;

/// f32 or f64.
pub(crate) trait Real: Element + Copy + Send + Sync {
    fn wide(self) -> f64;
    fn narrow(value: f64) -> Self;
    fn descending(values: &mut [Self]);
}

impl Real for f32 {
    fn wide(self) -> f64 {
        f64::from(self)
    }

    fn narrow(value: f64) -> Self {
        value as f32
    }

    fn descending(values: &mut [Self]) {
        if values.len() < LONG_ROW {
            values.sort_unstable_by(|a, b| b.total_cmp(a));
        } else {
            values.par_sort_unstable_by(|a, b| b.total_cmp(a));
        }
    }
}

impl Real for f64 {
    fn wide(self) -> f64 {
        self
    }

    fn narrow(value: f64) -> Self {
        value
    }

    fn descending(values: &mut [Self]) {
        if values.len() < LONG_ROW {
            values.sort_unstable_by(|a, b| b.total_cmp(a));
        } else {
            values.par_sort_unstable_by(|a, b| b.total_cmp(a));
        }
    }
}

/// The threshold as `lambda / tau = anchor / tau + offset`. The two parts stay apart because
/// their sum would lose the offset when scores are large against `tau`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Threshold {
    pub(crate) anchor: f64,
    pub(crate) offset: f64,
}

pub(crate) fn solve(problem: Problem) -> Solution {
    match problem.scores.dtype() {
        DType::F64 => solve_in::<f64>(problem),
        _ => solve_in::<f32>(problem),
    }
}

fn solve_in<T: Real>(problem: Problem) -> Solution {
    let Problem {
        kind,
        scores,
        k,
        tau,
        mask,
    } = problem;
    let [batch, n_tokens] = scores.dims();
    let device = scores.device();
    let scores: Vec<T> = values(scores);
    let k: Vec<T> = values(k);
    let tau: Vec<T> = values(tau);
    let mask = mask.map(mask_values);

    let mut weights = vec![T::narrow(0.0); batch * n_tokens];
    let mut complement = weights.clone();
    let mut argument = weights.clone();
    let mut threshold = vec![T::narrow(0.0); batch];
    let mut fixed = vec![false; batch];
    // Rayon wants a chunk of at least one.
    let stride = n_tokens.max(1);
    weights
        .par_chunks_mut(stride)
        .zip(complement.par_chunks_mut(stride))
        .zip(argument.par_chunks_mut(stride))
        .zip(threshold.par_iter_mut().zip(fixed.par_iter_mut()))
        .enumerate()
        .for_each(|(row, (((weights, complement), argument), (threshold, fixed)))| {
            let span = row * n_tokens..(row + 1) * n_tokens;
            let input = Row {
                kind,
                scores: &scores[span.clone()],
                mask: mask.as_ref().map(|mask| &mask[span]),
                k: k[row].wide(),
                tau: tau[row].wide(),
            };
            (*threshold, *fixed) = input.fill(weights, complement, argument);
        });

    let tensor = |values: Vec<T>, width: usize| from_values(values, [batch, width], &device);
    let live = (mask.is_some() || fixed.contains(&true)).then(|| {
        let open = |(row, column): (usize, usize)| {
            let real = mask.as_ref().is_none_or(|mask| mask[row * n_tokens + column]);
            T::narrow(f64::from(u8::from(real && !fixed[row])))
        };
        let places = (0..batch).flat_map(|row| (0..n_tokens).map(move |column| (row, column)));
        tensor(places.map(open).collect(), n_tokens)
    });
    Solution {
        weights: tensor(weights, n_tokens),
        complement: tensor(complement, n_tokens),
        argument: tensor(argument, n_tokens),
        threshold: tensor(threshold, 1),
        live,
    }
}

/// One row of the batch.
struct Row<'a, T> {
    kind: ThresholdKind,
    scores: &'a [T],
    mask: Option<&'a [bool]>,
    k: f64,
    tau: f64,
}

impl<T: Real> Row<'_, T> {
    /// Writes the row; returns the threshold in score units and whether the row is decided in advance.
    fn fill(&self, weights: &mut [T], complement: &mut [T], argument: &mut [T]) -> (T, bool) {
        let real = |i: usize| self.mask.is_none_or(|mask| mask[i]);
        let mut present: Vec<T> = (0..self.scores.len())
            .filter(|&i| real(i))
            .map(|i| self.scores[i])
            .collect();
        let fixed = self.fixed(&present);
        let (threshold, place) = match fixed {
            Some(argument) => {
                let edge = present
                    .iter()
                    .map(|s| s.wide())
                    .fold(f64::NAN, if argument > 0.0 { f64::min } else { f64::max });
                let edge = if edge.is_nan() { 0.0 } else { edge };
                (edge - argument * self.tau, None)
            }
            None => {
                let place = self.threshold(&mut present);
                (place.anchor + self.tau * place.offset, Some(place))
            }
        };
        let at = |i: usize| match (real(i), place) {
            (false, _) => -SATURATED,
            (true, Some(place)) => (self.scores[i].wide() - place.anchor) / self.tau - place.offset,
            (true, None) => fixed.unwrap_or(-SATURATED),
        };
        let write = |(i, ((weight, complement), argument)): (usize, ((&mut T, &mut T), &mut T))| {
            let u = at(i);
            let (open, closed) = self.kind.weights_at(u);
            *weight = T::narrow(open);
            *complement = T::narrow(closed);
            *argument = T::narrow(u);
        };
        if weights.len() < LONG_ROW {
            weights
                .iter_mut()
                .zip(complement)
                .zip(argument)
                .enumerate()
                .for_each(write);
        } else {
            weights
                .par_iter_mut()
                .zip(complement)
                .zip(argument)
                .enumerate()
                .for_each(write);
        }
        (T::narrow(threshold), fixed.is_some())
    }

    /// The argument of all tokens where the budget leaves nothing to decide.
    fn fixed(&self, present: &[T]) -> Option<f64> {
        if present.is_empty() || self.k >= present.len() as f64 {
            Some(SATURATED)
        } else if self.k <= 0.0 {
            Some(-SATURATED)
        } else {
            None
        }
    }

    fn threshold(&self, present: &mut [T]) -> Threshold {
        match self.kind {
            ThresholdKind::Laplace => {
                T::descending(present);
                laplace_threshold(present, self.k, self.tau)
            }
            ThresholdKind::MinExp => {
                T::descending(present);
                minexp_threshold(present, self.k, self.tau)
            }
            kind => iterate_threshold(kind, present, self.k, self.tau),
        }
    }
}

/// Reads a tensor that is known to have the type `T`.
fn values<T: Real, const D: usize>(tensor: Tensor<D>) -> Vec<T> {
    let data = tensor.into_data().convert_dtype(T::dtype());
    data.try_into_vec().expect("the data was converted to this type")
}

pub(crate) fn mask_values(mask: Tensor<2, Bool>) -> Vec<bool> {
    mask.into_data().iter::<bool>().collect()
}

fn from_values<T: Real>(values: Vec<T>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), (device, T::dtype()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Threshold;
    use crate::config::ThresholdKind;

    /// A closed form meets the budget for scores with gaps of any size.
    pub(crate) fn check_budget_over_wide_gaps(
        kind: ThresholdKind,
        solve: impl Fn(&[f64], f64, f64) -> Threshold,
    ) {
        for spread in [1e-3, 1.0, 1e3, 1e6, 1e9] {
            let scores: Vec<f64> = (0..40).map(|i| -spread * f64::from(i * i)).collect();
            for k in [0.01, 0.5, 1.0, 7.25, 20.0, 39.0, 39.5, 39.999] {
                for tau in [0.01, 1.0, 100.0] {
                    let threshold = solve(&scores, k, tau);
                    let u = |s: &f64| (s - threshold.anchor) / tau - threshold.offset;
                    let mass: f64 = scores.iter().map(|s| kind.weights_at(u(s)).0).sum();
                    assert!(
                        (mass - k).abs() < 1e-10,
                        "spread {spread} k {k} tau {tau}: {mass}"
                    );
                }
            }
        }
    }
}
