//! A question as every benchmark gives it.

use std::path::PathBuf;

use diffprune_images::{ImageFileError, decode_image, load_image};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::benchmark::Benchmark;
use super::picture::InlineImage;

/// The source of prompts ([`ReadOptions::prompts`]) or of the program that scores answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The evaluation scripts of LLaVA-1.5 and each benchmark's own program.
    #[default]
    Llava,
    /// The task definitions of lmms-eval.
    LmmsEval,
}

/// The truth that an answer is compared with.
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

impl Reference {
    /// The number of answers that the question offers to somebody who guesses: its options, or yes and no; `None` when it
    /// is open.
    pub(crate) fn n_answers(&self) -> Option<usize> {
        match self {
            Self::YesNo(_) => Some(2),
            Self::Letter { options, .. } if !options.is_empty() => Some(options.len()),
            Self::Letter { .. } | Self::Exact(_) | Self::TenAnswers(_) | Self::Hidden => None,
        }
    }
}

/// One question about one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Unique within the benchmark.
    pub id: String,
    /// Its benchmark.
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
    /// The truth that an answer is compared with.
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
        let by_folder = self.benchmark.spec().names_pictures_by_folder() && self.inline.is_none();
        match names.next().filter(|_| by_folder) {
            Some(folder) => format!("{folder}/{file}"),
            None => file,
        }
    }

    /// True when there is a picture.
    pub fn has_image(&self) -> bool {
        !self.image.as_os_str().is_empty()
    }

    /// The decoded picture.
    ///
    /// # Errors
    /// When the file cannot be read, holds no picture, or the question has none.
    pub fn load_image(&self) -> Result<RgbImage, ImageFileError> {
        match &self.inline {
            Some(inline) => decode_image(&self.image, inline.bytes()),
            None => load_image(&self.image),
        }
    }

    /// The truth of a question whose answers are counted as yes or no and nothing else (POPE).
    pub fn label(&self) -> Option<bool> {
        match self.reference {
            Reference::YesNo(label) if self.benchmark.spec().counts_yes_and_no() => Some(label),
            _ => None,
        }
    }

    /// The score of an answer, from 0 to 1, by the benchmark's own rule under a protocol.
    pub fn score(&self, answer: &str, protocol: Protocol) -> f64 {
        self.benchmark.score(answer, &self.reference, protocol)
    }
}

/// The questions that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Split {
    /// Those with public answers, which can be scored here.
    #[default]
    Scored,
    /// Those that a server scores (VQAv2 test-dev, VizWiz test, MMBench test); [`Reference::Hidden`]. The same as
    /// `Scored` for other benchmarks.
    Upload,
}

/// Options of reading a benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// TextVQA: whether the prompt holds OCR tokens. The paper's number has them. LLaVA's question file, which has them too,
    /// is not read without.
    pub ocr: bool,
    /// Folder of the pictures; by default the official place below the root.
    pub images: Option<PathBuf>,
    /// The protocol whose texts are used. LLaVA's question files are read under [`Protocol::Llava`] only.
    pub prompts: Protocol,
    /// The questions that are read.
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

impl ReadOptions {
    /// The same with or without OCR tokens in TextVQA's prompts.
    pub fn with_ocr(mut self, ocr: bool) -> Self {
        self.ocr = ocr;
        self
    }

    /// The same with pictures from this folder.
    pub fn with_images(mut self, images: impl Into<Option<PathBuf>>) -> Self {
        self.images = images.into();
        self
    }

    /// The same with the texts of this protocol.
    pub fn with_prompts(mut self, prompts: Protocol) -> Self {
        self.prompts = prompts;
        self
    }

    /// The same for these questions.
    pub fn with_split(mut self, split: Split) -> Self {
        self.split = split;
        self
    }

    /// The same with or without SEED-Bench's questions about videos.
    pub fn with_video(mut self, video: bool) -> Self {
        self.video = video;
        self
    }

    /// The same with or without ScienceQA's questions that have no picture.
    pub fn with_text_only(mut self, text_only: bool) -> Self {
        self.text_only = text_only;
        self
    }
}
