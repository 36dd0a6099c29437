//! The denoiser against PyTorch's `TransformerEncoderLayer`: outputs and every gradient.
//!
//! The identity attention mask is diagonal attention, no mask is global attention.

use burn::tensor::Tensor;
use diffprune_denoiser::{Denoiser, DenoiserAttention, DenoiserConfig};
use diffprune_test_support::encoder_block::{self, Block, Layers};

struct Tested(Denoiser);

impl Block for Tested {
    fn layers(&mut self) -> Layers<'_> {
        let Denoiser {
            norm1,
            attn,
            norm2,
            linear1,
            linear2,
            ..
        } = &mut self.0;
        Layers {
            norm1,
            norm2,
            linear1,
            linear2,
            out_proj: &mut attn.out_proj,
            in_proj: [attn.q_proj.as_mut(), attn.k_proj.as_mut(), Some(&mut attn.v_proj)],
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.0.forward(x, None)
    }
}

#[test]
fn agrees_with_pytorch_in_every_case() {
    encoder_block::check(|settings, device| {
        let attention = match settings.alone {
            true => DenoiserAttention::Diagonal,
            false => DenoiserAttention::Global,
        };
        let config = DenoiserConfig::new(settings.d_model)
            .with_n_heads(settings.n_heads)
            .with_d_ff(Some(settings.d_ff))
            .with_attention(attention)
            .with_norm_first(settings.norm_first)
            .with_activation(settings.activation)
            .with_norm_eps(settings.norm_eps);
        Tested(config.init(device))
    });
}
