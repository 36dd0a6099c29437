//! From a decoded answer to a score, as each benchmark's program does it.

mod contractions;
mod gqa;
mod normalise;
mod score;
mod ten;
mod yes_no;

pub use gqa::{gqa_correct, gqa_prediction, gqa_predictions};
pub use normalise::{
    CommaRule, digits_and_articles, evalai_normalise, evalai_tokenise, punctuation, vqa_clean, vqa_normalise,
};
pub use score::score;
pub use ten::{lmms_vqav2_accuracy, ten_annotator_accuracy, textvqa_accuracy, vqa_official_accuracy};
pub use yes_no::{Confusion, pope_label, pope_label_lmms};
