//! The main table for a terminal.

use super::headings::differing;
use super::result::Report;
use super::text_table::headline_tables;
use crate::page::Sheet;

/// The main table in columns, then the claims.
pub(crate) fn terminal(report: &Report) -> String {
    let mut text = String::new();
    for shown in headline_tables(report) {
        text += &format!("{}\n{}\n", shown.title, columns(&shown.sheet));
    }
    if let Some(sentence) = differing(&report.data) {
        text += &format!("{sentence}\n");
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

pub(crate) fn columns(shown: &Sheet) -> String {
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
