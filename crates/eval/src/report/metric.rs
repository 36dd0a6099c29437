//! The numbers of a report, by name.

use std::fmt;

use super::table_id::TableId;
use crate::data::Benchmark;

/// A number that a row of a table holds. Its text is what pages and `report.json` print.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// Mean over the benchmarks that every arm has and that count, percent of the most.
    Average,
    /// The average over every benchmark that all arms have, where some do not count.
    AverageOfAll,
    /// The average over the benchmarks that count but TextVQA.
    AverageWithoutTextVqa,
    /// Share of the unpruned model's numbers that is left over these benchmarks, percent.
    Retention,
    /// Mean over an arm's own benchmarks, where some arm lacks one.
    RaggedAverage,
    /// Retention over an arm's own benchmarks, where some arm lacks one.
    RaggedRetention,
    /// Share of the unpruned model's lead over guessing that is left, percent.
    ChanceCorrectedRetention,
    /// Difference of two averages, points.
    AverageDifference,
    /// Mean over the benchmarks that all arms of all runs have.
    CommonMean,
    /// Mean over an arm's own benchmarks, in tables of many runs.
    RaggedMean,
    /// The papers' ablation number: retention over MMBench, MME and POPE, which its unablated row is the mean of.
    Ablation,
    /// The same with GQA, which the papers name too.
    AblationWithGqa,
    /// Visual tokens that the language model got.
    KeptTokens,
    /// Answers that say what the unpruned model says, percent.
    Loyalty,
    /// Answers that were right without pruning and are wrong with it, percent.
    RightToWrong,
    /// Answers that were wrong without pruning and are right with it, percent.
    WrongToRight,
    /// Mean score on questions that the downsampled picture answers, percent.
    Easy,
    /// Mean score on the others, percent.
    Hard,
    /// Mean score over all questions, percent.
    MeanScore,
    /// Floating-point operations of the prefill, in 10^9, everything counted.
    PrefillGflops,
    /// The same as PyTorch's profiler counts.
    ProfilerGflops,
    /// Keys and values after the prefill, in 10^6 bytes.
    CacheMegabytes,
    /// The number that a benchmark is known by.
    Benchmark(Benchmark),
    /// Mean score on a kind of a benchmark's questions, percent.
    Kind(Benchmark, String),
    /// Another number of a benchmark, by its name without the benchmark's.
    Secondary(Benchmark, String),
    /// Expected calibration error of a benchmark's answers, percent.
    CalibrationError(Benchmark),
}

/// The end of the text of [`Metric::CalibrationError`].
const CALIBRATION_ERROR: &str = "calibration error";

/// The numbers that belong to no single benchmark.
const GENERAL: [Metric; 22] = [
    Metric::Average,
    Metric::AverageOfAll,
    Metric::AverageWithoutTextVqa,
    Metric::Retention,
    Metric::RaggedAverage,
    Metric::RaggedRetention,
    Metric::ChanceCorrectedRetention,
    Metric::AverageDifference,
    Metric::CommonMean,
    Metric::RaggedMean,
    Metric::Ablation,
    Metric::AblationWithGqa,
    Metric::KeptTokens,
    Metric::Loyalty,
    Metric::RightToWrong,
    Metric::WrongToRight,
    Metric::Easy,
    Metric::Hard,
    Metric::MeanScore,
    Metric::PrefillGflops,
    Metric::ProfilerGflops,
    Metric::CacheMegabytes,
];

impl Metric {
    /// The benchmark that the number is about; `None` when it is about several.
    pub fn benchmark(&self) -> Option<Benchmark> {
        match self {
            Self::Benchmark(benchmark)
            | Self::Kind(benchmark, _)
            | Self::Secondary(benchmark, _)
            | Self::CalibrationError(benchmark) => Some(*benchmark),
            _ => None,
        }
    }

    /// The number of that text in a table.
    pub(crate) fn of_text(table: TableId, text: &str) -> Result<Self, String> {
        if let Some(general) = GENERAL
            .iter()
            .find(|general| general.general_text() == Some(text))
        {
            return Ok(general.clone());
        }
        let (benchmark, rest) = Benchmark::named_first(text)
            .ok_or_else(|| format!("found `{text}` in table {table}, expected a number that it may hold"))?;
        Ok(match table {
            TableId::Kinds => Self::Kind(benchmark, rest.into()),
            TableId::Secondary => Self::Secondary(benchmark, rest.into()),
            _ if text == benchmark.metric() => Self::Benchmark(benchmark),
            TableId::Calibration if rest == CALIBRATION_ERROR => Self::CalibrationError(benchmark),
            _ => {
                return Err(format!(
                    "found `{text}` in table {table}, expected `{}`",
                    benchmark.metric()
                ));
            }
        })
    }

    /// The text of a number that belongs to no single benchmark.
    fn general_text(&self) -> Option<&'static str> {
        Some(match self {
            Self::Average => "average",
            Self::AverageOfAll => "average of all benchmarks",
            Self::AverageWithoutTextVqa => "average without TextVQA",
            Self::Retention => "retention",
            Self::RaggedAverage => "ragged average",
            Self::RaggedRetention => "ragged retention",
            Self::ChanceCorrectedRetention => "chance-corrected retention",
            Self::AverageDifference => "average difference",
            Self::CommonMean => "common mean",
            Self::RaggedMean => "ragged mean",
            Self::Ablation => "retention of MMB, MME, POPE",
            Self::AblationWithGqa => "retention of GQA, MMB, MME, POPE",
            Self::KeptTokens => "kept tokens",
            Self::Loyalty => "loyalty",
            Self::RightToWrong => "right to wrong",
            Self::WrongToRight => "wrong to right",
            Self::Easy => "easy",
            Self::Hard => "hard",
            Self::MeanScore => "mean score",
            Self::PrefillGflops => "prefill GFLOPs",
            Self::ProfilerGflops => "profiler GFLOPs",
            Self::CacheMegabytes => "cache MB",
            Self::Benchmark(_) | Self::Kind(..) | Self::Secondary(..) | Self::CalibrationError(_) => {
                return None;
            }
        })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Benchmark(benchmark) => f.write_str(benchmark.metric()),
            Self::Kind(benchmark, name) | Self::Secondary(benchmark, name) => write!(f, "{benchmark} {name}"),
            Self::CalibrationError(benchmark) => write!(f, "{benchmark} {CALIBRATION_ERROR}"),
            general => f.write_str(general.general_text().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(table: TableId, metric: Metric) {
        assert_eq!(Metric::of_text(table, &metric.to_string()), Ok(metric));
    }

    #[test]
    fn texts_are_read_back() {
        for metric in GENERAL {
            assert_eq!(metric.benchmark(), None);
            same(TableId::Main, metric);
        }
        for benchmark in Benchmark::ALL {
            same(TableId::Benchmarks, Metric::Benchmark(benchmark));
            same(TableId::Comparison, Metric::Benchmark(benchmark));
            same(TableId::Calibration, Metric::CalibrationError(benchmark));
            for number in benchmark.spec().secondary() {
                same(
                    TableId::Secondary,
                    Metric::Secondary(benchmark, number.name.into()),
                );
            }
            // A kind may be called like a number of its benchmark.
            let name = benchmark.metric().split_once(' ').unwrap().1;
            same(TableId::Kinds, Metric::Kind(benchmark, name.into()));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for (table, text) in [
            (TableId::Main, "mean"),
            (TableId::Kinds, "mmbench"),
            (TableId::Kinds, "nobody colour"),
            (TableId::Benchmarks, "gqa colour"),
            (TableId::Calibration, "gqa error"),
        ] {
            let error = Metric::of_text(table, text).unwrap_err();
            assert!(error.contains(text) && error.contains(table.name()), "{error}");
        }
    }
}
