//! Scaled dot-product attention with explicit weights.

use burn::tensor::{Bool, Device, FloatDType, Tensor, activation};

use super::statistics_dtype;
use crate::AttentionOptions;

/// Stands for minus infinity among scores: finite, so that rows in which everything is hidden stay finite too.
const HIDDEN: f32 = -1e30;

/// See [`crate::attention`].
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, options: &AttentionOptions) -> Tensor<4> {
    let dtype = q.dtype();
    let wide = statistics_dtype(dtype);
    let heads = q.dims()[2];
    let weights = weights(q, k, options);
    let values = by_head(v.cast(wide), heads);
    weights
        .matmul(values)
        .swap_dims(1, 2)
        .cast(FloatDType::from(dtype))
}

/// See [`crate::attention_rows`].
pub fn attention_rows(q: Tensor<4>, k: Tensor<4>, options: &AttentionOptions) -> Tensor<4> {
    let dtype = q.dtype();
    weights(q, k, options).cast(FloatDType::from(dtype))
}

/// Attention weights `[b, h, n, m]` in the statistics type; rows that see no key are zero.
fn weights(q: Tensor<4>, k: Tensor<4>, options: &AttentionOptions) -> Tensor<4> {
    let [batch, n, heads, head_dim] = q.dims();
    let m = k.dims()[1];
    let wide = statistics_dtype(q.dtype());
    let scale = options.scale_for(head_dim);
    let device = q.device();
    let scores = (by_head(q.cast(wide), heads) * scale).matmul(by_head(k.cast(wide), heads).swap_dims(2, 3));
    match hidden([batch, heads, n, m], options, &device) {
        None => activation::softmax(scores, 3),
        Some(hidden) => {
            let weights = activation::softmax(scores.mask_fill(hidden.clone(), HIDDEN), 3);
            weights.mask_fill(hidden, 0.0)
        }
    }
}

/// `[b, m, h_kv, d]` to `[b, heads, m, d]`; each key/value head serves `heads / h_kv` neighbouring query heads.
fn by_head(x: Tensor<4>, heads: usize) -> Tensor<4> {
    let [batch, m, heads_kv, d] = x.dims();
    let x = x.swap_dims(1, 2);
    if heads_kv == heads {
        return x;
    }
    let repeats = heads / heads_kv;
    let x: Tensor<5> = x.unsqueeze_dim(2);
    x.expand([batch, heads_kv, repeats, m, d])
        .reshape([batch, heads, m, d])
}

/// Which scores no query may see, `[b, h, n, m]`; `None` when all may be seen.
fn hidden(
    [batch, heads, n, m]: [usize; 4],
    options: &AttentionOptions,
    device: &Device,
) -> Option<Tensor<4, Bool>> {
    let full = [batch, heads, n, m];
    let future = options.causal.then(|| {
        let future = Tensor::<2, Bool>::tril_mask([n, m], m as i64 - n as i64, device);
        future.reshape([1, 1, n, m]).expand(full)
    });
    let masked = options
        .key_mask
        .clone()
        .map(|mask| mask.bool_not().reshape([batch, 1, 1, m]).expand(full));
    match (future, masked) {
        (Some(future), Some(masked)) => Some(future.bool_or(masked)),
        (future, masked) => future.or(masked),
    }
}
