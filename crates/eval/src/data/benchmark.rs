//! The list of benchmarks, and what can be asked of each.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::benchmarks::{Gqa, MmBench, Mme, Pope, ScienceQa, SeedBench, TextVqa, VizWiz, VqaV2};
use super::problems::{LoadedQuestions, Problems};
use super::question::{Protocol, Question, ReadOptions, Reference};
use super::readers::parquet_copy;
use super::spec::{BenchmarkFiles, BenchmarkSpec, Splits};
use crate::EvalError;
use crate::answer::Aggregate;

/// Makes the enum, the list of its variants and the way from a variant to its row.
macro_rules! benchmarks {
    ($($(#[$doc:meta])* $variant:ident = $spec:expr,)*) => {
        /// A benchmark that can be read, asked and scored.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Benchmark {
            $($(#[$doc])* $variant,)*
            /// A benchmark from outside the crate, see [`Benchmark::custom`].
            Custom(CustomBenchmark),
        }

        impl Benchmark {
            /// Every benchmark of the crate.
            pub const ALL: [Self; [$(stringify!($variant)),*].len()] = [$(Self::$variant),*];

            /// The row of the benchmark: its own part of the crate.
            pub fn spec(self) -> &'static dyn BenchmarkSpec {
                match self {
                    $(Self::$variant => &$spec,)*
                    Self::Custom(custom) => custom.0,
                }
            }
        }
    };
}

benchmarks! {
    /// GQA testdev-balanced: exact match, percent.
    Gqa = Gqa,
    /// POPE: mean F1 over its three splits, percent.
    Pope = Pope,
    /// TextVQA 0.5.1 val: ten-annotator accuracy, percent.
    TextVqa = TextVqa,
    /// MMBench dev in English: circular accuracy, percent.
    MmBench = MmBench::ENGLISH,
    /// MMBench dev in Chinese: circular accuracy, percent.
    MmBenchCn = MmBench::CHINESE,
    /// MME: sum over subtasks of accuracy and accuracy+, points out of 2800.
    Mme = Mme,
    /// ScienceQA test, questions with a picture: accuracy, percent.
    ScienceQa = ScienceQa,
    /// VQAv2 val2014: ten-annotator accuracy, percent.
    VqaV2 = VqaV2,
    /// SEED-Bench (version 1), pictures and videos: accuracy, percent.
    SeedBench = SeedBench,
    /// VizWiz val: ten-annotator accuracy, percent.
    VizWiz = VizWiz,
}

/// The benchmark of the crate with that name, as its folder may have it: `seed_bench`, `SEED-Bench`.
impl FromStr for Benchmark {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.trim().to_lowercase().replace('-', "_");
        let mut all = Self::ALL.into_iter();
        all.find(|benchmark| benchmark.name() == plain).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            format!("found `{text}`, expected one of {}", names.join(", "))
        })
    }
}

/// A benchmark from outside the crate. Two of one name are equal; they are ordered by name, after the crate's own.
#[derive(Clone, Copy)]
pub struct CustomBenchmark(&'static dyn BenchmarkSpec);

/// The benchmarks from outside that were made known.
static CUSTOM: Mutex<Vec<CustomBenchmark>> = Mutex::new(Vec::new());

impl Benchmark {
    /// Makes a benchmark from outside the crate known, so that records and reports that name it can be read, and gives its
    /// value. Calling it again with the same name gives the first one.
    ///
    /// # Errors
    /// When the name is that of one of the crate's own benchmarks, is empty or holds a space, a comma, a slash or `=`, or
    /// when the name of its number does not begin with it and a space.
    pub fn custom(spec: &'static dyn BenchmarkSpec) -> Result<Self, EvalError> {
        let name = spec.name();
        let own_number = spec
            .metric()
            .strip_prefix(name)
            .is_some_and(|rest| rest.len() > 1 && rest.starts_with(' '));
        let is_plain = !name.is_empty() && !name.contains([' ', ',', '=', '/', '\\']);
        if !is_plain || !own_number || Self::ALL.iter().any(|own| own.name() == name) {
            return Err(EvalError::Setup {
                subject: "custom benchmark".into(),
                found: format!("the name `{name}` with the number `{}`", spec.metric()),
                wanted: "a new plain name, and a number that begins with it and a space".into(),
            });
        }
        let mut known = CUSTOM.lock().unwrap_or_else(PoisonError::into_inner);
        let custom = match known.iter().find(|custom| custom.0.name() == name) {
            Some(custom) => *custom,
            None => {
                known.push(CustomBenchmark(spec));
                CustomBenchmark(spec)
            }
        };
        Ok(Self::Custom(custom))
    }

    /// The benchmark of that name: one of the crate's own, or one that was made known before.
    pub fn named(name: &str) -> Option<Self> {
        let own = Self::ALL.into_iter().find(|benchmark| benchmark.name() == name);
        own.or_else(|| {
            let known = CUSTOM.lock().unwrap_or_else(PoisonError::into_inner);
            let custom = known.iter().find(|custom| custom.0.name() == name);
            custom.copied().map(Self::Custom)
        })
    }

    /// The benchmark whose name is the first word of a text, and the rest of it.
    pub(crate) fn named_first(text: &str) -> Option<(Self, &str)> {
        let (name, rest) = text.split_once(' ')?;
        Some((Self::named(name)?, rest))
    }

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
    pub fn load(self, root: &Path, options: &ReadOptions) -> Result<LoadedQuestions, EvalError> {
        self.read_with(root, options, Problems::new(false))
    }

    fn read_with(
        self,
        root: &Path,
        options: &ReadOptions,
        mut problems: Problems,
    ) -> Result<LoadedQuestions, EvalError> {
        let read = self.spec().read(BenchmarkFiles {
            benchmark: self,
            root,
            options,
            problems: &mut problems,
        });
        let questions = read.map_err(|error| match (error, parquet_copy(root)) {
            (EvalError::NoFiles { .. }, Some(file)) => EvalError::ParquetCopies {
                benchmark: self,
                root: root.into(),
                file,
            },
            (error, _) => error,
        })?;
        problems.finish(questions)
    }

    /// Name in files, folders and tables.
    pub fn name(self) -> &'static str {
        self.spec().name()
    }

    /// Name of the number that tables print.
    pub fn metric(self) -> &'static str {
        self.spec().metric()
    }

    /// The way from the scores of single questions to that number.
    pub fn aggregate(self) -> Aggregate {
        self.spec().aggregate()
    }

    /// Longest answer in new tokens.
    pub fn max_new_tokens(self, protocol: Protocol) -> usize {
        self.spec().max_new_tokens(protocol)
    }

    /// True when [`Split::Upload`](super::Split::Upload) reads other questions than the default split.
    pub fn has_upload_split(self) -> bool {
        self.spec().has_upload_split()
    }

    /// The papers' data and the data that is read by default.
    pub fn splits(self) -> Splits {
        self.spec().splits()
    }

    /// The score of an answer, from 0 to 1, by the benchmark's own rule under a protocol.
    pub fn score(self, answer: &str, reference: &Reference, protocol: Protocol) -> f64 {
        self.spec().score(answer, reference, protocol)
    }
}

/// The score of an answer, from 0 to 1, by the rule of the first benchmark with this kind of reference: POPE's for yes
/// and no, GQA's for one string, TextVQA's for ten answers, MMBench's for a letter. [`Question::score`] knows them all.
pub fn score(answer: &str, reference: &Reference, protocol: Protocol) -> f64 {
    let benchmark = match reference {
        Reference::YesNo(_) => Benchmark::Pope,
        Reference::Exact(_) => Benchmark::Gqa,
        Reference::TenAnswers(_) => Benchmark::TextVqa,
        Reference::Letter { .. } => Benchmark::MmBench,
        Reference::Hidden => return 0.0,
    };
    benchmark.score(answer, reference, protocol)
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Benchmark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Benchmark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| {
            let own = Self::ALL.map(Self::name).join(", ");
            D::Error::custom(format!(
                "found benchmark `{name}`, expected {own} or a custom one that is known"
            ))
        })
    }
}

impl fmt::Debug for CustomBenchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl PartialEq for CustomBenchmark {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for CustomBenchmark {}

impl PartialOrd for CustomBenchmark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for CustomBenchmark {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name().cmp(other.0.name())
    }
}

impl Hash for CustomBenchmark {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benchmarks_go_by_the_names_of_their_folders() {
        for name in ["mme", "MME", " mme "] {
            assert_eq!(name.parse(), Ok(Benchmark::Mme));
        }
        assert_eq!("seed-bench".parse(), Ok(Benchmark::SeedBench));
        let error = "mm-vet".parse::<Benchmark>().unwrap_err();
        assert!(error.contains("seed_bench"), "{error}");
    }

    #[test]
    fn numbers_begin_with_the_name_of_their_benchmark() {
        for benchmark in Benchmark::ALL {
            let (found, rest) = Benchmark::named_first(benchmark.metric()).unwrap();
            assert_eq!(found, benchmark);
            assert!(!rest.is_empty());
            assert!(benchmark.splits().n_questions > 0, "{benchmark}");
        }
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for benchmark in Benchmark::ALL {
            let text = serde_json::to_string(&benchmark).unwrap();
            assert_eq!(text, format!("\"{benchmark}\""));
            assert_eq!(serde_json::from_str::<Benchmark>(&text).unwrap(), benchmark);
        }
        let error = serde_json::from_str::<Benchmark>("\"gqa2\"")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`gqa2`") && error.contains("seed_bench"),
            "{error}"
        );
    }

    /// A benchmark under any name.
    struct Named(&'static str, &'static str);

    impl BenchmarkSpec for Named {
        fn name(&self) -> &'static str {
            self.0
        }

        fn metric(&self) -> &'static str {
            self.1
        }

        fn splits(&self) -> Splits {
            Splits::same("all", 1)
        }

        fn read(&self, _: BenchmarkFiles<'_>) -> Result<Vec<Question>, EvalError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_benchmark_from_outside_is_known_once() {
        static OWN: Named = Named("benchmark_test_own", "benchmark_test_own accuracy");
        static AGAIN: Named = Named("benchmark_test_own", "benchmark_test_own points");
        let read = || serde_json::from_str::<Benchmark>("\"benchmark_test_own\"");
        assert!(read().is_err());
        let own = Benchmark::custom(&OWN).unwrap();
        assert_eq!(read().unwrap(), own);
        assert_eq!(Benchmark::custom(&AGAIN).unwrap().metric(), OWN.1);
        assert!(own > Benchmark::VizWiz && !Benchmark::ALL.contains(&own));
        static WRONG: [Named; 4] = [
            Named("gqa", "gqa accuracy"),
            Named("two words", "two words accuracy"),
            Named("", " accuracy"),
            Named("mine", "accuracy"),
        ];
        for wrong in &WRONG {
            let error = Benchmark::custom(wrong).unwrap_err().to_string();
            assert!(error.contains("a new plain name"), "{error}");
        }
    }
}
