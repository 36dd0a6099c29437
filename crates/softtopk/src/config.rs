//! Configuration of the operator: which curve, whether to normalise, how to solve.

use burn::config::Config;

use crate::soft::SoftTopK;

/// The curve `f` that turns the threshold argument `u` into a weight.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum ThresholdKind {
    /// Laplace distribution function: `exp(u)/2` for `u <= 0`, `1 - exp(-u)/2` above.
    /// Threshold in closed form after a sort (LapSum, Struski et al., ICML 2025).
    Laplace,
    /// Logistic function `1 / (1 + exp(-u))`. Threshold by iteration; equal to the two-anchor
    /// optimal-transport operator of Xie et al. 2020 at `tau = epsilon * C_max / 2`.
    Sigmoid,
}

/// How the threshold is found. All ways give the same numbers up to rounding.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Solver {
    /// `Host` for tensors of the CPU device, `Tensor` for every other device.
    Auto,
    /// Read the scores to the host and solve there in f64: the closed form after a sort for Laplace,
    /// a bracketed Newton iteration for sigmoid. Rows run in parallel.
    Host,
    /// Sections of a bracket and Newton steps in tensor operations; nothing is read back.
    Tensor,
}

/// Configuration of a [`SoftTopK`].
#[derive(Config, Debug, PartialEq)]
pub struct SoftTopKConfig {
    /// The curve. Default: Laplace. Sigmoid is the ablation.
    #[config(default = "ThresholdKind::Laplace")]
    pub kind: ThresholdKind,
    /// Normalise each row of scores to mean 0 and variance 1 first. Default: true. Without it the
    /// meaning of `tau` follows the scale of the scores, and a scorer can sharpen the weights by
    /// growing its logits.
    #[config(default = true)]
    pub z_score: bool,
    /// Term added to the variance inside the root. Default: 1e-6. Too large flattens the scores.
    #[config(default = 1e-6)]
    pub z_score_eps: f64,
    /// Where the threshold is solved. Default: by device.
    #[config(default = "Solver::Auto")]
    pub solver: Solver,
}

impl SoftTopKConfig {
    /// Builds the operator. It has no parameters and lives on no device.
    ///
    /// # Panics
    /// If `z_score_eps` is not a positive finite number.
    pub fn init(&self) -> SoftTopK {
        assert!(
            self.z_score_eps.is_finite() && self.z_score_eps > 0.0,
            "z_score_eps must be positive and finite, found {}",
            self.z_score_eps
        );
        SoftTopK::new(self)
    }
}
