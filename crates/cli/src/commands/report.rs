//! `diffprune report`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use diffprune_eval::{Figures, Format, Report, published_json, published_page};
use diffprune_files::write_whole;
use diffprune_lab::{
    LabError, ModelReport, SameResults, StoredRun, difference, drawn_pictures, leaderboard, make_folder,
    same_results, write_index,
};

use crate::print::{self, say};

/// Computes the report of a run again from its records, compares two runs, or ranks many.
///
/// One folder: the report is written there; of a folder of several runs (`run repro` has one for each model) every report is.
/// Two: the difference of what both have asked, first minus second. With --leaderboard: every arm of every run, best first.
/// With --published: what the papers' printed cells say of every claim.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folders of `diffprune eval` or `diffprune run repro`.
    #[arg(required_unless_present = "published", value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Rank the arms of all these runs.
    #[arg(long)]
    leaderboard: bool,
    /// Print what the papers' printed tables say of every claim, with their means recomputed: no run is read. Markdown, or JSON
    /// with --format json.
    #[arg(long, conflicts_with_all = ["dirs", "leaderboard", "archive"])]
    published: bool,
    /// Copy all that the report of a run is made of into this folder, records compressed: `diffprune report` on it gives the
    /// same pages.
    #[arg(long, value_name = "DIR", conflicts_with = "leaderboard")]
    archive: Option<PathBuf>,
    /// Whether two runs on questions of their own have the same result, such as a default run and the committed one: every
    /// average of the first lies within the intervals of both, and no claim that holds in one fails in the other. Exit code 1
    /// where that is not so.
    #[arg(long, conflicts_with_all = ["leaderboard", "archive", "published", "out", "format"])]
    same_result: bool,
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
        if self.published {
            return self.published();
        }
        if self.same_result {
            return same_result(&self.dirs);
        }
        let dirs: Vec<PathBuf> = self.dirs.iter().flat_map(|dir| StoredRun::folders(dir)).collect();
        if self.dirs.len() == 1 && !self.leaderboard {
            return self.each(&dirs);
        }
        let stored = dirs
            .iter()
            .map(|dir| StoredRun::read(dir))
            .collect::<Result<Vec<_>, LabError>>()?;
        match self.leaderboard {
            true => self.show(&leaderboard(&stored)?),
            false => self.show(&difference(&stored)?),
        }
    }

    /// The report of each run below one folder, and the page over all of them. The records of one run at a time are in memory.
    fn each(&self, dirs: &[PathBuf]) -> anyhow::Result<()> {
        let mut models = Vec::new();
        for dir in dirs {
            let run = StoredRun::read(dir)?;
            let within = |out: &Path| match dirs.len() {
                1 => out.to_path_buf(),
                _ => out.join(&run.name),
            };
            let report = run.report()?;
            let out = match &self.archive {
                Some(archive) => {
                    run.archive(&report, dir, &within(archive))?;
                    within(archive)
                }
                None => self.out.as_deref().map_or_else(|| dir.clone(), within),
            };
            self.write(&report, &out, &drawn_pictures(dir)?)?;
            models.push(ModelReport {
                folder: run.name,
                report,
            });
        }
        // One page over the models of an experiment; runs without a line-up have none.
        let is_series = models.len() > 1 && models.iter().all(ModelReport::is_experiment);
        if is_series && self.format.is_empty() {
            let over = self
                .archive
                .as_ref()
                .or(self.out.as_ref())
                .unwrap_or(&self.dirs[0]);
            say!("{}", write_index(&self.dirs[0], over, models)?.display());
        }
        Ok(())
    }

    /// What the printed tables say, to the terminal or into a folder.
    fn published(&self) -> anyhow::Result<()> {
        let (ending, text) = match self.format.as_slice() {
            [] | [Format::Markdown] => ("md", published_page()?),
            [Format::Json] => ("json", serde_json::to_string_pretty(&published_json()?)? + "\n"),
            _ => bail!("format: with --published expected md or json, one of them"),
        };
        match &self.out {
            None => print::text(format_args!("{text}"))?,
            Some(out) => {
                make_folder(out)?;
                let path = out.join(format!("published.{ending}"));
                write_whole(&path, text.as_bytes())?;
                say!("{}", path.display());
            }
        }
        Ok(())
    }

    /// Prints a report about several runs, and writes it where that was asked.
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

/// Compares the runs of two folders, model by model.
fn same_result(dirs: &[PathBuf]) -> anyhow::Result<()> {
    let [first, second] = dirs else {
        bail!("--same-result: found {} folders, expected two", dirs.len());
    };
    let SameResults {
        compared, missing, ..
    } = same_results(first, second)?;
    for name in missing {
        say!("{name}: only in {}", first.display());
    }
    let mut differ = 0;
    for (name, found) in &compared {
        differ += usize::from(!found.holds());
        say!(
            "{}: {} averages compared, {} apart; {} claims judged, {} at odds",
            name,
            found.compared,
            found.apart.len(),
            found.judged,
            found.contradictions.len()
        );
        for row in &found.apart {
            say!(
                "  {} at {}: {:+.1} points, {:.1} allowed",
                row.arm,
                row.budget,
                row.difference,
                row.allowed
            );
        }
        for claim in &found.contradictions {
            say!("  {}: {} and {}", claim.id, claim.first, claim.second);
        }
    }
    if differ > 0 {
        bail!("{differ} of {} runs do not have the same result", compared.len());
    }
    Ok(())
}
