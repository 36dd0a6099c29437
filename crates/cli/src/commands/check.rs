//! `diffprune check`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use diffprune_eval::Protocol;
use diffprune_lab::{DataFindings, FileList};

use crate::print::{self, say};
use crate::questions::QuestionArgs;

/// So many differences or samples are printed; of the others their number.
const PRINTED: usize = 20;

/// Says of a data folder, before a long run, what is missing or damaged: reads every benchmark as `eval` would (LLaVA's
/// question files too, unless --prompts says otherwise), decodes every picture, and compares all files with a list of sizes and hashes written earlier.
///
/// Ends with an error when a sample cannot be used or a file differs.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Folder with benchmarks (gqa, pope, textvqa, mme, ...) in their official formats.
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// The list of files [default: .diffprune-files.json in the folder, when it is there].
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Write the list of what is there now, in place of comparing with it.
    #[arg(long)]
    write: bool,
    /// Compare sizes only, which opens no picture.
    #[arg(long, conflicts_with = "write")]
    sizes_only: bool,
    #[command(flatten)]
    questions: QuestionArgs,
    /// Print everything that was found as one line of JSON (docs/json.md).
    #[arg(long, help_heading = "Output", conflicts_with = "write")]
    json: bool,
}

impl CheckArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let reading = self.questions.reading(Protocol::Llava);
        let mut found = DataFindings::of(&self.data, &reading, !self.sizes_only)?;
        if !self.json {
            print_findings(&found)?;
        }
        let list = FileList::new(&self.data, self.manifest.clone());
        let is_compared = !self.write && (self.manifest.is_some() || list.path().is_file());
        if self.write {
            say!("{}: {} files listed", list.path().display(), list.write()?);
        }
        if is_compared {
            found.differences = Some(self.compare(&list)?);
        }
        if self.json {
            print::json(&found)?;
        } else if !self.write && !is_compared {
            say!(
                "no list of files: sizes and contents were compared with nothing (`diffprune check {} --write` makes one)",
                self.data.display()
            );
        }
        let (n_unusable, n_differences) =
            (found.problems.len(), found.differences.map_or(0, |all| all.len()));
        if n_unusable + n_differences > 0 {
            bail!(
                "{}: found {n_unusable} samples that cannot be used and {n_differences} files that differ, expected none; \
                 restore the files named above",
                self.data.display()
            );
        }
        Ok(())
    }

    /// Compares the files with the list; gives the differences.
    fn compare(&self, list: &FileList) -> anyhow::Result<Vec<String>> {
        let (differences, n_files) = list.compare(!self.sizes_only)?;
        if !self.json {
            print_some(&differences)?;
            let of = if self.sizes_only { "sizes" } else { "contents" };
            say!(
                "{}: {} of {n_files} files compared by their {of} differ",
                list.path().display(),
                differences.len()
            );
        }
        Ok(differences)
    }
}

fn print_findings(found: &DataFindings) -> anyhow::Result<()> {
    for benchmark in &found.benchmarks {
        let name = benchmark.name;
        match benchmark.questions {
            Some(count) => say!("{name}: {count} questions{}", benchmark.of),
            None => say!("{name}: cannot be read"),
        }
    }
    if !found.absent.is_empty() {
        say!("not there: {}", found.absent.join(", "));
    }
    if !found.unknown_folders.is_empty() {
        say!(
            "folders of no benchmark, not looked at: {}",
            found.unknown_folders.join(", ")
        );
    }
    print_some(&found.problems)
}

/// The first of these, and how many more there are.
fn print_some(found: &[String]) -> anyhow::Result<()> {
    for one in found.iter().take(PRINTED) {
        say!("  {one}");
    }
    if found.len() > PRINTED {
        say!("  and {} more", found.len() - PRINTED);
    }
    Ok(())
}
