//! Tables beside the benchmarks' numbers: agreement, easy and hard questions, calibration, cost.

use std::collections::BTreeSet;

use super::answered::{Answered, key};
use super::build::blank;
use super::layout::{Cell, Layout};
use super::options::{CostOptions, ReportOptions};
use super::paired::{Measure, Paired, Sums};
use super::result::{Row, Table};
use crate::cost::{Counting, Schedule, kv_bytes, prefill_flops};
use crate::run::Record;
use crate::stats::{Bootstrap, mean};

/// Every table that has rows.
pub(crate) fn tables(layout: &Layout, paired: &Paired<'_>, options: &ReportOptions) -> Vec<Table> {
    let tables = [
        (
            "agreement",
            "Answers beside those of the unpruned model, percent of questions",
            agreement(layout, paired, options),
        ),
        (
            "vtc",
            "Mean score on questions that the downsampled picture answers (easy) or not (hard), percent",
            split(layout, paired, options),
        ),
        (
            "calibration",
            "Expected calibration error of yes and no, percent",
            calibration(layout, paired, options),
        ),
        (
            "cost",
            "Cost of the prefill, mean with least and most",
            options
                .cost
                .as_ref()
                .map_or(Vec::new(), |cost| price(layout, paired, cost)),
        ),
    ];
    let table = |(id, title, rows): (&str, &str, Vec<Row>)| Table {
        id: id.into(),
        title: title.into(),
        rows,
    };
    tables
        .into_iter()
        .map(table)
        .filter(|table| !table.rows.is_empty())
        .collect()
}

/// The records of arms that answer some questions only, and those of the others; where nobody answers all, all are the
/// others.
pub(crate) fn partial<'a>(
    records: &'a [Record],
    options: &ReportOptions,
) -> (Vec<&'a Record>, Vec<&'a Record>) {
    let is_partial = |record: &&Record| options.partial.contains(&record.arm);
    let (partial, whole): (Vec<_>, Vec<_>) = records.iter().partition(is_partial);
    if whole.is_empty() {
        return (whole, partial);
    }
    (partial, whole)
}

/// Every arm on the questions that the partial arms have answered.
pub(crate) fn beside_partial(
    records: &[Record],
    partial: &[&Record],
    options: &ReportOptions,
) -> Option<Table> {
    let asked: BTreeSet<_> = partial.iter().map(|record| key(record)).collect();
    let shared = records.iter().filter(|record| asked.contains(&key(record)));
    // Without a question that all have answered there is nothing to compare.
    let answered = Answered::new(shared).ok()?;
    let layout = Layout::new(&answered, &options.order);
    let paired = Paired::new(&answered, &layout.cells);
    let rows = |(c, cell): (usize, &Cell)| measured(cell, &cell.budget, paired.mean(c), &options.bootstrap);
    Some(Table {
        id: "partial".into(),
        title: "Mean score on the questions of the leave-one-out oracle, percent".into(),
        rows: layout.cells.iter().enumerate().flat_map(rows).collect(),
    })
}

/// Rows with intervals from measures and their sums.
fn measured(
    cell: &Cell,
    budget: &str,
    (sums, measures): (Sums, Vec<Measure>),
    bootstrap: &Bootstrap,
) -> Vec<Row> {
    let (labels, statistics): (Vec<_>, Vec<_>) = measures
        .into_iter()
        .map(|measure| ((measure.metric, measure.n), measure.statistic))
        .unzip();
    let estimates = bootstrap.intervals(&sums.strata(), &statistics);
    let row = |((metric, n), estimate): ((String, usize), crate::stats::Estimate)| Row {
        budget: budget.into(),
        value: estimate.value,
        lo: estimate.lo,
        hi: estimate.hi,
        ..blank(cell, &metric, n)
    };
    labels
        .into_iter()
        .zip(estimates)
        .filter(|(_, estimate)| estimate.value.is_finite())
        .map(row)
        .collect()
}

fn agreement(layout: &Layout, paired: &Paired<'_>, options: &ReportOptions) -> Vec<Row> {
    let Some(full) = layout.cells.iter().position(|cell| cell.arm == options.full) else {
        return Vec::new();
    };
    let others = layout.cells.iter().enumerate().filter(|&(c, _)| c != full);
    others
        .flat_map(|(c, cell)| measured(cell, &cell.budget, paired.agreement(c, full), &options.bootstrap))
        .collect()
}

/// Every other cell at the budget of a downsampled cell, and those that have none.
fn split(layout: &Layout, paired: &Paired<'_>, options: &ReportOptions) -> Vec<Row> {
    let cells = || layout.cells.iter().enumerate();
    let mut rows = Vec::new();
    for (d, judge) in cells().filter(|(_, cell)| cell.arm == options.downsampled) {
        let fits = |cell: &Cell| cell.budget == judge.budget || cell.budget == "all";
        for (c, cell) in cells().filter(|(_, cell)| cell.arm != options.downsampled && fits(cell)) {
            let sums = paired.split(c, d);
            rows.extend(measured(cell, &judge.budget, sums, &options.bootstrap));
        }
    }
    rows
}

fn calibration(layout: &Layout, paired: &Paired<'_>, options: &ReportOptions) -> Vec<Row> {
    let mut rows = Vec::new();
    for benchmark in paired.confident() {
        for (c, cell) in layout.cells.iter().enumerate() {
            let sums = paired.calibration(c, benchmark);
            rows.extend(measured(cell, &cell.budget, sums, &options.bootstrap));
        }
    }
    rows
}

/// Arithmetic and cache of the language model over the tokens that each layer really got; the interval is the range.
fn price(layout: &Layout, paired: &Paired<'_>, cost: &CostOptions) -> Vec<Row> {
    let flops = |schedule: &Schedule, counting| prefill_flops(&cost.shape, schedule, counting) / 1e9;
    let prices = |schedule: &Schedule| {
        [
            flops(schedule, Counting::FULL),
            flops(schedule, Counting::PROFILER),
            kv_bytes(&cost.shape, schedule, cost.bytes_per_value) / 1e6,
        ]
    };
    let mut rows = Vec::new();
    for (c, cell) in layout.cells.iter().enumerate() {
        let of_record = |record: &Record| {
            let n_layers = cost.shape.language.n_layers;
            let inside = record.layers.as_ref();
            let inside = inside.map(|runs| Schedule::stages(runs.iter().copied()));
            let schedule = inside
                .filter(|schedule| schedule.n_layers() == n_layers)
                .unwrap_or_else(|| Schedule::uniform(n_layers, record.kept));
            prices(&schedule.plus(cost.text_tokens))
        };
        let found: Vec<[f64; 3]> = paired.records(c).map(of_record).collect();
        for (i, metric) in ["prefill GFLOPs", "profiler GFLOPs", "cache MB"]
            .iter()
            .enumerate()
        {
            let values = || found.iter().map(|prices| prices[i]);
            rows.push(Row {
                value: mean(values()),
                lo: values().fold(f64::INFINITY, f64::min),
                hi: values().fold(f64::NEG_INFINITY, f64::max),
                ..blank(cell, metric, layout.n_questions)
            });
        }
    }
    rows
}
