//! From records to a report.

use std::collections::{BTreeMap, BTreeSet};

use super::answered::Answered;
use super::cell::{Cell, RowHead, Unestimated, correct};
use super::claims::claims;
use super::counted;
use super::diagnostics::{agreement, calibration, easy_and_hard};
use super::equal::equal_arms;
use super::judge;
use super::matrix::Matrix;
use super::metric::Metric;
use super::options::ReportOptions;
use super::paired::Paired;
use super::partial::{beside_partial, partial};
use super::prices::prices;
use super::result::{Claim, Meta, Report};
use super::secondary::secondary;
use super::sources::sources;
use super::table::{PairedTest, Row, Table, distinct};
use super::table_id::TableId;
use crate::EvalError;
use crate::data::Benchmark;
use crate::evidence::{ClaimVerdict, Claims, Tier, TierVerdict};
use crate::run::Record;
use crate::stats::{Estimate, Statistic};

/// A number that is not computed yet: its table and row, and the two cells of a difference.
struct Draft {
    table: TableId,
    head: RowHead,
    pair: Option<(usize, usize)>,
}

/// The tables in the order of the report, with their headings; true where a table is there even without a row.
const TABLES: [(TableId, &str, bool); 11] = [
    (TableId::Main, "Benchmarks together, percent", true),
    (TableId::Benchmarks, "Each benchmark alone, percent", true),
    (TableId::Kinds, "Mean score by kind of question, percent", true),
    (
        TableId::Differences,
        "Average of the method minus that of other arms, in points",
        true,
    ),
    (TableId::Adjusted, "Retention above chance, percent", false),
    (
        TableId::Tokens,
        "Visual tokens of the language model, mean with least and most",
        true,
    ),
    (
        TableId::Secondary,
        "Other numbers of the benchmarks, percent or points",
        false,
    ),
    (
        TableId::Agreement,
        "Answers beside those of the unpruned model, percent of questions",
        false,
    ),
    (
        TableId::Vtc,
        "Mean score on questions that the downsampled picture answers (easy) or not (hard), percent",
        false,
    ),
    (
        TableId::Calibration,
        "Expected calibration error of yes and no, percent",
        false,
    ),
    (
        TableId::Cost,
        "Cost of the prefill, mean with least and most",
        false,
    ),
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
        let (some_only, whole) = partial(records, options);
        let answered = Answered::new(whole)?;
        let mut matrix = Matrix::new(&answered, &options.order);
        let counted = counted::count(&mut matrix, options);
        let matrix = matrix;
        let paired = Paired::new(&answered, &matrix.cells);
        let (drafts, mut statistics) = split(numbers(&matrix, options));
        let (claims, of_claims) = split(claims(&matrix, options));
        statistics.extend(of_claims);
        let estimates = options.bootstrap.intervals(&matrix.strata, &statistics);
        let (of_rows, of_claims) = estimates.split_at(drafts.len());
        let mut rows: BTreeMap<TableId, Vec<Row>> = BTreeMap::new();
        for (draft, estimate) in drafts.into_iter().zip(of_rows) {
            if !estimate.value.is_finite() {
                continue;
            }
            let row = match draft.pair {
                Some((a, b)) => {
                    let test = paired.mcnemar(a, b, None).map(PairedTest::alone);
                    draft.head.difference(estimate, test)
                }
                None => draft.head.number(estimate),
            };
            rows.entry(draft.table).or_default().push(row);
        }
        if let Some(differences) = rows.get_mut(&TableId::Differences) {
            correct(differences, |row| row.budget.clone());
        }
        rows.insert(TableId::Tokens, tokens(&matrix));
        rows.insert(TableId::Agreement, agreement(&matrix, &paired, options));
        rows.insert(TableId::Vtc, easy_and_hard(&matrix, &paired, options));
        rows.insert(TableId::Calibration, calibration(&matrix, &paired, options));
        if let Some(cost) = &options.cost {
            rows.insert(TableId::Cost, prices(&matrix, &paired, cost));
        }
        let table = |(id, title, always): (TableId, &str, bool)| {
            let rows = rows.remove(&id).unwrap_or_default();
            (always || !rows.is_empty()).then(|| Table::new(id, title, rows))
        };
        let mut tables: Vec<Table> = TABLES.into_iter().filter_map(table).collect();
        tables.extend(beside_partial(records, &some_only, options));
        train_seeds(&mut tables, &answered, &meta, options)?;
        let of_papers = of_papers(&answered, &matrix, &meta, options)?;
        let of_instrument = claims
            .into_iter()
            .zip(of_claims)
            .filter(|(_, estimate)| estimate.value.is_finite())
            .map(|(draft, estimate)| draft.judge(estimate));
        let claims = of_papers.into_iter().chain(of_instrument).collect();
        let names = distinct(matrix.cells.iter().map(|cell| cell.arm.as_str()));
        let equal = equal_arms(&answered.records, &names);
        let mut meta = meta;
        meta.note += &answered.note();
        Ok(Self {
            meta,
            tables,
            claims,
            counted,
            data: sources(&matrix, options),
            absent: options.absent.clone(),
            equal,
            timings: Vec::new(),
        })
    }
}

/// The claims of the papers and our own; none where the method or the unpruned model did not run.
fn of_papers(
    answered: &Answered<'_>,
    matrix: &Matrix,
    meta: &Meta,
    options: &ReportOptions,
) -> Result<Vec<Claim>, EvalError> {
    let ran = |arm: &str| matrix.cells.iter().any(|cell| cell.arm == arm);
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
    let ledger = judge::ledger(answered, matrix, meta, options)?;
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
        let own = seeds.entry((&record.arm, &record.budget)).or_default();
        own.insert(record.seed);
    }
    for row in tables.iter_mut().flat_map(|table| &mut table.rows) {
        let arm = row.arm.split(" - ").next().unwrap_or_default();
        if let Some(own) = seeds.get(&(arm, row.budget.as_str())) {
            row.train_seeds = own.iter().copied().collect();
        }
    }
    Ok(())
}

/// Targets and statistics apart.
fn split<'a, T>(numbers: Vec<Unestimated<'a, T>>) -> (Vec<T>, Vec<Statistic<'a>>) {
    let pair = |number: Unestimated<'a, T>| (number.target, number.statistic);
    numbers.into_iter().map(pair).unzip()
}

/// The numbers that one bootstrap gives: all but kept tokens and what answers say beside each other.
fn numbers<'a>(matrix: &'a Matrix, options: &'a ReportOptions) -> Vec<Unestimated<'a, Draft>> {
    let data = matrix.totals();
    let full = matrix.cells.iter().position(|cell| cell.arm == options.full);
    let mut numbers = Vec::new();
    for (c, cell) in matrix.cells.iter().enumerate() {
        let mut of_cell = OfCell {
            cell,
            numbers: &mut numbers,
        };
        of_cell.means(matrix, c, full, &data, options);
        for benchmark in matrix.benchmarks() {
            let count = matrix.count(matrix.parts(benchmark), &data) as usize;
            of_cell.add(
                TableId::Benchmarks,
                Metric::Benchmark(benchmark),
                count,
                move |totals| matrix.headline(c, benchmark, totals),
            );
        }
        for (head, statistic) in secondary(matrix, c, full, &data) {
            of_cell.push(TableId::Secondary, head, statistic);
        }
        for ((benchmark, kind), parts) in matrix.kinds() {
            let count = matrix.count(&parts, &data) as usize;
            of_cell.add(
                TableId::Kinds,
                Metric::Kind(benchmark, kind),
                count,
                move |totals| matrix.accuracy(c, &parts, totals),
            );
        }
    }
    differences(matrix, options, &mut numbers);
    numbers
}

/// The numbers of one cell.
struct OfCell<'n, 'a> {
    cell: &'a Cell,
    numbers: &'n mut Vec<Unestimated<'a, Draft>>,
}

impl<'a> OfCell<'_, 'a> {
    fn push(&mut self, table: TableId, head: RowHead, statistic: Statistic<'a>) {
        self.numbers.push(Unestimated {
            target: Draft {
                table,
                head,
                pair: None,
            },
            statistic,
        });
    }

    fn add(
        &mut self,
        table: TableId,
        metric: Metric,
        n: usize,
        statistic: impl Fn(&[f64]) -> f64 + Send + Sync + 'a,
    ) {
        self.push(table, RowHead::new(self.cell, metric, n), Box::new(statistic));
    }

    /// Means and retentions over the benchmarks.
    fn means(
        &mut self,
        matrix: &'a Matrix,
        c: usize,
        full: Option<usize>,
        data: &[f64],
        options: &'a ReportOptions,
    ) {
        let (main, n) = (TableId::Main, matrix.n_questions);
        self.add(main, Metric::Average, n, move |totals| matrix.average(c, totals));
        if matrix.counted != matrix.common {
            self.add(main, Metric::AverageOfAll, n, move |totals| {
                matrix.average_over(matrix.common.iter().copied(), c, totals)
            });
        }
        let but_textvqa = || {
            matrix
                .counted
                .iter()
                .copied()
                .filter(|&other| other != Benchmark::TextVqa)
        };
        if (1..matrix.counted.len()).contains(&but_textvqa().count()) {
            self.add(main, Metric::AverageWithoutTextVqa, n, move |totals| {
                let rest = matrix
                    .counted
                    .iter()
                    .copied()
                    .filter(|&other| other != Benchmark::TextVqa);
                matrix.average_over(rest, c, totals)
            });
        }
        if let Some(full) = full {
            self.add(main, Metric::Retention, n, move |totals| {
                matrix.retention(c, full, totals)
            });
            self.add(
                TableId::Adjusted,
                Metric::ChanceCorrectedRetention,
                n,
                move |totals| matrix.corrected(c, full, &options.chance, totals),
            );
        }
        if !matrix.is_ragged() {
            return;
        }
        let n = matrix.own_questions(c, data);
        self.add(main, Metric::RaggedAverage, n, move |totals| {
            matrix.ragged_average(c, totals)
        });
        if let Some(full) = full {
            self.add(main, Metric::RaggedRetention, n, move |totals| {
                matrix.ragged_retention(c, full, totals)
            });
        }
    }
}

/// The method beside every other arm at the same budget, or at none.
fn differences<'a>(matrix: &'a Matrix, options: &ReportOptions, numbers: &mut Vec<Unestimated<'a, Draft>>) {
    let cells = || matrix.cells.iter().enumerate();
    for (m, method) in cells().filter(|(_, cell)| cell.arm == options.method) {
        for (o, other) in cells().filter(|(_, cell)| cell.arm != options.method) {
            if other.budget != method.budget && other.budget != "all" {
                continue;
            }
            let both = Cell {
                arm: format!("{} - {}", method.arm, other.arm),
                budget: method.budget.clone(),
            };
            numbers.push(Unestimated {
                target: Draft {
                    table: TableId::Differences,
                    head: RowHead::new(&both, Metric::AverageDifference, matrix.n_questions),
                    pair: Some((m, o)),
                },
                statistic: Box::new(move |totals| matrix.average(m, totals) - matrix.average(o, totals)),
            });
        }
    }
}

/// Kept tokens; the interval is the range.
fn tokens(matrix: &Matrix) -> Vec<Row> {
    let row = |(cell, &(value, lo, hi)): (&Cell, &(f64, f64, f64))| {
        RowHead::new(cell, Metric::KeptTokens, matrix.n_questions).number(&Estimate { value, lo, hi })
    };
    matrix.cells.iter().zip(&matrix.kept).map(row).collect()
}
