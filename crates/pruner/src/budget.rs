//! The number of tokens that may stay.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::PruneError;

/// The number of visual tokens that a method may keep for one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Budget {
    /// Every token stays.
    All,
    /// An absolute count, K. A count of at least the number of tokens keeps all.
    Tokens(usize),
    /// An exact fraction of the tokens, `numerator / denominator` (1/9, never 0.1111), rounded to the nearest count
    /// (half up), at least one.
    Rate {
        /// Numerator of the kept share.
        numerator: usize,
        /// Denominator of the kept share, not zero.
        denominator: usize,
    },
}

impl Budget {
    /// A kept share of `numerator / denominator`.
    pub fn rate(numerator: usize, denominator: usize) -> Self {
        Self::Rate {
            numerator,
            denominator,
        }
    }

    /// The count for an image of `n_tokens` real tokens; never more than `n_tokens`.
    ///
    /// # Errors
    /// [`PruneError::EmptyBudget`] when nothing would be kept: K = 0, a rate of zero, or a zero denominator.
    pub fn resolve(&self, n_tokens: usize) -> Result<usize, PruneError> {
        let count = match *self {
            Self::All => n_tokens,
            Self::Tokens(k) => k.min(n_tokens),
            Self::Rate { numerator: 0, .. } | Self::Rate { denominator: 0, .. } => 0,
            Self::Rate {
                numerator,
                denominator,
            } => rounded_share(numerator, denominator, n_tokens).clamp(1, n_tokens.max(1)),
        };
        if count == 0 || n_tokens == 0 {
            return Err(PruneError::EmptyBudget {
                budget: *self,
                n_tokens,
            });
        }
        Ok(count)
    }
}

/// `n_tokens * numerator / denominator` to the nearest count, half up, at most `n_tokens`.
fn rounded_share(numerator: usize, denominator: usize, n_tokens: usize) -> usize {
    // A share of one or more keeps all; below that, each product of two 64-bit numbers fits 128 bits, and
    // the remainder decides the rounding without being doubled.
    if numerator >= denominator {
        return n_tokens;
    }
    let (product, denominator) = (numerator as u128 * n_tokens as u128, denominator as u128);
    let (whole, rest) = (product / denominator, product % denominator);
    let count = whole + u128::from(rest >= denominator - rest);
    // Less than the number of tokens plus one, so the conversion cannot lose digits.
    count as usize
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => write!(f, "all"),
            Self::Tokens(k) => write!(f, "{k}"),
            Self::Rate {
                numerator,
                denominator,
            } => write!(f, "{numerator}/{denominator}"),
        }
    }
}

/// A text that is no budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected `all`, a positive count (64), a fraction of at most 1 (1/9) or a percentage of at most 100 (11%, not 0.11), \
     found `{found}`"
)]
pub struct ParseBudgetError {
    /// The text that was given.
    pub found: String,
}

impl FromStr for Budget {
    type Err = ParseBudgetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseBudgetError {
            found: text.to_string(),
        };
        let text = text.trim();
        let count = |part: &str| part.trim().parse::<usize>().map_err(|_| wrong());
        let budget = if text.eq_ignore_ascii_case("all") {
            Self::All
        } else if let Some((numerator, denominator)) = text.split_once('/') {
            Self::rate(count(numerator)?, count(denominator)?)
        } else if let Some(percent) = text.strip_suffix('%') {
            percentage(percent).ok_or_else(wrong)?
        } else {
            Self::Tokens(count(text)?)
        };
        match budget {
            Self::Tokens(0) | Self::Rate { numerator: 0, .. } | Self::Rate { denominator: 0, .. } => {
                Err(wrong())
            }
            Self::Rate {
                numerator,
                denominator,
            } if numerator > denominator => Err(wrong()),
            budget => Ok(budget),
        }
    }
}

/// `11` or `11.1` percent as an exact fraction of powers of ten.
fn percentage(text: &str) -> Option<Budget> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    if fraction.len() > 6 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = 10usize.pow(fraction.len() as u32);
    let fraction = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let numerator = whole
        .parse::<usize>()
        .ok()?
        .checked_mul(scale)?
        .checked_add(fraction)?;
    Some(Budget::rate(numerator, 100 * scale))
}

impl TryFrom<String> for Budget {
    type Error = ParseBudgetError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Budget> for String {
    fn from(budget: Budget) -> Self {
        budget.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_exact() {
        for (rate, of_576) in [((1, 3), 192), ((2, 9), 128), ((1, 9), 64)] {
            assert_eq!(Budget::rate(rate.0, rate.1).resolve(576).unwrap(), of_576);
        }
        assert_eq!(Budget::rate(1, 9).resolve(144).unwrap(), 16);
    }

    #[test]
    fn fractions_of_any_size_are_exact() {
        let most = usize::MAX;
        let all: Budget = format!("{most}/{most}").parse().unwrap();
        assert_eq!(all.resolve(576).unwrap(), 576);
        assert_eq!(all.resolve(most).unwrap(), most);
        assert_eq!(
            "18446744073709551615/18446744073709551615"
                .parse::<Budget>()
                .unwrap()
                .resolve(144)
                .unwrap(),
            144
        );
        assert_eq!(Budget::rate(most / 3, most).resolve(576).unwrap(), 192);
        assert_eq!(Budget::rate(most - 1, most).resolve(most).unwrap(), most - 1);
        assert_eq!(Budget::rate(most, 1).resolve(most).unwrap(), most);
        // Half up.
        assert_eq!(Budget::rate(1, 2).resolve(7).unwrap(), 4);
        assert_eq!(Budget::rate(1, 4).resolve(5).unwrap(), 1);
    }

    #[test]
    fn more_than_all_keeps_all() {
        assert_eq!(Budget::Tokens(1000).resolve(144).unwrap(), 144);
        assert_eq!(Budget::All.resolve(7).unwrap(), 7);
    }

    #[test]
    fn nothing_kept_is_an_error() {
        assert!(Budget::Tokens(0).resolve(144).is_err());
        assert!(Budget::rate(0, 3).resolve(144).is_err());
        assert!(Budget::rate(1, 0).resolve(144).is_err());
        assert!(Budget::All.resolve(0).is_err());
    }

    #[test]
    fn texts_round_trip() {
        for text in ["all", "64", "1/9"] {
            assert_eq!(text.parse::<Budget>().unwrap().to_string(), text);
        }
        assert_eq!("11.5%".parse::<Budget>().unwrap(), Budget::rate(115, 1000));
        for text in ["0", "-3", "0%", "120%", "1/0", "many", "", "1.2345678%"] {
            assert!(text.parse::<Budget>().is_err(), "{text}");
        }
    }
}
