//! Many runs in one table.

use std::collections::BTreeSet;

use super::answered::Answered;
use super::cell::{Cell, RowHead};
use super::matrix::Matrix;
use super::metric::Metric;
use super::options::ReportOptions;
use super::partial::partial;
use super::result::{Meta, Report, Source};
use super::sources::sources;
use super::table::{Row, Table};
use super::table_id::TableId;
use crate::EvalError;
use crate::data::Benchmark;
use crate::run::Record;
use crate::stats::{Estimate, Statistic, mean};

/// One arm of one run at one budget.
struct Entry {
    /// The number that decides its place: larger goes first, missing goes last, equal ones go by name.
    rank: f64,
    rows: Vec<Row>,
}

impl Report {
    /// Every arm of many runs, best first: the number of each benchmark, the mean over the benchmarks that all arms of all
    /// runs have (`common mean`, which ranks), the mean over each arm's own benchmarks (`ragged mean`, which ranks where
    /// nothing is common), and retention against the run's own unpruned arm over the arm's own benchmarks.
    ///
    /// Runs may be about different models and questions: the rows are not paired, and those that are not told apart share a
    /// rank. Where runs were asked different questions of a common benchmark the note says so.
    ///
    /// # Errors
    /// When a run has no question that every arm has answered.
    pub fn leaderboard(
        runs: &[(String, Vec<Record>)],
        meta: Meta,
        options: &ReportOptions,
    ) -> Result<Self, EvalError> {
        let mut matrices = Vec::new();
        for (name, records) in runs {
            let (_, whole) = partial(records, options);
            matrices.push((name, Matrix::new(&Answered::new(whole)?, &options.order)));
        }
        let mut shared = matrices.iter().map(|(_, matrix)| matrix.common.clone());
        let first = shared.next().unwrap_or_default();
        let common = shared.fold(first, |common, other| &common & &other);
        let mut entries: Vec<Entry> = matrices
            .iter()
            .flat_map(|(name, matrix)| entries(name, matrix, &common, options))
            .collect();
        let place = |entry: &Entry| {
            let missing = entry.rank.is_nan();
            (
                if missing { f64::MIN } else { entry.rank },
                entry.rows[0].arm.clone(),
            )
        };
        entries.sort_by(|a, b| {
            let ((a, name_a), (b, name_b)) = (place(a), place(b));
            b.total_cmp(&a).then(name_a.cmp(&name_b))
        });
        let mut meta = meta;
        meta.note += &other_questions(runs, &common);
        let of_run = |(name, matrix): &(&String, Matrix)| {
            let named = |source: Source| Source {
                run: Some(name.to_string()),
                ..source
            };
            sources(matrix, options)
                .into_iter()
                .map(named)
                .collect::<Vec<_>>()
        };
        let data = matrices.iter().flat_map(of_run).collect();
        let names: Vec<&str> = common.iter().map(|benchmark| benchmark.name()).collect();
        let title = match names.as_slice() {
            [] => "All runs; no benchmark is common to all".to_string(),
            names => format!("All runs; common benchmarks: {}", names.join(", ")),
        };
        Ok(Self {
            meta,
            tables: vec![Table::new(
                TableId::Leaderboard,
                title,
                entries.into_iter().flat_map(|entry| entry.rows).collect(),
            )],
            claims: Vec::new(),
            data,
            counted: None,
            absent: Vec::new(),
            equal: Vec::new(),
            timings: Vec::new(),
        })
    }
}

/// The sentence of a note about common benchmarks of which the runs were asked different questions.
fn other_questions(runs: &[(String, Vec<Record>)], common: &BTreeSet<Benchmark>) -> String {
    let asked = |records: &[Record], benchmark: Benchmark| -> BTreeSet<(String, String)> {
        let of_benchmark = records.iter().filter(|record| record.benchmark == benchmark);
        of_benchmark
            .map(|record| (record.question.clone(), record.image.clone()))
            .collect()
    };
    let line = |&benchmark: &Benchmark| {
        let sets: Vec<_> = runs
            .iter()
            .map(|(_, records)| asked(records, benchmark))
            .collect();
        if sets.windows(2).all(|pair| pair[0] == pair[1]) {
            return None;
        }
        let counts = runs.iter().zip(&sets);
        let counts: Vec<String> = counts
            .map(|((name, _), set)| format!("{name} {}", set.len()))
            .collect();
        Some(format!("{benchmark} ({})", counts.join(", ")))
    };
    let lines: Vec<String> = common.iter().filter_map(line).collect();
    if lines.is_empty() {
        String::new()
    } else {
        format!(
            " The runs were not asked the same questions of {}.",
            lines.join("; ")
        )
    }
}

/// A number of an entry before its interval is known.
struct Number<'a> {
    metric: Metric,
    n: usize,
    statistic: Statistic<'a>,
}

/// The arms of one run.
fn entries(name: &str, matrix: &Matrix, common: &BTreeSet<Benchmark>, options: &ReportOptions) -> Vec<Entry> {
    let full = matrix.cells.iter().position(|cell| cell.arm == options.full);
    let cells = 0..matrix.cells.len();
    let (labels, statistics): (Vec<_>, Vec<_>) = cells
        .flat_map(|cell| numbers(matrix, cell, full, common))
        .map(|number| ((number.metric, number.n), number.statistic))
        .unzip();
    let estimates = options.bootstrap.intervals(&matrix.strata, &statistics);
    let per_cell = labels.len() / matrix.cells.len().max(1);
    let mut entries = Vec::new();
    for (c, (cell, &(value, lo, hi))) in matrix.cells.iter().zip(&matrix.kept).enumerate() {
        let named = Cell {
            arm: format!("{name}: {}", cell.arm),
            budget: cell.budget.clone(),
        };
        let kept = RowHead::new(&named, Metric::KeptTokens, matrix.n_questions);
        let mut rows = vec![kept.number(&Estimate { value, lo, hi })];
        let own = c * per_cell..(c + 1) * per_cell;
        for ((metric, n), estimate) in labels[own.clone()].iter().zip(&estimates[own.clone()]) {
            if estimate.value.is_finite() {
                rows.push(RowHead::new(&named, metric.clone(), *n).number(estimate));
            }
        }
        let rank = estimates[own.start + usize::from(common.is_empty())].value;
        entries.push(Entry { rank, rows });
    }
    entries
}

/// The numbers of one arm, as many for every arm; the two means come first.
fn numbers<'a>(
    matrix: &'a Matrix,
    cell: usize,
    full: Option<usize>,
    common: &'a BTreeSet<Benchmark>,
) -> Vec<Number<'a>> {
    let data = matrix.totals();
    let count = |&benchmark: &Benchmark| matrix.count(matrix.parts(benchmark), &data);
    let own = matrix.own_questions(cell, &data);
    let headline = move |benchmark, totals: &[f64]| matrix.headline(cell, benchmark, totals);
    let mut numbers = vec![
        Number {
            metric: Metric::CommonMean,
            n: common.iter().map(count).sum::<f64>() as usize,
            statistic: Box::new(move |totals| {
                mean(
                    common
                        .iter()
                        .map(|&benchmark| matrix.percent(cell, benchmark, totals)),
                )
            }),
        },
        Number {
            metric: Metric::RaggedMean,
            n: own,
            statistic: Box::new(move |totals| matrix.ragged_average(cell, totals)),
        },
    ];
    if let Some(full) = full {
        numbers.push(Number {
            metric: Metric::Retention,
            n: own,
            statistic: Box::new(move |totals| matrix.ragged_retention(cell, full, totals)),
        });
    }
    numbers.extend(matrix.benchmarks().into_iter().map(|benchmark| Number {
        metric: Metric::Benchmark(benchmark),
        n: count(&benchmark) as usize,
        statistic: Box::new(move |totals| headline(benchmark, totals)),
    }));
    numbers
}
