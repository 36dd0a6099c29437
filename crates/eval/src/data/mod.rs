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
mod protocols;
mod question;
#[cfg(feature = "parquet")]
mod rows;
mod scienceqa;
mod seed;
mod table;
mod textvqa;
mod tsv;
#[cfg(feature = "parquet")]
mod unpack;
#[cfg(feature = "parquet")]
mod unpack_captions;
#[cfg(feature = "parquet")]
mod unpack_imagenet;
mod vizwiz;
mod vqav2;

pub use captions::{Caption, Captions, read_captions};
pub(crate) use gqa::gqa_annotations;
pub use imagenet::{ImageNet, ImageNetSample};
pub use info::Splits;
pub use manifest::{Difference, FileEntry, Manifest};
pub(crate) use mmbench::mmbench_upload;
pub use mme::mme_results;
pub use picture::InlineImage;
pub use problems::Loaded;
pub use prompt::{OPTION_LETTER, SHORT_ANSWER, Template, mme_text, textvqa_text};
pub use protocols::Protocols;
pub use question::{Benchmark, Protocol, Question, ReadOptions, Reference, Split};
#[cfg(feature = "parquet")]
pub use unpack::unpack_parquet;
#[cfg(feature = "parquet")]
pub use unpack_captions::unpack_captions;
#[cfg(feature = "parquet")]
pub use unpack_imagenet::unpack_imagenet;
pub use vqav2::vqav2_upload_ids;
