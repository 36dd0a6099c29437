//! How many visual tokens a picture may keep: what the request says, and what that means for a picture.

use diffprune_pruner::Budget;
use diffprune_vlm::Encoded;
use serde::{Deserialize, Deserializer};

use crate::error::ApiError;

/// A budget as it stands in a request: `64`, `"64"`, `"1/9"`, `"11%"` or `"all"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VisualTokens(pub Budget);

impl<'de> Deserialize<'de> for VisualTokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "visual_tokens: expected a count (64), \"1/9\", \"11%\" or \"all\""
        )]
        enum Given {
            Count(u64),
            Text(String),
        }
        let text = match Given::deserialize(deserializer)? {
            Given::Count(count) => count.to_string(),
            Given::Text(text) => text,
        };
        let wrong = |error| serde::de::Error::custom(format!("visual_tokens: {error}"));
        text.parse().map(Self).map_err(wrong)
    }
}

/// OpenAI's word for how closely a picture is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Detail {
    /// A ninth of the tokens.
    Low,
    /// The default of the request or the server.
    Auto,
    /// Every token.
    High,
}

impl Detail {
    /// The budget that the word stands for; `None` where it leaves that to the defaults. `docs/serve.md` has the table.
    pub fn budget(self) -> Option<Budget> {
        match self {
            Self::Low => Some(Budget::rate(1, 9)),
            Self::Auto => None,
            Self::High => Some(Budget::All),
        }
    }
}

/// What a request says about one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PictureChoice {
    /// The budget; `None` takes the server's.
    pub budget: Option<Budget>,
    /// The method; `None` takes the server's.
    pub pruner: Option<String>,
}

impl PictureChoice {
    /// The first that is given: the picture's own number, the picture's `detail`, the number for the whole request.
    pub fn budget_of(
        own: Option<VisualTokens>,
        detail: Option<Detail>,
        request: Option<VisualTokens>,
    ) -> Option<Budget> {
        let own = own.map(|tokens| tokens.0);
        own.or_else(|| detail.and_then(Detail::budget))
            .or_else(|| request.map(|tokens| tokens.0))
    }
}

/// The number of tokens that a budget leaves of a picture, and the warning when it is less than was asked for. The picture
/// is the only one that `encoded` holds.
///
/// This is the one place where what a request says becomes a number: keys, answers and methods inside the language model see
/// the number only. A budget that depends on the picture is therefore one more form that [`VisualTokens`] reads, and an arm
/// here, where the tokens and the signals of the method are at hand.
pub(crate) fn resolve(
    budget: Budget,
    encoded: &Encoded,
    picture: usize,
) -> Result<(usize, Option<String>), ApiError> {
    let total = encoded.counts()[0];
    let count = budget.resolve(total)?;
    let warning = match budget {
        Budget::Tokens(wanted) if wanted > total => Some(format!(
            "picture {picture}: visual_tokens {wanted} is more than its {total} tokens; all of them were kept"
        )),
        _ => None,
    };
    Ok((count, warning))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use diffprune_pruner::Signals;
    use diffprune_vlm::{FakeVlm, encode};
    use image::RgbImage;

    use super::*;

    fn parse(json: &str) -> Result<Budget, String> {
        let parsed: Result<VisualTokens, _> = serde_json::from_str(json);
        parsed.map(|tokens| tokens.0).map_err(|error| error.to_string())
    }

    #[test]
    fn budgets_are_numbers_or_texts() {
        assert_eq!(parse("64"), Ok(Budget::Tokens(64)));
        assert_eq!(parse("\"64\""), Ok(Budget::Tokens(64)));
        assert_eq!(parse("\"1/9\""), Ok(Budget::rate(1, 9)));
        assert_eq!(parse("\"11%\""), Ok(Budget::rate(11, 100)));
        assert_eq!(parse("\"all\""), Ok(Budget::All));
        for wrong in [
            "0", "-1", "\"\"", "0.5", "\"0.5\"", "\"1/0\"", "\"200%\"", "{}", "true",
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains("visual_tokens"), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_nearest_wish_counts() {
        let own = Some(VisualTokens(Budget::Tokens(5)));
        let request = Some(VisualTokens(Budget::Tokens(7)));
        let chosen = PictureChoice::budget_of;
        assert_eq!(chosen(own, Some(Detail::Low), request), Some(Budget::Tokens(5)));
        assert_eq!(chosen(None, Some(Detail::Low), request), Some(Budget::rate(1, 9)));
        assert_eq!(chosen(None, Some(Detail::High), request), Some(Budget::All));
        assert_eq!(chosen(None, Some(Detail::Auto), request), Some(Budget::Tokens(7)));
        assert_eq!(chosen(None, None, request), Some(Budget::Tokens(7)));
        assert_eq!(chosen(None, Some(Detail::Auto), None), None);
    }

    #[test]
    fn more_than_all_is_told() {
        let vlm = FakeVlm::new(&Device::flex()).with_grid(12, 12);
        let encoded = encode(&vlm, &[RgbImage::new(24, 24)], Signals::default()).unwrap();
        assert_eq!(resolve(Budget::rate(1, 9), &encoded, 1).unwrap(), (16, None));
        let (count, warning) = resolve(Budget::Tokens(200), &encoded, 2).unwrap();
        assert_eq!(count, 144);
        assert!(warning.unwrap().contains("picture 2: visual_tokens 200"));
        assert!(resolve(Budget::Tokens(144), &encoded, 1).unwrap().1.is_none());
    }
}
