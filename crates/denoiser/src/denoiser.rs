//! The denoiser: one transformer block that repairs throttled tokens.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Bool, Device, Tensor};
use diffprune_kernels::{Activation, ResidualNorms, draw_parameters, feed_forward};

use crate::attention::{DenoiserAttention, DenoiserSelfAttention, DenoiserSelfAttentionConfig, projection};

/// Configuration of a [`Denoiser`].
#[derive(Config, Debug)]
pub struct DenoiserConfig {
    /// Width of the vision tokens.
    pub d_model: usize,
    /// Number of heads. Default: 16. Has no effect on diagonal attention; must divide `d_model` for
    /// the global one.
    #[config(default = 16)]
    pub n_heads: usize,
    /// Width of the feed-forward part. Default: `4 * d_model`.
    pub d_ff: Option<usize>,
    /// Which tokens a token looks at. Default: [`DenoiserAttention::Diagonal`].
    #[config(default = "DenoiserAttention::Diagonal")]
    pub attention: DenoiserAttention,
    /// Layer norm before each part (pre-LN) instead of after the sum (post-LN). Default: true. Only
    /// pre-LN keeps the path from input to output free, which the identity start needs.
    #[config(default = true)]
    pub norm_first: bool,
    /// Nonlinearity of the feed-forward part. Default: [`Activation::Gelu`].
    #[config(default = "Activation::Gelu")]
    pub activation: Activation,
    /// Epsilon of the layer norms. Default: 1e-5.
    #[config(default = 1e-5)]
    pub norm_eps: f64,
    /// Start both residual branches with a last layer of zeros. Default: true. A pre-LN denoiser is
    /// then the identity before training, so a frozen VLM first sees tokens of the kind it knows; with
    /// false it sees randomly mixed channels until the denoiser has learnt to stand aside.
    #[config(default = true)]
    pub zero_init_residual: bool,
}

/// One transformer block between the throttler and the projector, used in training only.
///
/// ```text
/// pre-LN:   y = x + Attn(LN1(x))      z = y + W2 act(W1 LN2(y))
/// post-LN:  y = LN1(x + Attn(x))      z = LN2(y + W2 act(W1 y))
/// ```
///
/// `Attn` is diagonal by default: see [`DenoiserAttention`].
#[derive(Module, Debug)]
pub struct Denoiser {
    /// Layer norm of the attention part, `[d_model]`.
    pub norm1: LayerNorm,
    /// Self-attention.
    pub attn: DenoiserSelfAttention,
    /// Layer norm of the feed-forward part, `[d_model]`.
    pub norm2: LayerNorm,
    /// First feed-forward layer, `[d_model, d_ff]`.
    pub linear1: Linear,
    /// Second feed-forward layer, `[d_ff, d_model]`.
    pub linear2: Linear,
    norm_first: bool,
    norm_eps: f64,
    #[module(skip)]
    activation: Activation,
}

impl DenoiserConfig {
    /// Creates the block. Linear weights are Xavier-uniform (zero where
    /// [`zero_init_residual`](Self::zero_init_residual) says so), biases zero, norms the identity.
    ///
    /// Values are drawn here and in the order of the fields, so that a seed set on the device just
    /// before fixes them.
    ///
    /// # Panics
    ///
    /// If a size is 0, or the attention is global and `n_heads` does not divide `d_model`.
    pub fn init(&self, device: &Device) -> Denoiser {
        let d_ff = self.d_ff.unwrap_or(4 * self.d_model);
        assert!(d_ff > 0, "d_ff must be positive");
        let norm = LayerNormConfig::new(self.d_model).with_epsilon(self.norm_eps);
        let denoiser = Denoiser {
            norm1: norm.init(device),
            attn: DenoiserSelfAttentionConfig::new(self.d_model, self.n_heads)
                .with_attention(self.attention)
                .with_zero_output(self.zero_init_residual)
                .init(device),
            norm2: norm.init(device),
            linear1: projection(self.d_model, d_ff, false, device),
            linear2: projection(d_ff, self.d_model, self.zero_init_residual, device),
            norm_first: self.norm_first,
            norm_eps: self.norm_eps,
            activation: self.activation,
        };
        draw_parameters(&denoiser);
        denoiser
    }
}

impl Denoiser {
    /// Repairs the tokens.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, n_tokens, d_model]`
    /// - mask: `[batch, n_tokens]`, true = a real token. Diagonal attention has no use for it; global
    ///   attention never looks at masked tokens. Outputs at masked places mean nothing.
    /// - output: `[batch, n_tokens, d_model]`
    pub fn forward(&self, x: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let norms = ResidualNorms {
            norm1: &self.norm1,
            norm2: &self.norm2,
            norm_first: self.norm_first,
            eps: self.norm_eps,
        };
        let feed_forward = |x| feed_forward(&self.linear1, self.activation, &self.linear2, x);
        norms.forward(x, |x| self.attn.forward(x, mask), feed_forward)
    }
}
