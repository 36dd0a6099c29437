//! The one result type.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use diffprune_vlm_adapters::write_atomic;
use serde::{Deserialize, Serialize};

use super::counted::Counted;
use super::figures::Figures;
use super::format::Format;
use super::plots::Plot;
use super::sources::{Source, heading};
use super::{csv, html, json, latex, markdown, plots};
use crate::EvalError;
use crate::cost::Timing;
use crate::evidence::{Claims, Ledger, Tier, TierVerdict};
use crate::stats::{McNemar, Verdict};

/// Under which circumstances a report was made. Nothing here depends on the clock: a run that was interrupted ends with the
/// same report. Times stand beside it, see [`RunTiming`](crate::RunTiming).
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
    /// Seeds of the trainings behind the number; empty for arms that are not trained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub train_seeds: Vec<u64>,
    /// Verdict about "above zero", in tables of differences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Test of right and wrong answers, in tables of differences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<PairedTest>,
}

/// A paired test and its correction for the others beside it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedTest {
    /// The test alone.
    #[serde(flatten)]
    pub mcnemar: McNemar,
    /// The p value after Holm's correction over the methods of its table.
    pub p_holm: f64,
}

impl PairedTest {
    /// A test that nothing stands beside.
    pub fn alone(mcnemar: McNemar) -> Self {
        Self {
            p_holm: mcnemar.p,
            mcnemar,
        }
    }
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
    /// What is claimed; it holds when the estimate is above zero, or lies within a bound.
    pub statement: String,
    /// Outcome at the tier of the report.
    pub verdict: Verdict,
    /// The number that the claim says is above zero; `None` where nothing was measured.
    pub estimate: Option<f64>,
    /// Lower end of its interval.
    pub lo: Option<f64>,
    /// Upper end of its interval.
    pub hi: Option<f64>,
    /// What each tier says of a claim of the papers, or of ours; empty for checks of the instrument.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tiers: BTreeMap<Tier, TierVerdict>,
    /// Why there is no verdict, or what to know beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Claim {
    /// `estimate [lo, hi]`, or a dash where nothing was measured.
    pub fn number(&self) -> String {
        match (self.estimate, self.lo, self.hi) {
            (Some(value), Some(lo), Some(hi)) => super::sheet::interval(value, lo, hi),
            (Some(value), ..) => format!("{value:.1}"),
            _ => "–".into(),
        }
    }
}

/// An arm that has no number at a budget, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// The arm.
    pub arm: String,
    /// The budget.
    pub budget: String,
    /// What keeps it from running.
    pub reason: String,
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
    /// What the numbers of each benchmark were computed from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Source>,
    /// The rule by which benchmarks entered averages; `None` where all did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// Arms that could not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Absent>,
    /// Times, each with its circumstances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timings: Vec<Timing>,
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

    /// The claims of the papers and our own with what each tier says; empty where the report has no claims of theirs.
    pub fn ledger(&self) -> Ledger {
        if self.claims.iter().all(|claim| claim.tiers.is_empty()) {
            return Ledger::default();
        }
        let mut ledger = Claims::builtin().map_or_else(|_| Ledger::default(), |claims| Ledger::new(&claims));
        for claim in &self.claims {
            for (tier, verdict) in &claim.tiers {
                ledger.enter(&claim.id, *tier, verdict.clone());
            }
        }
        ledger
    }

    /// A metric for headings: where its benchmark's data are not those of the papers' tables, both splits are named.
    pub fn heading(&self, metric: &str) -> String {
        heading(metric, &self.data)
    }

    /// The report as Markdown.
    pub fn to_markdown(&self) -> String {
        markdown::page(self, &Figures::default())
    }

    /// The tables as LaTeX for the package `booktabs`.
    pub fn to_latex(&self) -> String {
        latex::page(self)
    }

    /// Every number and claim as a line of comma-separated values.
    pub fn to_csv(&self) -> String {
        csv::page(self)
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
        Ok(html::page(self, &self.plots()?, &Figures::default()))
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

    /// Writes the report in every format into a folder; gives the paths.
    ///
    /// # Errors
    /// When the folder cannot be made or a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, EvalError> {
        self.write_as(folder, &Format::ALL, &Figures::default())
    }

    /// Writes `report.json`, `report.md`, `report.html`, `report.tex`, `report.csv` and the plots (`*.svg`), or those that
    /// are asked for, into a folder; gives the paths. Every file appears whole or not at all.
    ///
    /// Figures are linked in Markdown and stand inside the HTML page, which needs no other file.
    ///
    /// # Errors
    /// When the folder cannot be made or a file cannot be written.
    pub fn write_as(
        &self,
        folder: &Path,
        formats: &[Format],
        figures: &Figures,
    ) -> Result<Vec<PathBuf>, EvalError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| EvalError::io(folder, "create the folder", source))?;
        let mut files = Vec::new();
        for format in formats {
            let name = format!("report.{}", format.ending());
            match format {
                Format::Json => files.push((name, self.to_json()?)),
                Format::Markdown => files.push((name, markdown::page(self, figures))),
                Format::Html => files.push((name, html::page(self, &self.plots()?, figures))),
                Format::Latex => files.push((name, self.to_latex())),
                Format::Csv => files.push((name, self.to_csv())),
                Format::Svg => {
                    let plots = self.plots()?.into_iter();
                    files.extend(plots.map(|plot| (format!("{}.svg", plot.name), plot.svg)));
                }
            }
        }
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
