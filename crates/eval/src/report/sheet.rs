//! The tables of a report as people read them: text cells, pages share them.

use super::result::{Absent, PairedTest, Report, Row, Table};
use super::sources::{Source, differing, heading};
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
    let mut sheets = vec![ledger(report), claims(report)];
    for table in &report.tables {
        sheets.extend(of_table(table, report));
        if table.id == MAIN {
            sheets.push(absent(&report.absent));
            sheets.push(data(report));
        }
    }
    if report.table(MAIN).is_none() {
        sheets.push(data(report));
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
        .flat_map(|table| of_table(table, report))
        .collect();
    sheets.push(absent(&report.absent));
    sheets.retain(|sheet| !sheet.rows.is_empty());
    sheets
}

fn of_table(table: &Table, report: &Report) -> Vec<Sheet> {
    let absent = if table.id == MAIN {
        report.absent.as_slice()
    } else {
        &[]
    };
    let data = report.data.as_slice();
    match table.id.as_str() {
        "kinds" => vec![wide(table, data)],
        "secondary" => by_benchmark(table)
            .iter()
            .map(|table| wide(table, data))
            .collect(),
        "leaderboard" => vec![ranked(table, data)],
        "differences" => vec![long(table, false, data)],
        "comparison" => vec![long(table, true, data)],
        _ => metrics(table)
            .iter()
            .map(|metric| by_budget(table, metric, absent, data))
            .collect(),
    }
}

/// The rows of each benchmark (the first word of their metric) as a table of their own.
fn by_benchmark(table: &Table) -> Vec<Table> {
    let first = |row: &Row| row.metric.split(' ').next().unwrap_or_default().to_string();
    let names: Vec<String> = table.rows.iter().map(first).collect();
    let of_name = |name: &String| Table {
        id: table.id.clone(),
        rows: table
            .rows
            .iter()
            .filter(|row| first(row) == *name)
            .cloned()
            .collect(),
        title: format!("{}: {name}", table.title),
    };
    distinct(names.iter().map(String::as_str))
        .iter()
        .map(of_name)
        .collect()
}

/// Which questions stand behind the numbers.
fn data(report: &Report) -> Sheet {
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
    Sheet {
        title: made.into(),
        header: header.map(String::from).to_vec(),
        rows: report.data.iter().map(row).collect(),
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
pub(crate) fn ledger(report: &Report) -> Sheet {
    let table = crate::evidence::table(&report.ledger());
    Sheet {
        title: table.title,
        header: table.header,
        rows: table.rows,
    }
}

fn claims(report: &Report) -> Sheet {
    let row = |claim: &super::Claim| vec![claim.statement.clone(), claim.verdict.to_string(), claim.number()];
    Sheet {
        title: "Checks of the small world".into(),
        header: ["claim", "verdict", "estimate [95 % interval]"]
            .map(String::from)
            .to_vec(),
        rows: report
            .claims
            .iter()
            .filter(|claim| claim.tiers.is_empty())
            .map(row)
            .collect(),
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
fn by_budget(table: &Table, metric: &str, absent: &[Absent], data: &[Source]) -> Sheet {
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
    let together = if table.id == MAIN {
        differing(data)
    } else {
        String::new()
    };
    let metric = heading(metric, data);
    Sheet {
        title: format!("{}: {metric}{count}{together}", table.title),
        header: std::iter::once("arm".to_string())
            .chain(budgets.iter().cloned())
            .collect(),
        rows: arms.iter().map(line).collect(),
    }
}

/// Arms and budgets down, metrics across, values only.
fn wide(table: &Table, data: &[Source]) -> Sheet {
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
    let shown = |source: &&Source| {
        let name = format!("{} ", source.benchmark);
        metrics.iter().any(|metric| metric.starts_with(&name))
    };
    let shown: Vec<Source> = data.iter().filter(shown).cloned().collect();
    Sheet {
        title: format!("{} (intervals in report.json){}", table.title, differing(&shown)),
        header: ["arm", "budget"]
            .map(String::from)
            .into_iter()
            .chain(metrics.iter().cloned())
            .collect(),
        rows: cells.iter().map(line).collect(),
    }
}

/// One line per row, with verdicts and tests.
fn long(table: &Table, with_metric: bool, data: &[Source]) -> Sheet {
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
    Sheet {
        title: table.title.clone(),
        header: header.into_iter().map(String::from).collect(),
        rows: table.rows.iter().map(line).collect(),
    }
}

/// [`wide`] with ranks. Lines whose numbers are not told apart from the first of them share its rank (`=`).
fn ranked(table: &Table, data: &[Source]) -> Sheet {
    let mut sheet = wide(table, data);
    sheet.header.insert(0, "rank".into());
    let numbers: Vec<Option<&Row>> = distinct_pairs(table)
        .iter()
        .map(|(arm, budget)| ranking(table, arm, budget))
        .collect();
    for (line, rank) in sheet.rows.iter_mut().zip(ranks(&numbers)) {
        line.insert(0, rank);
    }
    sheet
}

/// The number that gives an arm its place: over the benchmarks that all have, or else over its own.
fn ranking<'a>(table: &'a Table, arm: &str, budget: &str) -> Option<&'a Row> {
    ["common mean", "ragged mean"].iter().find_map(|metric| {
        table
            .rows
            .iter()
            .find(|row| row.arm == arm && row.budget == budget && row.metric == *metric)
    })
}

/// The ranks of numbers from the best to the worst, `1=` where several share one.
fn ranks(numbers: &[Option<&Row>]) -> Vec<String> {
    let mut leaders: Vec<usize> = Vec::new();
    for (place, number) in numbers.iter().enumerate() {
        let shared = leaders
            .last()
            .copied()
            .filter(|&leader| match (numbers[leader], number) {
                (Some(leader), Some(number)) => !is_surely_above(leader, number),
                (None, None) => true,
                _ => false,
            });
        leaders.push(shared.unwrap_or(place));
    }
    let rank = |&leader: &usize| {
        let alone = leaders.iter().filter(|&&other| other == leader).count() == 1;
        format!("{}{}", leader + 1, if alone { "" } else { "=" })
    };
    leaders.iter().map(rank).collect()
}

/// Whether the interval of the difference of two numbers lies above zero, as if they were independent: the half-widths add
/// up like those of a right triangle (Zou and Donner 2008). Paired numbers are rather told apart than this says.
fn is_surely_above(a: &Row, b: &Row) -> bool {
    let margin = (a.value - a.lo).hypot(b.hi - b.value);
    a.value - b.value > margin
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

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: f64, half: f64) -> Row {
        Row {
            arm: String::new(),
            budget: String::new(),
            metric: "common mean".into(),
            value,
            lo: value - half,
            hi: value + half,
            n: 1,
            train_seeds: Vec::new(),
            verdict: None,
            test: None,
        }
    }

    #[test]
    fn what_is_not_told_apart_shares_a_rank() {
        let of = |rows: &[Row]| ranks(&rows.iter().map(Some).collect::<Vec<_>>());
        // 3 and 4 make 5: a difference of 5 is a tie, one of 5.1 is not.
        assert_eq!(of(&[number(80.0, 3.0), number(75.0, 4.0)]), ["1=", "1="]);
        assert_eq!(of(&[number(80.1, 3.0), number(75.0, 4.0)]), ["1", "2"]);
        // Equal values without any spread.
        assert_eq!(
            of(&[number(80.0, 0.0), number(80.0, 0.0), number(79.0, 0.0)]),
            ["1=", "1=", "3"]
        );
        // The first of a group counts, not the neighbour.
        let slope = [
            number(80.0, 1.0),
            number(79.0, 1.0),
            number(78.0, 1.0),
            number(77.0, 1.0),
        ];
        assert_eq!(of(&slope), ["1=", "1=", "3=", "3="]);
        let missing = [None, None];
        assert_eq!(ranks(&missing), ["1=", "1="]);
    }
}
