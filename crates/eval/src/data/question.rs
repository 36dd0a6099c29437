//! A question as every benchmark gives it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{gqa, pope, textvqa};
use crate::EvalError;

/// A benchmark that this crate reads and scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Benchmark {
    /// GQA testdev-balanced: exact match, percent.
    Gqa,
    /// POPE: mean F1 over its three splits, percent.
    Pope,
    /// TextVQA 0.5.1 val: ten-annotator accuracy, percent.
    TextVqa,
}

/// Whose evaluation program scores answers. Prompts are those of LLaVA-1.5 under either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The evaluation scripts of LLaVA-1.5 and each benchmark's own program.
    #[default]
    Llava,
    /// The task definitions of lmms-eval.
    LmmsEval,
}

/// What an answer is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// Yes (true) or no.
    YesNo(bool),
    /// One string.
    Exact(String),
    /// The answers of ten annotators.
    TenAnswers(Vec<String>),
}

/// One question about one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Unique within the benchmark.
    pub id: String,
    /// Where it comes from.
    pub benchmark: Benchmark,
    /// Part of the benchmark that its program reports apart: POPE's split, GQA's structural type, TextVQA's set.
    pub subset: String,
    /// Finer class for tables: GQA's detailed type; otherwise the subset.
    pub kind: String,
    /// The picture's file.
    pub image: PathBuf,
    /// User text without the image tag, suffix included.
    pub text: String,
    /// What an answer is compared with.
    pub reference: Reference,
}

impl Question {
    /// File name of the picture, the same on every machine.
    pub fn image_name(&self) -> String {
        self.image
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

/// How a benchmark is read; the prompts are those of LLaVA-1.5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// TextVQA: whether the prompt holds OCR tokens. The paper's number has them; a LLaVA question file decides itself.
    pub ocr: bool,
    /// Folder of the pictures; by default the official place below the root.
    pub images: Option<PathBuf>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            ocr: true,
            images: None,
        }
    }
}

impl Benchmark {
    /// Every benchmark.
    pub const ALL: [Self; 3] = [Self::Gqa, Self::Pope, Self::TextVqa];

    /// Name in files, folders and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gqa => "gqa",
            Self::Pope => "pope",
            Self::TextVqa => "textvqa",
        }
    }

    /// Name of the number that tables print.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Gqa => "gqa accuracy",
            Self::Pope => "pope mean F1",
            Self::TextVqa => "textvqa accuracy",
        }
    }

    /// Longest answer in new tokens.
    pub fn max_new_tokens(self, protocol: Protocol) -> usize {
        match (protocol, self) {
            (Protocol::Llava, _) | (Protocol::LmmsEval, Self::Pope) => 128,
            (Protocol::LmmsEval, Self::Gqa) => 16,
            (Protocol::LmmsEval, Self::TextVqa) => 1024,
        }
    }

    /// Reads the questions below `root`, in the order of the question file.
    ///
    /// # Errors
    /// [`EvalError`] naming file and line: no such file, damaged JSON, wrong fields, duplicate ids, missing pictures,
    /// questions without annotation.
    pub fn read(self, root: &Path, options: &ReadOptions) -> Result<Vec<Question>, EvalError> {
        match self {
            Self::Gqa => gqa::read(root, options),
            Self::Pope => pope::read(root, options),
            Self::TextVqa => textvqa::read(root, options),
        }
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
