//! Many runs in one table.

use std::collections::BTreeSet;

use super::answered::Answered;
use super::build::{blank, fill};
use super::layout::{Cell, Layout};
use super::options::ReportOptions;
use super::result::{Meta, Report, Row, Table};
use crate::EvalError;
use crate::data::Benchmark;
use crate::run::Record;
use crate::stats::{Estimate, Statistic, mean};

/// One arm of one run at one budget.
struct Entry {
    /// What decides its place: larger goes first, missing goes last, equal ones go by name.
    rank: f64,
    rows: Vec<Row>,
}

impl Report {
    /// Every arm of many runs, best first: the number of each benchmark, the mean over the benchmarks that all arms of all
    /// runs have (`common mean`, which ranks), the mean over each arm's own benchmarks (`ragged mean`, which ranks where
    /// nothing is common), and retention against the run's own unpruned arm over the arm's own benchmarks.
    ///
    /// Runs may be about different models and questions: the rows are not paired, and near ones are not told apart.
    ///
    /// # Errors
    /// When a run has no question that every arm has answered.
    pub fn leaderboard(
        runs: &[(String, Vec<Record>)],
        meta: Meta,
        options: &ReportOptions,
    ) -> Result<Self, EvalError> {
        let mut layouts = Vec::new();
        for (name, records) in runs {
            layouts.push((name, Layout::new(&Answered::new(records)?, &options.order)));
        }
        let mut shared = layouts.iter().map(|(_, layout)| layout.common.clone());
        let first = shared.next().unwrap_or_default();
        let common = shared.fold(first, |common, other| &common & &other);
        let mut entries: Vec<Entry> = layouts
            .iter()
            .flat_map(|(name, layout)| entries(name, layout, &common, options))
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
        let names: Vec<&str> = common.iter().map(|benchmark| benchmark.name()).collect();
        let title = match names.as_slice() {
            [] => "All runs; no benchmark is common to all".to_string(),
            names => format!("All runs; common benchmarks: {}", names.join(", ")),
        };
        Ok(Self {
            meta,
            tables: vec![Table {
                id: "leaderboard".into(),
                title,
                rows: entries.into_iter().flat_map(|entry| entry.rows).collect(),
            }],
            claims: Vec::new(),
            timings: Vec::new(),
        })
    }
}

/// The arms of one run.
fn entries(name: &str, layout: &Layout, common: &BTreeSet<Benchmark>, options: &ReportOptions) -> Vec<Entry> {
    let full = layout.cells.iter().position(|cell| cell.arm == options.full);
    let data = layout.totals();
    let mut numbers: Vec<Vec<(String, usize, Statistic<'_>)>> = Vec::new();
    for c in 0..layout.cells.len() {
        let own = layout.own_questions(c, &data);
        let shared = common
            .iter()
            .map(|&benchmark| layout.count(layout.parts(benchmark), &data))
            .sum::<f64>() as usize;
        let over = common.clone();
        let common_mean = move |totals: &[f64]| {
            mean(
                over.iter()
                    .map(|&benchmark| layout.headline(c, benchmark, totals)),
            )
        };
        let mut of_cell: Vec<(String, usize, Statistic<'_>)> = vec![
            ("common mean".into(), shared, Box::new(common_mean)),
            (
                "ragged mean".into(),
                own,
                Box::new(move |totals| layout.ragged_average(c, totals)),
            ),
        ];
        if let Some(full) = full {
            let of = move |totals: &[f64]| layout.ragged_retention(c, full, totals);
            of_cell.push(("retention".into(), own, Box::new(of)));
        }
        for benchmark in layout.benchmarks() {
            let n = layout.count(layout.parts(benchmark), &data) as usize;
            let of = move |totals: &[f64]| layout.headline(c, benchmark, totals);
            of_cell.push((benchmark.metric().into(), n, Box::new(of)));
        }
        numbers.push(of_cell);
    }
    let labels: Vec<Vec<(String, usize)>> = numbers
        .iter()
        .map(|cell| cell.iter().map(|(metric, n, _)| (metric.clone(), *n)).collect())
        .collect();
    let statistics: Vec<Statistic<'_>> = numbers.into_iter().flatten().map(|number| number.2).collect();
    let estimates = options.bootstrap.intervals(&layout.strata, &statistics);
    let mut estimates = estimates.into_iter();
    let entry = |((cell, kept), labels): ((&Cell, &(f64, f64, f64)), Vec<(String, usize)>)| {
        let named = Cell {
            arm: format!("{name}: {}", cell.arm),
            budget: cell.budget.clone(),
        };
        let values: Vec<Estimate> = estimates.by_ref().take(labels.len()).collect();
        let rank = values[usize::from(common.is_empty())].value;
        let (value, lo, hi) = *kept;
        let tokens = Estimate { value, lo, hi };
        let kept = fill(blank(&named, "kept tokens", layout.n_questions), &tokens);
        let filled = labels.iter().zip(&values);
        let filled = filled.filter(|(_, estimate)| estimate.value.is_finite());
        let rows = filled.map(|((metric, n), estimate)| fill(blank(&named, metric, *n), estimate));
        Entry {
            rank,
            rows: std::iter::once(kept).chain(rows).collect(),
        }
    };
    layout
        .cells
        .iter()
        .zip(&layout.kept)
        .zip(labels)
        .map(entry)
        .collect()
}
