//! Parts that the heads share.

use burn::module::Module;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Bool, Device, Tensor};
use diffprune_kernels::{apply_layer_norm, gelu, linear_with_bias, linear3};

/// Epsilon of the layer norms.
const NORM_EPS: f64 = 1e-5;
/// Standard deviation of the initial weights, as in the published code of both predictors.
const INIT_STD: f64 = 0.02;

/// A linear layer with normal weights and a bias of zero.
pub(crate) fn linear(d_in: usize, d_out: usize, device: &Device) -> Linear {
    let normal = Initializer::Normal {
        mean: 0.0,
        std: INIT_STD,
    };
    linear_with_bias(d_in, d_out, &normal, device)
}

/// Layer norm, linear layer, GELU.
#[derive(Module, Debug)]
pub(crate) struct Entry {
    norm: LayerNorm,
    linear: Linear,
}

impl Entry {
    pub(crate) fn new(d_in: usize, d_out: usize, device: &Device) -> Self {
        Self {
            norm: norm(d_in, device),
            linear: linear(d_in, d_out, device),
        }
    }

    /// `[batch, n_tokens, d_in]` to `[batch, n_tokens, d_out]`, in the float type of the parameters.
    pub(crate) fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        gelu(linear3(&self.linear, apply_norm(&self.norm, tokens)))
    }
}

pub(crate) fn norm(width: usize, device: &Device) -> LayerNorm {
    LayerNormConfig::new(width).with_epsilon(NORM_EPS).init(device)
}

/// The layer norm of tokens, cast to the float type of the parameters.
pub(crate) fn apply_norm(layer: &LayerNorm, tokens: Tensor<3>) -> Tensor<3> {
    apply_layer_norm(layer, tokens.cast(layer.gamma.dtype()), NORM_EPS)
}

/// Two logits per token from its own half of the channels and the mean of the other half over the kept tokens.
#[derive(Module, Debug)]
pub(crate) struct LocalGlobalHead {
    first: Linear,
    second: Linear,
    last: Linear,
}

impl LocalGlobalHead {
    /// `width` must be a multiple of 4.
    pub(crate) fn new(width: usize, device: &Device) -> Self {
        Self {
            first: linear(width, width / 2, device),
            second: linear(width / 2, width / 4, device),
            last: linear(width / 4, 2, device),
        }
    }

    /// # Shapes
    /// - hidden: `[batch, n_tokens, width]`; keep: `[batch, n_tokens]`, 1 = kept
    /// - output: `[batch, n_tokens, 2]`, class 0 keeps
    pub(crate) fn forward(&self, hidden: Tensor<3>, keep: Tensor<2>) -> Tensor<3> {
        let [batch, n_tokens, width] = hidden.dims();
        let half = width / 2;
        let keep = keep.cast(hidden.dtype()).reshape([batch, n_tokens, 1]);
        let local = hidden.clone().narrow(2, 0, half);
        // Whole tokens are kept, so a sum below 1 is a sum of nothing.
        let count = keep.clone().sum_dim(1).clamp_min(1.0);
        let global = (hidden.narrow(2, half, half) * keep).sum_dim(1) / count;
        let joined = Tensor::cat(vec![local, global.expand([batch, n_tokens, half])], 2);
        let hidden = gelu(linear3(&self.first, joined));
        let hidden = gelu(linear3(&self.second, hidden));
        linear3(&self.last, hidden)
    }
}

/// Ones for tokens that are real and still kept, `[batch, n_tokens]`.
pub(crate) fn present(
    tokens: &Tensor<3>,
    keep: Option<Tensor<2>>,
    mask: Option<Tensor<2, Bool>>,
) -> Tensor<2> {
    let [batch, n_tokens, _] = tokens.dims();
    let device = tokens.device().without_autodiff();
    let keep = keep.unwrap_or_else(|| Tensor::ones([batch, n_tokens], &device));
    match mask {
        Some(mask) => keep.mask_fill(mask.bool_not(), 0.0),
        None => keep,
    }
}
