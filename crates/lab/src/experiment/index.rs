//! The page over the reports of several models.

use diffprune_eval::{Absent, Benchmark, Ledger, Metric, Report, Row, TableId, Verdict};

/// The report of one model, with its folder.
pub struct ModelReport {
    /// The folder, relative to the page.
    pub folder: String,
    /// The report.
    pub report: Report,
}

/// The text in place of a missing number.
const NOTHING: &str = "–";

/// The page, in Markdown: claims side by side, then the main table of each model.
pub fn index_page(reports: &[ModelReport]) -> String {
    let mut page = "# The papers' tables in small\n\nTier mini: small trained models and ten generated benchmarks in the \
                    official formats. Brackets are paired-bootstrap 95 % intervals over images; a claim whose interval \
                    covers zero is a tie. Nothing here is a number of the papers.\n"
        .to_string();
    let shared = shared_notes(reports);
    for note in &shared {
        page += &format!("\n{note}\n");
    }
    page += "\n| model | table | report | holds | tie | fails |\n|---|---|---|---|---|---|\n";
    for ModelReport { folder, report } in reports {
        let count = |verdict| {
            report
                .claims
                .iter()
                .filter(|claim| claim.verdict == verdict)
                .count()
        };
        page += &line(&[
            text(report, "model"),
            text(report, "table"),
            format!(
                "[report]({folder}/report.md), [HTML]({folder}/report.html), [JSON]({folder}/report.json)"
            ),
            count(Verdict::Holds).to_string(),
            count(Verdict::Tie).to_string(),
            count(Verdict::Fails).to_string(),
        ]);
    }
    let ledgers: Vec<(String, Ledger)> = reports
        .iter()
        .map(|shown| (text(&shown.report, "model"), shown.report.ledger()))
        .collect();
    let named: Vec<(&str, &Ledger)> = ledgers
        .iter()
        .map(|(model, ledger)| (model.as_str(), ledger))
        .collect();
    let together = Ledger::together(&named);
    if !together.claims.is_empty() {
        page += &format!("\n{}", together.to_markdown());
    }
    page += &claims(reports);
    for report in reports {
        page += &section(report, &shared);
    }
    page
}

/// The notes that every report has.
fn shared_notes(reports: &[ModelReport]) -> Vec<&String> {
    let Some((first, others)) = reports.split_first() else {
        return Vec::new();
    };
    let everywhere = |note: &&String| others.iter().all(|other| other.report.meta.notes.contains(*note));
    first.report.meta.notes.iter().filter(everywhere).collect()
}

/// Every claim with its verdict on each model.
fn claims(reports: &[ModelReport]) -> String {
    let mut statements: Vec<(&str, &str)> = Vec::new();
    for claim in reports.iter().flat_map(|shown| &shown.report.claims) {
        if statements.iter().all(|(id, _)| *id != claim.id) {
            statements.push((&claim.id, &claim.statement));
        }
    }
    let models: Vec<String> = reports.iter().map(|shown| text(&shown.report, "model")).collect();
    let mut table = format!(
        "\n## Claims by model\n\n{}",
        head(&[vec!["claim".to_string()], models].concat())
    );
    for (id, statement) in statements {
        let verdict = |shown: &ModelReport| {
            let claim = shown.report.claims.iter().find(|claim| claim.id == id);
            claim.map_or(NOTHING.to_string(), |claim| {
                format!("{}: {}", claim.verdict, claim.number())
            })
        };
        let verdicts = reports.iter().map(verdict).collect();
        table += &line(&[vec![statement.to_string()], verdicts].concat());
    }
    table
}

/// One model: a table for each budget, what cannot run, and the leave-one-out oracle on its questions.
fn section(shown: &ModelReport, notes_above: &[&String]) -> String {
    let report = &shown.report;
    let config = &report.meta.config;
    let budgets = list(&config["lineup"]["budgets"]);
    let arms = list(&config["lineup"]["arms"]);
    let positions = &config["positions"];
    let n = report
        .table(TableId::Main)
        .and_then(|table| table.rows.first())
        .map_or(0, |row| row.n);
    let mut page = format!(
        "\n## {}: {} in small\n\n{}\n",
        text(report, "model"),
        text(report, "table"),
        report.meta.note
    );
    for note in report
        .meta
        .notes
        .iter()
        .filter(|note| !notes_above.contains(note))
    {
        page += &format!("\n{note}\n");
    }
    let benchmarks = Benchmark::ALL.map(Metric::Benchmark);
    for budget in &budgets {
        let mut header: Vec<String> = ["arm", "positions", "kept"].map(String::from).to_vec();
        header.extend(benchmarks.iter().map(|metric| report.heading(metric)));
        header
            .extend([Metric::Average, Metric::Retention, Metric::Ablation].map(|metric| metric.to_string()));
        page += &format!(
            "\n### {} at {budget} of the tokens ({n} questions)\n\n{}",
            text(report, "model"),
            head(&header)
        );
        for arm in &arms {
            let row = |table: TableId, metric: &Metric| {
                let at = |budget: &str| report.row(table, arm, budget, metric);
                at(budget).or_else(|| at("all"))
            };
            let value =
                |row: Option<&Row>| row.map_or(NOTHING.to_string(), |row| format!("{:.1}", row.value));
            let interval =
                |row: Option<&Row>| row.map_or(NOTHING.to_string(), |row| number(row.value, row.lo, row.hi));
            let absent = report.absent.iter().any(|a| a.arm == *arm && a.budget == *budget);
            let average = match row(TableId::Main, &Metric::Average) {
                None if absent => "cannot, see below".to_string(),
                None if row(TableId::Tokens, &Metric::KeptTokens).is_none() => continue,
                average => interval(average),
            };
            let mut cells = vec![
                format!("`{arm}`"),
                positions[arm].as_str().unwrap_or(NOTHING).to_string(),
                value(row(TableId::Tokens, &Metric::KeptTokens)),
            ];
            cells.extend(
                benchmarks
                    .iter()
                    .map(|metric| value(row(TableId::Benchmarks, metric))),
            );
            cells.extend([average, interval(row(TableId::Main, &Metric::Retention))]);
            cells.push(interval(row(TableId::Secondary, &Metric::Ablation)));
            page += &line(&cells);
        }
        page += &format!("\n{}\n", report.meta.note);
    }
    page + &partial(report, &budgets) + &absent(report)
}

/// The arms that cannot run, one line for each reason.
fn absent(report: &Report) -> String {
    if report.absent.is_empty() {
        return String::new();
    }
    let mut groups: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for Absent { arm, budget, reason } in &report.absent {
        match groups
            .last_mut()
            .filter(|group| group.0 == arm && group.1 == reason)
        {
            Some(group) => group.2.push(budget),
            None => groups.push((arm, reason, vec![budget])),
        }
    }
    let rows = groups
        .into_iter()
        .map(|(arm, reason, budgets)| line(&[format!("`{arm}`"), budgets.join(", "), reason.to_string()]));
    let header = head(&["arm", "budget", "why it cannot run"].map(String::from));
    format!(
        "\n### What cannot run on {}\n\n{header}{}",
        text(report, "model"),
        rows.collect::<String>()
    )
}

/// The leave-one-out oracle beside others on its own questions.
fn partial(report: &Report, budgets: &[String]) -> String {
    let Some(table) = report.table(TableId::Partial) else {
        return String::new();
    };
    let n = table.rows.first().map_or(0, |row| row.n);
    let header = [vec!["arm".to_string()], budgets.to_vec()].concat();
    let mut page = format!(
        "\n### Mean score on the {n} questions of the leave-one-out oracle, percent\n\n{}",
        head(&header)
    );
    for arm in [
        "full",
        "diffprune",
        "gumbel-noise",
        "random",
        "oracle-keep",
        "oracle-loo",
    ] {
        let cell = |budget: &String| {
            let at = |budget: &str| {
                table
                    .rows
                    .iter()
                    .find(|row| row.arm == arm && row.budget == budget)
            };
            let row = at(budget).or_else(|| at("all"));
            row.map_or(NOTHING.to_string(), |row| number(row.value, row.lo, row.hi))
        };
        page += &line(&[vec![format!("`{arm}`")], budgets.iter().map(cell).collect()].concat());
    }
    page
}

fn text(report: &Report, field: &str) -> String {
    report.meta.config[field].as_str().unwrap_or(NOTHING).to_string()
}

fn list(value: &serde_json::Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items
        .filter_map(|item| Some(item.as_str()?.to_string()))
        .collect()
}

fn number(value: f64, lo: f64, hi: f64) -> String {
    format!("{value:.1} [{lo:.1}, {hi:.1}]")
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn head(cells: &[String]) -> String {
    line(cells) + &format!("|{}\n", "---|".repeat(cells.len()))
}
