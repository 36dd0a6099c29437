//! Parts that networks of Burn's layers share: how layers start, and how they run through the fused operators.

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::{Initializer, LayerNorm, Linear, RmsNorm};
use burn::tensor::{Bool, Device, Tensor};

use crate::{Activation, AttentionOptions, attention, layer_norm, rms_norm};

/// A linear layer whose weight is drawn by `initializer` and whose bias is zero.
///
/// # Shapes
/// - weight: `[d_in, d_out]`
/// - bias: `[d_out]`
pub fn linear_with_bias(d_in: usize, d_out: usize, initializer: &Initializer, device: &Device) -> Linear {
    let weight: Param<Tensor<2>> = initializer.init_with([d_in, d_out], Some(d_in), Some(d_out), device);
    Linear {
        weight,
        bias: Some(Initializer::Zeros.init([d_out], device)),
    }
}

/// Draws every parameter of `module` that has not been drawn yet.
///
/// Burn draws a parameter when it is first read. Reading all of them at once, in the order of the fields, ties their
/// values to the seed that the device has now.
pub fn draw_parameters<M: Module>(module: &M) {
    struct Draw;

    impl ModuleVisitor for Draw {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let _ = param.val();
        }
    }

    module.visit(&mut Draw);
}

/// Applies `layer` to every token, seen as one long list of `b * n` rows.
///
/// Burn's gradient of the weight of a three-axis input first materialises `[b, d_in, d_out]`; with two axes it is one
/// product.
///
/// # Shapes
/// - `x`: `[b, n, d_in]`
/// - output: `[b, n, d_out]`
pub fn linear3(layer: &Linear, x: Tensor<3>) -> Tensor<3> {
    let [batch, n, d_in] = x.dims();
    let y = layer.forward::<2>(x.reshape([batch * n, d_in]));
    let [_, d_out] = y.dims();
    y.reshape([batch, n, d_out])
}

/// Applies a layer norm through [`layer_norm`]; a norm without bias has a bias of zero. `eps` is given because Burn's
/// layer does not tell its own.
///
/// # Shapes
/// - `x` and output: `[.., d]`
pub fn apply_layer_norm<const D: usize>(layer: &LayerNorm, x: Tensor<D>, eps: f64) -> Tensor<D> {
    let gamma = layer.gamma.val();
    let beta = match &layer.beta {
        Some(beta) => beta.val(),
        None => gamma.zeros_like(),
    };
    layer_norm(x, gamma, beta, eps)
}

/// Applies a root-mean-square norm through [`rms_norm`].
///
/// # Shapes
/// - `x` and output: `[.., d]`
pub fn apply_rms_norm<const D: usize>(layer: &RmsNorm, x: Tensor<D>) -> Tensor<D> {
    rms_norm(x, layer.gamma.val(), layer.epsilon)
}

/// Two linear layers with a nonlinearity between them, `W2 act(W1 x + b1) + b2`.
///
/// # Shapes
/// - `x`: `[b, n, d_in]`
/// - output: `[b, n, d_out]`
pub fn feed_forward(first: &Linear, activation: Activation, second: &Linear, x: Tensor<3>) -> Tensor<3> {
    linear3(second, activation.forward(linear3(first, x)))
}

/// The projections of [`self_attention`], `[d_model, d_model]` each.
#[derive(Debug, Clone, Copy)]
pub struct AttentionLayers<'a> {
    /// Of the queries.
    pub q_proj: &'a Linear,
    /// Of the keys.
    pub k_proj: &'a Linear,
    /// Of the values.
    pub v_proj: &'a Linear,
    /// Of what the heads found, side by side.
    pub out_proj: &'a Linear,
    /// Number of heads; it must divide `d_model`.
    pub n_heads: usize,
}

/// Multi-head self-attention over the tokens of each sample, each looking at all that `mask` admits.
///
/// # Shapes
/// - `x` and output: `[batch, n_tokens, d_model]`
/// - `mask`: `[batch, n_tokens]`, true = may be attended to
pub fn self_attention(layers: AttentionLayers<'_>, x: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<3> {
    let [batch, n_tokens, d_model] = x.dims();
    let heads = [batch, n_tokens, layers.n_heads, d_model / layers.n_heads];
    let q = linear3(layers.q_proj, x.clone()).reshape(heads);
    let k = linear3(layers.k_proj, x.clone()).reshape(heads);
    let v = linear3(layers.v_proj, x).reshape(heads);
    let options = AttentionOptions {
        scale: None,
        causal: false,
        key_mask: mask,
    };
    let mixed = attention(q, k, v, &options).reshape([batch, n_tokens, d_model]);
    linear3(layers.out_proj, mixed)
}

/// The two residual parts of a transformer block, and where their layer norms stand.
///
/// ```text
/// pre-LN:   y = x + attend(LN1(x))      z = y + feed_forward(LN2(y))
/// post-LN:  y = LN1(x + attend(x))      z = LN2(y + feed_forward(y))
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ResidualNorms<'a> {
    /// Layer norm of the attention part, `[d_model]`.
    pub norm1: &'a LayerNorm,
    /// Layer norm of the feed-forward part, `[d_model]`.
    pub norm2: &'a LayerNorm,
    /// Pre-LN instead of post-LN.
    pub norm_first: bool,
    /// Epsilon of both.
    pub eps: f64,
}

impl ResidualNorms<'_> {
    /// Runs both parts.
    ///
    /// # Shapes
    /// - `x` and output: `[batch, n_tokens, d_model]`
    pub fn forward(
        self,
        x: Tensor<3>,
        attend: impl FnOnce(Tensor<3>) -> Tensor<3>,
        feed_forward: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let norm1 = |x| apply_layer_norm(self.norm1, x, self.eps);
        let norm2 = |x| apply_layer_norm(self.norm2, x, self.eps);
        if self.norm_first {
            let y = x.clone() + attend(norm1(x));
            y.clone() + feed_forward(norm2(y))
        } else {
            let y = norm1(x.clone() + attend(x));
            norm2(y.clone() + feed_forward(y))
        }
    }
}
