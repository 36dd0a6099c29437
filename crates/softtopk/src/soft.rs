//! The operator: scores and a budget in, weights that sum to the budget out.

use burn::tensor::{Bool, DType, Device, FloatDType, Tensor};

use crate::config::{SoftTopKConfig, Solver, ThresholdKind};
use crate::vjp::{Tracked, linearise};
use crate::zscore::z_score;
use crate::{device, host};

/// The budget: a real number of tokens that may pass.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one short-lived value per call; a box would only burden callers
pub enum K {
    /// One budget for the whole batch.
    Batch(f64),
    /// One budget per row, `[batch]` (or `[1]` for all rows); may carry a gradient.
    Rows(Tensor<1>),
}

impl From<f64> for K {
    fn from(k: f64) -> Self {
        Self::Batch(k)
    }
}

impl From<usize> for K {
    fn from(k: usize) -> Self {
        Self::Batch(k as f64)
    }
}

impl From<Tensor<1>> for K {
    fn from(k: Tensor<1>) -> Self {
        Self::Rows(k)
    }
}

/// Temperature, in units of the (normalised) scores: small is sharp.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one short-lived value per call; a box would only burden callers
pub enum Tau {
    /// One temperature for the whole batch.
    Batch(f64),
    /// `[1]` for all rows or `[batch]`, one per row; may carry a gradient.
    Rows(Tensor<1>),
}

impl From<f64> for Tau {
    fn from(tau: f64) -> Self {
        Self::Batch(tau)
    }
}

impl From<Tensor<1>> for Tau {
    fn from(tau: Tensor<1>) -> Self {
        Self::Rows(tau)
    }
}

/// The input of [`SoftTopK::forward`]; made by [`SoftTopKInput::new`].
#[derive(Debug, Clone)]
pub struct SoftTopKInput {
    /// Raw scores, `[batch, n_tokens]`; higher passes first.
    pub scores: Tensor<2>,
    /// Budget. A budget of at least the number of real tokens opens every gate; 0 or less closes all.
    pub k: K,
    /// Temperature.
    pub tau: Tau,
    /// `[batch, n_tokens]`, true = real token. `None`: all are real.
    pub mask: Option<Tensor<2, Bool>>,
}

impl SoftTopKInput {
    /// Scores in which every token is real, `[batch, n_tokens]`, with a budget and a temperature: a number for the whole
    /// batch, or a tensor `[batch]` (or `[1]`) for its rows.
    pub fn new(scores: Tensor<2>, k: impl Into<K>, tau: impl Into<Tau>) -> Self {
        Self {
            scores,
            k: k.into(),
            tau: tau.into(),
            mask: None,
        }
    }

    /// The same with tokens that are not real: `mask` is `[batch, n_tokens]`, true = real token.
    #[must_use]
    pub fn with_mask(mut self, mask: Tensor<2, Bool>) -> Self {
        self.mask = Some(mask);
        self
    }

    /// The differentiable arguments in working precision: scores normalised if an epsilon is given, those of masked
    /// tokens 0, budget and temperature one per row.
    pub(crate) fn track(self, z_score_eps: Option<f64>) -> (Tracked, Option<Tensor<2, Bool>>) {
        let Self { scores, k, tau, mask } = self;
        let scores = to_working_precision(scores);
        let scores = match (z_score_eps, &mask) {
            (Some(eps), _) => z_score(scores, mask.clone(), eps),
            (None, Some(mask)) => scores.mask_fill(mask.clone().bool_not(), 0.0),
            (None, None) => scores,
        };
        let tracked = Tracked {
            k: k.per_row(&scores),
            tau: tau.per_row(&scores),
            scores,
        };
        (tracked, mask)
    }
}

/// The output of [`SoftTopK::forward`]. f32, or f64 when the scores are f64.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SoftTopKOutput {
    /// `alpha`, `[batch, n_tokens]`, each in `[0, 1]`, with row sum `k`. Masked tokens: 0.
    pub weights: Tensor<2>,
    /// `beta = 1 - alpha`, `[batch, n_tokens]`, exact where `alpha` rounds to 1. Masked tokens: 1.
    pub complement: Tensor<2>,
    /// `lambda`, `[batch, 1]`, in units of the scores after normalisation. Not unique where no token
    /// is near the boundary.
    pub threshold: Tensor<2>,
    /// `u = (s - lambda) / tau`, `[batch, n_tokens]`. Masked tokens: -10000.
    pub argument: Tensor<2>,
}

/// Differentiable top-k with an exact budget.
///
/// `alpha_i = f((s_i - lambda) / tau)` with the threshold `lambda` chosen per row so that
/// `sum alpha = k`. The forward pass solves for the threshold outside of the gradient graph; the
/// backward pass is the analytic vector-Jacobian product for scores, budget and temperature. Only
/// first-order gradients exist.
///
/// Sources: Struski et al., "LapSum", ICML 2025 (Laplace); Xie et al., 2020 (sigmoid); Sander et al., 2023 (clip and
/// cubic).
#[derive(Debug, Clone, Copy)]
pub struct SoftTopK {
    kind: ThresholdKind,
    z_score: bool,
    z_score_eps: f64,
    solver: Solver,
}

/// The scores of a solve, detached, with everything it depends on.
pub(crate) struct Problem {
    pub(crate) kind: ThresholdKind,
    /// `[batch, n_tokens]`, masked entries 0.
    pub(crate) scores: Tensor<2>,
    /// `[batch, 1]`
    pub(crate) k: Tensor<2>,
    /// `[batch, 1]`
    pub(crate) tau: Tensor<2>,
    pub(crate) mask: Option<Tensor<2, Bool>>,
}

/// Values of a solve, detached.
pub(crate) struct Solution {
    pub(crate) weights: Tensor<2>,
    pub(crate) complement: Tensor<2>,
    pub(crate) threshold: Tensor<2>,
    pub(crate) argument: Tensor<2>,
    /// 1 where the argument follows the scores, 0 where it is fixed (masked token, or a row with all
    /// gates open or closed). `[batch, n_tokens]`; `None`: 1 everywhere.
    pub(crate) live: Option<Tensor<2>>,
}

impl SoftTopK {
    pub(crate) fn new(config: &SoftTopKConfig) -> Self {
        Self {
            kind: config.kind,
            z_score: config.z_score,
            z_score_eps: config.z_score_eps,
            solver: config.solver,
        }
    }

    /// The curve in use.
    pub fn kind(&self) -> ThresholdKind {
        self.kind
    }

    /// Weights that sum to the budget: Eq. (2) of docs/method.md.
    ///
    /// Never fails on values: a row with `k` of at least the number of its real tokens gets weight 1
    /// everywhere, a row with `k <= 0` weight 0 (both with zero gradients, and with the argument fixed
    /// at plus or minus 10000); NaN scores make NaN of their row; a temperature that is not positive gives
    /// weights without meaning. Use [`validate`](crate::validate) where such values can come in.
    ///
    /// # Shapes
    /// See [`SoftTopKInput`] and [`SoftTopKOutput`].
    ///
    /// # Panics
    /// If the sizes of budget, temperature or mask do not fit the scores.
    pub fn forward(&self, input: SoftTopKInput) -> SoftTopKOutput {
        let (tracked, mask) = input.track(self.z_score.then_some(self.z_score_eps));
        let solution = self.solve(&tracked, mask);
        linearise(self.kind, tracked, solution)
    }

    fn solve(&self, tracked: &Tracked, mask: Option<Tensor<2, Bool>>) -> Solution {
        let problem = Problem {
            kind: self.kind,
            scores: tracked.scores.clone().without_autodiff(),
            k: tracked.k.clone().without_autodiff(),
            tau: tracked.tau.clone().without_autodiff(),
            mask: mask.map(Tensor::without_autodiff),
        };
        let on_host = match self.solver {
            Solver::Auto => is_cpu(&problem.scores.device()),
            Solver::Host => true,
            Solver::Tensor => false,
        };
        if on_host {
            host::solve(problem)
        } else {
            device::solve(problem)
        }
    }
}

impl K {
    /// `[batch, 1]` in the precision of the scores.
    fn per_row(self, scores: &Tensor<2>) -> Tensor<2> {
        match self {
            Self::Batch(value) => same_for_all(value, scores),
            Self::Rows(rows) => one_per_row(rows, scores),
        }
    }
}

impl Tau {
    /// `[batch, 1]` in the precision of the scores.
    fn per_row(self, scores: &Tensor<2>) -> Tensor<2> {
        match self {
            Self::Batch(value) => same_for_all(value, scores),
            Self::Rows(rows) => one_per_row(rows, scores),
        }
    }
}

fn same_for_all(value: f64, scores: &Tensor<2>) -> Tensor<2> {
    let [batch, _] = scores.dims();
    let device = scores.device().without_autodiff();
    Tensor::full([batch, 1], value, (&device, scores.dtype()))
}

fn one_per_row(rows: Tensor<1>, scores: &Tensor<2>) -> Tensor<2> {
    let [batch, _] = scores.dims();
    let [count] = rows.dims();
    rows.cast(scores.dtype()).reshape([count, 1]).expand([batch, 1])
}

/// f64 stays, every other precision becomes f32: thresholds in half precision miss the budget.
pub(crate) fn to_working_precision<const D: usize>(scores: Tensor<D>) -> Tensor<D> {
    match scores.dtype() {
        DType::F64 => scores,
        _ => scores.cast(FloatDType::F32),
    }
}

/// `true` if the tensors of `device` lie in this process's memory, where rows are solved in f64.
///
/// The crate chooses no backend, so it cannot name `Device::flex()`: that function exists only where the CPU backend is
/// compiled in. The name of the device says the same in every build; a backend that is not recognised is served by tensor
/// operations.
pub(crate) fn is_cpu(device: &Device) -> bool {
    format!("{:?}", device.clone().without_autodiff()).starts_with("Device<Flex(")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_recognised_with_and_without_autodiff() {
        assert!(is_cpu(&Device::flex()));
        assert!(is_cpu(&Device::flex().autodiff()));
    }
}
