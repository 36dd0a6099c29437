//! The texts around a question, as data.

use diffprune_vlm::Family;

use super::benchmark::Benchmark;
use super::question::Protocol;

/// Suffix of questions with a short answer.
pub const SHORT_ANSWER: &str = "\nAnswer the question using a single word or phrase.";
/// Suffix of questions whose answer is the letter of an option.
pub const OPTION_LETTER: &str = "\nAnswer with the option's letter from the given choices directly.";

/// The parts of a user text, in their order: hint, question, OCR tokens, options, suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// Texts before and after a hint, when there is one.
    pub hint: (&'static str, &'static str),
    /// True when the question's first letter is raised and the rest lowered.
    pub capitalise: bool,
    /// Text before a line of OCR tokens, when they are asked for.
    pub ocr: &'static str,
    /// Text between question and options, when there are options. Each option is `\n<letter>. <text>`.
    pub lead: &'static str,
    /// Text at the end.
    pub suffix: &'static str,
}

impl Protocol {
    /// The protocol whose texts a family of models is asked with when nothing else is wanted: those behind its published
    /// numbers, which are lmms-eval's default texts for Qwen2.5-VL and LLaVA's question files for all others.
    pub fn of_family(family: Family) -> Self {
        match family {
            Family::Qwen25Vl => Self::LmmsEval,
            _ => Self::Llava,
        }
    }
}

impl Template {
    /// A question with a short answer.
    pub const SHORT: Self = Self {
        hint: ("", "\n"),
        capitalise: false,
        ocr: "\nReference OCR token: ",
        lead: "",
        suffix: SHORT_ANSWER,
    };
    /// A question whose answer is the letter of an option.
    pub const LETTER: Self = Self {
        suffix: OPTION_LETTER,
        ..Self::SHORT
    };

    /// The texts of a benchmark under a protocol.
    pub fn of(benchmark: Benchmark, protocol: Protocol) -> Self {
        benchmark.spec().template(protocol)
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
