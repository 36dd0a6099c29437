//! The two kinds of model that a method is set up for.

use burn::tensor::Tensor;
use diffprune_pruner::{PositionRule, PruneError, PruningContext, Signals, Space};

use crate::host::{Matrix, token_matrices};
use crate::saliency::received;

/// For which kind of model a method is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// LLaVA, whose encoder has `[CLS]`.
    Llava,
    /// Qwen2-VL and Qwen2.5-VL, whose encoder has none.
    Qwen,
}

impl Variant {
    /// Position ids of the kept tokens: counted anew in published code for LLaVA, kept in that for Qwen.
    pub fn positions(self) -> PositionRule {
        match self {
            Self::Llava => PositionRule::Reindex,
            Self::Qwen => PositionRule::Keep,
        }
    }
}

/// What a method that merges reads of a batch.
pub(crate) struct Seen<'a> {
    /// How much each token of each image is seen.
    pub(crate) attention: Vec<Vec<f32>>,
    /// What likeness is measured by; `None` for the features themselves.
    pub(crate) keys: Option<Vec<Matrix>>,
    /// What is merged.
    pub(crate) features: Vec<Matrix>,
    /// The side of the projector that the features are on.
    pub(crate) space: Space,
    /// The tensor that the features come from.
    pub(crate) like: &'a Tensor<3>,
}

impl<'a> Seen<'a> {
    /// What [`Self::projected`] reads.
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
        let what = "projected tokens";
        let projected = context.require(|observed| &observed.projected, method, what)?;
        Ok(Self {
            attention: received(context, method, "received attention")?,
            keys: None,
            features: token_matrices(context, projected, method, what)?,
            space: Space::Language,
            like: projected,
        })
    }

    /// What the likeness of the tokens of image `row` is measured by.
    pub(crate) fn keys(&self, row: usize) -> &Matrix {
        self.keys.as_ref().map_or(&self.features[row], |keys| &keys[row])
    }
}
