//! `diffprune check`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use diffprune_eval::{Benchmark, Difference, EvalError, Manifest, Protocol, Question};
use diffprune_lab::{benchmark_folder, unknown_folders};
use serde::Serialize;

use crate::print::{self, say};
use crate::questions::QuestionArgs;

/// The default name of the list of files: a hidden file is no part of the data.
const MANIFEST: &str = ".diffprune-files.json";
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

/// What was found in a data folder.
#[derive(Debug, Default, Serialize)]
struct Findings {
    /// Benchmarks that are there.
    benchmarks: Vec<Found>,
    /// Benchmarks that are not there.
    absent: Vec<&'static str>,
    /// Folders of no benchmark.
    unknown_folders: Vec<String>,
    /// Samples that cannot be used, and why.
    problems: Vec<String>,
    /// What differs from the list of files; `None` without a list.
    differences: Option<Vec<String>>,
}

/// A benchmark that is there.
#[derive(Debug, Serialize)]
struct Found {
    name: &'static str,
    /// Questions that can be asked; `None` when it cannot be read.
    questions: Option<usize>,
    /// What the questions are.
    #[serde(skip)]
    of: String,
}

impl CheckArgs {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<()> {
        let mut found = self.samples()?;
        if !self.json {
            found.print()?;
        }
        let path = self.manifest.clone();
        let path = path.unwrap_or_else(|| self.data.join(MANIFEST));
        let is_compared = !self.write && (self.manifest.is_some() || path.is_file());
        if self.write {
            let mut manifest = Manifest::of(&self.data)?;
            manifest
                .files
                .retain(|file| !is_same(&self.data.join(&file.path), &path));
            manifest.write(&path)?;
            say!("{}: {} files listed", path.display(), manifest.files.len());
        }
        if is_compared {
            found.differences = Some(self.files(&path)?);
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

    /// Reads every benchmark that is there; one that cannot be read at all counts as one unusable sample.
    fn samples(&self) -> anyhow::Result<Findings> {
        let reading = self.questions.reading(Protocol::Llava);
        let (mut found, mut problems) = (Findings::default(), Vec::new());
        for benchmark in Benchmark::ALL {
            let Some(folder) = benchmark_folder(&self.data, benchmark) else {
                found.absent.push(benchmark.name());
                continue;
            };
            let splits = benchmark.splits();
            let of = match (self.questions.upload, splits.differ()) {
                (true, _) if !benchmark.has_upload_split() => continue,
                (true, _) => ", those that a server scores".to_string(),
                (false, true) => format!(
                    " of {}, {} (the papers: {})",
                    splits.n_questions, splits.here, splits.paper
                ),
                (false, false) => format!(" of {}, {}", splits.n_questions, splits.here),
            };
            match benchmark.load(&folder, &reading.options(benchmark)) {
                Ok(loaded) => {
                    found.benchmarks.push(Found {
                        name: benchmark.name(),
                        questions: Some(loaded.questions.len()),
                        of,
                    });
                    problems.extend(loaded.problems);
                    if !self.sizes_only {
                        problems.extend(unreadable_pictures(&loaded.questions));
                    }
                }
                Err(error) => {
                    found.benchmarks.push(Found {
                        name: benchmark.name(),
                        questions: None,
                        of,
                    });
                    problems.push(error);
                }
            }
        }
        if found.absent.len() == Benchmark::ALL.len() {
            return Err(EvalError::NoFiles {
                root: self.data.clone(),
                wanted: found.absent.join(", "),
            }
            .into());
        }
        found.unknown_folders = unknown_folders(&self.data);
        found.problems = problems.iter().map(EvalError::to_string).collect();
        Ok(found)
    }

    /// Compares the files with the list; gives the differences.
    fn files(&self, path: &Path) -> anyhow::Result<Vec<String>> {
        let manifest = Manifest::read(path)?;
        let mut differences = manifest.check(&self.data, !self.sizes_only)?;
        // A list inside the folder, under whatever name, does not list itself.
        differences.retain(|difference| match difference {
            Difference::Extra { path: extra } => !is_same(&self.data.join(extra), path),
            _ => true,
        });
        let listed: Vec<String> = differences.iter().map(Difference::to_string).collect();
        if self.json {
            return Ok(listed);
        }
        print_some(&listed)?;
        let of = if self.sizes_only { "sizes" } else { "contents" };
        say!(
            "{}: {} of {} files compared by their {of} differ",
            path.display(),
            differences.len(),
            manifest.files.len()
        );
        Ok(listed)
    }
}

impl Findings {
    fn print(&self) -> anyhow::Result<()> {
        for Found { name, questions, of } in &self.benchmarks {
            match questions {
                Some(count) => say!("{name}: {count} questions{of}"),
                None => say!("{name}: cannot be read"),
            }
        }
        if !self.absent.is_empty() {
            say!("not there: {}", self.absent.join(", "));
        }
        if !self.unknown_folders.is_empty() {
            say!(
                "folders of no benchmark, not looked at: {}",
                self.unknown_folders.join(", ")
            );
        }
        print_some(&self.problems)
    }
}

/// True when two paths are one file, however they are written.
fn is_same(one: &Path, other: &Path) -> bool {
    let canonical = |path: &Path| path.canonicalize().ok();
    canonical(one).is_some_and(|one| canonical(other) == Some(one))
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

/// Why pictures cannot be decoded, each picture once, on all cores.
fn unreadable_pictures(questions: &[Question]) -> Vec<EvalError> {
    let mut pictures: Vec<&Question> = questions.iter().collect();
    pictures.sort_by(|a, b| a.image.cmp(&b.image));
    pictures.dedup_by(|a, b| a.image == b.image);
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let part = pictures.len().div_ceil(threads).max(1);
    let open = |question: &&Question| question.load_image().err().map(EvalError::from);
    std::thread::scope(|scope| {
        let parts: Vec<_> = pictures
            .chunks(part)
            .map(|part| scope.spawn(move || part.iter().filter_map(open).collect::<Vec<_>>()))
            .collect();
        let ended = |_| {
            vec![EvalError::Setup {
                subject: "pictures".into(),
                found: "a decoder that ended".into(),
                wanted: "a picture or an error; report the file".into(),
            }]
        };
        let found = parts.into_iter().map(|part| part.join().unwrap_or_else(ended));
        found.flatten().collect()
    })
}
