//! The kind of encoder, and the signals that merging methods read from it.

use burn::tensor::Tensor;
use diffprune_pruner::{PositionRule, PruneError, PruningContext, Signals, Space};

use crate::tools::host::{Matrix, projected_tokens};
use crate::tools::saliency::received;

/// The kind of encoder that a form of a method is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoder {
    /// One with `[CLS]`, as CLIP's.
    WithClass,
    /// One without `[CLS]`, as that of Qwen2.5-VL.
    WithoutClass,
}

impl Encoder {
    /// Position ids of the kept tokens in the published code for models with such an encoder: re-indexed with `[CLS]`,
    /// kept without.
    pub fn positions(self) -> PositionRule {
        match self {
            Self::WithClass => PositionRule::Reindex,
            Self::WithoutClass => PositionRule::Keep,
        }
    }
}

/// The signals of a batch from which a method merges tokens.
pub(crate) struct MergeInputs<'a> {
    /// The attention that each token of each image gets.
    pub(crate) attention: Vec<Vec<f32>>,
    /// The vectors by which similarity is measured; `None` for the features themselves.
    pub(crate) keys: Option<Vec<Matrix>>,
    /// The vectors that are merged.
    pub(crate) features: Vec<Matrix>,
    /// The side of the projector that the features are on.
    pub(crate) space: Space,
    /// The tensor that the features come from.
    pub(crate) like: &'a Tensor<3>,
}

impl<'a> MergeInputs<'a> {
    /// The signals that [`Self::projected`] reads.
    pub(crate) fn projected_signals() -> Signals {
        Signals {
            received_attention: true,
            projected: true,
            ..Signals::default()
        }
    }

    /// Received attention and projected tokens, which are merged and tell likeness too.
    ///
    /// # Errors
    /// When one of them is missing, of another size or not finite.
    pub(crate) fn projected(context: &'a PruningContext, method: &str) -> Result<Self, PruneError> {
        let (features, projected) = projected_tokens(context, method)?;
        Ok(Self {
            attention: received(context, method, "received attention")?,
            keys: None,
            features,
            space: Space::Language,
            like: projected,
        })
    }

    /// The vectors by which the similarity of the tokens of image `row` is measured.
    pub(crate) fn keys(&self, row: usize) -> &Matrix {
        self.keys.as_ref().map_or(&self.features[row], |keys| &keys[row])
    }
}
