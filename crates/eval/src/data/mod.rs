//! Benchmarks on disk: questions, references and pictures, as the authors publish them.

mod captions;
mod copies;
mod gqa;
mod imagenet;
mod info;
mod json;
mod manifest;
mod mmbench;
mod mme;
mod picture;
mod pope;
mod problems;
mod prompt;
mod question;
mod scienceqa;
mod seed;
mod table;
mod textvqa;
mod tsv;
#[cfg(feature = "parquet")]
mod unpack;
mod vizwiz;
mod vqav2;

pub(crate) use copies::UNPACK_BUILD;

pub use captions::{Caption, Captions, read_captions};
pub use imagenet::{ImageNet, ImageNetSample};
pub use info::Splits;
pub use manifest::{Difference, FileEntry, Manifest};
pub use mme::mme_results;
pub use picture::InlineImage;
pub use problems::Loaded;
pub use prompt::{ModelFamily, OPTION_LETTER, SHORT_ANSWER, Template, mme_text, textvqa_text};
pub use question::{Benchmark, Protocol, Question, ReadOptions, Reference, Split};
#[cfg(feature = "parquet")]
pub use unpack::unpack_parquet;
pub use vqav2::vqav2_upload_ids;
