//! The transformer block that the scorer is made of.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Bool, Device, Tensor, activation};
use diffprune_kernels::{AttentionOptions, attention, gelu, layer_norm, linear3};

/// The nonlinearity between the two layers of the feed-forward part.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Gaussian error linear unit, erf form.
    Gelu,
    /// Rectified linear unit.
    Relu,
}

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
        let square = || projection(d_model, d_model, device);
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
            linear1: projection(d_model, d_ff, device),
            linear2: projection(d_ff, d_model, device),
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
        if self.norm_first {
            let y = x.clone() + self.attn.forward(norm(&self.norm1, x, self.norm_eps), mask);
            y.clone() + self.feed_forward(norm(&self.norm2, y, self.norm_eps))
        } else {
            let y = norm(&self.norm1, x.clone() + self.attn.forward(x, mask), self.norm_eps);
            norm(&self.norm2, y.clone() + self.feed_forward(y), self.norm_eps)
        }
    }

    fn feed_forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = linear3(&self.linear1, x);
        let hidden = match self.activation {
            Activation::Gelu => gelu(hidden),
            Activation::Relu => activation::relu(hidden),
        };
        linear3(&self.linear2, hidden)
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
        let [batch, n_tokens, d_model] = x.dims();
        let heads = [batch, n_tokens, self.n_heads, d_model / self.n_heads];
        let q = linear3(&self.q_proj, x.clone()).reshape(heads);
        let k = linear3(&self.k_proj, x.clone()).reshape(heads);
        let v = linear3(&self.v_proj, x).reshape(heads);
        let options = AttentionOptions {
            scale: None,
            causal: false,
            key_mask: mask,
        };
        let mixed = attention(q, k, v, &options).reshape([batch, n_tokens, d_model]);
        linear3(&self.out_proj, mixed)
    }
}

/// Applies a layer norm through the fused kernel (statistics in f32, fused backward).
pub(crate) fn norm(layer: &LayerNorm, x: Tensor<3>, eps: f64) -> Tensor<3> {
    let gamma = layer.gamma.val();
    let beta = layer
        .beta
        .as_ref()
        .map_or_else(|| gamma.zeros_like(), |beta| beta.val());
    layer_norm(x, gamma, beta, eps)
}

/// A linear layer with weight Xavier-uniform, `[d_in, d_out]`, and bias zero.
fn projection(d_in: usize, d_out: usize, device: &Device) -> Linear {
    let weight: Param<Tensor<2>> =
        Initializer::XavierUniform { gain: 1.0 }.init_with([d_in, d_out], Some(d_in), Some(d_out), device);
    Linear {
        weight,
        bias: Some(Initializer::Zeros.init([d_out], device)),
    }
}
