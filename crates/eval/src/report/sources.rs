//! The questions behind the numbers of each benchmark.

use std::collections::BTreeSet;

use super::matrix::Matrix;
use super::options::ReportOptions;
use super::result::Source;
use crate::data::Benchmark;

/// The source of every benchmark.
pub(crate) fn sources(matrix: &Matrix, options: &ReportOptions) -> Vec<Source> {
    let data = matrix.totals();
    let source = |benchmark: Benchmark| {
        let splits = benchmark.splits();
        let subsets: BTreeSet<&str> = matrix
            .parts(benchmark)
            .iter()
            .map(|&part| matrix.parts[part].subset.as_str())
            .collect();
        Source {
            run: None,
            benchmark,
            paper: splits.paper.into(),
            here: benchmark
                .spec()
                .data_here(options.prompt_rules.ocr, &subsets)
                .into(),
            questions: matrix.count(matrix.parts(benchmark), &data) as usize,
            published: splits.n_questions,
            pictures: matrix.pictures.get(&benchmark).copied().unwrap_or(0),
            chance: matrix.chance(benchmark, &options.chance),
        }
    };
    matrix.benchmarks().into_iter().map(source).collect()
}
