//! From records to a report.

use serde::{Deserialize, Serialize};

use super::claims::claims;
use super::layout::{Cell, Layout};
use super::result::{Meta, Report, Row, Table};
use crate::EvalError;
use crate::run::Record;
use crate::stats::{Bootstrap, Estimate, Statistic, Verdict};

/// What a report compares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportOptions {
    /// How intervals are computed.
    pub bootstrap: Bootstrap,
    /// Order of the arms in tables; others follow by name.
    pub order: Vec<String>,
    /// The method that claims are about.
    pub method: String,
    /// Name of the unpruned arm.
    pub full: String,
    /// Name of the random arm.
    pub random: String,
    /// Name of the arm trained by Gumbel top-k with straight-through gradients.
    pub gumbel: String,
    /// Name of the `[CLS]`-attention arm.
    pub cls_attention: String,
    /// Name of the arm that keeps the most relevant tokens by annotation.
    pub oracle_keep: String,
    /// Name of the arm that keeps the least relevant tokens by annotation.
    pub oracle_drop: String,
    /// Points that dropping background may cost at most.
    pub background_cost: f64,
    /// Points that dropping objects must cost at least.
    pub object_cost: f64,
}

impl Default for ReportOptions {
    fn default() -> Self {
        let order = [
            "full",
            "diffprune",
            "gumbel-ste",
            "cls-attention",
            "random",
            "stratified",
            "uniform-grid",
            "average-pool",
            "untrained",
            "shuffled",
            "inverted",
            "oracle-keep",
            "oracle-drop",
            "blank-image",
            "text-only",
        ];
        Self {
            bootstrap: Bootstrap::default(),
            order: order.map(String::from).to_vec(),
            method: "diffprune".into(),
            full: "full".into(),
            random: "random".into(),
            gumbel: "gumbel-ste".into(),
            cls_attention: "cls-attention".into(),
            oracle_keep: "oracle-keep".into(),
            oracle_drop: "oracle-drop".into(),
            background_cost: 5.0,
            object_cost: 10.0,
        }
    }
}

/// A statistic that is waiting for its interval.
pub(crate) struct Pending<'a, T> {
    pub(crate) target: T,
    pub(crate) statistic: Statistic<'a>,
}

/// Table and row of a pending number, without the number.
type Place = (usize, Row);

impl Report {
    /// Computes every table and claim from records; their order does not matter.
    ///
    /// Only questions that every arm has answered with every seed count; arms with several seeds are averaged per
    /// question first.
    ///
    /// # Errors
    /// When no question was answered by all.
    pub fn from_records(records: &[Record], meta: Meta, options: &ReportOptions) -> Result<Self, EvalError> {
        let layout = Layout::new(records, &options.order)?;
        let mut tables = [
            ("main", "Benchmarks together, percent"),
            ("benchmarks", "Each benchmark alone, percent"),
            ("kinds", "Mean score by kind of question, percent"),
            (
                "differences",
                "Average of the method minus that of other arms, in points",
            ),
            (
                "tokens",
                "Visual tokens of the language model, mean with least and most",
            ),
        ]
        .map(|(id, title)| Table {
            id: id.into(),
            title: title.into(),
            rows: Vec::new(),
        });
        let rows = rows(&layout, options);
        let claims = claims(&layout, options);
        let (places, mut statistics): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .map(|pending| (pending.target, pending.statistic))
            .unzip();
        let (drafts, of_claims): (Vec<_>, Vec<_>) = claims
            .into_iter()
            .map(|pending| (pending.target, pending.statistic))
            .unzip();
        statistics.extend(of_claims);
        let estimates = options.bootstrap.intervals(&layout.strata, &statistics);
        let (of_rows, of_claims) = estimates.split_at(places.len());
        for ((table, row), estimate) in places.into_iter().zip(of_rows) {
            if estimate.value.is_finite() {
                tables[table].rows.push(fill(row, estimate));
            }
        }
        tables[4].rows = tokens(&layout);
        let claims = drafts
            .into_iter()
            .zip(of_claims)
            .filter(|(_, estimate)| estimate.value.is_finite())
            .map(|(draft, estimate)| draft.judge(estimate))
            .collect();
        let mut meta = meta;
        if layout.n_left_out > 0 {
            meta.note += &format!(
                " {} questions without an answer of every arm are left out.",
                layout.n_left_out
            );
        }
        Ok(Self {
            meta,
            tables: tables.to_vec(),
            claims,
        })
    }
}

fn fill(mut row: Row, estimate: &Estimate) -> Row {
    (row.value, row.lo, row.hi) = (estimate.value, estimate.lo, estimate.hi);
    row.verdict = row.verdict.map(|_| Verdict::of(row.lo, row.hi));
    row
}

fn blank(cell: &Cell, metric: &str, n: usize) -> Row {
    Row {
        arm: cell.arm.clone(),
        budget: cell.budget.clone(),
        metric: metric.into(),
        value: 0.0,
        lo: 0.0,
        hi: 0.0,
        n,
        verdict: None,
    }
}

/// Every number of the tables 0 to 3.
fn rows<'a>(layout: &'a Layout, options: &ReportOptions) -> Vec<Pending<'a, Place>> {
    let mut rows: Vec<Pending<'a, Place>> = Vec::new();
    let mut add = |table: usize, row: Row, statistic: Statistic<'a>| {
        rows.push(Pending {
            target: (table, row),
            statistic,
        });
    };
    let data = layout.totals();
    let n = layout.n_questions;
    let full = layout.cells.iter().position(|cell| cell.arm == options.full);
    for (c, cell) in layout.cells.iter().enumerate() {
        add(
            0,
            blank(cell, "average", n),
            Box::new(move |totals| layout.average(c, totals)),
        );
        if let Some(full) = full {
            add(
                0,
                blank(cell, "retention", n),
                Box::new(move |totals| layout.retention(c, full, totals)),
            );
        }
        for benchmark in layout.benchmarks() {
            let count = layout.count(layout.parts(benchmark), &data) as usize;
            let row = blank(cell, benchmark.metric(), count);
            add(
                1,
                row,
                Box::new(move |totals| layout.headline(c, benchmark, totals)),
            );
        }
        for ((benchmark, kind), parts) in layout.kinds() {
            let row = blank(
                cell,
                &format!("{benchmark} {kind}"),
                layout.count(&parts, &data) as usize,
            );
            add(2, row, Box::new(move |totals| layout.accuracy(c, &parts, totals)));
        }
    }
    for (m, method) in layout
        .cells
        .iter()
        .enumerate()
        .filter(|(_, cell)| cell.arm == options.method)
    {
        for (o, other) in layout
            .cells
            .iter()
            .enumerate()
            .filter(|(_, cell)| cell.arm != options.method)
        {
            if other.budget != method.budget && other.budget != "all" {
                continue;
            }
            let mut row = blank(method, "average difference", n);
            row.arm = format!("{} - {}", method.arm, other.arm);
            row.verdict = Some(Verdict::Tie);
            add(
                3,
                row,
                Box::new(move |totals| layout.average(m, totals) - layout.average(o, totals)),
            );
        }
    }
    rows
}

/// Kept tokens; the interval is the range.
fn tokens(layout: &Layout) -> Vec<Row> {
    let row = |(cell, &(mean, least, most)): (&Cell, &(f64, f64, f64))| Row {
        value: mean,
        lo: least,
        hi: most,
        ..blank(cell, "kept tokens", layout.n_questions)
    };
    layout.cells.iter().zip(&layout.kept).map(row).collect()
}
