//! The report as Markdown, and its main table for a terminal.

use super::counted::Counted;
use super::figures::{Figure, Figures};
use super::result::{Meta, Report};
use super::text_table::{TextTable, headline_tables, text_tables};
use crate::evidence::{RULES, counted};

/// The whole report, with links to figures.
pub(crate) fn page(report: &Report, figures: &Figures) -> String {
    let meta = &report.meta;
    let mut page = format!("# {}\n\n{}\n", title(meta), circumstances(meta));
    for sentence in preface(report) {
        page += &format!("\n{sentence}\n");
    }
    for shown in text_tables(report) {
        page += &format!("\n## {}\n\n{}", shown.title, table(&shown));
        if !meta.note.is_empty() {
            page += &format!("\n{}\n", meta.note);
        }
    }
    page += "\n## Configuration\n\n```json\n";
    page += &serde_json::to_string_pretty(&meta.config).unwrap_or_default();
    page + "\n```\n" + &pictures(figures)
}

/// A section with links; nothing without pictures.
fn pictures(figures: &Figures) -> String {
    if figures.figures.is_empty() {
        return String::new();
    }
    let link = |Figure { title, path, .. }: &Figure| format!("{title}\n\n![{title}]({path})\n\n");
    let links: String = figures.figures.iter().map(link).collect();
    format!("\n## Pictures\n\n{}\n\n{links}", figures.legend)
}

/// The headline of the pages.
pub(crate) fn title(meta: &Meta) -> &str {
    if meta.title.is_empty() {
        "Evaluation report"
    } else {
        &meta.title
    }
}

/// What stands above the tables: the notes of the run, how many claims have which verdict, by which rules, and which benchmarks
/// enter averages.
pub(crate) fn preface(report: &Report) -> Vec<String> {
    let ledger = report.ledger();
    let mut sentences = report.meta.notes.clone();
    let tiers = ledger.tiers();
    sentences.extend(tiers.iter().map(|&tier| counted(&ledger, tier)));
    if !tiers.is_empty() {
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

fn table(shown: &TextTable) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = format!("|{}\n", "---|".repeat(shown.header.len()));
    line(&shown.header) + &rule + &shown.rows.iter().map(|row| line(row)).collect::<String>()
}

/// The main table in columns, then the claims.
pub(crate) fn terminal(report: &Report) -> String {
    let mut text = String::new();
    for shown in headline_tables(report) {
        text += &format!("{}\n{}\n", shown.title, columns(&shown));
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

pub(crate) fn columns(shown: &TextTable) -> String {
    let lines: Vec<&Vec<String>> = std::iter::once(&shown.header).chain(&shown.rows).collect();
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..shown.header.len()).map(width).collect();
    let line = |line: &&Vec<String>| {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_linked() {
        let figures = Figures {
            legend: "left < right".into(),
            figures: vec![Figure {
                title: "1-random".into(),
                path: "pictures/1-random.png".into(),
                png: b"\x89PNG".to_vec(),
            }],
        };
        assert!(pictures(&figures).contains("![1-random](pictures/1-random.png)"));
        assert!(pictures(&Figures::default()).is_empty());
    }
}
