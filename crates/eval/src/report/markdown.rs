//! The report as Markdown, and its main table for a terminal.

use super::counted::Counted;
use super::figures::Figures;
use super::result::{Meta, Report};
use super::sheet::{Sheet, headline_sheets, sheets};
use crate::evidence::{RULES, counted};

/// The whole report, with links to figures.
pub(crate) fn page(report: &Report, figures: &Figures) -> String {
    let meta = &report.meta;
    let mut page = format!("# {}\n\n{}\n", title(meta), circumstances(meta));
    for sentence in preface(report) {
        page += &format!("\n{sentence}\n");
    }
    for sheet in sheets(report) {
        page += &format!("\n## {}\n\n{}", sheet.title, table(&sheet));
        if !meta.note.is_empty() {
            page += &format!("\n{}\n", meta.note);
        }
    }
    page += "\n## Configuration\n\n```json\n";
    page += &serde_json::to_string_pretty(&meta.config).unwrap_or_default();
    page + "\n```\n" + &figures.markdown()
}

/// The headline of the pages.
pub(crate) fn title(meta: &Meta) -> &str {
    if meta.title.is_empty() {
        "Evaluation report"
    } else {
        &meta.title
    }
}

/// What stands above the tables: how many claims have which verdict, by which rules, and which benchmarks enter averages.
pub(crate) fn preface(report: &Report) -> Vec<String> {
    let ledger = report.ledger();
    let mut sentences: Vec<String> = ledger
        .tiers()
        .into_iter()
        .map(|tier| counted(&ledger, tier))
        .collect();
    if !sentences.is_empty() {
        sentences.push(RULES.into());
    }
    sentences.extend(report.counted.as_ref().map(Counted::sentence));
    sentences
}

/// One sentence on how the report was made.
pub(crate) fn circumstances(meta: &Meta) -> String {
    format!(
        "Tier {}, device {}, seed {}, revision {}. Brackets are paired-bootstrap 95 % intervals over images; a claim whose \
         interval covers zero is a tie.",
        meta.tier, meta.device, meta.seed, meta.revision
    )
}

fn table(sheet: &Sheet) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = format!("|{}\n", "---|".repeat(sheet.header.len()));
    line(&sheet.header) + &rule + &sheet.rows.iter().map(|row| line(row)).collect::<String>()
}

/// The main table in columns, then the claims.
pub(crate) fn terminal(report: &Report) -> String {
    let mut text = String::new();
    for sheet in headline_sheets(report) {
        text += &format!("{}\n{}\n", sheet.title, columns(&sheet));
    }
    for claim in &report.claims {
        text += &format!(
            "{:>10}  {}: {}\n",
            claim.verdict.to_string(),
            claim.statement,
            claim.number()
        );
    }
    text
}

pub(crate) fn columns(sheet: &Sheet) -> String {
    let lines: Vec<&Vec<String>> = std::iter::once(&sheet.header).chain(&sheet.rows).collect();
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..sheet.header.len()).map(width).collect();
    let line = |line: &&Vec<String>| {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    lines.iter().map(line).collect()
}
