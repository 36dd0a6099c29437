//! The families of models, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A family of models: checkpoints that share a way of cutting images into tokens and of placing them in the text.
///
/// Its name is the same everywhere: in reports, on the command line, in checkpoints of scorers and in recipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Family {
    /// LLaVA-1.5: one view, one raster.
    #[default]
    Llava15,
    /// LLaVA-NeXT (LLaVA-1.6): a small view of the image and a map of its tiles.
    LlavaNext,
    /// Qwen2.5-VL: images of any size, four patches to a token, three position axes.
    Qwen25Vl,
    /// A family that this crate does not know, under the name that its backbone gives it.
    Other(&'static str),
}

impl Family {
    /// The families with a name of their own, in the order of the papers' tables.
    pub const ALL: [Self; 3] = [Self::Llava15, Self::LlavaNext, Self::Qwen25Vl];

    /// The name, for example `llava-1.5`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llava15 => "llava-1.5",
            Self::LlavaNext => "llava-next",
            Self::Qwen25Vl => "qwen2.5-vl",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names none of [`Family::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found `{found}`, expected one of {}", Family::ALL.map(Family::name).join(", "))]
pub struct UnknownFamily {
    /// The text.
    pub found: String,
}

impl FromStr for Family {
    type Err = UnknownFamily;

    /// Reads the names of [`Family::ALL`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|family| family.name() == text);
        found.ok_or_else(|| UnknownFamily { found: text.into() })
    }
}

impl Serialize for Family {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Family {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_text_and_as_json() {
        for family in Family::ALL {
            assert_eq!(family.to_string().parse(), Ok(family));
            let json = serde_json::to_string(&family).unwrap();
            assert_eq!(json, format!("\"{family}\""));
            assert_eq!(serde_json::from_str::<Family>(&json).unwrap(), family);
        }
    }

    #[test]
    fn a_family_of_a_third_party_has_a_name_and_cannot_be_read() {
        let own = Family::Other("toy");
        assert_eq!(own.to_string(), "toy");
        let error = "toy".parse::<Family>().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("found `toy`, expected one of llava-1.5, ")
        );
        assert!(serde_json::from_str::<Family>("\"toy\"").is_err());
    }
}
