//! Benchmarks on disk: questions, references and pictures, as the authors publish them.

mod answer_files;
mod benchmark;
mod benchmarks;
mod captions;
mod imagenet;
mod json;
mod manifest;
#[cfg(feature = "parquet")]
mod parcel;
#[cfg(feature = "parquet")]
mod parquet_rows;
mod picture;
mod problems;
mod protocols;
mod question;
mod readers;
mod spec;
mod template;
mod tsv;
#[cfg(feature = "parquet")]
mod unpack;
#[cfg(feature = "parquet")]
mod unpack_captions;
#[cfg(feature = "parquet")]
mod unpack_imagenet;

pub use answer_files::{AnswerFile, AnsweredQuestions, answer_files};
pub use benchmark::{Benchmark, CustomBenchmark, score};
pub(crate) use benchmarks::prompts_hold_ocr;
pub use benchmarks::{
    GqaDetails, GqaShare, MME_COGNITION, MME_PERCEPTION, gqa_correct, gqa_details, gqa_prediction,
    gqa_predictions, mme_label, mme_label_lmms, mme_results, mme_text, pope_label, pope_label_lmms,
    scienceqa_correct_lmms, scienceqa_letter, seed_letter_lmms, seed_upload, vizwiz_upload, vqav2_upload,
    vqav2_upload_ids,
};
pub use captions::{Caption, Captions, read_captions};
pub use imagenet::{ImageNet, ImageNetSample};
pub use manifest::{Difference, FileEntry, Manifest};
#[cfg(feature = "parquet")]
pub use parcel::{Parcel, UnpackOptions};
#[cfg(feature = "parquet")]
pub use parquet_rows::ParquetRow;
pub use picture::InlineImage;
pub use problems::{LoadedQuestions, Problems};
pub use protocols::Protocols;
pub use question::{Protocol, Question, ReadOptions, Reference, Split};
pub use spec::{BenchmarkFiles, BenchmarkSpec, SecondaryNumber, SecondaryValue, Splits};
pub use template::{OPTION_LETTER, SHORT_ANSWER, Template};
#[cfg(feature = "parquet")]
pub use unpack::{AddRow, JsonList, OfficialFiles, ParquetCopy, unpack_parquet};
#[cfg(feature = "parquet")]
pub use unpack_captions::{unpack_caption_column, unpack_captions};
#[cfg(feature = "parquet")]
pub use unpack_imagenet::unpack_imagenet;
