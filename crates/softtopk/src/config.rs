//! Configuration of the operator: which curve, whether to normalise, how to solve.

use burn::config::Config;
use thiserror::Error;

use crate::soft::SoftTopK;

/// The curve `f` that turns the threshold argument `u` into a weight.
#[derive(Config, Debug, Copy, PartialEq, Eq, Hash)]
pub enum ThresholdKind {
    /// Laplace distribution function: `exp(u)/2` for `u <= 0`, `1 - exp(-u)/2` above.
    /// Threshold in closed form after a sort (LapSum, Struski et al., ICML 2025).
    Laplace,
    /// Logistic function `1 / (1 + exp(-u))`. Threshold by iteration. The two-anchor entropic
    /// optimal-transport operator SOFT of Xie et al. 2020 at regularisation `epsilon` is this one at
    /// `tau = epsilon * C_max / 2`, `C_max` the largest cost of the batch.
    Sigmoid,
    /// `min(1, exp(u))`: softmax with a cap. Threshold in closed form after a sort. Equal to softmax at a
    /// budget of 1. Tokens at the cap get no gradient.
    MinExp,
    /// `min(1, max(0, u))`: the Euclidean projection onto the capped simplex (Sander et al. 2023, p = 2).
    /// Threshold by iteration. Weights are exactly 0 or 1 outside of one temperature.
    Clip,
    /// `min(1, max(0, u))^3` (Sander et al. 2023, p = 4/3). As [`Self::Clip`], and smooth where a weight
    /// leaves 0.
    Cubic,
}

/// The noise gate cannot run on the weights of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{name} cannot drive the variance-preserving noise gate: {reason}; take laplace or sigmoid, or the scale gate"
)]
pub struct VpNoiseError {
    /// Name of the operator.
    pub name: &'static str,
    /// Why not.
    pub reason: &'static str,
}

impl VpNoiseError {
    /// For weights that are exactly 0 or 1.
    pub(crate) fn reaches_the_ends(name: &'static str) -> Self {
        let reason =
            "its weights are exactly 0 or 1, where the gradient of the gate's square roots is infinite";
        Self { name, reason }
    }
}

impl ThresholdKind {
    /// All curves.
    pub const ALL: [Self; 5] = [
        Self::Laplace,
        Self::Sigmoid,
        Self::MinExp,
        Self::Clip,
        Self::Cubic,
    ];

    /// Name in settings and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Laplace => "laplace",
            Self::Sigmoid => "sigmoid",
            Self::MinExp => "min_exp",
            Self::Clip => "clip",
            Self::Cubic => "cubic",
        }
    }

    /// Checks that the variance-preserving noise gate `sqrt(alpha) x + sqrt(1 - alpha) eps` may run on these weights.
    ///
    /// # Errors
    /// For curves that reach 0 or 1 exactly: the derivative of a square root is infinite there.
    pub fn supports_vp_noise(self) -> Result<(), VpNoiseError> {
        match self {
            Self::Laplace | Self::Sigmoid => Ok(()),
            Self::MinExp | Self::Clip | Self::Cubic => Err(VpNoiseError::reaches_the_ends(self.name())),
        }
    }
}

/// The algorithm that finds the threshold. All of them give the same numbers up to rounding.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Solver {
    /// `Host` for tensors of the CPU device, `Tensor` for every other device.
    Auto,
    /// Read the scores to the host and solve there in f64: the closed form after a sort for Laplace and
    /// min-exp, a bracketed Newton iteration for the others. Rows run in parallel.
    Host,
    /// Sections of a bracket and Newton steps in tensor operations; nothing is read back.
    Tensor,
}

/// Configuration of a [`SoftTopK`].
#[derive(Config, Debug, PartialEq)]
pub struct SoftTopKConfig {
    /// The curve. Default: Laplace. The others are ablations.
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
    /// The algorithm that finds the threshold. Default: by device.
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
