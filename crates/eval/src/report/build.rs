//! From records to a report.

use std::collections::{BTreeMap, BTreeSet};

use super::answered::Answered;
use super::claims::claims;
use super::counted;
use super::extras;
use super::judge;
use super::layout::{Cell, Layout};
use super::options::ReportOptions;
use super::paired::Paired;
use super::result::{Claim, Meta, PairedTest, Report, Row, Table};
use super::secondary;
use super::sources::sources;
use crate::EvalError;
use crate::data::Benchmark;
use crate::evidence::{ClaimVerdict, Claims, Tier, TierVerdict};
use crate::run::Record;
use crate::stats::{Estimate, Statistic, Verdict, holm};

/// A statistic that is waiting for its interval.
pub(crate) struct Pending<'a, T> {
    pub(crate) target: T,
    pub(crate) statistic: Statistic<'a>,
}

/// Table and row of a pending number, without the number, and the two cells of a difference.
struct Place {
    table: usize,
    row: Row,
    pair: Option<(usize, usize)>,
}

/// Ids and headings of the tables that [`rows`] fills, and of kept tokens.
const TABLES: [(&str, &str); 7] = [
    ("main", "Benchmarks together, percent"),
    ("benchmarks", "Each benchmark alone, percent"),
    ("kinds", "Mean score by kind of question, percent"),
    (
        "differences",
        "Average of the method minus that of other arms, in points",
    ),
    ("adjusted", "Retention above chance, percent"),
    (
        "tokens",
        "Visual tokens of the language model, mean with least and most",
    ),
    ("secondary", "Other numbers of the benchmarks, percent or points"),
];

impl Report {
    /// Computes every table and claim from records; their order does not matter.
    ///
    /// Only questions that every arm of their benchmark has answered with every seed count; arms with several seeds are
    /// averaged per question first. Averages are over the benchmarks that every arm has; where some arm lacks one, the
    /// ragged means over each arm's own benchmarks stand beside them. Arms that answer some questions only
    /// ([`ReportOptions::partial`]) are compared in a table of their own.
    ///
    /// # Errors
    /// When no question was answered by all.
    pub fn from_records(records: &[Record], meta: Meta, options: &ReportOptions) -> Result<Self, EvalError> {
        let (partial, whole) = extras::partial(records, options);
        let answered = Answered::new(whole)?;
        let mut layout = Layout::new(&answered, &options.order);
        let counted = counted::count(&mut layout, options);
        let layout = layout;
        let paired = Paired::new(&answered, &layout.cells);
        let mut tables = TABLES.map(|(id, title)| Table {
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
        for (Place { table, row, pair }, estimate) in places.into_iter().zip(of_rows) {
            if estimate.value.is_finite() {
                let mut row = fill(row, estimate);
                let test = pair.and_then(|(a, b)| paired.mcnemar(a, b, None));
                row.test = test.map(PairedTest::alone);
                tables[table].rows.push(row);
            }
        }
        correct(&mut tables[3].rows, |row| row.budget.clone());
        tables[5].rows = tokens(&layout);
        let of_papers = of_papers(&answered, &layout, &meta, options)?;
        let of_instrument = drafts
            .into_iter()
            .zip(of_claims)
            .filter(|(_, estimate)| estimate.value.is_finite())
            .map(|(draft, estimate)| draft.judge(estimate));
        let claims = of_papers.into_iter().chain(of_instrument).collect();
        let mut meta = meta;
        meta.note += &answered.note();
        let mut tables = tables.to_vec();
        let may_be_empty = ["adjusted", "secondary"];
        tables.retain(|table| !may_be_empty.contains(&table.id.as_str()) || !table.rows.is_empty());
        tables.extend(extras::tables(&layout, &paired, options));
        tables.extend(extras::beside_partial(records, &partial, options));
        train_seeds(&mut tables, &answered, &meta, options)?;
        Ok(Self {
            meta,
            tables,
            claims,
            counted,
            data: sources(&layout, options),
            absent: options.absent.clone(),
            timings: Vec::new(),
        })
    }
}

/// The claims of the papers and our own; none where the method or the unpruned model did not run.
fn of_papers(
    answered: &Answered<'_>,
    layout: &Layout,
    meta: &Meta,
    options: &ReportOptions,
) -> Result<Vec<Claim>, EvalError> {
    let ran = |arm: &str| layout.cells.iter().any(|cell| cell.arm == arm);
    if !ran(&options.method) || !ran(&options.full) {
        return Ok(Vec::new());
    }
    let tier = Tier::of(&meta.tier).unwrap_or(Tier::Mini);
    let claim = |entry: ClaimVerdict| {
        let own = entry.tiers.get(&tier).cloned();
        let own = own.unwrap_or_else(|| TierVerdict::untestable("not judged at this tier"));
        Claim {
            id: entry.id,
            statement: entry.says,
            verdict: own.verdict,
            estimate: own.estimate,
            lo: own.lo,
            hi: own.hi,
            tiers: entry.tiers,
            reason: own.reason,
        }
    };
    let ledger = judge::ledger(answered, layout, meta, options)?;
    Ok(ledger.claims.into_iter().map(claim).collect())
}

/// Notes the seeds of trainings beside every number of a trained arm.
fn train_seeds(
    tables: &mut [Table],
    answered: &Answered<'_>,
    meta: &Meta,
    options: &ReportOptions,
) -> Result<(), EvalError> {
    let trained = judge::trained(&Claims::builtin()?, meta, options);
    let mut seeds: BTreeMap<(&str, &str), BTreeSet<u64>> = BTreeMap::new();
    for record in answered
        .records
        .iter()
        .filter(|record| trained.contains(&record.arm))
    {
        seeds
            .entry((&record.arm, &record.budget))
            .or_default()
            .insert(record.seed);
    }
    for row in tables.iter_mut().flat_map(|table| &mut table.rows) {
        let arm = row.arm.split(" - ").next().unwrap_or_default();
        if let Some(own) = seeds.get(&(arm, row.budget.as_str())) {
            row.train_seeds = own.iter().copied().collect();
        }
    }
    Ok(())
}

/// Holm's correction of the tests of rows within each family.
pub(crate) fn correct<K: PartialEq>(rows: &mut [Row], family: impl Fn(&Row) -> K) {
    let families: Vec<K> = rows.iter().map(&family).collect();
    for (place, own) in families.iter().enumerate() {
        if families[..place].contains(own) {
            continue;
        }
        let members: Vec<usize> = (place..rows.len()).filter(|&i| families[i] == *own).collect();
        let p = |&i: &usize| rows[i].test.map_or(f64::NAN, |test| test.mcnemar.p);
        let adjusted = holm(&members.iter().map(p).collect::<Vec<_>>());
        for (i, p_holm) in members.into_iter().zip(adjusted) {
            if let Some(test) = &mut rows[i].test {
                test.p_holm = p_holm;
            }
        }
    }
}

/// The row with its number.
pub(crate) fn fill(mut row: Row, estimate: &Estimate) -> Row {
    (row.value, row.lo, row.hi) = (estimate.value, estimate.lo, estimate.hi);
    row.verdict = row.verdict.map(|_| Verdict::of(row.lo, row.hi));
    row
}

/// A row without its number.
pub(crate) fn blank(cell: &Cell, metric: &str, n: usize) -> Row {
    Row {
        arm: cell.arm.clone(),
        budget: cell.budget.clone(),
        metric: metric.into(),
        value: 0.0,
        lo: 0.0,
        hi: 0.0,
        n,
        train_seeds: Vec::new(),
        verdict: None,
        test: None,
    }
}

/// Every number but kept tokens.
fn rows<'a>(layout: &'a Layout, options: &'a ReportOptions) -> Vec<Pending<'a, Place>> {
    let mut rows: Vec<Pending<'a, Place>> = Vec::new();
    let mut add = |table: usize, row: Row, statistic: Statistic<'a>| {
        rows.push(Pending {
            target: Place {
                table,
                row,
                pair: None,
            },
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
        if layout.counted != layout.common {
            add(
                0,
                blank(cell, "average of all benchmarks", n),
                Box::new(move |totals| layout.average_over(layout.common.iter().copied(), c, totals)),
            );
        }
        let but_textvqa = || {
            layout
                .counted
                .iter()
                .copied()
                .filter(|&other| other != Benchmark::TextVqa)
        };
        if (1..layout.counted.len()).contains(&but_textvqa().count()) {
            add(
                0,
                blank(cell, "average without TextVQA", n),
                Box::new(move |totals| {
                    let rest = layout
                        .counted
                        .iter()
                        .copied()
                        .filter(|&other| other != Benchmark::TextVqa);
                    layout.average_over(rest, c, totals)
                }),
            );
        }
        if let Some(full) = full {
            add(
                0,
                blank(cell, "retention", n),
                Box::new(move |totals| layout.retention(c, full, totals)),
            );
            add(
                4,
                blank(cell, "chance-corrected retention", n),
                Box::new(move |totals| layout.corrected(c, full, &options.chance, totals)),
            );
        }
        if layout.is_ragged() {
            let n = layout.own_questions(c, &data);
            add(
                0,
                blank(cell, "ragged average", n),
                Box::new(move |totals| layout.ragged_average(c, totals)),
            );
            if let Some(full) = full {
                add(
                    0,
                    blank(cell, "ragged retention", n),
                    Box::new(move |totals| layout.ragged_retention(c, full, totals)),
                );
            }
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
        for (row, statistic) in secondary::numbers(layout, c, full, &data) {
            add(6, row, statistic);
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
            rows.push(Pending {
                target: Place {
                    table: 3,
                    row,
                    pair: Some((m, o)),
                },
                statistic: Box::new(move |totals| layout.average(m, totals) - layout.average(o, totals)),
            });
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
