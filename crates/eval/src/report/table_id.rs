//! The tables of a report, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A table of a report, in the order of its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TableId {
    /// Means over the benchmarks.
    Main,
    /// Each benchmark's own number.
    Benchmarks,
    /// Mean scores by kind of question.
    Kinds,
    /// Differences of the method and other arms.
    Differences,
    /// Retention above chance.
    Adjusted,
    /// Visual tokens that the language model got.
    Tokens,
    /// Numbers beside those that benchmarks are known by.
    Secondary,
    /// Answers beside those of the unpruned model.
    Agreement,
    /// Easy and hard questions, told apart by a downsampled picture (VTC-Bench's idea).
    Vtc,
    /// Confidences beside success.
    Calibration,
    /// Arithmetic and memory of the prefill.
    Cost,
    /// Every arm on the questions of arms that answer some only.
    Partial,
    /// Differences of two runs.
    Comparison,
    /// Arms of many runs, best first.
    Leaderboard,
}

impl TableId {
    /// Every table.
    pub const ALL: [Self; 14] = [
        Self::Main,
        Self::Benchmarks,
        Self::Kinds,
        Self::Differences,
        Self::Adjusted,
        Self::Tokens,
        Self::Secondary,
        Self::Agreement,
        Self::Vtc,
        Self::Calibration,
        Self::Cost,
        Self::Partial,
        Self::Comparison,
        Self::Leaderboard,
    ];

    /// Name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Benchmarks => "benchmarks",
            Self::Kinds => "kinds",
            Self::Differences => "differences",
            Self::Adjusted => "adjusted",
            Self::Tokens => "tokens",
            Self::Secondary => "secondary",
            Self::Agreement => "agreement",
            Self::Vtc => "vtc",
            Self::Calibration => "calibration",
            Self::Cost => "cost",
            Self::Partial => "partial",
            Self::Comparison => "comparison",
            Self::Leaderboard => "leaderboard",
        }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TableId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|id| id.name() == text)
            .ok_or_else(|| format!("found table `{text}`, expected one of {}", wanted()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_are_those_of_the_file() {
        for id in TableId::ALL {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(serde_json::to_value(id).unwrap(), id.name());
        }
        assert!("mains".parse::<TableId>().unwrap_err().contains("leaderboard"));
    }
}
