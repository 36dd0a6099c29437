//! How each benchmark asks: hint, options and the sentences around a question.

use super::prompt::{
    LEAD_CONTEXT, LEAD_OCR, LEAD_OPTIONS, SUFFIX_INSUFFICIENT, SUFFIX_LETTER, SUFFIX_LETTER_CN,
    SUFFIX_LETTER_CN_LMMS, SUFFIX_SHORT,
};
use serde::{Deserialize, Serialize};

/// Whose user texts a model is taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prompts {
    /// Those of LLaVA's question files.
    #[default]
    Llava,
    /// Those of lmms-eval, with which Qwen2.5-VL is evaluated.
    LmmsEval,
}

/// Which benchmark asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Style {
    Pope,
    Gqa,
    TextVqa,
    VqaV2,
    VizWiz,
    Mme,
    MmBench,
    MmBenchCn,
    SeedBench,
    ScienceQa,
}

impl Style {
    /// Every benchmark.
    pub const ALL: [Self; 10] = [
        Self::Pope,
        Self::Gqa,
        Self::TextVqa,
        Self::VqaV2,
        Self::VizWiz,
        Self::Mme,
        Self::MmBench,
        Self::MmBenchCn,
        Self::SeedBench,
        Self::ScienceQa,
    ];

    /// The name of the benchmark's folder.
    pub fn name(self) -> &'static str {
        [
            "pope",
            "gqa",
            "textvqa",
            "vqav2",
            "vizwiz",
            "mme",
            "mmbench",
            "mmbench_cn",
            "seed_bench",
            "scienceqa",
        ][self as usize]
    }

    /// The user text without image tag. `options` come without letters.
    pub(super) fn user_text(
        self,
        prompts: Prompts,
        hint: Option<&str>,
        question: &str,
        options: &[String],
    ) -> String {
        let mut text = hint.map_or(String::new(), |hint| self.lead_in(prompts, hint));
        text.push_str(question);
        if (self, prompts) == (Self::TextVqa, Prompts::LmmsEval) {
            text += &format!("\n{LEAD_OCR} ");
        }
        if self.is_mmbench() && prompts == Prompts::LmmsEval {
            text += &format!(" {LEAD_OPTIONS}");
        }
        for (letter, option) in ('A'..='Z').zip(options) {
            text += &format!("\n{letter}. {option}");
        }
        text + &self.ending(prompts)
    }

    fn is_mmbench(self) -> bool {
        matches!(self, Self::MmBench | Self::MmBenchCn)
    }

    /// The hint with what stands around it.
    fn lead_in(self, prompts: Prompts, hint: &str) -> String {
        match (self, prompts) {
            (Self::ScienceQa, _) => format!("{LEAD_CONTEXT} {hint}\n"),
            (Self::MmBench | Self::MmBenchCn, Prompts::LmmsEval) => format!("{hint} "),
            _ => format!("{hint}\n"),
        }
    }

    fn ending(self, prompts: Prompts) -> String {
        match (self, prompts) {
            (Self::MmBench, Prompts::LmmsEval) => format!("\n\n{SUFFIX_LETTER}"),
            (Self::MmBenchCn, Prompts::LmmsEval) => format!("\n\n{SUFFIX_LETTER_CN_LMMS}"),
            (Self::MmBenchCn, Prompts::Llava) => format!("\n{SUFFIX_LETTER_CN}"),
            (Self::MmBench | Self::SeedBench | Self::ScienceQa, _) => format!("\n{SUFFIX_LETTER}"),
            (Self::VizWiz, _) => format!("\n{SUFFIX_INSUFFICIENT}\n{SUFFIX_SHORT}"),
            (Self::Pope | Self::Gqa | Self::TextVqa | Self::VqaV2 | Self::Mme, _) => {
                format!("\n{SUFFIX_SHORT}")
            }
        }
    }
}
