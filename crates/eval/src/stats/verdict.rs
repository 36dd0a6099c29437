//! What an interval says about a claim.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Outcome of a claim "the estimate is above zero".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval lies above zero.
    Holds,
    /// The whole interval lies below zero.
    Fails,
    /// The interval covers zero.
    Tie,
}

impl Verdict {
    /// The verdict of an interval from `lo` to `hi`.
    pub fn of(lo: f64, hi: f64) -> Self {
        if lo > 0.0 {
            Self::Holds
        } else if hi < 0.0 {
            Self::Fails
        } else {
            Self::Tie
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Tie => "tie",
        })
    }
}
