//! The trait of a benchmark: everything that differs from one to the next.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::answer_files::{AnswerFile, AnsweredQuestions};
use super::benchmark::{Benchmark, score};
use super::problems::Problems;
use super::question::{Protocol, Question, ReadOptions, Reference};
use super::template::Template;
#[cfg(feature = "parquet")]
use super::unpack::ParquetCopy;
use crate::EvalError;
use crate::answer::{Aggregate, Tally};

/// One benchmark: how it is read, asked, scored and reported.
///
/// The crate's own benchmarks are one file each, which implements this trait, and one row in the list of
/// [`Benchmark`]. A benchmark from outside implements the same trait and is made known by [`Benchmark::custom`]; runs,
/// records and reports then treat it as any other. `docs/add-a-benchmark.md` has a whole file.
pub trait BenchmarkSpec: Sync {
    /// Name in files, folders and tables: lower case, no spaces.
    fn name(&self) -> &'static str;

    /// Name of the number that tables print: [`Self::name`], a space, and what is measured.
    fn metric(&self) -> &'static str;

    /// The papers' data and the data that is read by default.
    fn splits(&self) -> Splits;

    /// The questions below [`BenchmarkFiles::root`], in the order of their file, all of them marked with [`BenchmarkFiles::benchmark`].
    ///
    /// Every sample goes through [`Problems::keep`] (or [`Problems::keep_member`] where questions count in groups), which
    /// decides whether an unusable one ends the reading.
    ///
    /// # Errors
    /// When a file is missing or damaged as a whole, or [`BenchmarkFiles::problems`] is strict and a sample is unusable.
    fn read(&self, files: BenchmarkFiles<'_>) -> Result<Vec<Question>, EvalError>;

    /// The way from the scores of single questions to the number that tables print.
    fn aggregate(&self) -> Aggregate {
        Aggregate::MeanScore
    }

    /// The number that guessing earns on the complete data, in its units; 0 for open questions.
    fn chance(&self) -> f64 {
        0.0
    }

    /// The texts around a question.
    fn template(&self, protocol: Protocol) -> Template {
        let _ = protocol;
        Template::SHORT
    }

    /// Longest answer in new tokens.
    fn max_new_tokens(&self, protocol: Protocol) -> usize {
        match protocol {
            Protocol::Llava => 128,
            Protocol::LmmsEval => 16,
        }
    }

    /// The protocol behind the LLaVA-1.5 rows of the papers' tables.
    fn protocol_of_the_papers(&self) -> Protocol {
        Protocol::Llava
    }

    /// The score of an answer, from 0 to 1. By default a yes/no question is right when [`Self::yes_or_no`] reads its
    /// label from the answer, and every other kind of reference has the rule of [`score`].
    fn score(&self, answer: &str, reference: &Reference, protocol: Protocol) -> f64 {
        match reference {
            Reference::YesNo(label) => f64::from(self.yes_or_no(answer, protocol) == Some(*label)),
            _ => score(answer, reference, protocol),
        }
    }

    /// Yes (true) or no, as the benchmark's rule reads an answer to a yes/no question; `None` when it is neither. By
    /// default POPE's rule.
    fn yes_or_no(&self, answer: &str, protocol: Protocol) -> Option<bool> {
        Benchmark::Pope.spec().yes_or_no(answer, protocol)
    }

    /// True when answers are counted as yes or no and nothing else, so that precision and recall are defined (POPE).
    fn counts_yes_and_no(&self) -> bool {
        false
    }

    /// True when answers are also scored by the other protocol's program, and reports print both (VQAv2).
    fn scored_by_both_protocols(&self) -> bool {
        false
    }

    /// The number of answers that every question offers, where it is the same for all: records of earlier versions do not
    /// say it.
    fn answers_offered(&self) -> Option<usize> {
        None
    }

    /// True when [`Split::Upload`](super::Split::Upload) reads other questions than the default split.
    fn has_upload_split(&self) -> bool {
        false
    }

    /// True when file names of pictures repeat, so that the folder belongs to a picture's name.
    fn names_pictures_by_folder(&self) -> bool {
        false
    }

    /// The data that was read, in the words of a table: `ocr` says whether prompts hold OCR tokens (`None` when it is not
    /// known), `subsets` are the parts that occur (none when they are not known).
    fn data_here(&self, ocr: Option<bool>, subsets: &BTreeSet<&str>) -> &'static str {
        let _ = (ocr, subsets);
        self.splits().here
    }

    /// Numbers beside [`Self::metric`], for the table `secondary` of a report.
    fn secondary(&self) -> &'static [SecondaryNumber] {
        &[]
    }

    /// The id of a question in LLaVA's question file; by default the id, as a number where it is one.
    fn llava_id(&self, question: &Question) -> Value {
        let number = question.id.parse::<u64>();
        number.map_or_else(|_| json!(question.id), |number| json!(number))
    }

    /// The files that servers and official programs take, paths below the benchmark's own folder.
    ///
    /// # Errors
    /// When a file of the data that the answers have to be joined with is missing or damaged.
    fn answer_files(&self, answered: &AnsweredQuestions<'_>) -> Result<Vec<AnswerFile>, EvalError> {
        let _ = answered;
        Ok(Vec::new())
    }

    /// The layout of the benchmark's parquet copy; `None` when it is not known.
    #[cfg(feature = "parquet")]
    fn parquet(&self) -> Option<ParquetCopy> {
        None
    }
}

/// The files of a benchmark, as [`BenchmarkSpec::read`] gets them.
#[derive(Debug)]
#[non_exhaustive]
pub struct BenchmarkFiles<'a> {
    /// The name under which the benchmark is known, for [`Question::benchmark`].
    pub benchmark: Benchmark,
    /// The folder of its files.
    pub root: &'a Path,
    /// The split and the prompts that are asked for.
    pub options: &'a ReadOptions,
    /// Takes the samples that cannot be used.
    pub problems: &'a mut Problems,
}

/// The data that the papers' tables print, and the data that is read here by default.
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
    /// The same data in both places.
    pub const fn same(split: &'static str, n_questions: usize) -> Self {
        Self {
            paper: split,
            here: split,
            n_questions,
        }
    }

    /// True when the default differs from what the tables print.
    pub fn differ(&self) -> bool {
        self.paper != self.here
    }
}

/// A number beside the one that a benchmark is known by.
#[derive(Debug, Clone, Copy)]
pub struct SecondaryNumber {
    /// Its name without the benchmark's.
    pub name: &'static str,
    /// Its computation.
    pub value: SecondaryValue,
}

/// The computation of a [`SecondaryNumber`].
#[derive(Debug, Clone, Copy)]
pub enum SecondaryValue {
    /// A function of the tallies of some parts, one tally for each part.
    OfParts {
        /// The parts that belong to it, by name.
        belongs: fn(&str) -> bool,
        /// The number, NaN when it is not defined.
        value: fn(&[Tally]) -> f64,
    },
    /// Mean score by the other protocol's program, percent ([`BenchmarkSpec::scored_by_both_protocols`]).
    OtherProtocol,
}

impl SecondaryNumber {
    /// A function of the tallies of all parts.
    pub const fn of_all(name: &'static str, value: fn(&[Tally]) -> f64) -> Self {
        Self::of_parts(name, |_| true, value)
    }

    /// A function of the tallies of the parts that belong to it.
    pub const fn of_parts(name: &'static str, belongs: fn(&str) -> bool, value: fn(&[Tally]) -> f64) -> Self {
        Self {
            name,
            value: SecondaryValue::OfParts { belongs, value },
        }
    }
}
