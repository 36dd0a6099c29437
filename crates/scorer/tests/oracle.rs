//! The scorer's block against PyTorch's `TransformerEncoderLayer`: outputs and every gradient.
//!
//! The identity attention mask is played by a batch of one-token samples: there too every token sees only
//! itself.

use burn::tensor::Tensor;
use diffprune_scorer::{TransformerBlock, TransformerBlockConfig};
use diffprune_test_support::encoder_block::{self, Block, Layers};

struct Tested {
    block: TransformerBlock,
    alone: bool,
}

impl Block for Tested {
    fn layers(&mut self) -> Layers<'_> {
        let block = &mut self.block;
        let attn = &mut block.attn;
        Layers {
            norm1: &mut block.norm1,
            norm2: &mut block.norm2,
            linear1: &mut block.linear1,
            linear2: &mut block.linear2,
            out_proj: &mut attn.out_proj,
            in_proj: [&mut attn.q_proj, &mut attn.k_proj, &mut attn.v_proj].map(Some),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, n_tokens, d_model] = x.dims();
        let samples = match self.alone {
            true => [batch * n_tokens, 1, d_model],
            false => [batch, n_tokens, d_model],
        };
        let y = self.block.forward(x.reshape(samples), None);
        y.reshape([batch, n_tokens, d_model])
    }
}

#[test]
fn agrees_with_pytorch_in_every_case() {
    encoder_block::check(|settings, device| {
        let block = TransformerBlockConfig::new(settings.d_model, settings.n_heads, settings.d_ff)
            .with_norm_first(settings.norm_first)
            .with_activation(settings.activation)
            .with_norm_eps(settings.norm_eps);
        Tested {
            block: block.init(device),
            alone: settings.alone,
        }
    });
}
