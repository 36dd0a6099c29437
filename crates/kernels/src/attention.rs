//! Scaled dot-product attention on `[batch, tokens, heads, head_dim]`.

#[cfg(feature = "fused")]
use burn::backend::Dispatch;
use burn::tensor::{Bool, Tensor};

#[cfg(feature = "fused")]
use crate::fused::{self, AttentionForm, FusedOps};
use crate::reference;

/// Options of [`attention`] and [`attention_rows`]: which keys are visible, and the scale of the scores.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AttentionOptions {
    /// Factor of the scores; `None` stands for `head_dim^-0.5`.
    pub scale: Option<f64>,
    /// Query `i` of `n` sees only keys `j <= i + (m - n)`: the last query sees all of the `m` keys.
    pub causal: bool,
    /// `[b, m]`, `true` where a key may be attended; `None` where all may.
    pub key_mask: Option<Tensor<2, Bool>>,
}

impl AttentionOptions {
    /// The factor of the scores for heads of this width.
    pub(crate) fn scale_for(&self, head_dim: usize) -> f64 {
        self.scale.unwrap_or_else(|| (head_dim as f64).powf(-0.5))
    }

    /// The same with this factor of the scores.
    pub fn with_scale(mut self, scale: impl Into<Option<f64>>) -> Self {
        self.scale = scale.into();
        self
    }

    /// The same; `true` lets a query see no key after its own place.
    pub fn with_causal(mut self, causal: bool) -> Self {
        self.causal = causal;
        self
    }

    /// The same with these keys attended only, `[b, m]`.
    pub fn with_key_mask(mut self, key_mask: impl Into<Option<Tensor<2, Bool>>>) -> Self {
        self.key_mask = key_mask.into();
        self
    }
}

/// Attention without a transposition before or after: `softmax(scale * q k^T + mask) v` per head.
///
/// There may be fewer key/value heads than query heads; head `g` of them serves query heads `g r .. (g + 1) r` with
/// `r = h / h_kv`. Queries that see no key give zeros. Backward recomputes the weights, so that nothing of size
/// `n x m` outlives a head.
///
/// # Shapes
/// - `q`: `[b, n, h, d]`
/// - `k`, `v`: `[b, m, h_kv, d]`, `h_kv` divides `h`
/// - output: `[b, n, h, d]`
///
/// # Panics
/// If the shapes do not fit one another.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, options: &AttentionOptions) -> Tensor<4> {
    check_shapes(q.dims(), k.dims(), options);
    assert_eq!(k.dims(), v.dims(), "keys and values must have one shape");
    #[cfg(feature = "fused")]
    if fused::serves(&q) && fused::serves(&k) && fused::serves(&v) {
        let form = AttentionForm {
            scale: options.scale_for(q.dims()[3]) as f32,
            causal: options.causal,
        };
        let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
        return Tensor::from_dispatch(match options.key_mask.clone() {
            None => Dispatch::fused_attention(q, k, v, form),
            Some(mask) => Dispatch::fused_masked_attention(q, k, v, mask.into_dispatch(), form),
        });
    }
    reference::attention(q, k, v, options)
}

/// The weights of [`attention`] themselves, meant for a few queries: a row sums to one, or is zero if it sees no key.
///
/// # Shapes
/// - `q`: `[b, r, h, d]`
/// - `k`: `[b, m, h_kv, d]`, `h_kv` divides `h`
/// - output: `[b, h, r, m]`
pub fn attention_rows(q: Tensor<4>, k: Tensor<4>, options: &AttentionOptions) -> Tensor<4> {
    check_shapes(q.dims(), k.dims(), options);
    reference::attention_rows(q, k, options)
}

fn check_shapes(q: [usize; 4], k: [usize; 4], options: &AttentionOptions) {
    let ([batch, _, heads, d], [batch_kv, m, heads_kv, d_kv]) = (q, k);
    assert!(
        batch == batch_kv && d == d_kv,
        "queries {q:?} and keys {k:?} must share batch and head width"
    );
    assert!(
        heads_kv > 0 && heads.is_multiple_of(heads_kv),
        "{heads_kv} key/value heads must divide {heads} query heads"
    );
    if let Some(mask) = &options.key_mask {
        assert_eq!(mask.dims(), [batch, m], "the key mask must be [batch, keys]");
    }
}
