//! Benchmarks on disk: questions, references and pictures, as the authors publish them.

mod gqa;
mod json;
mod pictures;
mod pope;
mod prompt;
mod question;
mod table;
mod textvqa;

pub use prompt::{SHORT_ANSWER, textvqa_text};
pub use question::{Benchmark, Protocol, Question, ReadOptions, Reference};
