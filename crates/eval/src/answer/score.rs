//! One answer to one question.

use super::gqa::gqa_correct;
use super::ten::textvqa_accuracy;
use super::yes_no::{pope_label, pope_label_lmms};
use crate::data::{Protocol, Reference};

/// The score of an answer, from 0 to 1, by the benchmark's own rule.
pub fn score(answer: &str, reference: &Reference, protocol: Protocol) -> f64 {
    match reference {
        Reference::YesNo(label) => {
            let predicted = match protocol {
                Protocol::Llava => Some(pope_label(answer)),
                Protocol::LmmsEval => pope_label_lmms(answer),
            };
            f64::from(predicted == Some(*label))
        }
        Reference::Exact(reference) => f64::from(gqa_correct(answer, reference, protocol)),
        Reference::TenAnswers(answers) => textvqa_accuracy(answer, answers),
    }
}
