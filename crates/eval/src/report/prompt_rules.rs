//! The rules that a run's questions and scores follow.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::data::{Benchmark, Protocols, Question, prompts_hold_ocr};

/// The protocols of a run, and whether its prompts hold OCR tokens: runs that differ here answer other questions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptRules {
    /// The protocol by which each benchmark is asked and scored; `None` when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocols>,
    /// True when TextVQA's prompts hold OCR tokens; `None` without TextVQA, or when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ocr: Option<bool>,
}

/// One of the facts of [`PromptRules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PromptRule {
    /// [`PromptRules::protocol`].
    Protocol,
    /// [`PromptRules::ocr`].
    Ocr,
}

impl PromptRule {
    /// Every fact.
    pub const ALL: [Self; 2] = [Self::Protocol, Self::Ocr];

    /// Name in sentences.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Ocr => "TextVQA prompts",
        }
    }
}

impl PromptRules {
    /// The rules that these questions and protocols follow.
    pub fn of(questions: &[Question], protocols: &Protocols) -> Self {
        Self {
            protocol: Some(protocols.clone()),
            ocr: prompts_hold_ocr(questions),
        }
    }

    /// The data that a benchmark's questions are, with these prompts.
    pub fn here(&self, benchmark: Benchmark) -> &'static str {
        benchmark.spec().data_here(self.ocr, &BTreeSet::new())
    }

    /// One of the facts in words; `None` when it is not known.
    pub fn value(&self, rule: PromptRule) -> Option<String> {
        match rule {
            PromptRule::Protocol => self.protocol.as_ref().map(Protocols::to_string),
            PromptRule::Ocr => self.ocr.map(|ocr| {
                let with = if ocr { "with" } else { "without" };
                format!("{with} OCR tokens")
            }),
        }
    }
}
