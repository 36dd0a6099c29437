//! The signals that a method needs beside the tokens, and those that a model gives.

use burn::tensor::{Int, Tensor, TensorData};

/// The signals that a method asks a model to compute. A model computes nothing that nobody asked for; each flag has a
/// field of the same name in [`Observed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    /// The attention row of `[CLS]` in the layer that produced the tokens, per head.
    pub cls_attention: bool,
    /// The attention row of `[CLS]` in the encoder's first layer, per head.
    pub first_cls_attention: bool,
    /// The hidden state of `[CLS]` beside the tokens, for each view.
    pub class_tokens: bool,
    /// Keys of the layer that produced the tokens, mean over the heads, and those of `[CLS]`.
    pub keys: bool,
    /// Keys and `[CLS]` attention of the layer that would take the tokens, as one head of full width.
    pub wide_attention: bool,
    /// Attention that each token receives, mean over heads and queries.
    pub received_attention: bool,
    /// The tokens as the language model would see them.
    pub projected: bool,
    /// The relevance of each token to the question.
    pub text_relevance: bool,
    /// The truth about the picture; only oracle arms on annotated data may ask.
    pub relevance: bool,
}

impl Signals {
    /// The signals that either of two methods needs.
    pub fn union(self, other: Self) -> Self {
        Self {
            cls_attention: self.cls_attention || other.cls_attention,
            first_cls_attention: self.first_cls_attention || other.first_cls_attention,
            class_tokens: self.class_tokens || other.class_tokens,
            keys: self.keys || other.keys,
            wide_attention: self.wide_attention || other.wide_attention,
            received_attention: self.received_attention || other.received_attention,
            projected: self.projected || other.projected,
            text_relevance: self.text_relevance || other.text_relevance,
            relevance: self.relevance || other.relevance,
        }
    }
}

/// The signals computed beside the tokens: a field is there when it was asked for and the model (or the data) has it.
///
/// `n` is the padded number of tokens of the batch; entries of padding mean nothing.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// `[CLS]` attention over the tokens in the layer that produced them, `[b, n_heads, n]`: each token's entry in the
    /// row of its own view, not renormalised without `[CLS]`.
    pub cls_attention: Option<Tensor<3>>,
    /// The same in the encoder's first layer, `[b, n_heads, n]`.
    pub first_cls_attention: Option<Tensor<3>>,
    /// Hidden state of `[CLS]` beside the tokens, `[b, n_views, d_vision]`.
    pub class_tokens: Option<Tensor<3>>,
    /// Keys of the layer that produced the tokens.
    pub keys: Option<Keys>,
    /// One head of full width of the layer that would take the tokens.
    pub wide_attention: Option<WideAttention>,
    /// Attention that each token receives in the layer that produced the tokens (in a tower with windows: the last
    /// layer without), mean over heads and queries of its view, `[b, n]`.
    pub received_attention: Option<Tensor<2>>,
    /// The tokens after the projector, `[b, n, d_model]`.
    pub projected: Option<Tensor<3>>,
    /// The relevance of each token to the question, `[b, n]`, higher is better.
    pub text_relevance: Option<Tensor<2>>,
    /// The relevance of each token by the scene's truth, `[b, n]`.
    pub relevance: Option<Tensor<2>>,
}

impl Observed {
    /// The signals of chosen images, in the order given; an image may be chosen more than once.
    ///
    /// # Panics
    /// When there is no image of that number.
    pub fn rows(&self, images: &[usize]) -> Self {
        let places: Vec<i64> = images.iter().map(|&image| image as i64).collect();
        let n = places.len();
        fn pick<const D: usize>(x: &Tensor<D>, places: &[i64], n: usize) -> Tensor<D> {
            let data = TensorData::new(places.to_vec(), [n]);
            x.clone()
                .select(0, Tensor::<1, Int>::from_data(data, &x.device()))
        }
        let two = |x: &Tensor<2>| pick(x, &places, n);
        let three = |x: &Tensor<3>| pick(x, &places, n);
        Self {
            cls_attention: self.cls_attention.as_ref().map(three),
            first_cls_attention: self.first_cls_attention.as_ref().map(three),
            class_tokens: self.class_tokens.as_ref().map(three),
            keys: self.keys.as_ref().map(|keys| Keys {
                tokens: three(&keys.tokens),
                class: keys.class.as_ref().map(three),
            }),
            wide_attention: self.wide_attention.as_ref().map(|wide| WideAttention {
                cls: two(&wide.cls),
                keys: three(&wide.keys),
            }),
            received_attention: self.received_attention.as_ref().map(two),
            projected: self.projected.as_ref().map(three),
            text_relevance: self.text_relevance.as_ref().map(two),
            relevance: self.relevance.as_ref().map(two),
        }
    }
}

/// Keys of an attention layer, mean over its heads.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Of the tokens, `[b, n, d_head]`.
    pub tokens: Tensor<3>,
    /// Of `[CLS]`, `[b, n_views, d_head]`; `None` in a tower without.
    pub class: Option<Tensor<3>>,
}

/// An attention layer taken as one head: `softmax(q k^T / sqrt(d_vision))` over the concatenated heads.
#[derive(Debug, Clone)]
pub struct WideAttention {
    /// The `[CLS]` row over the tokens, `[b, n]`, not renormalised without `[CLS]`.
    pub cls: Tensor<2>,
    /// Keys, `[b, n, d_vision]`.
    pub keys: Tensor<3>,
}
