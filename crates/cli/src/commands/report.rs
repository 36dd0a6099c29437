//! `diffprune report`.

use std::path::{Path, PathBuf};

use clap::Args;
use diffprune_eval::{Meta, RecordFile, Report, ReportOptions};

use super::eval::RECORDS;
use crate::repro;

/// Computes the reports of these folders again from their records.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folders of `diffprune eval` or `diffprune run repro`.
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
}

impl ReportArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        self.dirs.iter().try_for_each(|dir| again(dir))
    }
}

/// Where a report was made before, its circumstances and settings are taken over.
fn again(dir: &Path) -> anyhow::Result<()> {
    let path = dir.join("report.json");
    let meta = if path.is_file() {
        Report::read(&path)?.meta
    } else {
        Meta::default()
    };
    let records = meta
        .config
        .get("records")
        .and_then(|name| name.as_str())
        .unwrap_or(RECORDS);
    let options = meta.config.get("report").cloned();
    let options: ReportOptions = options
        .map(serde_json::from_value)
        .transpose()?
        .unwrap_or_else(ReportOptions::default);
    let records = RecordFile::read(&dir.join(records))?;
    let report = Report::from_records(&records, bare(meta), &options)?;
    report.write(dir)?;
    repro::link_pictures(dir)?;
    println!("{}\n{}", report.to_text(), dir.join("report.md").display());
    Ok(())
}

/// Without what the computation adds to the note.
fn bare(mut meta: Meta) -> Meta {
    let added = " questions without an answer of every arm are left out.";
    if let Some(rest) = meta.note.strip_suffix(added) {
        let kept = rest.rfind(' ').unwrap_or(0);
        meta.note.truncate(kept);
    }
    meta
}
