//! The tables of a report as text, for every page.

use super::headings::{differing, heading};
use super::metric::Metric;
use super::ranks::ranks;
use super::result::{Absent, Claim, Report, Source};
use super::table::{PairedTest, Row, Table, distinct};
use super::table_id::TableId;
use crate::cost::Timing;
use crate::data::Benchmark;
use crate::page::Sheet;

/// A table of texts under its heading.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct TextTable {
    pub(crate) title: String,
    pub(crate) sheet: Sheet,
}

/// The heading of the ledger.
pub(crate) const LEDGER: &str = "Claims of the papers, and our own";

/// Stands where an arm has no number.
pub(crate) const NOTHING: &str = "–";

/// Stands in the main table where an arm cannot run; the reason is in a table of its own.
pub(crate) const CANNOT: &str = "cannot";

/// The tables that a terminal shows.
pub(crate) fn headline_tables(report: &Report) -> Vec<TextTable> {
    let headline = [TableId::Main, TableId::Comparison, TableId::Leaderboard];
    let tables = report.tables.iter();
    let mut shown: Vec<TextTable> = tables
        .filter(|table| headline.contains(&table.id))
        .flat_map(|table| of_table(table, report))
        .collect();
    shown.push(absent(&report.absent));
    shown.retain(|shown| !shown.sheet.rows.is_empty());
    shown
}

/// A table of the report as tables of texts; arms that choose the same tokens are one row.
pub(crate) fn of_table(table: &Table, report: &Report) -> Vec<TextTable> {
    let absent = if table.id == TableId::Main {
        report.absent.as_slice()
    } else {
        &[]
    };
    let data = report.data.as_slice();
    let mut shown = match table.id {
        TableId::Kinds => vec![wide(table, data)],
        TableId::Secondary => by_benchmark(table)
            .iter()
            .map(|table| wide(table, data))
            .collect(),
        TableId::Leaderboard => vec![ranked(table, data)],
        TableId::Differences => vec![long(table, false, data)],
        TableId::Comparison => vec![long(table, true, data)],
        _ => table
            .metrics()
            .into_iter()
            .map(|metric| by_budget(table, metric, absent, data))
            .collect(),
    };
    let place = usize::from(table.id == TableId::Leaderboard);
    for shown in &mut shown {
        merge(&mut shown.sheet, place, report);
    }
    shown
}

/// Makes one row of those of arms that choose the same tokens: the first, under all their names, which stand in column `place`.
pub(crate) fn merge(sheet: &mut Sheet, place: usize, report: &Report) {
    sheet.rows.retain(|row| {
        let second = row[place].split(" - ").last().unwrap_or_default();
        !report.is_repeated(second)
    });
    for row in &mut sheet.rows {
        let (first, second) = match row[place].split_once(" - ") {
            Some((first, second)) => (format!("{first} - "), second),
            None => (String::new(), row[place].as_str()),
        };
        row[place] = format!("{first}{}", report.names(second));
    }
}

/// The rows of each benchmark, and those about several, as tables of their own.
fn by_benchmark(table: &Table) -> Vec<Table> {
    let benchmarks = distinct(table.rows.iter().map(|row| row.metric.benchmark()));
    let of_benchmark = |benchmark: Option<Benchmark>| {
        let own = table
            .rows
            .iter()
            .filter(|row| row.metric.benchmark() == benchmark);
        let name = benchmark.map_or("retention", Benchmark::name);
        Table::new(
            table.id,
            format!("{}: {name}", table.title),
            own.cloned().collect(),
        )
    };
    benchmarks.into_iter().map(of_benchmark).collect()
}

/// The questions behind the numbers.
pub(crate) fn data(report: &Report) -> TextTable {
    let row = |source: &Source| {
        vec![
            match &source.run {
                Some(run) => format!("{run}: {}", source.benchmark),
                None => source.benchmark.to_string(),
            },
            source.paper.clone(),
            source.here.clone(),
            source.questions.to_string(),
            source.published.to_string(),
            source.pictures.to_string(),
            format!("{:.1}", source.chance),
        ]
    };
    let made = match report.meta.tier.as_str() {
        "mini" => "Data (generated, in these layouts)",
        _ => "Data",
    };
    let header = [
        "benchmark",
        "paper's split",
        "split here",
        "questions here",
        "published",
        "pictures here",
        "guessing earns",
    ];
    TextTable {
        title: made.into(),
        sheet: Sheet::new(header).with(report.data.iter().map(row)),
    }
}

/// A value with its interval.
pub(crate) fn interval(value: f64, lo: f64, hi: f64) -> String {
    format!("{value:.1} [{lo:.1}, {hi:.1}]")
}

/// A p value; small ones are not told apart.
fn p_value(p: f64) -> String {
    if p < 0.001 {
        "<0.001".to_string()
    } else {
        format!("{p:.3}")
    }
}

/// The ledger of claims; without rows where the report has none.
pub(crate) fn ledger(report: &Report) -> TextTable {
    TextTable {
        title: LEDGER.into(),
        sheet: report.ledger().to_sheet(),
    }
}

pub(crate) fn claims(report: &Report) -> TextTable {
    let row = |claim: &Claim| vec![claim.statement.clone(), claim.verdict.to_string(), claim.number()];
    TextTable {
        title: "Checks of the small world".into(),
        sheet: Sheet::new(["claim", "verdict", "estimate [95 % interval]"]).with(
            report
                .claims
                .iter()
                .filter(|claim| claim.tiers.is_empty())
                .map(row),
        ),
    }
}

/// Arms that cannot run, and why.
pub(crate) fn absent(absent: &[Absent]) -> TextTable {
    let row = |absent: &Absent| vec![absent.arm.clone(), absent.budget.clone(), absent.reason.clone()];
    TextTable {
        title: "Arms that cannot run here".into(),
        sheet: Sheet::new(["arm", "budget", "why"]).with(absent.iter().map(row)),
    }
}

/// Arms down, budgets across, one metric.
fn by_budget(table: &Table, metric: &Metric, absent: &[Absent], data: &[Source]) -> TextTable {
    let rows: Vec<&Row> = table.rows.iter().filter(|row| row.metric == *metric).collect();
    let budgets = distinct(rows.iter().map(|row| row.budget.as_str()));
    let missing = absent.iter().map(|absent| absent.arm.as_str());
    let arms = distinct(rows.iter().map(|row| row.arm.as_str()).chain(missing));
    let is_absent = |arm: &str, budget: &str| absent.iter().any(|a| a.arm == arm && a.budget == budget);
    let nothing = |arm: &str, budget: &str| if is_absent(arm, budget) { CANNOT } else { NOTHING };
    let cell = |arm: &str, budget: &str| {
        let row = rows.iter().find(|row| row.arm == arm && row.budget == budget);
        row.map_or(nothing(arm, budget).to_string(), |row| match table.id {
            TableId::Cost => format!("{:.3} [{:.3}, {:.3}]", row.value, row.lo, row.hi),
            _ => interval(row.value, row.lo, row.hi),
        })
    };
    let line = |arm: &&str| {
        std::iter::once(arm.to_string())
            .chain(budgets.iter().map(|budget| cell(arm, budget)))
            .collect()
    };
    let n = rows.first().map_or(0, |row| row.n);
    let count = if rows.iter().all(|row| row.n == n) {
        format!(" ({n} questions)")
    } else {
        String::new()
    };
    let star = match table.id == TableId::Main && differing(data).is_some() {
        true => "*",
        false => "",
    };
    let metric = heading(metric, data);
    TextTable {
        title: format!("{}: {metric}{star}{count}", table.title),
        sheet: Sheet::new(std::iter::once(&"arm").chain(&budgets).copied()).with(arms.iter().map(line)),
    }
}

/// Arms and budgets down, metrics across, values only.
fn wide(table: &Table, data: &[Source]) -> TextTable {
    let metrics = table.metrics();
    let value = |arm: &str, budget: &str, metric: &Metric| {
        let row = table.row(arm, budget, metric);
        row.map_or(NOTHING.to_string(), |row| format!("{:.1}", row.value))
    };
    let line = |&(arm, budget): &(&str, &str)| {
        let values = metrics.iter().map(|metric| value(arm, budget, metric));
        [arm.to_string(), budget.to_string()]
            .into_iter()
            .chain(values)
            .collect()
    };
    let names = ["arm", "budget"].map(String::from);
    let header = names
        .into_iter()
        .chain(metrics.iter().map(|metric| heading(metric, data)));
    TextTable {
        title: format!("{} (intervals in report.json)", table.title),
        sheet: Sheet::new(header).with(table.arms().iter().map(line)),
    }
}

/// One line per row, with verdicts and tests.
fn long(table: &Table, with_metric: bool, data: &[Source]) -> TextTable {
    let nothing = || NOTHING.to_string();
    let line = |row: &Row| {
        let mut line = vec![row.arm.clone(), row.budget.clone()];
        if with_metric {
            line.push(heading(&row.metric, data));
        }
        line.push(interval(row.value, row.lo, row.hi));
        line.push(
            row.verdict
                .map_or_else(nothing, |verdict| verdict.compared().into()),
        );
        match row.test {
            Some(PairedTest { mcnemar, p_holm }) => line.extend([
                format!("{} : {}", mcnemar.wins, mcnemar.losses),
                p_value(mcnemar.p),
                p_value(p_holm),
            ]),
            None => line.extend([nothing(), nothing(), nothing()]),
        }
        line
    };
    let mut header = vec!["arms", "budget"];
    if with_metric {
        header.push("metric");
    }
    header.extend([
        "points [95 % interval]",
        "first is",
        "right alone",
        "p (McNemar)",
        "p (Holm)",
    ]);
    TextTable {
        title: table.title.clone(),
        sheet: Sheet::new(header).with(table.rows.iter().map(line)),
    }
}

/// [`wide`] with ranks. Lines whose numbers are not told apart from the first of them share its rank (`=`).
fn ranked(table: &Table, data: &[Source]) -> TextTable {
    let mut shown = wide(table, data);
    let sheet = &mut shown.sheet;
    sheet.header.insert(0, "rank".into());
    let numbers: Vec<Option<&Row>> = table
        .arms()
        .iter()
        .map(|(arm, budget)| ranking(table, arm, budget))
        .collect();
    for (line, rank) in sheet.rows.iter_mut().zip(ranks(&numbers)) {
        line.insert(0, rank);
    }
    shown
}

/// The number that gives an arm its place: over the benchmarks that all have, or else over its own.
fn ranking<'a>(table: &'a Table, arm: &str, budget: &str) -> Option<&'a Row> {
    let row = |metric| table.row(arm, budget, metric);
    row(&Metric::CommonMean).or_else(|| row(&Metric::RaggedMean))
}

pub(crate) fn times(report: &Report) -> TextTable {
    let line = |timing: &Timing| {
        let context = &timing.context;
        vec![
            timing.stage.clone(),
            format!("{:.3}", timing.median_ms),
            format!("{:.3}", timing.iqr_ms()),
            timing.runs.to_string(),
            context.dtype.clone(),
            context.attention.clone(),
            context.device.clone(),
            context.batch.to_string(),
        ]
    };
    let header = [
        "stage",
        "median ms",
        "IQR ms",
        "runs",
        "dtype",
        "attention",
        "device",
        "batch",
    ];
    TextTable {
        title: "Times".into(),
        sheet: Sheet::new(header).with(report.timings.iter().map(line)),
    }
}
