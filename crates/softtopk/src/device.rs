//! Solving in tensor operations: no sort, no read-back, every row at once.

use burn::tensor::{DType, Tensor};

use crate::config::ThresholdKind;
use crate::family::SATURATED;
use crate::soft::{Problem, Solution};

/// Parts into which one round cuts the bracket. Each round costs one reduction over `PARTS - 1` times
/// the scores and is a handful of kernels, against four rounds of halving.
const PARTS: usize = 16;
/// Newton steps after the last round, for smooth curves. On the others a step from one side of a kink overshoots,
/// so they are cut a second time.
const NEWTON_STEPS: usize = 3;

pub(crate) fn solve(problem: Problem) -> Solution {
    let Problem {
        kind,
        scores,
        k,
        tau,
        mask,
    } = problem;
    let dtype = scores.dtype();
    let padding = mask.as_ref().map(|mask| mask.clone().bool_not());
    let real = match mask {
        Some(mask) => mask.float().cast(dtype),
        None => scores.ones_like(),
    };
    let count = real.clone().sum_dim(1);
    let (smallest, largest) = range(&scores, &padding);
    let all_open = k.clone().greater_equal(count.clone());
    let all_closed = k.clone().lower_equal_elem(0.0);
    let row = Row {
        kind,
        scores,
        real,
        k,
        tau: tau.clone(),
    };

    let margin = tau.clone() * (count.clamp_min(1.0).log() + 20.0);
    let base = row.solve(smallest.clone() - margin.clone(), largest.clone() + margin);
    let row = Row {
        scores: (row.scores - base.clone()) / tau.clone(),
        tau: tau.ones_like(),
        ..row
    };
    let shift = match kind.is_smooth() {
        true => row.newton(),
        false => {
            let size = smallest.clone().abs().max_pair(largest.clone().abs()) / tau.clone();
            let rounding = (size + 50.0) * (4.0 * epsilon(dtype));
            row.solve(rounding.clone().neg(), rounding)
        }
    };

    let fix = |x: Tensor<2>, open: Tensor<2>, closed: Tensor<2>| {
        x.mask_where(all_open.clone(), open)
            .mask_where(all_closed.clone(), closed)
    };
    let threshold = fix(
        base + tau.clone() * shift.clone(),
        smallest - tau.clone() * SATURATED,
        largest + tau * SATURATED,
    );
    let [batch, n_tokens] = row.scores.dims();
    let wide = |x: &Tensor<2, burn::tensor::Bool>| x.clone().expand([batch, n_tokens]);
    let mut argument = (row.scores - shift)
        .mask_fill(wide(&all_open), SATURATED)
        .mask_fill(wide(&all_closed), -SATURATED);
    if let Some(padding) = padding {
        argument = argument.mask_fill(padding, -SATURATED);
    }
    let live = row
        .real
        .mask_fill(wide(&all_open), 0.0)
        .mask_fill(wide(&all_closed), 0.0);
    let (weights, complement) = kind.weights(argument.clone());
    Solution {
        weights,
        complement,
        threshold,
        argument,
        live: Some(live),
    }
}

type Padding = Option<Tensor<2, burn::tensor::Bool>>;

fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        _ => f64::from(f32::EPSILON),
    }
}

/// Smallest and largest real score of each row; 0 and 0 in a row of padding.
fn range(scores: &Tensor<2>, padding: &Padding) -> (Tensor<2>, Tensor<2>) {
    let Some(padding) = padding else {
        return (scores.clone().min_dim(1), scores.clone().max_dim(1));
    };
    let limit = f64::from(f32::MAX);
    let smallest = scores.clone().mask_fill(padding.clone(), limit).min_dim(1);
    let largest = scores.clone().mask_fill(padding.clone(), -limit).max_dim(1);
    let empty = smallest.clone().greater(largest.clone());
    (
        smallest.mask_fill(empty.clone(), 0.0),
        largest.mask_fill(empty, 0.0),
    )
}

/// A threshold to be found for these scores.
struct Row {
    kind: ThresholdKind,
    scores: Tensor<2>,
    real: Tensor<2>,
    k: Tensor<2>,
    tau: Tensor<2>,
}

impl Row {
    /// The threshold in the bracket `[low, high]`; the middle of the thresholds that meet the budget, where a curve
    /// leaves an interval of them; `[batch, 1]`.
    fn solve(&self, low: Tensor<2>, high: Tensor<2>) -> Tensor<2> {
        if !self.kind.is_compact() {
            return self.sections(low, high, false);
        }
        let first = self.sections(low.clone(), high.clone(), false);
        first * 0.5 + self.sections(low, high, true) * 0.5
    }

    /// Narrows the bracket `[low, high]` of the threshold to rounding; `[batch, 1]`. Of an interval of thresholds
    /// that meet the budget it finds the largest if `last`, else the smallest.
    fn sections(&self, low: Tensor<2>, high: Tensor<2>, last: bool) -> Tensor<2> {
        let rounds = if self.scores.dtype() == DType::F64 { 14 } else { 8 };
        let [batch, n_tokens] = self.scores.dims();
        let device = self.scores.device();
        let cuts = Tensor::<1, burn::tensor::Int>::arange(1..PARTS as i64, &device);
        let cuts = cuts.float().cast(self.scores.dtype()).reshape([1, PARTS - 1]);
        let scores = self.scores.clone().reshape([batch, 1, n_tokens]);
        let real = self.real.clone().reshape([batch, 1, n_tokens]);
        let (k, tau) = (
            self.k.clone().reshape([batch, 1, 1]),
            self.tau.clone().reshape([batch, 1, 1]),
        );
        let (mut low, mut width) = (low.clone(), high - low);
        for _ in 0..rounds {
            width = width / PARTS as f64;
            let points = low.clone() + width.clone() * cuts.clone();
            let points = points.reshape([batch, PARTS - 1, 1]);
            let argument = (scores.clone() - points) / tau.clone();
            let excess = self.kind.excess(argument, real.clone(), k.clone(), 2);
            // The mass falls with the threshold, so the cuts above the budget are the first ones.
            let excess = excess.reshape([batch, PARTS - 1]);
            let passed = match last {
                true => excess.greater_equal_elem(0.0),
                false => excess.greater_elem(0.0),
            };
            low = low + width.clone() * passed.float().cast(self.scores.dtype()).sum_dim(1);
        }
        low + width * 0.5
    }

    /// The rest of the threshold by Newton's method, for scores in units of the argument that are already centred
    /// on it: what is lost in the rounding of the threshold itself; `[batch, 1]`.
    fn newton(&self) -> Tensor<2> {
        let mut shift = self.k.zeros_like();
        for _ in 0..NEWTON_STEPS {
            let argument = self.scores.clone() - shift.clone();
            let (weights, complement) = self.kind.weights(argument.clone());
            let slope =
                (self.kind.slope(argument.clone(), weights, complement) * self.real.clone()).sum_dim(1);
            let excess = self.kind.excess(argument, self.real.clone(), self.k.clone(), 1);
            let flat = slope.clone().lower_elem(1e-20);
            let step = (excess / slope.mask_fill(flat.clone(), 1.0)).mask_fill(flat, 0.0);
            shift = shift + step.clamp(-1.0, 1.0);
        }
        shift
    }
}
