//! From a decoded answer to a score, as each benchmark's program does it.

mod contractions;
mod extract;
mod files;
mod gqa;
mod imagenet;
mod letters;
mod metric;
mod mme;
mod normalise;
mod options;
mod score;
mod ten;
mod upload;
mod yes_no;

pub use extract::extract_letter;
pub use files::{AnswerFile, answer_files};
pub use gqa::{gqa_correct, gqa_prediction, gqa_predictions};
pub use imagenet::{PatchRule, is_in_top_k, patches, resize_area, resize_bilinear, resize_nearest, top_k};
pub use letters::{scienceqa_correct_lmms, scienceqa_letter, seed_letter_lmms};
pub use metric::{Metric, Scored, Tally, tallies};
pub use mme::{MME_COGNITION, MME_PERCEPTION, mme_label, mme_label_lmms};
pub use normalise::{
    CommaRule, digits_and_articles, evalai_normalise, evalai_tokenise, punctuation, vqa_clean, vqa_normalise,
};
pub use options::{mmbench_letter_lmms, mmbench_letter_vlmevalkit};
pub use score::score;
pub use ten::{lmms_vqav2_accuracy, ten_annotator_accuracy, textvqa_accuracy, vqa_official_accuracy};
pub use upload::{seed_upload, vizwiz_upload, vqav2_upload};
pub use yes_no::{Confusion, pope_label, pope_label_lmms};
