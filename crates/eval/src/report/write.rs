//! A report in every format.

use std::path::{Path, PathBuf};

use diffprune_vlm_adapters::write_atomic;

use super::figures::Figures;
use super::format::Format;
use super::headings::heading;
use super::metric::Metric;
use super::plots::Plot;
use super::result::Report;
use super::{csv, html, json, latex, markdown, plots};
use crate::EvalError;

impl Report {
    /// A metric for headings: where its benchmark's data are not those of the papers' tables, both splits are named.
    pub fn heading(&self, metric: &Metric) -> String {
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
