//! Two runs side by side.

use std::collections::{BTreeMap, BTreeSet};

use super::answered::{Answered, key};
use super::cell::{Cell, RowHead, correct};
use super::matrix::Matrix;
use super::metric::Metric;
use super::options::ReportOptions;
use super::paired::Paired;
use super::result::{Meta, Report};
use super::sources::sources;
use super::table::{PairedTest, Row, Table};
use super::table_id::TableId;
use crate::EvalError;
use crate::run::Record;
use crate::stats::Statistic;

impl Report {
    /// The difference of two runs, first minus second, for every arm and budget that both have: each benchmark's number
    /// and their average, paired over the questions that both have asked.
    ///
    /// `names` are the names of the runs in the tables. Holm's correction is over the arms and budgets of one metric.
    ///
    /// # Errors
    /// When the runs share no arm at the same budget or no question, or when a question of the same id is about another
    /// picture or has another truth.
    pub fn compare(
        names: [&str; 2],
        records: [&[Record]; 2],
        meta: Meta,
        options: &ReportOptions,
    ) -> Result<Self, EvalError> {
        same_questions(names, records)?;
        let cells = records.map(|records| records.iter().map(Cell::of).collect::<BTreeSet<Cell>>());
        let mut shared: BTreeSet<Cell> = cells[0].intersection(&cells[1]).cloned().collect();
        // Arms that answer some questions only would leave the others nothing but these.
        let whole = |cell: &Cell| !options.partial.contains(&cell.arm);
        if shared.iter().any(whole) {
            shared.retain(whole);
        }
        let setup = |found: &str, wanted: &str| EvalError::Setup {
            subject: format!("comparison of `{}` and `{}`", names[0], names[1]),
            found: found.into(),
            wanted: wanted.into(),
        };
        if shared.is_empty() {
            let wanted = "runs that share an arm at the same budget";
            return Err(setup("no arm of both at one budget", wanted));
        }
        if names[0] == names[1] {
            return Err(setup("one name twice", "runs with different names"));
        }
        let renamed: Vec<Record> = (0..2)
            .flat_map(|run| records[run].iter().map(move |record| (run, record)))
            .filter(|(_, record)| shared.contains(&Cell::of(record)))
            .map(|(run, record)| Record {
                arm: named(names[run], &record.arm),
                ..record.clone()
            })
            .collect();
        let order = order(names, &shared, options);
        let answered = Answered::new(&renamed)?;
        let matrix = Matrix::new(&answered, &order);
        if matrix.common.is_empty() {
            return Err(setup("no benchmark of both", "runs that share questions"));
        }
        let paired = Paired::new(&answered, &matrix.cells);
        let mut meta = meta;
        meta.note += &answered.note();
        Ok(Self {
            meta,
            tables: tables(names, &shared, &matrix, &paired, options),
            claims: Vec::new(),
            data: sources(&matrix, options),
            counted: None,
            absent: Vec::new(),
            equal: Vec::new(),
            timings: Vec::new(),
        })
    }
}

fn named(run: &str, arm: &str) -> String {
    format!("{run}: {arm}")
}

/// Arms in the usual order, the runs in turn.
fn order(names: [&str; 2], shared: &BTreeSet<Cell>, options: &ReportOptions) -> Vec<String> {
    let others = shared.iter().map(|cell| &cell.arm);
    let arms = options.order.iter().chain(others);
    arms.flat_map(|arm| names.map(|name| named(name, arm))).collect()
}

/// Both runs' averages, and the differences.
fn tables(
    names: [&str; 2],
    shared: &BTreeSet<Cell>,
    matrix: &Matrix,
    paired: &Paired<'_>,
    options: &ReportOptions,
) -> Vec<Table> {
    let n = matrix.n_questions;
    let data = matrix.totals();
    let place = |cell: &Cell| matrix.cells.iter().position(|other| other == cell);
    // Of a difference also its test, where there is one.
    let mut heads: Vec<(RowHead, Option<Option<PairedTest>>)> = Vec::new();
    let mut statistics: Vec<Statistic<'_>> = Vec::new();
    for (c, cell) in matrix.cells.iter().enumerate() {
        heads.push((RowHead::new(cell, Metric::Average, n), None));
        statistics.push(Box::new(move |totals| matrix.average(c, totals)));
    }
    for (a, cell) in matrix.cells.iter().enumerate() {
        let Some(arm) = cell.arm.strip_prefix(&named(names[0], "")) else {
            continue;
        };
        let plain = Cell {
            arm: arm.into(),
            budget: cell.budget.clone(),
        };
        let other = Cell {
            arm: named(names[1], arm),
            budget: cell.budget.clone(),
        };
        let (true, Some(b)) = (shared.contains(&plain), place(&other)) else {
            continue;
        };
        let test = |only| Some(paired.mcnemar(a, b, only).map(PairedTest::alone));
        heads.push((RowHead::new(&plain, Metric::Average, n), test(None)));
        statistics.push(Box::new(move |totals| {
            matrix.average(a, totals) - matrix.average(b, totals)
        }));
        for &benchmark in &matrix.common {
            let n = matrix.count(matrix.parts(benchmark), &data) as usize;
            let head = RowHead::new(&plain, Metric::Benchmark(benchmark), n);
            heads.push((head, test(Some(benchmark))));
            statistics.push(Box::new(move |totals| {
                matrix.headline(a, benchmark, totals) - matrix.headline(b, benchmark, totals)
            }));
        }
    }
    let estimates = options.bootstrap.intervals(&matrix.strata, &statistics);
    let (mut main, mut differences): (Vec<Row>, Vec<Row>) = (Vec::new(), Vec::new());
    for ((head, difference), estimate) in heads.into_iter().zip(&estimates) {
        match difference {
            Some(test) => differences.push(head.difference(estimate, test)),
            None => main.push(head.number(estimate)),
        }
    }
    correct(&mut differences, |row| row.metric.clone());
    vec![
        Table::new(TableId::Main, "Both runs, common questions, percent", main),
        Table::new(
            TableId::Comparison,
            format!("{} minus {}, in points", names[0], names[1]),
            differences,
        ),
    ]
}

/// Refuses questions of one id that are not the same.
fn same_questions(names: [&str; 2], records: [&[Record]; 2]) -> Result<(), EvalError> {
    let truth = |record: &Record| (record.image.clone(), record.label, record.group.clone());
    let first: BTreeMap<_, _> = records[0]
        .iter()
        .map(|record| (key(record), truth(record)))
        .collect();
    for record in records[1] {
        if let Some(found) = first.get(&key(record)).filter(|found| **found != truth(record)) {
            return Err(EvalError::Setup {
                subject: format!("{} question `{}`", record.benchmark, record.question),
                found: format!(
                    "picture {} in `{}` and {} in `{}`, or another truth or group",
                    found.0, names[0], record.image, names[1]
                ),
                wanted: "runs over the same data".into(),
            });
        }
    }
    Ok(())
}
