//! `diffprune report`.

use std::path::{Path, PathBuf};

use clap::Args;
use diffprune_eval::{Figures, Format, Report};
use diffprune_lab::{LabError, RECORDS, StoredRun, difference, drawn_pictures, leaderboard};

use crate::print::{self, say};

/// Computes the report of a run again from its records, compares two runs, or ranks many.
///
/// One folder: the report is written there; of a folder of several runs (`run repro` has one for each model) every report is. Two: the difference of what both have asked, first minus second. With
/// --leaderboard: every arm of every run, best first.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folders of `diffprune eval` or `diffprune run repro`.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Rank the arms of all these runs.
    #[arg(long)]
    leaderboard: bool,
    /// What to write: json, md, html, tex, csv, svg [default: all].
    #[arg(long, value_delimiter = ',', value_name = "A,B,C")]
    format: Vec<Format>,
    /// Folder for the files [default: that of the run; a comparison or leaderboard is only printed].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl ReportArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let dirs: Vec<PathBuf> = self.dirs.iter().flat_map(|dir| runs_in(dir)).collect();
        let stored = dirs
            .iter()
            .map(|dir| StoredRun::read(dir))
            .collect::<Result<Vec<_>, LabError>>()?;
        match (self.leaderboard, stored.as_slice(), self.dirs.len()) {
            (true, runs, _) => self.show(&leaderboard(runs)?),
            (false, runs, 1) => {
                for (run, dir) in runs.iter().zip(&dirs) {
                    let out = match &self.out {
                        None => dir.clone(),
                        Some(out) if runs.len() == 1 => out.clone(),
                        Some(out) => out.join(&run.name),
                    };
                    self.write(&run.report()?, &out, &drawn_pictures(dir)?)?;
                }
                Ok(())
            }
            (false, runs, _) => self.show(&difference(runs)?),
        }
    }

    /// Prints a report about several runs, and writes it where `--out` says so.
    fn show(&self, report: &Report) -> anyhow::Result<()> {
        match &self.out {
            Some(out) => self.write(report, out, &Figures::default()),
            None => {
                say!("{}{}", report.to_text(), report.meta.note.trim());
                Ok(())
            }
        }
    }

    fn write(&self, report: &Report, out: &Path, figures: &Figures) -> anyhow::Result<()> {
        let formats = match self.format.as_slice() {
            [] => Format::ALL.as_slice(),
            formats => formats,
        };
        let files = report.write_as(out, formats, figures)?;
        print::text(format_args!("{}", report.to_text()))?;
        for file in files
            .iter()
            .filter(|file| file.extension().is_some_and(|end| end != "svg"))
        {
            say!("{}", file.display());
        }
        Ok(())
    }
}

/// The run in a folder, or those in the folders below it, by name.
fn runs_in(dir: &Path) -> Vec<PathBuf> {
    let is_run = |dir: &Path| dir.join("report.json").is_file() || dir.join(RECORDS).is_file();
    if is_run(dir) {
        return vec![dir.into()];
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| is_run(path))
        .collect();
    runs.sort();
    match runs.is_empty() {
        // The error about the folder says what is missing.
        true => vec![dir.into()],
        false => runs,
    }
}
