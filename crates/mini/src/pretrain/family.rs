//! The three families of models that the small world has a member of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Prompts;

/// Architecture of a small model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Family {
    /// CLIP with `[CLS]`, one view of 12 by 12 tokens, Llama.
    #[default]
    #[serde(rename = "llava-1.5")]
    Llava15,
    /// The same parts on a small view of 6 by 6 tokens and a map of 12 by 12 from four tiles, with newline vectors.
    #[serde(rename = "llava-next")]
    LlavaNext,
    /// Window attention, 24 by 24 patches merged into 12 by 12 tokens, three position axes, grouped keys.
    #[serde(rename = "qwen2.5-vl")]
    Qwen25Vl,
}

impl Family {
    /// All of them, in the order of the papers' tables.
    pub const ALL: [Self; 3] = [Self::Llava15, Self::LlavaNext, Self::Qwen25Vl];

    /// The name in recipes and on the command line, the same as that of the model's adapter.
    pub fn name(self) -> &'static str {
        ["llava-1.5", "llava-next", "qwen2.5-vl"][self as usize]
    }

    /// The folder of the shipped model.
    pub fn folder(self) -> &'static str {
        ["mini-llava-1.5", "mini-llava-next", "mini-qwen2.5-vl"][self as usize]
    }

    /// Whose user texts the model is taught.
    pub fn prompts(self) -> Prompts {
        match self {
            Self::Llava15 | Self::LlavaNext => Prompts::Llava,
            Self::Qwen25Vl => Prompts::LmmsEval,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let named = |family: &Self| text == family.name() || text == family.folder();
        let found = Self::ALL.into_iter().find(named);
        found.ok_or_else(|| format!("found `{text}`, wanted one of {}", known()))
    }
}
