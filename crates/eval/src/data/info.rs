//! What is known about each benchmark beside its questions.

use std::fmt;

use super::question::{Benchmark, Protocol};
use crate::answer::Metric;

/// Which data the papers' tables print, and which are read here by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Splits {
    /// Behind the number in the tables of pruning papers.
    pub paper: &'static str,
    /// Read by default.
    pub here: &'static str,
    /// Number of questions that are read by default from the complete files.
    pub n_questions: usize,
}

impl Splits {
    /// Whether the default differs from what the tables print.
    pub fn differ(&self) -> bool {
        self.paper != self.here
    }
}

impl Benchmark {
    /// Name in files, folders and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gqa => "gqa",
            Self::Pope => "pope",
            Self::TextVqa => "textvqa",
            Self::MmBench => "mmbench",
            Self::MmBenchCn => "mmbench_cn",
            Self::Mme => "mme",
            Self::ScienceQa => "scienceqa",
            Self::VqaV2 => "vqav2",
            Self::SeedBench => "seed_bench",
            Self::VizWiz => "vizwiz",
        }
    }

    /// Name of the number that tables print.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Gqa => "gqa accuracy",
            Self::Pope => "pope mean F1",
            Self::TextVqa => "textvqa accuracy",
            Self::MmBench => "mmbench circular accuracy",
            Self::MmBenchCn => "mmbench_cn circular accuracy",
            Self::Mme => "mme points",
            Self::ScienceQa => "scienceqa accuracy",
            Self::VqaV2 => "vqav2 accuracy",
            Self::SeedBench => "seed_bench accuracy",
            Self::VizWiz => "vizwiz accuracy",
        }
    }

    /// How that number follows from the scores of single questions.
    pub fn aggregate(self) -> Metric {
        match self {
            Self::Pope => Metric::MeanF1,
            Self::MmBench | Self::MmBenchCn => Metric::Groups,
            Self::Mme => Metric::AccuracyPlus,
            _ => Metric::MeanScore,
        }
    }

    /// Longest answer in new tokens.
    pub fn max_new_tokens(self, protocol: Protocol) -> usize {
        match (protocol, self) {
            (Protocol::Llava, Self::ScienceQa | Self::MmBench | Self::MmBenchCn) => 1024,
            (Protocol::Llava, _) | (Protocol::LmmsEval, Self::Pope) => 128,
            (Protocol::LmmsEval, Self::Gqa | Self::Mme | Self::VqaV2 | Self::ScienceQa) => 16,
            (Protocol::LmmsEval, Self::MmBenchCn) => 256,
            (Protocol::LmmsEval, Self::TextVqa | Self::VizWiz | Self::SeedBench | Self::MmBench) => 1024,
        }
    }

    /// Whether [`Split::Upload`](super::Split::Upload) reads other questions than the default split.
    pub fn has_upload_split(self) -> bool {
        matches!(self, Self::VqaV2 | Self::VizWiz | Self::MmBench | Self::MmBenchCn)
    }

    /// The paper's data and ours.
    pub fn splits(self) -> Splits {
        let same = |split, n_questions| Splits {
            paper: split,
            here: split,
            n_questions,
        };
        match self {
            Self::Gqa => same("testdev-balanced", 12_578),
            Self::Pope => same("COCO val2014, random + popular + adversarial", 9_000),
            Self::TextVqa => same("0.5.1 val, OCR tokens in the prompt", 5_000),
            Self::MmBench | Self::MmBenchCn => same("dev, 1164 questions in all rotations", 4_377),
            Self::Mme => same("all 14 subtasks", 2_374),
            Self::ScienceQa => same("test, questions with a picture", 2_017),
            Self::VqaV2 => Splits {
                paper: "test-dev (server)",
                here: "val2014",
                n_questions: 214_354,
            },
            Self::SeedBench => same("version 1, pictures and one frame of each video", 17_990),
            Self::VizWiz => same("val", 4_319),
        }
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
