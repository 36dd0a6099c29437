//! The throttled gate: scores and a budget in, throttled tokens out. It needs no model, and works inside any network.

use burn::tensor::{Bool, Tensor};
use diffprune_softtopk::{
    K, SoftTopKConfig, SoftTopKInput, SoftTopKKind, SoftTopKOutput, Tau, ThresholdKind, dftopk, z_score,
};
use diffprune_throttler::{GateFamily, GateKind, ThrottlerConfig, ThrottlerInput};

use crate::{ConfigError, Draws, Gated};

/// Soft top-k and throttler as one operation, with the curve of the gate's derivative chosen to fit the operator.
///
/// DiffPrune is trained through it; so is anything else that has tokens, a score for each of them and a loss behind them:
///
/// ```
/// use burn::tensor::{Device, Distribution, Tensor};
/// use diffprune_learned::{Draws, ThrottledGate, ThrottledInput};
///
/// let device = Device::flex();
/// let tokens = Tensor::<3>::random([2, 9, 16], Distribution::Default, &device);
/// let scores = tokens.clone().mean_dim(2).squeeze_dim::<2>(2);
/// let gated = ThrottledGate::default().forward(ThrottledInput {
///     tokens,
///     scores,
///     budget: 3.into(),
///     tau: 0.5,
///     draws: Draws { seed: 7, numbers: &[0, 1] },
///     mask: None,
/// });
/// assert_eq!(gated.tokens.dims(), [2, 9, 16]);
/// let spent = gated.weights.sum_dim(1).into_data();
/// assert!(spent.iter::<f32>().all(|sum| (sum - 3.0).abs() < 1e-4), "the budget is exact");
/// ```
#[derive(Debug, Clone)]
pub struct ThrottledGate {
    operator: SoftTopKKind,
    softtopk: SoftTopKConfig,
    throttler: ThrottlerConfig,
    family: GateFamily,
}

/// The input of [`ThrottledGate::forward`].
#[derive(Debug, Clone)]
pub struct ThrottledInput<'a> {
    /// The tokens to gate, `[b, n, d]`.
    pub tokens: Tensor<3>,
    /// A score for each, `[b, n]`; higher passes first.
    pub scores: Tensor<2>,
    /// Tokens that may pass, for the batch or for each image. At least `n` opens every gate, and nothing is learned.
    pub budget: K,
    /// Temperature in units of the z-scored scores: about 1 is soft, 0.1 nearly hard.
    pub tau: f64,
    /// Seed of the noise and the number of each image in the run. One and the same number gives one and the same noise.
    pub draws: Draws<'a>,
    /// Real tokens, `[b, n]`; `None`: all are.
    pub mask: Option<Tensor<2, Bool>>,
}

/// Throttles tokens by their scores with DiffPrune's default settings: Laplace soft top-k on z-scored scores, variance-
/// preserving noise as strong as the tokens. Short for [`ThrottledGate::default`] and [`ThrottledGate::forward`].
///
/// # Shapes
/// See [`ThrottledInput`] and [`Gated`].
pub fn throttled_gate(input: ThrottledInput<'_>) -> Gated {
    ThrottledGate::default().forward(input)
}

impl Default for ThrottledGate {
    /// Laplace on z-scored scores, noise as strong as the tokens.
    fn default() -> Self {
        Self {
            operator: ThresholdKind::Laplace.into(),
            softtopk: SoftTopKConfig::new(),
            throttler: ThrottlerConfig::new(),
            family: GateFamily::Laplace,
        }
    }
}

impl ThrottledGate {
    /// The gate of these settings, with the curve `softtopk.kind`.
    ///
    /// # Errors
    /// When the noise gate cannot run on the weights of that curve, because they reach 0 or 1.
    pub fn new(softtopk: SoftTopKConfig, throttler: ThrottlerConfig) -> Result<Self, ConfigError> {
        let found = format!("{:?}", softtopk.kind);
        Self::on(
            softtopk.kind.into(),
            softtopk,
            throttler,
            ("diffprune.softtopk.kind", found),
        )
    }

    /// The gate on another operator that gives an argument beside its weights: a threshold or DFTopK. `setting` names the
    /// setting that chose it, and its value.
    ///
    /// # Errors
    /// When the noise gate cannot run on the operator's weights.
    pub(crate) fn on(
        operator: SoftTopKKind,
        softtopk: SoftTopKConfig,
        throttler: ThrottlerConfig,
        setting: (&str, String),
    ) -> Result<Self, ConfigError> {
        if throttler.gate == GateKind::VpNoise {
            operator.supports_vp_noise().map_err(|cause| {
                let wanted = format!("one for `throttler.gate` = VpNoise ({cause})");
                ConfigError::new(setting.0, setting.1, wanted)
            })?;
        }
        let family = match operator {
            SoftTopKKind::Threshold(ThresholdKind::Sigmoid) | SoftTopKKind::DfTopK => GateFamily::Sigmoid,
            // The others only with the scale gate, whose derivative runs through the weights and not through the curve.
            _ => GateFamily::Laplace,
        };
        Ok(Self {
            operator,
            softtopk,
            throttler,
            family,
        })
    }

    /// Scores to weights that sum to the budget, weights to throttled tokens: equations 2 and 7 of `docs/method.md`.
    ///
    /// Gradients reach the scores, and the tokens where these have some.
    ///
    /// # Shapes
    /// See [`ThrottledInput`] and [`Gated`].
    ///
    /// # Panics
    /// If the sizes do not fit one another.
    pub fn forward(&self, input: ThrottledInput<'_>) -> Gated {
        let ThrottledInput {
            tokens,
            scores,
            budget,
            tau,
            draws,
            mask,
        } = input;
        let topk = SoftTopKInput {
            scores,
            k: budget,
            tau: Tau::Batch(tau),
            mask: mask.clone(),
        };
        let SoftTopKOutput {
            weights,
            complement,
            argument,
            ..
        } = match self.operator {
            SoftTopKKind::DfTopK => dftopk(self.normalised(topk)),
            SoftTopKKind::Threshold(kind) => self.softtopk.clone().with_kind(kind).init().forward(topk),
            _ => self.softtopk.init().forward(topk),
        };
        let device = tokens.device().without_autodiff();
        let [images, n_tokens, width] = tokens.dims();
        let noise = match self.throttler.gate {
            GateKind::VpNoise => draws.noise([n_tokens, width], &device),
            // Unused, and drawing takes time.
            GateKind::Scale => Tensor::zeros([images, n_tokens, width], &device),
        };
        let throttled = self.throttler.init().forward(ThrottlerInput {
            tokens,
            weights: weights.clone(),
            complement,
            argument,
            family: self.family,
            noise,
            mask,
        });
        Gated {
            tokens: throttled,
            weights,
            penalty: None,
            kept: None,
        }
    }

    fn normalised(&self, input: SoftTopKInput) -> SoftTopKInput {
        let scores = match self.softtopk.z_score {
            true => z_score(input.scores, input.mask.clone(), self.softtopk.z_score_eps),
            false => input.scores,
        };
        SoftTopKInput { scores, ..input }
    }
}
