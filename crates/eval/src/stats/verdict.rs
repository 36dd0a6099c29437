//! The verdict of an interval, or why there is none.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Outcome of a claim: of "the estimate is above zero", or of "the estimate lies within a bound".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval lies above zero.
    Holds,
    /// The whole interval lies below zero.
    Fails,
    /// The interval covers zero, or an end of the bound.
    Tie,
    /// The whole interval lies within the bound: what a claim of equivalence says holds.
    Equivalent,
    /// Nothing here can judge the claim.
    Untestable,
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

    /// Every verdict.
    pub const ALL: [Self; 5] = [
        Self::Holds,
        Self::Equivalent,
        Self::Tie,
        Self::Fails,
        Self::Untestable,
    ];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Tie => "tie",
            Self::Equivalent => "equivalent",
            Self::Untestable => "untestable",
        }
    }

    /// The same about a difference of two arms: `better`, `worse`, `tie`, `equivalent` or `untestable`.
    pub fn compared(self) -> &'static str {
        match self {
            Self::Holds => "better",
            Self::Fails => "worse",
            Self::Tie => "tie",
            Self::Equivalent => "equivalent",
            Self::Untestable => "untestable",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
