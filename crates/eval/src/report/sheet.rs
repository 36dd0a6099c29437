//! The tables of a report as people read them: text cells, pages share them.

use super::result::{Absent, PairedTest, Report, Row, Table};
use crate::cost::Timing;

/// A table of texts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sheet {
    pub(crate) title: String,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// Stands where an arm has no number.
const NOTHING: &str = "–";

/// Stands in the main table where an arm cannot run; the reason is in a table of its own.
const CANNOT: &str = "cannot";
/// Id of the main table.
const MAIN: &str = "main";

/// Every sheet of the report, claims first.
pub(crate) fn sheets(report: &Report) -> Vec<Sheet> {
    let mut sheets = vec![claims(report)];
    for table in &report.tables {
        sheets.extend(of_table(table, &report.absent));
        if table.id == MAIN {
            sheets.push(absent(&report.absent));
        }
    }
    sheets.push(times(report));
    sheets.retain(|sheet| !sheet.rows.is_empty());
    sheets
}

/// The sheets that a terminal shows.
pub(crate) fn headline_sheets(report: &Report) -> Vec<Sheet> {
    let shown = [MAIN, "comparison", "leaderboard"];
    let tables = report.tables.iter();
    let mut sheets: Vec<Sheet> = tables
        .filter(|table| shown.contains(&table.id.as_str()))
        .flat_map(|table| of_table(table, &report.absent))
        .collect();
    sheets.push(absent(&report.absent));
    sheets.retain(|sheet| !sheet.rows.is_empty());
    sheets
}

fn of_table(table: &Table, absent: &[Absent]) -> Vec<Sheet> {
    let absent = if table.id == MAIN { absent } else { &[] };
    match table.id.as_str() {
        "kinds" => vec![wide(table)],
        "leaderboard" => vec![ranked(table)],
        "differences" => vec![long(table, false)],
        "comparison" => vec![long(table, true)],
        _ => metrics(table)
            .iter()
            .map(|metric| by_budget(table, metric, absent))
            .collect(),
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

fn claims(report: &Report) -> Sheet {
    let row = |claim: &super::Claim| {
        let number = interval(claim.estimate, claim.lo, claim.hi);
        vec![claim.statement.clone(), claim.verdict.to_string(), number]
    };
    Sheet {
        title: "Claims".into(),
        header: ["claim", "verdict", "estimate [95 % interval]"]
            .map(String::from)
            .to_vec(),
        rows: report.claims.iter().map(row).collect(),
    }
}

/// Arms that cannot run, and why.
fn absent(absent: &[Absent]) -> Sheet {
    let row = |absent: &Absent| vec![absent.arm.clone(), absent.budget.clone(), absent.reason.clone()];
    Sheet {
        title: "Arms that cannot run here".into(),
        header: ["arm", "budget", "why"].map(String::from).to_vec(),
        rows: absent.iter().map(row).collect(),
    }
}

/// Arms down, budgets across, one metric.
fn by_budget(table: &Table, metric: &str, absent: &[Absent]) -> Sheet {
    let rows: Vec<&Row> = table.rows.iter().filter(|row| row.metric == metric).collect();
    let budgets = distinct(rows.iter().map(|row| row.budget.as_str()));
    let missing = absent.iter().map(|absent| absent.arm.as_str());
    let arms = distinct(rows.iter().map(|row| row.arm.as_str()).chain(missing));
    let is_absent = |arm: &str, budget: &str| absent.iter().any(|a| a.arm == arm && a.budget == budget);
    let nothing = |arm: &str, budget: &str| if is_absent(arm, budget) { CANNOT } else { NOTHING };
    let cell = |arm: &str, budget: &str| {
        let row = rows.iter().find(|row| row.arm == arm && row.budget == budget);
        row.map_or(nothing(arm, budget).to_string(), |row| match table.id.as_str() {
            "cost" => format!("{:.3} [{:.3}, {:.3}]", row.value, row.lo, row.hi),
            _ => interval(row.value, row.lo, row.hi),
        })
    };
    let line = |arm: &String| {
        std::iter::once(arm.clone())
            .chain(budgets.iter().map(|budget| cell(arm, budget)))
            .collect()
    };
    let n = rows.first().map_or(0, |row| row.n);
    let count = if rows.iter().all(|row| row.n == n) {
        format!(" ({n} questions)")
    } else {
        String::new()
    };
    Sheet {
        title: format!("{}: {metric}{count}", table.title),
        header: std::iter::once("arm".to_string())
            .chain(budgets.iter().cloned())
            .collect(),
        rows: arms.iter().map(line).collect(),
    }
}

/// Arms and budgets down, metrics across, values only.
fn wide(table: &Table) -> Sheet {
    let metrics = metrics(table);
    let cells = distinct_pairs(table);
    let value = |arm: &str, budget: &str, metric: &str| {
        let row = table
            .rows
            .iter()
            .find(|row| row.arm == arm && row.budget == budget && row.metric == metric);
        row.map_or(NOTHING.to_string(), |row| format!("{:.1}", row.value))
    };
    let line = |(arm, budget): &(String, String)| {
        let values = metrics.iter().map(|metric| value(arm, budget, metric));
        [arm.clone(), budget.clone()].into_iter().chain(values).collect()
    };
    Sheet {
        title: format!("{} (intervals in report.json)", table.title),
        header: ["arm", "budget"]
            .map(String::from)
            .into_iter()
            .chain(metrics.iter().cloned())
            .collect(),
        rows: cells.iter().map(line).collect(),
    }
}

/// One line per row, with verdicts and tests.
fn long(table: &Table, with_metric: bool) -> Sheet {
    let nothing = || NOTHING.to_string();
    let line = |row: &Row| {
        let mut line = vec![row.arm.clone(), row.budget.clone()];
        if with_metric {
            line.push(row.metric.clone());
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
    Sheet {
        title: table.title.clone(),
        header: header.into_iter().map(String::from).collect(),
        rows: table.rows.iter().map(line).collect(),
    }
}

/// [`wide`] with ranks.
fn ranked(table: &Table) -> Sheet {
    let mut sheet = wide(table);
    sheet.header.insert(0, "rank".into());
    let lines = sheet.rows.iter_mut().enumerate();
    lines.for_each(|(place, line)| line.insert(0, (place + 1).to_string()));
    sheet
}

fn times(report: &Report) -> Sheet {
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
    Sheet {
        title: "Times".into(),
        header: header.map(String::from).to_vec(),
        rows: report.timings.iter().map(line).collect(),
    }
}

fn metrics(table: &Table) -> Vec<String> {
    distinct(table.rows.iter().map(|row| row.metric.as_str()))
}

/// Arms with their budgets in order of first mention.
fn distinct_pairs(table: &Table) -> Vec<(String, String)> {
    let mut seen: Vec<(String, String)> = Vec::new();
    for row in &table.rows {
        if !seen
            .iter()
            .any(|(arm, budget)| *arm == row.arm && *budget == row.budget)
        {
            seen.push((row.arm.clone(), row.budget.clone()));
        }
    }
    seen
}

/// Different texts in order of first mention.
pub(crate) fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for text in texts {
        if !seen.iter().any(|other| other == text) {
            seen.push(text.to_string());
        }
    }
    seen
}
