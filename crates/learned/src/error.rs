//! Sizes that do not fit.

use diffprune_scorer::ScorerConfigError;
use thiserror::Error;

/// A size of a selection head that cannot be used.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum HeadConfigError {
    /// A width is 0 or cannot be split as the head needs.
    #[error("{field} is {found}, expected a positive multiple of {multiple}")]
    Width {
        /// Name of the setting.
        field: &'static str,
        /// Its value.
        found: usize,
        /// The number that it must be a multiple of.
        multiple: usize,
    },
    /// A number is out of range.
    #[error("{field} is {found}, expected {wanted}")]
    Number {
        /// Name of the setting.
        field: &'static str,
        /// Its value.
        found: f64,
        /// Values that would do.
        wanted: &'static str,
    },
    /// Sizes of a scorer.
    #[error(transparent)]
    Scorer(#[from] ScorerConfigError),
}

pub(crate) fn multiple_of(field: &'static str, found: usize, multiple: usize) -> Result<(), HeadConfigError> {
    match found > 0 && found.is_multiple_of(multiple.max(1)) {
        true => Ok(()),
        false => Err(HeadConfigError::Width {
            field,
            found,
            multiple,
        }),
    }
}

pub(crate) fn positive(field: &'static str, found: f64) -> Result<(), HeadConfigError> {
    match found.is_finite() && found > 0.0 {
        true => Ok(()),
        false => Err(HeadConfigError::Number {
            field,
            found,
            wanted: "a finite number above 0",
        }),
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("setting `{field}`: found {found}, expected {wanted}")]
pub struct ConfigError {
    /// The setting, with its table.
    pub field: String,
    /// Its value.
    pub found: String,
    /// Values that would do.
    pub wanted: String,
}

impl ConfigError {
    /// A setting with its table, its value, and what would do.
    pub fn new(field: &str, found: impl ToString, wanted: impl ToString) -> Self {
        Self {
            field: field.to_string(),
            found: found.to_string(),
            wanted: wanted.to_string(),
        }
    }
}
