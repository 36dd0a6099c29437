//! The form that every study's result has.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use diffprune_eval::Estimate;
use diffprune_files::write_whole;
use serde::{Deserialize, Serialize};

use crate::PilotError;

/// Outcome of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The rule of the study says yes.
    Holds,
    /// It says no.
    Fails,
    /// The interval allows both.
    Tie,
    /// This study cannot tell.
    Untestable,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::Tie => "tie",
            Self::Untestable => "untestable",
        })
    }
}

/// The verdict of a study on a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Id of the claim.
    pub claim: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The number that decides, with its interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// The rule that was fixed before the run, and what came out, in a sentence or two.
    pub reason: String,
    /// The number that the paper prints, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
}

/// Rows of text and numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudyTable {
    /// Heading.
    pub title: String,
    /// Column names.
    pub columns: Vec<String>,
    /// Cells, as text.
    pub rows: Vec<Vec<String>>,
}

/// A picture of the result.
#[derive(Debug, Clone, PartialEq)]
pub struct StudyFigure {
    /// File name with its ending (`.svg` or `.png`).
    pub file: String,
    /// Caption: what is shown, on which model and data, how many pictures, which seeds.
    pub caption: String,
    /// The file.
    pub bytes: Vec<u8>,
}

/// The result of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Study {
    /// Short name, also of the files.
    pub id: String,
    /// Heading.
    pub title: String,
    /// The question that it answers.
    pub question: String,
    /// Models, data, numbers of pictures, seeds.
    pub setting: String,
    /// Verdicts.
    pub findings: Vec<Finding>,
    /// The numbers.
    pub tables: Vec<StudyTable>,
    /// Drawings.
    pub figures: Vec<StudyFigure>,
    /// The limits of the result, in a few sentences.
    pub limits: String,
}

/// The data file of a study.
#[derive(Serialize)]
struct Data<'a> {
    id: &'a str,
    title: &'a str,
    question: &'a str,
    setting: &'a str,
    findings: &'a [Finding],
    tables: &'a [StudyTable],
    figures: Vec<&'a str>,
    limits: &'a str,
}

impl Study {
    /// The data file: everything but the drawings.
    pub fn to_json(&self) -> serde_json::Value {
        let data = Data {
            id: &self.id,
            title: &self.title,
            question: &self.question,
            setting: &self.setting,
            findings: &self.findings,
            tables: &self.tables,
            figures: self.figures.iter().map(|figure| figure.file.as_str()).collect(),
            limits: &self.limits,
        };
        serde_json::to_value(data).unwrap_or_default()
    }

    /// The page.
    pub fn to_markdown(&self) -> String {
        let mut page = format!("# {}\n\n{}\n\n{}\n", self.title, self.question, self.setting);
        if !self.findings.is_empty() {
            page += "\n## Verdict\n\n| claim | verdict | estimate | published | rule and result |\n|---|---|---|---|---|\n";
        }
        for finding in &self.findings {
            let estimate = finding
                .estimate
                .map_or("–".to_string(), |estimate| number(&estimate));
            page += &format!(
                "| `{}` | **{}** | {estimate} | {} | {} |\n",
                finding.claim,
                finding.outcome,
                finding.published.as_deref().unwrap_or("–"),
                finding.reason,
            );
        }
        for figure in &self.figures {
            page += &format!("\n![{}]({})\n\n*{}*\n", self.title, figure.file, figure.caption);
        }
        for table in &self.tables {
            page += &format!("\n## {}\n\n| {} |\n|", table.title, table.columns.join(" | "));
            page += &"---|".repeat(table.columns.len());
            page.push('\n');
            for row in &table.rows {
                page += &format!("| {} |\n", row.join(" | "));
            }
        }
        page + &format!("\n## What it does not show\n\n{}\n", self.limits)
    }

    /// Writes page, data and drawings into `dir`, which is made if need be; returns the page's path.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, PilotError> {
        let at = |path: &Path| {
            let path = path.to_path_buf();
            move |source| PilotError::Write { path, source }
        };
        fs::create_dir_all(dir).map_err(at(dir))?;
        for figure in &self.figures {
            let path = dir.join(&figure.file);
            write_whole(&path, &figure.bytes)?;
        }
        let data = serde_json::to_vec_pretty(&self.to_json()).map_err(|error| PilotError::Write {
            path: dir.join(format!("{}.json", self.id)),
            source: error.into(),
        })?;
        write_whole(dir.join(format!("{}.json", self.id)), &data)?;
        let page = dir.join(format!("{}.md", self.id));
        write_whole(&page, self.to_markdown().as_bytes())?;
        Ok(page)
    }
}

/// A value and its interval, as tables print them.
pub(crate) fn number(estimate: &Estimate) -> String {
    let decimals = if estimate.value.abs() < 1.0 && estimate.value != 0.0 {
        3
    } else {
        1
    };
    format!(
        "{:.decimals$} [{:.decimals$}, {:.decimals$}]",
        estimate.value, estimate.lo, estimate.hi
    )
}
