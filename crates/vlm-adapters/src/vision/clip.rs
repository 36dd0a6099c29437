//! The vision transformer of CLIP: patches and `[CLS]`, pre-LayerNorm, pre-LN blocks.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Device, Tensor};
use diffprune_kernels::{
    AttentionOptions, apply_layer_norm, attention, attention_rows, gelu, linear_with_bias, linear3,
    quick_gelu,
};
use diffprune_pruner::Signals;

use super::observe::{ClipEncoding, LayerSignals};
use crate::{Activation, ClipVisionConfig};

/// Standard deviation of freshly drawn weights, as in ViT and GPT-2.
const INIT_STD: f64 = 0.02;

/// The vision tower of CLIP.
///
/// Hidden state 0 is the encoder's input (after the pre-LayerNorm), hidden state `i` the output of layer `i - 1`.
#[derive(Module, Debug)]
pub struct ClipVision {
    /// Flattened patches `(channel, y, x)` to the width of the encoder, `[3 * patch * patch, d_vision]`, no bias.
    pub patch_embedding: Linear,
    /// The `[CLS]` vector, `[d_vision]`.
    pub class_embedding: Param<Tensor<1>>,
    /// Learned positions, `[1 + n, d_vision]`, `[CLS]` first.
    pub position_embedding: Param<Tensor<2>>,
    /// Norm before the first layer.
    pub pre_layernorm: LayerNorm,
    /// The blocks.
    pub layers: Vec<ClipLayer>,
    /// Norm of the pooled `[CLS]`; LLaVA stores but does not use it.
    pub post_layernorm: LayerNorm,
    patch_size: usize,
    image_size: usize,
    epsilon: f64,
}

/// One block of [`ClipVision`]: `x + Attn(LN1(x))`, then `x + MLP(LN2(x))`.
#[derive(Module, Debug)]
pub struct ClipLayer {
    /// Norm before the attention.
    pub layer_norm1: LayerNorm,
    /// Queries.
    pub q_proj: Linear,
    /// Keys.
    pub k_proj: Linear,
    /// Values.
    pub v_proj: Linear,
    /// Output of the attention.
    pub out_proj: Linear,
    /// Norm before the MLP.
    pub layer_norm2: LayerNorm,
    /// MLP, first half.
    pub fc1: Linear,
    /// MLP, second half.
    pub fc2: Linear,
    n_heads: usize,
    epsilon: f64,
    #[module(skip)]
    activation: Activation,
}

impl ClipVisionConfig {
    /// A tower with random weights.
    ///
    /// # Panics
    /// When the width is not a multiple of the heads, or the image not of the patch.
    pub fn init(&self, device: &Device) -> ClipVision {
        assert_eq!(
            self.hidden_size % self.num_attention_heads,
            0,
            "the width must be a multiple of the heads"
        );
        assert_eq!(
            self.image_size % self.patch_size,
            0,
            "the image must be a multiple of the patch"
        );
        let width = self.hidden_size;
        let side = self.image_size / self.patch_size;
        let patch = 3 * self.patch_size * self.patch_size;
        let normal = Initializer::Normal {
            mean: 0.0,
            std: INIT_STD,
        };
        ClipVision {
            patch_embedding: linear(patch, width, INIT_STD, device, false),
            class_embedding: normal.init([width], device),
            position_embedding: normal.init([1 + side * side, width], device),
            pre_layernorm: self.norm(device),
            layers: (0..self.num_hidden_layers)
                .map(|_| self.init_layer(device))
                .collect(),
            post_layernorm: self.norm(device),
            patch_size: self.patch_size,
            image_size: self.image_size,
            epsilon: self.layer_norm_eps,
        }
    }

    pub(crate) fn init_layer(&self, device: &Device) -> ClipLayer {
        let (width, inner) = (self.hidden_size, self.intermediate_size);
        // Residual branches start small, so that depth does not blow up the sum (GPT-2).
        let residual_std = INIT_STD / (2.0 * self.num_hidden_layers as f64).sqrt();
        ClipLayer {
            layer_norm1: self.norm(device),
            q_proj: linear(width, width, INIT_STD, device, true),
            k_proj: linear(width, width, INIT_STD, device, true),
            v_proj: linear(width, width, INIT_STD, device, true),
            out_proj: linear(width, width, residual_std, device, true),
            layer_norm2: self.norm(device),
            fc1: linear(width, inner, INIT_STD, device, true),
            fc2: linear(inner, width, residual_std, device, true),
            n_heads: self.num_attention_heads,
            epsilon: self.layer_norm_eps,
            activation: self.hidden_act,
        }
    }

    pub(crate) fn norm(&self, device: &Device) -> LayerNorm {
        LayerNormConfig::new(self.hidden_size)
            .with_epsilon(self.layer_norm_eps)
            .init(device)
    }
}

impl ClipVision {
    /// Hidden state `index` (0 is the input of layer 0; negative counts from the end, -1 the last layer's output) and
    /// the signals of the tower among those asked for. Only the layers needed for them are computed.
    ///
    /// # Shapes
    /// - pixels: `[b, 3, image_size, image_size]`
    ///
    /// # Panics
    /// When the index names no hidden state.
    pub fn encode(&self, pixels: Tensor<4>, index: i64, signals: Signals) -> ClipEncoding {
        let depth = self.depth(index);
        let mut hidden = self.embed(pixels);
        let (mut first, mut last) = (LayerSignals::default(), LayerSignals::default());
        for (i, layer) in self.layers[..depth].iter().enumerate() {
            if i == 0 {
                let cls_attention = signals.first_cls_attention;
                first = layer.observe(
                    &hidden,
                    Signals {
                        cls_attention,
                        ..Signals::default()
                    },
                );
            }
            if i + 1 == depth {
                last = layer.observe(&hidden, signals);
            }
            hidden = layer.forward(hidden);
        }
        let next = self.layers.get(depth).filter(|_| signals.wide_attention);
        ClipEncoding {
            cls_attention: last.cls_attention,
            first_cls_attention: first.cls_attention,
            keys: last.keys,
            received_attention: last.received_attention,
            wide_attention: next.map(|layer| layer.wide_attention(&hidden)),
            hidden,
        }
    }

    /// Hidden state `index` alone, `[b, 1 + n, d_vision]`; see [`Self::encode`].
    pub fn hidden_state(&self, pixels: Tensor<4>, index: i64) -> Tensor<3> {
        self.encode(pixels, index, Signals::default()).hidden
    }

    /// Every hidden state, from the input of layer 0 to the output of the last layer, each `[b, 1 + n, d_vision]`.
    ///
    /// # Shapes
    /// - pixels: `[b, 3, image_size, image_size]`
    pub fn hidden_states(&self, pixels: Tensor<4>) -> Vec<Tensor<3>> {
        let mut states = vec![self.embed(pixels)];
        for layer in &self.layers {
            let next = layer.forward(states[states.len() - 1].clone());
            states.push(next);
        }
        states
    }

    /// Hidden state 0: patches and `[CLS]` with positions, normed.
    ///
    /// # Shapes
    /// - pixels: `[b, 3, image_size, image_size]`
    /// - output: `[b, 1 + n, d_vision]`
    pub fn embed(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [batch, ..] = pixels.dims();
        let pixels = pixels.cast(self.patch_embedding.weight.dtype());
        let patches = linear3(&self.patch_embedding, cut_patches(pixels, self.patch_size));
        let [_, n_patches, width] = patches.dims();
        let class = self
            .class_embedding
            .val()
            .reshape([1, 1, width])
            .expand([batch, 1, width]);
        let tokens = Tensor::cat(vec![class, patches], 1);
        let positions = self.position_embedding.val().reshape([1, 1 + n_patches, width]);
        apply_layer_norm(&self.pre_layernorm, tokens + positions, self.epsilon)
    }

    /// The pooled output of CLIP, `post_layernorm` of a hidden state's `[CLS]`.
    ///
    /// # Shapes
    /// - hidden: `[b, 1 + n, d_vision]`
    /// - output: `[b, d_vision]`
    pub fn pool(&self, hidden: Tensor<3>) -> Tensor<2> {
        let [batch, _, width] = hidden.dims();
        let class = hidden.narrow(1, 0, 1).reshape([batch, width]);
        apply_layer_norm(&self.post_layernorm, class, self.epsilon)
    }

    /// Token rows (and columns) of an image.
    pub fn grid_side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Side of a square patch, in pixels.
    pub fn patch_size(&self) -> usize {
        self.patch_size
    }

    /// Width of the hidden states.
    pub fn d_vision(&self) -> usize {
        self.class_embedding.lazy_shape().dims::<1>()[0]
    }

    /// Number of layers that produce hidden state `index`.
    ///
    /// # Panics
    /// When the index names no hidden state.
    pub fn depth(&self, index: i64) -> usize {
        let n_states = self.layers.len() as i64 + 1;
        let place = if index < 0 { n_states + index } else { index };
        assert!(
            (0..n_states).contains(&place),
            "hidden state {index} of {n_states}"
        );
        place as usize
    }
}

impl ClipLayer {
    /// # Shapes
    /// - x: `[b, n, d_vision]`
    /// - output: `[b, n, d_vision]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, n_tokens, width] = x.dims();
        let normed = self.normed(x.clone());
        let q = self.heads(linear3(&self.q_proj, normed.clone()));
        let k = self.heads(linear3(&self.k_proj, normed.clone()));
        let v = self.heads(linear3(&self.v_proj, normed));
        let attended = attention(q, k, v, &AttentionOptions::default()).reshape([batch, n_tokens, width]);
        let x = x + linear3(&self.out_proj, attended);
        let normed = apply_layer_norm(&self.layer_norm2, x.clone(), self.epsilon);
        x + linear3(&self.fc2, self.activate(linear3(&self.fc1, normed)))
    }

    /// Attention weights of a few queries of this layer.
    ///
    /// # Shapes
    /// - x: the layer's input, `[b, n, d_vision]`
    /// - output: `[b, n_heads, rows, n]`
    pub fn attention_rows(&self, x: Tensor<3>, rows: Range<usize>) -> Tensor<4> {
        let normed = self.normed(x);
        let q = self.heads(linear3(
            &self.q_proj,
            normed.clone().narrow(1, rows.start, rows.len()),
        ));
        let k = self.heads(linear3(&self.k_proj, normed));
        attention_rows(q, k, &AttentionOptions::default())
    }

    /// The input of this layer's attention.
    pub(super) fn normed(&self, x: Tensor<3>) -> Tensor<3> {
        apply_layer_norm(&self.layer_norm1, x, self.epsilon)
    }

    pub(super) fn heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, n_tokens, width] = x.dims();
        x.reshape([batch, n_tokens, self.n_heads, width / self.n_heads])
    }

    fn activate(&self, x: Tensor<3>) -> Tensor<3> {
        match self.activation {
            Activation::QuickGelu => quick_gelu(x),
            Activation::Gelu => gelu(x),
        }
    }
}

/// A linear layer with normal weights, and a bias of zero if there is one.
pub(crate) fn linear(d_input: usize, d_output: usize, std: f64, device: &Device, bias: bool) -> Linear {
    let mut layer = linear_with_bias(d_input, d_output, &Initializer::Normal { mean: 0.0, std }, device);
    if !bias {
        layer.bias = None;
    }
    layer
}

/// Cuts pixels into rows `(channel, y, x)`, `[b, n, 3 * patch * patch]`: stride equals patch, so no convolution.
pub(crate) fn cut_patches(pixels: Tensor<4>, patch_size: usize) -> Tensor<3> {
    let [batch, channels, height, width] = pixels.dims();
    let (rows, cols) = (height / patch_size, width / patch_size);
    pixels
        .reshape([batch, channels, rows, patch_size, cols, patch_size])
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([batch, rows * cols, channels * patch_size * patch_size])
}
