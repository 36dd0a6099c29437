//! What an interval says.

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
    /// The verdict of an interval from `lo` to `hi`: a tie when zero lies inside or on an end.
    pub fn of(lo: f64, hi: f64) -> Self {
        if lo > 0.0 {
            Self::Holds
        } else if hi < 0.0 {
            Self::Fails
        } else {
            Self::Tie
        }
    }

    /// The same about a difference of two arms: `better`, `worse` or `tie`.
    pub fn compared(self) -> &'static str {
        match self {
            Self::Holds => "better",
            Self::Fails => "worse",
            Self::Tie => "tie",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_on_an_end_is_a_tie() {
        assert_eq!(Verdict::of(0.0, 2.0), Verdict::Tie);
        assert_eq!(Verdict::of(-2.0, 0.0), Verdict::Tie);
        assert_eq!(Verdict::of(0.1, 2.0).compared(), "better");
        assert_eq!(Verdict::of(-2.0, -0.1).compared(), "worse");
    }
}
