//! A report in every format.

use std::path::{Path, PathBuf};

use diffprune_files::write_whole;

use super::figures::Figures;
use super::format::Format;
use super::headings::heading;
use super::metric::Metric;
use super::plots::Plot;
use super::result::Report;
use super::{csv, json, pages, plots, terminal};
use crate::EvalError;
use crate::page::Page;

impl Report {
    /// A metric for headings: with a star where its benchmark's data are not those of the papers' tables.
    pub fn heading(&self, metric: &Metric) -> String {
        heading(metric, &self.data)
    }

    /// The report as Markdown.
    pub fn to_markdown(&self) -> String {
        pages::page(self, &[], &Figures::default()).to_markdown()
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
        Ok(self.page(&Figures::default())?.to_html())
    }

    /// The report as a page with its plots and these pictures.
    ///
    /// # Errors
    /// When a plot cannot be drawn.
    pub fn page(&self, figures: &Figures) -> Result<Page, EvalError> {
        Ok(pages::page(self, &self.plots()?, figures))
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
        terminal::terminal(self)
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
    /// Plots and figures are linked in Markdown, which therefore comes with the plots, and stand inside the HTML page, which needs no other file.
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
        let drawn = |format: &Format| matches!(format, Format::Markdown | Format::Html | Format::Svg);
        let plots = match formats.iter().any(drawn) {
            true => self.plots()?,
            false => Vec::new(),
        };
        let page = pages::page(self, &plots, figures);
        let mut files = Vec::new();
        for format in formats {
            let text = match format {
                Format::Json => self.to_json()?,
                Format::Markdown => page.to_markdown(),
                Format::Html => page.to_html(),
                Format::Latex => self.to_latex(),
                Format::Csv => self.to_csv(),
                Format::Svg => continue,
            };
            files.push((format!("report.{}", format.ending()), text));
        }
        // Markdown links them.
        if formats
            .iter()
            .any(|format| matches!(format, Format::Markdown | Format::Svg))
        {
            files.extend(
                plots
                    .into_iter()
                    .map(|plot| (format!("{}.svg", plot.name), plot.svg)),
            );
        }
        let write = |(name, text): (String, String)| {
            let path = folder.join(name);
            write_whole(&path, text.as_bytes())?;
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
