//! One block of the vision transformer of Qwen2.5-VL.

use burn::module::Module;
use burn::nn::{Linear, RmsNorm};
use burn::tensor::{DType, Tensor};
use diffprune_kernels::{AttentionOptions, apply_rms_norm, attention, attention_rows, rope_halves, swiglu};

use super::sets::{Sets, Tour};

/// One block of [`QwenVision`](super::QwenVision): `x + Attn(norm(x))`, then `x + MLP(norm(x))`.
#[derive(Module, Debug)]
pub struct QwenVisionBlock {
    /// Norm before the attention.
    pub norm1: RmsNorm,
    /// Queries, keys and values side by side, `[d, 3 * d]`.
    pub qkv: Linear,
    /// Output of the attention.
    pub proj: Linear,
    /// Norm before the MLP.
    pub norm2: RmsNorm,
    /// Gate of the MLP.
    pub gate_proj: Linear,
    /// Up.
    pub up_proj: Linear,
    /// Down.
    pub down_proj: Linear,
    pub(super) full_attention: bool,
    pub(super) n_heads: usize,
}

impl QwenVisionBlock {
    /// # Shapes
    /// - x and output: `[patches, d]`, in the order of the tour
    pub(super) fn forward(&self, x: Tensor<2>, sets: &Sets) -> Tensor<2> {
        let x = x.clone() + self.attend(x, sets);
        let normed = apply_rms_norm(&self.norm2, x.clone());
        let inner = swiglu(
            self.gate_proj.forward(normed.clone()),
            self.up_proj.forward(normed),
        );
        x + self.down_proj.forward(inner)
    }

    /// Attention of every patch over its set.
    pub(super) fn attend(&self, x: Tensor<2>, sets: &Sets) -> Tensor<2> {
        let [n_patches, width] = x.dims();
        let dtype = x.dtype();
        let (q, k, v) = self.heads(x, sets);
        // In f32, whatever the weights are held in: that form keeps no weights of whole images.
        let [q, k, v] = [q, k, v].map(|x| x.cast(DType::F32));
        let parts = sets.pieces(self.n_heads).into_iter().map(|piece| {
            attention(
                piece.queries(&q),
                piece.keys(&k),
                piece.keys(&v),
                &AttentionOptions::default(),
            )
            .reshape([-1, width as i64])
        });
        let attended: Tensor<2> = Tensor::cat(parts.collect(), 0);
        let attended = attended.reshape([n_patches, width]).cast(dtype);
        sets.leave(self.proj.forward(attended))
    }

    /// Mean attention that each patch of a set receives, over heads and queries, `[patches, 1]`.
    pub(super) fn received(&self, x: Tensor<2>, sets: &Sets) -> Tensor<2> {
        let (q, k, _) = self.heads(x, sets);
        let (q, k) = (q.cast(DType::F32), k.cast(DType::F32));
        let mut sums: Vec<Tensor<2>> = Vec::new();
        let mut first = None;
        for piece in sets.pieces(self.n_heads) {
            let weights = attention_rows(piece.queries(&q), piece.keys(&k), &AttentionOptions::default());
            let [n_sets, _, _, size] = weights.dims();
            let sum = weights.mean_dim(1).sum_dim(2).reshape([n_sets * size, 1]) / size as f32;
            match sums.last_mut() {
                Some(last) if first == Some(piece.keys.start) => *last = last.clone() + sum,
                _ => sums.push(sum),
            }
            first = Some(piece.keys.start);
        }
        sets.leave(Tensor::cat(sums, 0))
    }

    /// Queries, keys (both turned) and values in the order of the sets, each `[1, patches, n_heads, head_dim]`.
    pub(super) fn heads(&self, x: Tensor<2>, sets: &Sets) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
        let [n_patches, width] = x.dims();
        let n_heads = self.n_heads;
        let normed = sets.enter(apply_rms_norm(&self.norm1, x));
        let qkv = self.qkv.forward(normed);
        let qkv = qkv.reshape([1, n_patches, 3 * n_heads, width / n_heads]);
        let turned = rope_halves(
            qkv.clone().narrow(2, 0, 2 * n_heads),
            sets.cos.clone(),
            sets.sin.clone(),
        );
        (
            turned.clone().narrow(2, 0, n_heads),
            turned.narrow(2, n_heads, n_heads),
            qkv.narrow(2, 2 * n_heads, n_heads),
        )
    }

    /// Whom the patches of this block see.
    pub(super) fn sets<'a>(&self, tour: &'a Tour) -> &'a Sets {
        match self.full_attention {
            true => &tour.images,
            false => &tour.windows,
        }
    }
}
