//! Typed checks for the places where scores and settings come from outside.

use thiserror::Error;

use crate::host::mask_values;
use crate::soft::{K, SoftTopKInput, Tau};

/// The reasons for which a [`SoftTopKInput`] is refused.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SoftTopKError {
    /// An argument has the wrong size.
    #[error("{what} has size {found:?}, expected {wanted:?}: match it to the scores")]
    Shape {
        /// Name of the argument.
        what: &'static str,
        /// Its sizes.
        found: Vec<usize>,
        /// Sizes that fit the scores.
        wanted: Vec<usize>,
    },
    /// The budget lets no token pass, or is not a number.
    #[error("budget k of row {row} is {found}, expected a number above 0: raise the budget")]
    Budget {
        /// Row of the batch.
        row: usize,
        /// The budget found.
        found: f64,
    },
    /// The temperature is not a positive number.
    #[error("temperature tau of row {row} is {found}, expected a finite number above 0")]
    Temperature {
        /// Row of the batch.
        row: usize,
        /// The temperature found.
        found: f64,
    },
    /// A score of a real token is NaN or infinite.
    #[error(
        "score {found} at row {row}, token {token}, expected a finite number: look for overflow upstream"
    )]
    Score {
        /// Row of the batch.
        row: usize,
        /// Token of the row.
        token: usize,
        /// The score found.
        found: f64,
    },
}

/// Checks an input before [`SoftTopK::forward`](crate::SoftTopK::forward), which does not.
///
/// Reads scores, budget and temperature back to the host: meant for boundaries (a configuration, a
/// file, the first step of a run), not for every step.
///
/// # Errors
/// The first problem found: sizes, then budget, temperature and scores of real tokens.
pub fn validate(input: &SoftTopKInput) -> Result<(), SoftTopKError> {
    let [batch, n_tokens] = input.scores.dims();
    if let Some(mask) = &input.mask {
        fits("mask", &mask.dims(), &[batch, n_tokens])?;
    }
    let k = match &input.k {
        K::Batch(value) => vec![*value],
        K::Rows(rows) => rows.clone().into_data().iter::<f64>().collect(),
    };
    let tau = match &input.tau {
        Tau::Batch(value) => vec![*value],
        Tau::Rows(rows) => rows.clone().into_data().iter::<f64>().collect(),
    };
    for (what, values) in [("k", &k), ("tau", &tau)] {
        if values.len() != 1 {
            fits(what, &[values.len()], &[batch])?;
        }
    }
    let positive = |x: f64| x.is_finite() && x > 0.0;
    if let Some(row) = k.iter().position(|&k| !positive(k)) {
        return Err(SoftTopKError::Budget { row, found: k[row] });
    }
    if let Some(row) = tau.iter().position(|&tau| !positive(tau)) {
        return Err(SoftTopKError::Temperature { row, found: tau[row] });
    }
    let mask = input.mask.clone().map(mask_values);
    let scores = input.scores.clone().into_data();
    let wrong = scores.iter::<f64>().enumerate().find(|(i, score)| {
        let real = mask.as_ref().is_none_or(|mask| mask[*i]);
        real && !score.is_finite()
    });
    match wrong {
        Some((i, found)) => Err(SoftTopKError::Score {
            row: i / n_tokens,
            token: i % n_tokens,
            found,
        }),
        None => Ok(()),
    }
}

fn fits(what: &'static str, found: &[usize], wanted: &[usize]) -> Result<(), SoftTopKError> {
    if found == wanted {
        return Ok(());
    }
    Err(SoftTopKError::Shape {
        what,
        found: found.to_vec(),
        wanted: wanted.to_vec(),
    })
}
