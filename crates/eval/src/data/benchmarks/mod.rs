//! The crate's own benchmarks, a file each.

mod gqa;
mod gqa_details;
mod mmbench;
mod mme;
mod pope;
mod scienceqa;
mod seed;
mod textvqa;
mod vizwiz;
mod vqav2;

pub(super) use gqa::Gqa;
pub use gqa::{gqa_correct, gqa_prediction, gqa_predictions};
pub use gqa_details::{GqaDetails, GqaShare, gqa_details};
pub(super) use mmbench::MmBench;
pub(super) use mme::Mme;
pub use mme::{MME_COGNITION, MME_PERCEPTION, mme_label, mme_label_lmms, mme_results, mme_text};
pub(super) use pope::Pope;
pub use pope::{pope_label, pope_label_lmms};
pub(super) use scienceqa::ScienceQa;
pub use scienceqa::{scienceqa_correct_lmms, scienceqa_letter};
pub(super) use seed::SeedBench;
pub use seed::{seed_letter_lmms, seed_upload};
pub(super) use textvqa::TextVqa;
pub(crate) use textvqa::prompts_hold_ocr;
pub(super) use vizwiz::VizWiz;
pub use vizwiz::vizwiz_upload;
pub(super) use vqav2::VqaV2;
pub use vqav2::{vqav2_upload, vqav2_upload_ids};
