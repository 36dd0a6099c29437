//! The one result type.

use std::path::{Path, PathBuf};

use diffprune_vlm::write_atomic;
use serde::{Deserialize, Serialize};

use super::plots::Plot;
use super::{html, json, markdown, plots};
use crate::EvalError;
use crate::stats::Verdict;

/// Under which circumstances a report was made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Revision of the code.
    pub revision: String,
    /// Device that ran the model.
    pub device: String,
    /// Seed of the run.
    pub seed: u64,
    /// `full`, `shape` or `mini`.
    pub tier: String,
    /// The resolved configuration.
    pub config: serde_json::Value,
    /// Wall-clock time, seconds.
    pub wall_s: f64,
    /// Headline of the pages.
    #[serde(default)]
    pub title: String,
    /// Model, position rule and data, in one sentence; printed under every table.
    #[serde(default)]
    pub note: String,
}

/// One number with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The arm (in tables of differences "a - b").
    pub arm: String,
    /// The budget.
    pub budget: String,
    /// What was measured.
    pub metric: String,
    /// The value, in table units (percent, points, tokens).
    pub value: f64,
    /// Lower end of the interval.
    pub lo: f64,
    /// Upper end of the interval.
    pub hi: f64,
    /// Questions behind the number.
    pub n: usize,
    /// Verdict about "above zero", in tables of differences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// Rows that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Stable id.
    pub id: String,
    /// The rows.
    pub rows: Vec<Row>,
    /// Heading.
    #[serde(default)]
    pub title: String,
}

/// A statement with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Stable id.
    pub id: String,
    /// What is claimed; it holds when the estimate is above zero.
    pub statement: String,
    /// Outcome.
    pub verdict: Verdict,
    /// The number that the claim says is above zero.
    pub estimate: f64,
    /// Lower end of its interval.
    pub lo: f64,
    /// Upper end of its interval.
    pub hi: f64,
}

/// Everything that a run has shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Circumstances.
    pub meta: Meta,
    /// Numbers.
    pub tables: Vec<Table>,
    /// Verdicts.
    pub claims: Vec<Claim>,
}

impl Report {
    /// The table of that id.
    pub fn table(&self, id: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.id == id)
    }

    /// One number of a table.
    pub fn row(&self, table: &str, arm: &str, budget: &str, metric: &str) -> Option<&Row> {
        let rows = &self.table(table)?.rows;
        rows.iter()
            .find(|row| row.arm == arm && row.budget == budget && row.metric == metric)
    }

    /// The report as Markdown.
    pub fn to_markdown(&self) -> String {
        markdown::page(self)
    }

    /// The report as JSON.
    ///
    /// # Errors
    /// When a number cannot be written.
    pub fn to_json(&self) -> Result<String, EvalError> {
        json::text(self)
    }

    /// The report as one HTML page with its plots inside.
    ///
    /// # Errors
    /// When a plot cannot be drawn.
    pub fn to_html(&self) -> Result<String, EvalError> {
        Ok(html::page(self, &self.plots()?))
    }

    /// The plots as named SVG documents.
    ///
    /// # Errors
    /// When a plot cannot be drawn.
    pub fn plots(&self) -> Result<Vec<Plot>, EvalError> {
        plots::all(self)
    }

    /// The main table as plain text for a terminal.
    pub fn to_text(&self) -> String {
        markdown::terminal(self)
    }

    /// Writes `report.json`, `report.md`, `report.html` and the plots (`*.svg`) into a folder; gives the paths.
    ///
    /// Every file appears whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be made or a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, EvalError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| EvalError::io(folder, "create the folder", source))?;
        let plots = self.plots()?;
        let mut files = vec![
            ("report.json".to_string(), self.to_json()?),
            ("report.md".to_string(), self.to_markdown()),
            ("report.html".to_string(), html::page(self, &plots)),
        ];
        files.extend(
            plots
                .into_iter()
                .map(|plot| (format!("{}.svg", plot.name), plot.svg)),
        );
        let write = |(name, text): (String, String)| {
            let path = folder.join(name);
            write_atomic(&path, text.as_bytes())?;
            Ok(path)
        };
        files.into_iter().map(write).collect()
    }

    /// Reads `report.json`.
    ///
    /// # Errors
    /// When the file cannot be read or is no report.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        json::read(path)
    }
}
