//! One answer to one question.

use super::extract::extract_letter;
use super::gqa::gqa_correct;
use super::letters::{scienceqa_correct_lmms, scienceqa_letter, seed_letter_lmms};
use super::mme::{mme_label, mme_label_lmms};
use super::normalise::evalai_normalise;
use super::options::{mmbench_letter_lmms, mmbench_letter_vlmevalkit};
use super::ten::{lmms_vqav2_accuracy, textvqa_accuracy, vqa_official_accuracy};
use super::yes_no::{pope_label, pope_label_lmms};
use crate::data::{Benchmark, Protocol, Question, Reference};

/// The score of an answer, from 0 to 1, by the rule of the first benchmark with this kind of reference: POPE's for yes
/// and no, GQA's for one string, TextVQA's for ten answers, MMBench's for a letter. [`Question::score`] knows them all.
pub fn score(answer: &str, reference: &Reference, protocol: Protocol) -> f64 {
    let benchmark = match reference {
        Reference::YesNo(_) => Benchmark::Pope,
        Reference::Exact(_) | Reference::Hidden => Benchmark::Gqa,
        Reference::TenAnswers(_) => Benchmark::TextVqa,
        Reference::Letter { .. } => Benchmark::MmBench,
    };
    benchmark.score(answer, reference, protocol)
}

impl Benchmark {
    /// The score of an answer, from 0 to 1, by the benchmark's own rule under a protocol.
    pub fn score(self, answer: &str, reference: &Reference, protocol: Protocol) -> f64 {
        let lmms = protocol == Protocol::LmmsEval;
        match reference {
            Reference::YesNo(label) => f64::from(self.yes_or_no(answer, protocol) == Some(*label)),
            Reference::Exact(reference) => f64::from(gqa_correct(answer, reference, protocol)),
            Reference::TenAnswers(answers) => match (self, lmms) {
                // LLaVA uploads normalised answers, which the official program then scores.
                (Self::VqaV2, false) => vqa_official_accuracy(&evalai_normalise(answer), answers),
                (Self::VqaV2, true) => lmms_vqav2_accuracy(answer, answers),
                _ => textvqa_accuracy(answer, answers),
            },
            Reference::Letter { letter, options } => {
                f64::from(self.letter_is_right(answer, *letter, options, lmms))
            }
            Reference::Hidden => 0.0,
        }
    }

    /// Whether the benchmark's own rule takes an answer to a yes/no question for yes; `None` when for neither.
    pub(crate) fn yes_or_no(self, answer: &str, protocol: Protocol) -> Option<bool> {
        match (self, protocol) {
            (Self::Mme, Protocol::Llava) => mme_label(answer),
            (Self::Mme, Protocol::LmmsEval) => mme_label_lmms(answer),
            (_, Protocol::Llava) => Some(pope_label(answer)),
            (_, Protocol::LmmsEval) => pope_label_lmms(answer),
        }
    }

    fn letter_is_right(self, answer: &str, letter: char, options: &[(char, String)], lmms: bool) -> bool {
        match (self, lmms) {
            (Self::ScienceQa, false) => {
                let known = |found: &char| options.iter().any(|(letter, _)| letter == found);
                scienceqa_letter(answer).filter(known) == Some(letter)
            }
            (Self::ScienceQa, true) => scienceqa_correct_lmms(answer, letter),
            (Self::SeedBench, false) => answer == letter.to_string(),
            (Self::SeedBench, true) => {
                seed_letter_lmms(answer).is_some_and(|found| found.eq_ignore_ascii_case(&letter))
            }
            (_, false) => mmbench_letter_vlmevalkit(answer, options) == Some(letter),
            (_, true) => {
                let letters: Vec<char> = options.iter().map(|&(letter, _)| letter).collect();
                let fallback = || extract_letter(answer, &letters);
                mmbench_letter_lmms(answer, options).or_else(fallback) == Some(letter)
            }
        }
    }
}

impl Reference {
    /// How many answers the question offers to somebody who guesses: its options, or yes and no; `None` when it is open.
    pub(crate) fn n_answers(&self) -> Option<usize> {
        match self {
            Self::YesNo(_) => Some(2),
            Self::Letter { options, .. } if !options.is_empty() => Some(options.len()),
            Self::Letter { .. } | Self::Exact(_) | Self::TenAnswers(_) | Self::Hidden => None,
        }
    }
}

impl Question {
    /// The score of an answer, from 0 to 1, by the benchmark's own rule under a protocol.
    pub fn score(&self, answer: &str, protocol: Protocol) -> f64 {
        self.benchmark.score(answer, &self.reference, protocol)
    }
}
