//! The throttler: how much of each token passes, and what fills the rest.

use burn::config::Config;
use burn::tensor::{Bool, Tensor};

use crate::gate::{GateFamily, Gates, gates};
use crate::scale::{centred_std, channel_std, token_mean, token_std};

/// The treatment of the part of a token that does not pass.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum GateKind {
    /// Replaces it by noise and keeps the variance: `sqrt(alpha) x + sqrt(beta) eps`. Limits the
    /// information that can pass, whatever the next layer does.
    VpNoise,
    /// Drops it: `alpha x`. A layer after it can undo the scaling: the ablation.
    Scale,
}

/// The strength of the noise of [`GateKind::VpNoise`].
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum NoiseScale {
    /// As given, standard normal: right for tokens that are already normalised.
    Unit,
    /// Times the standard deviation of the image's tokens over all channels (one number per image).
    TokenStd,
    /// Times the standard deviation of each channel over the image's tokens: for features in which a few
    /// channels are much larger than the rest.
    ChannelStd,
    /// Times the standard deviation of the image's tokens around their mean, over all channels, and the gate acts on that
    /// departure: `x~ = mean + sqrt(alpha) (x - mean) + sqrt(beta) sigma eps`. What all tokens of an image have in common is
    /// neither dimmed nor counted as strength.
    Centred,
}

/// Configuration of a [`Throttler`].
#[derive(Config, Debug, PartialEq)]
pub struct ThrottlerConfig {
    /// The content of a closed gate. Default: noise.
    #[config(default = "GateKind::VpNoise")]
    pub gate: GateKind,
    /// Strength of the noise. Default: the tokens' standard deviation. Too weak lets a closed token be
    /// read through the noise; too strong makes the input of the next layer unlike what it knows.
    #[config(default = "NoiseScale::TokenStd")]
    pub noise_scale: NoiseScale,
}

impl ThrottlerConfig {
    /// Builds the throttler. It has no parameters and lives on no device.
    pub fn init(&self) -> Throttler {
        Throttler {
            gate: self.gate,
            noise_scale: self.noise_scale,
        }
    }
}

/// The input of [`Throttler::forward`]; made by [`ThrottlerInput::new`].
#[derive(Debug, Clone)]
pub struct ThrottlerInput {
    /// `[batch, n_tokens, d]`
    pub tokens: Tensor<3>,
    /// `alpha`, `[batch, n_tokens]`, in `[0, 1]`.
    pub weights: Tensor<2>,
    /// `beta = 1 - alpha`, `[batch, n_tokens]`, without cancellation.
    pub complement: Tensor<2>,
    /// `u` with `alpha = f(u)`, `[batch, n_tokens]`: the noise gate's gradient runs through it.
    pub argument: Tensor<2>,
    /// The curve `f`.
    pub family: GateFamily,
    /// Standard normal, `[batch, n_tokens, d]`, e.g. from [`noise`](crate::noise). Unused by the scale gate.
    pub noise: Tensor<3>,
    /// `[batch, n_tokens]`, true = real token: whom the noise scale is measured on. `None`: all.
    pub mask: Option<Tensor<2, Bool>>,
}

impl ThrottlerInput {
    /// Tokens that are all real, with their gate: `weights`, their `complement` and the `argument` of the curve `family`.
    ///
    /// # Shapes
    /// - `tokens`, `noise`: `[batch, n_tokens, d]`
    /// - `weights`, `complement`, `argument`: `[batch, n_tokens]`
    pub fn new(
        tokens: Tensor<3>,
        [weights, complement, argument]: [Tensor<2>; 3],
        family: GateFamily,
        noise: Tensor<3>,
    ) -> Self {
        Self {
            tokens,
            weights,
            complement,
            argument,
            family,
            noise,
            mask: None,
        }
    }

    /// The same with tokens that are not real: `mask` is `[batch, n_tokens]`, true = real token. The scale of the noise is
    /// measured on the real ones.
    #[must_use]
    pub fn with_mask(mut self, mask: Tensor<2, Bool>) -> Self {
        self.mask = Some(mask);
        self
    }
}

/// Lets token `i` through in proportion to its weight and fills the rest with noise.
///
/// `x~ = sqrt(alpha) x + sqrt(beta) sigma eps`, so that the second moment of a token with mean 0 and
/// deviation `sigma` stays what it was.
#[derive(Debug, Clone, Copy)]
pub struct Throttler {
    gate: GateKind,
    noise_scale: NoiseScale,
}

impl Throttler {
    /// Gates every token: Eq. (7) of docs/method.md.
    ///
    /// Gradients go to the tokens and, for the noise gate, to `argument` (not to `weights` or `complement`,
    /// where they would be infinite at 0); for the scale gate to `weights`. The noise scale is a constant of
    /// the step. Masked tokens should come with weight 0: they turn into noise (0 with the scale gate).
    ///
    /// # Shapes
    /// - output: `[batch, n_tokens, d]`, in the precision of the tokens
    pub fn forward(&self, input: ThrottlerInput) -> Tensor<3> {
        let dtype = input.tokens.dtype();
        let [batch, n_tokens, _] = input.tokens.dims();
        let column = |x: Tensor<2>| x.reshape([batch, n_tokens, 1]);
        if self.gate == GateKind::Scale {
            return input.tokens * column(input.weights).cast(dtype);
        }
        let Gates { open, closed } = gates(input.family, input.weights, input.complement, input.argument);
        let (open, closed) = (column(open).cast(dtype), column(closed));
        self.mixed(input.tokens, open, input.noise, closed, input.mask.as_ref())
    }

    /// Replaces tokens by noise where a hard mask is 0: `x~ = m x + (1 - m) sigma eps`.
    ///
    /// For `m` of zeros and ones the values are those of [`forward`](Self::forward), since `sqrt(m) = m`. The gradient is
    /// another one: the form is linear in `m`, so `m` gets `<dL/dx~, x - sigma eps>`, which straight-through estimators pass on.
    /// With the scale gate `x~ = m x`.
    ///
    /// # Shapes
    /// - tokens, noise (standard normal): `[batch, n_tokens, d]`; keep: `[batch, n_tokens]`, the mask `m`
    /// - mask: `[batch, n_tokens]`, true = real token
    /// - output: `[batch, n_tokens, d]`, in the precision of the tokens
    pub fn replace(
        &self,
        tokens: Tensor<3>,
        keep: Tensor<2>,
        noise: Tensor<3>,
        mask: Option<&Tensor<2, Bool>>,
    ) -> Tensor<3> {
        let dtype = tokens.dtype();
        let [batch, n_tokens, _] = tokens.dims();
        let keep = keep.reshape([batch, n_tokens, 1]);
        if self.gate == GateKind::Scale {
            return tokens * keep.cast(dtype);
        }
        let drop = keep.clone().neg() + 1.0;
        self.mixed(tokens, keep.cast(dtype), noise, drop, mask)
    }

    /// Tokens times `open` and noise of the configured strength times `closed`, both `[batch, n_tokens, 1]`.
    fn mixed(
        &self,
        tokens: Tensor<3>,
        open: Tensor<3>,
        noise: Tensor<3>,
        mut closed: Tensor<3>,
        mask: Option<&Tensor<2, Bool>>,
    ) -> Tensor<3> {
        let dtype = tokens.dtype();
        let mut noise = noise.cast(dtype);
        match self.noise_scale {
            NoiseScale::Unit => {}
            NoiseScale::TokenStd => {
                closed = closed.clone() * token_std(&tokens, mask).cast(closed.dtype());
            }
            NoiseScale::ChannelStd => {
                noise = noise * channel_std(&tokens, mask).cast(dtype);
            }
            NoiseScale::Centred => {
                closed = closed.clone() * centred_std(&tokens, mask).cast(closed.dtype());
                let mean = token_mean(&tokens, mask).cast(dtype);
                return (tokens - mean.clone()) * open + noise * closed.cast(dtype) + mean;
            }
        }
        tokens * open + noise * closed.cast(dtype)
    }
}
