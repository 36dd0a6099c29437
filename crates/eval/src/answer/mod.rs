//! Rules that several benchmarks share: normal forms of answers, letters of options, counts, and numbers from scores.

mod confusion;
mod contractions;
mod extract;
mod imagenet;
mod normalise;
mod option_letter;
mod tally;
mod ten;

pub use confusion::Confusion;
pub use extract::extract_letter;
pub use imagenet::{PatchRule, is_in_top_k, patches, resize_area, resize_bilinear, resize_nearest, top_k};
pub(crate) use normalise::is_space;
pub use normalise::{
    CommaRule, digits_and_articles, evalai_normalise, evalai_tokenise, punctuation, vqa_clean, vqa_normalise,
};
pub use option_letter::{mmbench_letter_lmms, mmbench_letter_vlmevalkit};
pub use tally::{Aggregate, Scored, Tally, YesNoAnswer, tallies};
pub use ten::{lmms_vqav2_accuracy, ten_annotator_accuracy, textvqa_accuracy, vqa_official_accuracy};
