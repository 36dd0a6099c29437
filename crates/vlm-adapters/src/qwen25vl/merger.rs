//! The merger of Qwen2.5-VL: the patches of a cell become one token of the language model.

use burn::module::Module;
use burn::nn::{Linear, RmsNorm, RmsNormConfig};
use burn::tensor::{Device, Tensor};
use diffprune_kernels::{apply_rms_norm, gelu, linear3};

use super::vision::{EPSILON, INIT_STD};
use crate::QwenVisionConfig;
use crate::vision::linear;

/// `W2 gelu(W1 [norm(x_1), .., norm(x_g)] + b1) + b2` for the `g` patches of each cell; the erf form of gelu.
#[derive(Module, Debug)]
pub struct QwenMerger {
    /// Norm of each patch.
    pub ln_q: RmsNorm,
    /// `g * d_patch` to itself.
    pub linear_1: Linear,
    /// `g * d_patch` to `d_model`.
    pub linear_2: Linear,
    group: usize,
}

impl QwenMerger {
    /// A merger with random weights.
    pub fn new(config: &QwenVisionConfig, device: &Device) -> Self {
        let wide = config.group() * config.hidden_size;
        Self {
            ln_q: RmsNormConfig::new(config.hidden_size)
                .with_epsilon(EPSILON)
                .init(device),
            linear_1: linear(wide, wide, INIT_STD, device, true),
            linear_2: linear(wide, config.out_hidden_size, INIT_STD, device, true),
            group: config.group(),
        }
    }

    /// Cells are cast to the type of the weights.
    ///
    /// # Shapes
    /// - cells: `[b, k, group * d_patch]`, the patches of a cell side by side
    /// - output: `[b, k, d_model]`
    pub fn forward(&self, cells: Tensor<3>) -> Tensor<3> {
        let [batch, n_cells, wide] = cells.dims();
        let patches = cells.cast(self.linear_1.weight.dtype()).reshape([
            batch,
            n_cells * self.group,
            wide / self.group,
        ]);
        let normed = apply_rms_norm(&self.ln_q, patches);
        let inner = gelu(linear3(&self.linear_1, normed.reshape([batch, n_cells, wide])));
        linear3(&self.linear_2, inner)
    }
}
