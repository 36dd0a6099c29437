//! Why a model cannot run on an input.

use std::error::Error;

use diffprune_pruner::PruneError;

/// Why a model cannot run on an input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VlmError {
    /// Placeholders and images do not agree.
    #[error("found {found} image placeholders in the prompts, expected {wanted} (one per image)")]
    Placeholders {
        /// Placeholders found.
        found: usize,
        /// Images given.
        wanted: usize,
    },
    /// A sequence is too long.
    #[error("sequence of {tokens} tokens over {found} positions, expected at most {wanted}; {remedy}")]
    ContextOverflow {
        /// Positions that the sequence spans; dropped tokens keep theirs under
        /// [`PositionRule::Keep`](diffprune_pruner::PositionRule::Keep).
        found: usize,
        /// Positions of the model.
        wanted: usize,
        /// Tokens of the sequence.
        tokens: usize,
        /// The remedy.
        remedy: &'static str,
    },
    /// A prompt is empty or an id is outside the vocabulary.
    #[error("prompt {index}: {problem}")]
    Prompt {
        /// Which prompt of the batch.
        index: usize,
        /// The problem.
        problem: String,
    },
    /// An image that the model cannot take.
    #[error("image {index}: found {found}, expected {wanted}")]
    Image {
        /// Which image of the batch.
        index: usize,
        /// The value found.
        found: String,
        /// The value expected.
        wanted: String,
    },
    /// A loss was asked for of images whose method acts inside the language model, where only generation has a place
    /// for it.
    #[error(
        "found the method `{method}`, which chooses while the language model reads a question, expected one that chooses \
         before it; generate with `respond`, or take another method"
    )]
    InsideOnly {
        /// The method.
        method: String,
    },
    /// The beginning of a prompt that was read before cannot be used here.
    #[error("prefix: found {found}, expected {wanted}; join the whole prompt without a prefix")]
    Prefix {
        /// The prefix found.
        found: String,
        /// A prefix that would do.
        wanted: &'static str,
    },
    /// The pruner could not choose.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// Text could not be turned into ids; the backbone's own error.
    #[error(transparent)]
    Text(Box<dyn Error + Send + Sync>),
}

impl VlmError {
    /// A prefix of another model, or of one whose batches take none.
    pub fn foreign_prefix() -> Self {
        Self::Prefix {
            found: "one that this model did not read".into(),
            wanted: "what `read_prefix` of this model or of a clone of it gave",
        }
    }
}
