//! The texts around a question, as data: one [`Template`] per benchmark and protocol.

use diffprune_vlm::Family;

use super::question::{Benchmark, Protocol};

/// Suffix of questions with a short answer.
pub const SHORT_ANSWER: &str = "\nAnswer the question using a single word or phrase.";
/// Suffix of questions whose answer is the letter of an option.
pub const OPTION_LETTER: &str = "\nAnswer with the option's letter from the given choices directly.";
/// What MME's files end their questions with; prompts replace it by [`SHORT_ANSWER`].
const YES_OR_NO: &str = "Please answer yes or no.";

/// How a user text is put together: hint, question, OCR tokens, options, suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// Texts before and after a hint, when there is one.
    pub hint: (&'static str, &'static str),
    /// Whether the question's first letter is raised and the rest lowered.
    pub capitalise: bool,
    /// Text before a line of OCR tokens, when they are asked for.
    pub ocr: &'static str,
    /// Text between question and options, when there are options. Each option is `\n<letter>. <text>`.
    pub lead: &'static str,
    /// Text at the end.
    pub suffix: &'static str,
}

/// A question with a short answer.
const SHORT: Template = Template {
    hint: ("", "\n"),
    capitalise: false,
    ocr: "\nReference OCR token: ",
    lead: "",
    suffix: SHORT_ANSWER,
};
/// A question with options.
const LETTER: Template = Template {
    suffix: OPTION_LETTER,
    ..SHORT
};

impl Protocol {
    /// Whose texts a family of models is asked with when nothing else is wanted: those behind its published numbers, which
    /// are lmms-eval's default texts for Qwen2.5-VL and LLaVA's question files for all others.
    pub fn of_family(family: Family) -> Self {
        match family {
            Family::Qwen25Vl => Self::LmmsEval,
            _ => Self::Llava,
        }
    }
}

impl Template {
    /// The texts of a benchmark under a protocol.
    pub const fn of(benchmark: Benchmark, protocol: Protocol) -> Self {
        match (benchmark, protocol) {
            (Benchmark::MmBench, Protocol::LmmsEval) => Self {
                hint: ("", " "),
                lead: " There are several options:",
                suffix: "\n\nAnswer with the option's letter from the given choices directly.",
                ..LETTER
            },
            (Benchmark::MmBenchCn, Protocol::Llava) => Self {
                suffix: "\n请直接回答选项字母。",
                ..LETTER
            },
            (Benchmark::MmBenchCn, Protocol::LmmsEval) => Self {
                hint: ("", " "),
                lead: " There are several options:",
                suffix: "\n\n请直接使用所提供的选项字母作为答案回答。",
                ..LETTER
            },
            (Benchmark::ScienceQa, _) => Self {
                hint: ("Context: ", "\n"),
                ..LETTER
            },
            (Benchmark::MmBench, Protocol::Llava) | (Benchmark::SeedBench, _) => LETTER,
            (Benchmark::TextVqa, _) => Self {
                capitalise: true,
                ..SHORT
            },
            (Benchmark::VizWiz, _) => Self {
                capitalise: true,
                suffix: "\nWhen the provided information is insufficient, respond with 'Unanswerable'.\
                         \nAnswer the question using a single word or phrase.",
                ..SHORT
            },
            (Benchmark::Gqa | Benchmark::Pope | Benchmark::Mme | Benchmark::VqaV2, _) => SHORT,
        }
    }

    /// The user text without image tag. An empty hint is none; `options` are letters and texts.
    pub fn render(
        &self,
        hint: Option<&str>,
        question: &str,
        ocr_tokens: Option<&[String]>,
        options: &[(char, String)],
    ) -> String {
        let mut text = String::new();
        if let Some(hint) = hint.filter(|hint| !hint.is_empty()) {
            text.extend([self.hint.0, hint, self.hint.1]);
        }
        if self.capitalise {
            text.push_str(&capitalised(question));
        } else {
            text.push_str(question);
        }
        if let Some(tokens) = ocr_tokens {
            text.push_str(self.ocr);
            text.push_str(&tokens.join(", "));
        }
        if !options.is_empty() {
            text.push_str(self.lead);
        }
        for (letter, option) in options {
            text.extend(["\n", letter.encode_utf8(&mut [0; 4]), ". ", option]);
        }
        text + self.suffix
    }
}

/// TextVQA's text: the question with its first letter raised and the rest lowered, OCR tokens when given, the suffix.
pub fn textvqa_text(question: &str, ocr_tokens: Option<&[String]>) -> String {
    Template::of(Benchmark::TextVqa, Protocol::Llava).render(None, question, ocr_tokens, &[])
}

/// MME's text from a question of its files: the request for yes or no gives way to the suffix.
///
/// LLaVA's file has no space before the suffix; lmms-eval removes one space only, and some questions have two.
pub fn mme_text(question: &str, protocol: Protocol) -> String {
    let bare = match protocol {
        Protocol::Llava => question.trim().replace(YES_OR_NO, "").trim().to_string(),
        Protocol::LmmsEval => question.trim().replace(&format!(" {YES_OR_NO}"), ""),
    };
    bare + SHORT_ANSWER
}

/// Letters for options: `A`, `B`, ….
pub(crate) fn lettered(options: impl IntoIterator<Item = String>) -> Vec<(char, String)> {
    ('A'..='Z').zip(options).collect()
}

/// First letter upper case, the rest lower case.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first
            .to_uppercase()
            .chain(letters.as_str().to_lowercase().chars())
            .collect(),
        None => String::new(),
    }
}
