//! The trait that every method implements.

use serde::{Deserialize, Serialize};

use crate::{Budget, DecoderPruner, PruningContext, Selection, Signals};

/// Which position ids the kept tokens get in the language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionRule {
    /// The ids of the full sequence, with gaps; the rule of both papers.
    #[default]
    Keep,
    /// 0, 1, 2, … over the shortened sequence.
    Reindex,
}

/// A method that chooses visual tokens.
pub trait Pruner: Send + Sync {
    /// Short name for tables and the command line, lower case.
    fn name(&self) -> &str;

    /// The signals that must be computed beside the tokens.
    fn signals(&self) -> Signals {
        Signals::default()
    }

    /// The position rule of the method's publication.
    fn positions(&self) -> PositionRule {
        PositionRule::Keep
    }

    /// The part of the method that acts inside the language model, if it is of that kind.
    fn decoder(&self) -> Option<&dyn DecoderPruner> {
        None
    }

    /// Chooses at most `context.budget(row)` tokens of each image.
    ///
    /// A method with a part inside the language model ([`Self::decoder`]) keeps every token here, which is what this
    /// default does for it. Every other method writes its own.
    ///
    /// # Errors
    /// When a signal is missing or the tokens or scores are not finite; [`PruneError::NoChoice`] from the default when
    /// the method acts nowhere.
    fn select(&self, context: &PruningContext) -> Result<Selection, PruneError> {
        if self.decoder().is_none() {
            return Err(PruneError::NoChoice {
                method: self.name().to_string(),
            });
        }
        let all = |row: usize| (0..context.n_tokens(row)).collect();
        Ok(Selection::keep((0..context.batch()).map(all).collect()))
    }
}

/// The result of a method, or why it could not choose.
pub type PruneResult<T> = Result<T, PruneError>;

/// Why a method could not choose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// The budget keeps no token.
    #[error(
        "budget {budget} keeps none of {n_tokens} tokens, expected at least one; give a positive count or rate"
    )]
    EmptyBudget {
        /// The budget that was given.
        budget: Budget,
        /// Number of tokens of the image.
        n_tokens: usize,
    },
    /// A signal that the method needs is absent.
    #[error("{method} needs {signal}, which this model or data does not give; choose another method")]
    MissingSignal {
        /// The method.
        method: String,
        /// The signal.
        signal: &'static str,
    },
    /// Scores or tokens contain NaN or infinity.
    #[error("{method} met non-finite {what} in image {row}; check the weights and the image")]
    NotFinite {
        /// The method.
        method: String,
        /// The quantity that is not finite.
        what: &'static str,
        /// Row of the batch.
        row: usize,
    },
    /// A wrapper for methods before the language model holds one that acts inside it.
    #[error(
        "{method} holds {inner}, which acts inside the language model, expected a method that acts before it; run {inner} \
         without the wrapper"
    )]
    InsideModel {
        /// The wrapper.
        method: String,
        /// The method in it.
        inner: String,
    },
    /// The layers at which a method acts leave too many tokens for the budget.
    #[error(
        "{method} cannot average {budget} of {n_visual} visual tokens over {n_layers} layers, its layers leave at least \
         {least}; give a larger budget, or one that counts the tokens after the drop"
    )]
    UnreachableBudget {
        /// The method.
        method: String,
        /// The average asked for.
        budget: usize,
        /// Visual tokens of the sequence.
        n_visual: usize,
        /// Layers of the decoder.
        n_layers: usize,
        /// The smallest average that the method can reach.
        least: usize,
    },
    /// The method neither chooses before the language model nor acts inside it.
    #[error(
        "{method} chooses nowhere, expected a choice before the language model or inside it; implement `select` or `decoder`"
    )]
    NoChoice {
        /// The method.
        method: String,
    },
    /// Sizes do not fit together.
    #[error("{what}: found {found}, expected {wanted}")]
    Shape {
        /// The quantity that was counted.
        what: &'static str,
        /// The number found.
        found: usize,
        /// The number wanted.
        wanted: usize,
    },
}

/// A signal, or the error that tells which method misses it.
pub(crate) fn required<'a, T>(
    observed: &'a Option<T>,
    method: &str,
    signal: &'static str,
) -> PruneResult<&'a T> {
    observed
        .as_ref()
        .ok_or_else(|| PruneError::missing(method, signal))
}

impl PruneError {
    /// A missing signal.
    pub fn missing(method: &str, signal: &'static str) -> Self {
        Self::MissingSignal {
            method: method.to_string(),
            signal,
        }
    }
}
