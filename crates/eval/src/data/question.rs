//! A question as every benchmark gives it.

use std::path::{Path, PathBuf};

use diffprune_vlm_adapters::{LoadError, decode_image, load_image};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::copies::parquet_copy;
use super::picture::InlineImage;
use super::problems::{Loaded, Problems};
use super::{gqa, mmbench, mme, pope, scienceqa, seed, textvqa, vizwiz, vqav2};
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
    /// MMBench dev in English: circular accuracy, percent.
    MmBench,
    /// MMBench dev in Chinese: circular accuracy, percent.
    #[serde(rename = "mmbench_cn")]
    MmBenchCn,
    /// MME: sum over subtasks of accuracy and accuracy+, points out of 2800.
    Mme,
    /// ScienceQA test, questions with a picture: accuracy, percent.
    ScienceQa,
    /// VQAv2 val2014: ten-annotator accuracy, percent.
    VqaV2,
    /// SEED-Bench (version 1), pictures and videos: accuracy, percent.
    #[serde(rename = "seed_bench")]
    SeedBench,
    /// VizWiz val: ten-annotator accuracy, percent.
    VizWiz,
}

/// Whose texts questions are asked with ([`ReadOptions::prompts`]), or whose program scores answers.
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
    /// The letter of an option.
    Letter {
        /// The right one.
        letter: char,
        /// Letters and texts of the options.
        options: Vec<(char, String)>,
    },
    /// Known to a server only; every answer scores 0 here.
    Hidden,
}

/// One question about one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Unique within the benchmark.
    pub id: String,
    /// Where it comes from.
    pub benchmark: Benchmark,
    /// Part of the benchmark that its program reports apart: POPE's split, GQA's structural type, TextVQA's set, MME's
    /// subtask, MMBench's coarse category, VQAv2's answer type, SEED-Bench's kind of data.
    pub subset: String,
    /// Finer class for tables: GQA's detailed type, MMBench's category, VQAv2's question type, SEED-Bench's question
    /// type; otherwise the subset.
    pub kind: String,
    /// Questions that count together: MMBench's rotations of one question, MME's pair about one picture. All of a group
    /// are about the same picture. `None` when the question counts alone.
    pub group: Option<String>,
    /// The picture's file. Of a picture inside a data file, that file followed by a name of the picture. Empty when the
    /// question has no picture.
    pub image: PathBuf,
    /// The picture itself when it comes from inside a data file.
    pub inline: Option<InlineImage>,
    /// User text without the image tag, suffix included.
    pub text: String,
    /// What an answer is compared with.
    pub reference: Reference,
}

impl Question {
    /// Name of the picture, the same on every machine: questions about the same picture of a benchmark share it.
    ///
    /// The file name; with the folder before it where file names repeat (MME, ScienceQA).
    pub fn image_name(&self) -> String {
        let mut names = self
            .image
            .iter()
            .rev()
            .map(|name| name.to_string_lossy())
            .filter(|name| name != "images");
        let file = names.next().unwrap_or_default().into_owned();
        match (self.benchmark, &self.inline, names.next()) {
            (Benchmark::Mme | Benchmark::ScienceQa, None, Some(folder)) => format!("{folder}/{file}"),
            _ => file,
        }
    }

    /// Whether there is a picture.
    pub fn has_image(&self) -> bool {
        !self.image.as_os_str().is_empty()
    }

    /// The decoded picture.
    ///
    /// # Errors
    /// When the file cannot be read, holds no picture, or the question has none.
    pub fn load_image(&self) -> Result<RgbImage, LoadError> {
        match &self.inline {
            Some(inline) => decode_image(&self.image, inline.bytes()),
            None => load_image(&self.image),
        }
    }

    /// The truth of a question whose answers are counted as yes or no and nothing else (POPE).
    pub fn label(&self) -> Option<bool> {
        match (self.benchmark, &self.reference) {
            (Benchmark::Pope, Reference::YesNo(label)) => Some(*label),
            _ => None,
        }
    }
}

/// Which questions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Split {
    /// Those with public answers, which can be scored here.
    #[default]
    Scored,
    /// Those that a server scores (VQAv2 test-dev, VizWiz test, MMBench test); [`Reference::Hidden`]. The same as
    /// `Scored` for other benchmarks.
    Upload,
}

/// How a benchmark is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// TextVQA: whether the prompt holds OCR tokens. The paper's number has them. LLaVA's question file, which has them too,
    /// is not read without.
    pub ocr: bool,
    /// Folder of the pictures; by default the official place below the root.
    pub images: Option<PathBuf>,
    /// Whose texts are used. LLaVA's question files are read under [`Protocol::Llava`] only.
    pub prompts: Protocol,
    /// Which questions are read.
    pub split: Split,
    /// SEED-Bench: whether questions about videos are read too.
    pub video: bool,
    /// ScienceQA: whether questions without a picture are read too. They are for scoring stored answers; a run asks
    /// about pictures only.
    pub text_only: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            ocr: true,
            images: None,
            prompts: Protocol::Llava,
            split: Split::Scored,
            video: true,
            text_only: false,
        }
    }
}

impl Benchmark {
    /// Every benchmark.
    pub const ALL: [Self; 10] = [
        Self::Gqa,
        Self::Pope,
        Self::TextVqa,
        Self::MmBench,
        Self::MmBenchCn,
        Self::Mme,
        Self::ScienceQa,
        Self::VqaV2,
        Self::SeedBench,
        Self::VizWiz,
    ];

    /// Reads the questions below `root`, in the order of the question file; the first unusable sample is an error.
    ///
    /// # Errors
    /// [`EvalError`] naming file and line: no such file, damaged JSON, wrong fields or columns, broken base64, duplicate
    /// ids, missing pictures, questions without annotation.
    pub fn read(self, root: &Path, options: &ReadOptions) -> Result<Vec<Question>, EvalError> {
        Ok(self.read_with(root, options, Problems::new(true))?.questions)
    }

    /// As [`Self::read`], but leaves unusable samples out and says what is wrong with each. A group with such a sample
    /// is left out whole.
    ///
    /// # Errors
    /// When a file is missing or damaged as a whole, or no sample is left.
    pub fn load(self, root: &Path, options: &ReadOptions) -> Result<Loaded, EvalError> {
        self.read_with(root, options, Problems::new(false))
    }

    fn read_with(
        self,
        root: &Path,
        options: &ReadOptions,
        mut problems: Problems,
    ) -> Result<Loaded, EvalError> {
        let read = match self {
            Self::Gqa => gqa::read,
            Self::Pope => pope::read,
            Self::TextVqa => textvqa::read,
            Self::MmBench => mmbench::read_en,
            Self::MmBenchCn => mmbench::read_cn,
            Self::Mme => mme::read,
            Self::ScienceQa => scienceqa::read,
            Self::VqaV2 => vqav2::read,
            Self::SeedBench => seed::read,
            Self::VizWiz => vizwiz::read,
        };
        let questions =
            read(root, options, &mut problems).map_err(|error| match (error, parquet_copy(root)) {
                (EvalError::NoFiles { .. }, Some(file)) => EvalError::ParquetCopies {
                    benchmark: self,
                    root: root.into(),
                    file,
                },
                (error, _) => error,
            })?;
        problems.finish(questions)
    }
}
