//! `diffprune report`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use diffprune_eval::{
    Benchmark, Figures, Format, Meta, PromptRule, Record, RecordFile, Report, ReportOptions,
};

use super::eval::RECORDS;
use crate::repro;

/// Computes the report of a run again from its records, compares two runs, or ranks many.
///
/// One folder: the report is written there. Two: the difference of what both have asked, first minus second. With
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

/// A run as it lies in its folder.
struct Stored {
    name: String,
    meta: Meta,
    options: ReportOptions,
    records: Vec<Record>,
}

impl ReportArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let stored = self
            .dirs
            .iter()
            .map(|dir| Stored::read(dir))
            .collect::<anyhow::Result<Vec<_>>>()?;
        match (self.leaderboard, stored.as_slice()) {
            (true, runs) => self.show(&leaderboard(runs)?),
            (false, [run]) => {
                let report = Report::from_records(&run.records, run.meta.clone(), &run.options)?;
                let dir = &self.dirs[0];
                self.write(
                    &report,
                    self.out.as_deref().unwrap_or(dir),
                    &repro::pictures(dir)?,
                )
            }
            (false, runs) => self.show(&comparison(runs)?),
        }
    }

    /// Prints a report about several runs, and writes it where that was asked.
    fn show(&self, report: &Report) -> anyhow::Result<()> {
        match &self.out {
            Some(out) => self.write(report, out, &Figures::default()),
            None => {
                println!("{}{}", report.to_text(), report.meta.note.trim());
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
        print!("{}", report.to_text());
        for file in files
            .iter()
            .filter(|file| file.extension().is_some_and(|end| end != "svg"))
        {
            println!("{}", file.display());
        }
        Ok(())
    }
}

impl Stored {
    /// Where a report was made before, its circumstances and settings are taken over.
    fn read(dir: &Path) -> anyhow::Result<Self> {
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
        let options: Option<ReportOptions> = options.map(serde_json::from_value).transpose()?;
        let mut options = options.unwrap_or_default();
        if options.prompt_rules.protocol.is_none() {
            // Reports of earlier versions have it elsewhere.
            let prompts = meta.config.get("prompts").cloned();
            options.prompt_rules.protocol = prompts.and_then(|prompts| serde_json::from_value(prompts).ok());
        }
        Ok(Self {
            name: name(dir),
            records: RecordFile::read(&dir.join(records))?,
            options,
            meta: bare(meta),
        })
    }
}

/// Last part of a folder's path.
fn name(dir: &Path) -> String {
    let path = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let last = path.file_name().map(|name| name.to_string_lossy().into_owned());
    last.unwrap_or_else(|| dir.display().to_string())
}

/// The names of runs: where some are the same, all get numbers.
fn names(runs: &[Stored]) -> Vec<String> {
    let distinct: std::collections::BTreeSet<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let named = |(number, run): (usize, &Stored)| {
        if distinct.len() == runs.len() {
            run.name.clone()
        } else {
            format!("{} ({})", run.name, number + 1)
        }
    };
    runs.iter().enumerate().map(named).collect()
}

fn comparison(runs: &[Stored]) -> anyhow::Result<Report> {
    let [a, b] = runs else {
        bail!(
            "report: found {} folders, wanted one, two to compare, or --leaderboard",
            runs.len()
        );
    };
    let names = names(runs);
    let told = differences(runs);
    if let Some((what, found)) = told.iter().find(|(what, _)| *what != OCR) {
        bail!(
            "report: found runs of different {what} ({found}), wanted runs that were asked and scored alike; \
             --leaderboard shows both without comparing question by question"
        );
    }
    let meta = Meta {
        title: names.join(" against "),
        note: format!("Paired over the questions of both runs.{}", said(&told)),
        ..together(runs)
    };
    let records = [a.records.as_slice(), b.records.as_slice()];
    Ok(Report::compare(
        [&names[0], &names[1]],
        records,
        meta,
        &a.options,
    )?)
}

fn leaderboard(runs: &[Stored]) -> anyhow::Result<Report> {
    let meta = Meta {
        title: "Leaderboard".into(),
        note: format!(
            "Rows of different runs are not paired.{}",
            said(&differences(runs))
        ),
        ..together(runs)
    };
    let options = runs.first().map(|run| run.options.clone()).unwrap_or_default();
    let named: Vec<(String, Vec<Record>)> = names(runs)
        .into_iter()
        .zip(runs.iter().map(|run| run.records.clone()))
        .collect();
    let mut report = Report::leaderboard(&named, meta, &options)?;
    // Runs may have asked with other prompts than the first.
    for source in &mut report.data {
        let own = named
            .iter()
            .position(|(name, _)| source.run.as_ref() == Some(name));
        if let (Some(run), Benchmark::TextVqa) = (own, source.benchmark) {
            source.here = runs[run].options.prompt_rules.here(source.benchmark).into();
        }
    }
    Ok(report)
}

/// Of what is asked, what does not keep two runs from being compared.
const OCR: &str = PromptRule::Ocr.name();

/// In what runs differ: each with the runs by their value.
fn differences(runs: &[Stored]) -> Vec<(&'static str, String)> {
    let names = names(runs);
    let mut told = Vec::new();
    let mut differ = |what: &'static str, values: Vec<Option<String>>| {
        let known: std::collections::BTreeSet<&String> = values.iter().flatten().collect();
        if known.len() > 1 {
            let pairs = names.iter().zip(&values);
            let pairs = pairs.filter_map(|(name, value)| Some(format!("{name}: {}", value.as_ref()?)));
            told.push((what, pairs.collect::<Vec<_>>().join(", ")));
        }
    };
    let tier = |run: &Stored| Some(run.meta.tier.clone()).filter(|tier| !tier.is_empty());
    differ("tier", runs.iter().map(tier).collect());
    for rule in PromptRule::ALL {
        differ(
            rule.name(),
            runs.iter()
                .map(|run| run.options.prompt_rules.value(rule))
                .collect(),
        );
    }
    told
}

/// The differences as the end of a note.
fn said(differences: &[(&'static str, String)]) -> String {
    let one = |(what, found): &(&str, String)| format!(" The runs differ in their {what} ({found}).");
    differences.iter().map(one).collect()
}

/// The circumstances of several runs.
fn together(runs: &[Stored]) -> Meta {
    let of = |field: fn(&Meta) -> &String| {
        let values: std::collections::BTreeSet<&String> = runs.iter().map(|run| field(&run.meta)).collect();
        values.into_iter().cloned().collect::<Vec<_>>().join(" / ")
    };
    let configs = runs
        .iter()
        .map(|run| serde_json::json!({ "run": run.name, "config": run.meta.config }));
    Meta {
        revision: of(|meta| &meta.revision),
        device: of(|meta| &meta.device),
        tier: of(|meta| &meta.tier),
        seed: runs.first().map_or(0, |run| run.options.bootstrap.seed),
        config: configs.collect(),
        ..Meta::default()
    }
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
