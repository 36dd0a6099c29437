//! Numbers beside the one that a benchmark is known by.

use super::cell::RowHead;
use super::matrix::Matrix;
use super::metric::Metric;
use crate::data::{Benchmark, SecondaryNumber, SecondaryValue};
use crate::stats::Statistic;

/// The benchmarks of the papers' ablation: those that its unablated row is the mean of, and those that it names.
const ABLATION: [(Metric, &[Benchmark]); 2] = [
    (
        Metric::Ablation,
        &[Benchmark::MmBench, Benchmark::Mme, Benchmark::Pope],
    ),
    (
        Metric::AblationWithGqa,
        &[
            Benchmark::Gqa,
            Benchmark::MmBench,
            Benchmark::Mme,
            Benchmark::Pope,
        ],
    ),
];

/// Every secondary number of a cell. `full` is the unpruned cell, `data` are the column sums.
pub(crate) fn secondary<'a>(
    matrix: &'a Matrix,
    cell: usize,
    full: Option<usize>,
    data: &[f64],
) -> Vec<(RowHead, Statistic<'a>)> {
    let mut numbers = Vec::new();
    for benchmark in matrix.benchmarks() {
        let own = benchmark.spec().secondary().iter();
        numbers.extend(own.map(|number| of_benchmark(matrix, cell, benchmark, number, data)));
    }
    if let Some(full) = full {
        numbers.extend(ablation(matrix, cell, full, data));
    }
    numbers
}

fn of_benchmark<'a>(
    matrix: &'a Matrix,
    cell: usize,
    benchmark: Benchmark,
    number: &SecondaryNumber,
    data: &[f64],
) -> (RowHead, Statistic<'a>) {
    let (n, statistic): (f64, Statistic<'a>) = match number.value {
        SecondaryValue::OfParts { belongs, value } => {
            let tallies = move |totals: &[f64]| matrix.tallies(cell, benchmark, &belongs, totals);
            let n = tallies(data).iter().map(|tally| tally.questions).sum();
            (n, Box::new(move |totals| value(&tallies(totals))))
        }
        SecondaryValue::OtherProtocol => (
            matrix.count(matrix.parts(benchmark), data),
            Box::new(move |totals| matrix.by_other_protocol(cell, benchmark, totals)),
        ),
    };
    let metric = Metric::Secondary(benchmark, number.name.into());
    (RowHead::new(&matrix.cells[cell], metric, n as usize), statistic)
}

/// Retention over the benchmarks of the papers' ablation, where every cell has them all.
fn ablation<'a>(matrix: &'a Matrix, cell: usize, full: usize, data: &[f64]) -> Vec<(RowHead, Statistic<'a>)> {
    let number = |(metric, benchmarks): (Metric, &'static [Benchmark])| {
        let is_common = |benchmark: &Benchmark| matrix.common.contains(benchmark);
        if !benchmarks.iter().all(is_common) {
            return None;
        }
        let count = |&benchmark: &Benchmark| matrix.count(matrix.parts(benchmark), data);
        let n = benchmarks.iter().map(count).sum::<f64>() as usize;
        let statistic: Statistic<'a> =
            Box::new(move |totals| matrix.retention_over(benchmarks, cell, full, totals));
        Some((RowHead::new(&matrix.cells[cell], metric, n), statistic))
    };
    ABLATION.into_iter().filter_map(number).collect()
}
