//! The tables of a report as people read them: text cells, pages share them.

use super::result::{Report, Row, Table};

/// A table of texts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sheet {
    pub(crate) title: String,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// Stands where an arm has no number.
const NOTHING: &str = "–";

/// Every sheet of the report, claims first.
pub(crate) fn sheets(report: &Report) -> Vec<Sheet> {
    let mut sheets = vec![claims(report)];
    for table in &report.tables {
        match table.id.as_str() {
            "kinds" => sheets.push(wide(table)),
            "differences" => sheets.push(long(table)),
            _ => sheets.extend(metrics(table).iter().map(|metric| by_budget(table, metric))),
        }
    }
    sheets.retain(|sheet| !sheet.rows.is_empty());
    sheets
}

/// The sheets of the main table alone.
pub(crate) fn main_sheets(report: &Report) -> Vec<Sheet> {
    let main = report.table("main").into_iter();
    main.flat_map(|table| metrics(table).into_iter().map(|metric| by_budget(table, &metric)))
        .collect()
}

/// A value with its interval.
pub(crate) fn interval(value: f64, lo: f64, hi: f64) -> String {
    format!("{value:.1} [{lo:.1}, {hi:.1}]")
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

/// Arms down, budgets across, one metric.
fn by_budget(table: &Table, metric: &str) -> Sheet {
    let rows: Vec<&Row> = table.rows.iter().filter(|row| row.metric == metric).collect();
    let budgets = distinct(rows.iter().map(|row| row.budget.as_str()));
    let arms = distinct(rows.iter().map(|row| row.arm.as_str()));
    let cell = |arm: &str, budget: &str| {
        let row = rows.iter().find(|row| row.arm == arm && row.budget == budget);
        row.map_or(NOTHING.to_string(), |row| interval(row.value, row.lo, row.hi))
    };
    let line = |arm: &String| {
        std::iter::once(arm.clone())
            .chain(budgets.iter().map(|budget| cell(arm, budget)))
            .collect()
    };
    let n = rows.first().map_or(0, |row| row.n);
    Sheet {
        title: format!("{}: {metric} ({n} questions)", table.title),
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

/// One line per row, with verdicts.
fn long(table: &Table) -> Sheet {
    let line = |row: &Row| {
        let verdict = row
            .verdict
            .map_or(NOTHING.to_string(), |verdict| verdict.to_string());
        vec![
            row.arm.clone(),
            row.budget.clone(),
            interval(row.value, row.lo, row.hi),
            verdict,
        ]
    };
    Sheet {
        title: table.title.clone(),
        header: ["arms", "budget", "points [95 % interval]", "above zero?"]
            .map(String::from)
            .to_vec(),
        rows: table.rows.iter().map(line).collect(),
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
