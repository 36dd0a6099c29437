//! The transformer block that the scorer is made of.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Bool, Device, Tensor};
use diffprune_kernels::{
    Activation, AttentionLayers, ResidualNorms, feed_forward, linear_with_bias, self_attention,
};

/// Configuration of a [`TransformerBlock`].
#[derive(Config, Debug, PartialEq)]
pub struct TransformerBlockConfig {
    /// Width of the tokens.
    pub d_model: usize,
    /// Number of heads; must divide `d_model`.
    pub n_heads: usize,
    /// Width of the feed-forward part.
    pub d_ff: usize,
    /// Layer norm before each part (pre-LN) instead of after the sum (post-LN). Default: true.
    #[config(default = true)]
    pub norm_first: bool,
    /// Nonlinearity of the feed-forward part. Default: [`Activation::Gelu`].
    #[config(default = "Activation::Gelu")]
    pub activation: Activation,
    /// Epsilon of the layer norms. Default: 1e-5.
    #[config(default = 1e-5)]
    pub norm_eps: f64,
}

/// Multi-head self-attention over all tokens of a sample; the `n x n` weights are never kept.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Query projection, `[d_model, d_model]`.
    pub q_proj: Linear,
    /// Key projection, `[d_model, d_model]`.
    pub k_proj: Linear,
    /// Value projection, `[d_model, d_model]`.
    pub v_proj: Linear,
    /// Output projection, `[d_model, d_model]`.
    pub out_proj: Linear,
    n_heads: usize,
}

/// One transformer block.
///
/// ```text
/// pre-LN:   y = x + Attn(LN1(x))      z = y + W2 act(W1 LN2(y))
/// post-LN:  y = LN1(x + Attn(x))      z = LN2(y + W2 act(W1 y))
/// ```
#[derive(Module, Debug)]
pub struct TransformerBlock {
    /// Layer norm of the attention part, `[d_model]`.
    pub norm1: LayerNorm,
    /// Self-attention.
    pub attn: SelfAttention,
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

impl TransformerBlockConfig {
    /// Creates the block: weights Xavier-uniform, biases zero, norms the identity.
    ///
    /// # Panics
    ///
    /// If a size is 0 or `n_heads` does not divide `d_model`.
    pub fn init(&self, device: &Device) -> TransformerBlock {
        let Self {
            d_model,
            n_heads,
            d_ff,
            ..
        } = *self;
        assert!(
            d_model > 0 && d_ff > 0,
            "d_model {d_model} and d_ff {d_ff} must be positive"
        );
        assert!(
            n_heads > 0 && d_model.is_multiple_of(n_heads),
            "n_heads {n_heads} must divide d_model {d_model}"
        );
        let norm = LayerNormConfig::new(d_model).with_epsilon(self.norm_eps);
        let projection =
            |d_in, d_out| linear_with_bias(d_in, d_out, &Initializer::XavierUniform { gain: 1.0 }, device);
        let square = || projection(d_model, d_model);
        TransformerBlock {
            norm1: norm.init(device),
            attn: SelfAttention {
                q_proj: square(),
                k_proj: square(),
                v_proj: square(),
                out_proj: square(),
                n_heads,
            },
            norm2: norm.init(device),
            linear1: projection(d_model, d_ff),
            linear2: projection(d_ff, d_model),
            norm_first: self.norm_first,
            norm_eps: self.norm_eps,
            activation: self.activation,
        }
    }
}

impl TransformerBlock {
    /// Applies the block.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, n_tokens, d_model]`
    /// - mask: `[batch, n_tokens]`, true = a real token; the others are not attended to
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

impl SelfAttention {
    /// Attends, then projects.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, n_tokens, d_model]`
    /// - mask: `[batch, n_tokens]`, true = may be attended to
    /// - output: `[batch, n_tokens, d_model]`
    pub fn forward(&self, x: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<3> {
        let layers = AttentionLayers {
            q_proj: &self.q_proj,
            k_proj: &self.k_proj,
            v_proj: &self.v_proj,
            out_proj: &self.out_proj,
            n_heads: self.n_heads,
        };
        self_attention(layers, x, mask)
    }
}
