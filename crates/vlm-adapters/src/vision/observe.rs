//! The signals that CLIP's tower gives beside its tokens.

use burn::tensor::{FloatDType, Int, Tensor};
use diffprune_kernels::{AttentionOptions, attention_rows, linear3};
use diffprune_pruner::{Keys, Observed, Signals, WideAttention};

use super::ClipLayer;

/// Queries whose attention weights are held at once while received attention is summed.
const QUERIES: usize = 64;

/// The output of [`ClipVision::encode`](super::ClipVision::encode): a hidden state and, where asked for, signals over
/// `[CLS]` (first) and the patches of each view.
#[derive(Debug, Clone)]
pub struct ClipEncoding {
    /// The chosen hidden state, `[b, 1 + n, d_vision]`, `[CLS]` first.
    pub hidden: Tensor<3>,
    /// Attention of `[CLS]` in the layer that produced `hidden`, `[b, n_heads, 1 + n]`; none for hidden state 0.
    pub cls_attention: Option<Tensor<3>>,
    /// Attention of `[CLS]` in layer 0, `[b, n_heads, 1 + n]`; none for hidden state 0.
    pub first_cls_attention: Option<Tensor<3>>,
    /// Keys of the layer that produced `hidden`, mean over the heads, `[b, 1 + n, d_head]`.
    pub keys: Option<Tensor<3>>,
    /// Attention that each row receives in that layer, mean over heads and all `1 + n` queries, `[b, 1 + n]`.
    pub received_attention: Option<Tensor<2>>,
    /// One head of full width of the layer that would take `hidden`, over `1 + n` rows; none after the last layer.
    pub wide_attention: Option<WideAttention>,
}

/// Signals of one layer.
#[derive(Default)]
pub(super) struct LayerSignals {
    pub(super) cls_attention: Option<Tensor<3>>,
    pub(super) keys: Option<Tensor<3>>,
    pub(super) received_attention: Option<Tensor<2>>,
}

impl ClipLayer {
    /// The signals of this layer among those asked for; `x` is its input, `[b, 1 + n, d_vision]`.
    pub(super) fn observe(&self, x: &Tensor<3>, signals: Signals) -> LayerSignals {
        if !(signals.cls_attention || signals.keys || signals.received_attention) {
            return LayerSignals::default();
        }
        let normed = self.normed(x.clone());
        let keys = self.heads(linear3(&self.k_proj, normed.clone()));
        LayerSignals {
            cls_attention: signals
                .cls_attention
                .then(|| self.weights(&normed, &keys, 0, 1).squeeze_dim(2)),
            received_attention: signals.received_attention.then(|| self.received(&normed, &keys)),
            keys: signals
                .keys
                .then(|| keys.cast(FloatDType::F32).mean_dim(2).squeeze_dim(2)),
        }
    }

    /// Attention weights of `rows` queries from `start` on, `[b, n_heads, rows, n]`, f32.
    fn weights(&self, normed: &Tensor<3>, keys: &Tensor<4>, start: usize, rows: usize) -> Tensor<4> {
        let queries = linear3(&self.q_proj, normed.clone().narrow(1, start, rows));
        attention_rows(self.heads(queries), keys.clone(), &AttentionOptions::default()).cast(FloatDType::F32)
    }

    /// Mean over heads and queries of the attention weights, `[b, n]`; only [`QUERIES`] rows exist at a time.
    fn received(&self, normed: &Tensor<3>, keys: &Tensor<4>) -> Tensor<2> {
        let [batch, n, n_heads, _] = keys.dims();
        let mut sum = Tensor::<2>::zeros([batch, n], &normed.device());
        for start in (0..n).step_by(QUERIES) {
            let weights = self.weights(normed, keys, start, QUERIES.min(n - start));
            let rows = weights.dims()[2] * n_heads;
            sum = sum + weights.reshape([batch, rows, n]).sum_dim(1).squeeze_dim::<2>(1);
        }
        sum / (n * n_heads) as f32
    }

    /// This layer as one head over its concatenated heads: the `[CLS]` row and the keys.
    pub(super) fn wide_attention(&self, x: &Tensor<3>) -> WideAttention {
        let normed = self.normed(x.clone());
        let keys = linear3(&self.k_proj, normed.clone());
        let query = linear3(&self.q_proj, normed.narrow(1, 0, 1));
        let row = attention_rows(
            query.unsqueeze_dim(2),
            keys.clone().unsqueeze_dim(2),
            &AttentionOptions::default(),
        );
        let [batch, _, _, n] = row.dims();
        WideAttention {
            cls: row.reshape([batch, n]).cast(FloatDType::F32),
            keys: keys.cast(FloatDType::F32),
        }
    }
}

/// Which rows of the views are the tokens of each image.
pub(crate) enum TokenRows {
    /// Every image is one view, and its tokens are the rows from this one on.
    From(usize),
    /// Tokens are scattered over views.
    Scattered(Box<Scattered>),
}

/// The places of scattered tokens.
pub(crate) struct Scattered {
    /// For each token its row, counted over all rows of all views, `[b, n]`.
    pub(crate) tokens: Tensor<2, Int>,
    /// For each image its views, `[b, n_views]`.
    pub(crate) views: Tensor<2, Int>,
}

impl TokenRows {
    /// Values of each row, `[views, 1 + n, d]`, as values of each token, `[b, n, d]`, f32.
    pub(crate) fn of(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.cast(FloatDType::F32);
        let [views, rows, width] = x.dims();
        match self {
            Self::From(first) => x.narrow(1, *first, rows - first),
            Self::Scattered(scattered) => select(x.reshape([views * rows, width]), &scattered.tokens),
        }
    }

    /// The same for values on the last axis, `[views, d, 1 + n]` to `[b, d, n]`.
    fn across(&self, x: Tensor<3>) -> Tensor<3> {
        self.of(x.swap_dims(1, 2)).swap_dims(1, 2)
    }

    /// The same for one number per row.
    fn number(&self, x: Tensor<2>) -> Tensor<2> {
        self.of(x.unsqueeze_dim(2)).squeeze_dim(2)
    }

    /// The `[CLS]` rows, `[b, n_views, d]`.
    fn class(&self, x: Tensor<3>) -> Tensor<3> {
        let class = x.cast(FloatDType::F32).narrow(1, 0, 1);
        match self {
            Self::From(_) => class,
            Self::Scattered(scattered) => select(class.squeeze_dim(1), &scattered.views),
        }
    }
}

/// Rows `[rows, d]` in a new order, `[b, n, d]`.
fn select(x: Tensor<2>, indices: &Tensor<2, Int>) -> Tensor<3> {
    let ([batch, n], [_, width]) = (indices.dims(), x.dims());
    x.select(0, indices.clone().reshape([batch * n]))
        .reshape([batch, n, width])
}

impl ClipEncoding {
    /// The signals as methods take them, over the tokens of each image, in f32.
    pub(crate) fn observed(self, rows: &TokenRows, signals: Signals) -> Observed {
        Observed {
            cls_attention: self.cls_attention.map(|x| rows.across(x)),
            first_cls_attention: self.first_cls_attention.map(|x| rows.across(x)),
            class_tokens: signals.class_tokens.then(|| rows.class(self.hidden)),
            keys: self.keys.map(|x| Keys {
                class: Some(rows.class(x.clone())),
                tokens: rows.of(x),
            }),
            wide_attention: self.wide_attention.map(|wide| WideAttention {
                cls: rows.number(wide.cls),
                keys: rows.of(wide.keys),
            }),
            received_attention: self.received_attention.map(|x| rows.number(x)),
            ..Observed::default()
        }
    }
}
