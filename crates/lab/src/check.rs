//! A data folder looked through before a long run.

use std::path::{Path, PathBuf};

use diffprune_eval::{Benchmark, Difference, EvalError, Manifest, Question};
use serde::Serialize;

use crate::data::{Reading, benchmark_folder, unknown_folders};
use crate::error::LabError;

/// What was found in a data folder.
#[derive(Debug, Default, Serialize)]
#[non_exhaustive]
pub struct DataFindings {
    /// Benchmarks that are there.
    pub benchmarks: Vec<FoundBenchmark>,
    /// Benchmarks that are not there.
    pub absent: Vec<&'static str>,
    /// Folders of no benchmark.
    pub unknown_folders: Vec<String>,
    /// Samples that cannot be used, and why.
    pub problems: Vec<String>,
    /// What differs from a list of files; `None` without a list.
    pub differences: Option<Vec<String>>,
}

/// A benchmark that is there.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct FoundBenchmark {
    /// Its name.
    pub name: &'static str,
    /// Questions that can be asked; `None` when it cannot be read.
    pub questions: Option<usize>,
    /// What the questions are, as the end of a sentence.
    #[serde(skip)]
    pub of: String,
}

impl DataFindings {
    /// Reads every benchmark of a data folder as an evaluation would; one that cannot be read at all counts as one unusable
    /// sample. `pictures` decodes every picture too.
    ///
    /// # Errors
    /// When the folder holds no benchmark.
    pub fn of(data: &Path, reading: &Reading, pictures: bool) -> Result<Self, LabError> {
        let (mut found, mut problems) = (Self::default(), Vec::new());
        for benchmark in Benchmark::ALL {
            let Some(folder) = benchmark_folder(data, benchmark) else {
                found.absent.push(benchmark.name());
                continue;
            };
            let splits = benchmark.splits();
            let of = match (reading.upload, splits.differ()) {
                (true, _) if !benchmark.has_upload_split() => continue,
                (true, _) => ", those that a server scores".to_string(),
                (false, true) => format!(
                    " of {}, {} (the papers: {})",
                    splits.n_questions, splits.here, splits.paper
                ),
                (false, false) => format!(" of {}, {}", splits.n_questions, splits.here),
            };
            let questions = match benchmark.load(&folder, &reading.options(benchmark)) {
                Ok(loaded) => {
                    problems.extend(loaded.problems);
                    if pictures {
                        problems.extend(unreadable_pictures(&loaded.questions));
                    }
                    Some(loaded.questions.len())
                }
                Err(error) => {
                    problems.push(error);
                    None
                }
            };
            found.benchmarks.push(FoundBenchmark {
                name: benchmark.name(),
                questions,
                of,
            });
        }
        if found.absent.len() == Benchmark::ALL.len() {
            return Err(EvalError::NoFiles {
                root: data.into(),
                wanted: found.absent.join(", "),
            }
            .into());
        }
        found.unknown_folders = unknown_folders(data);
        found.problems = problems.iter().map(EvalError::to_string).collect();
        Ok(found)
    }
}

/// The list of the sizes and hashes of all files of a data folder.
#[derive(Debug, Clone)]
pub struct FileList {
    /// The data folder.
    data: PathBuf,
    /// The list's own file.
    path: PathBuf,
}

impl FileList {
    /// The default name of the list: a hidden file is no part of the data.
    pub const NAME: &str = ".diffprune-files.json";

    /// The list of a data folder at `path` [default: [`Self::NAME`] in the folder].
    pub fn new(data: &Path, path: Option<PathBuf>) -> Self {
        Self {
            data: data.into(),
            path: path.unwrap_or_else(|| data.join(Self::NAME)),
        }
    }

    /// The list's own file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the list of what is there now; gives the number of files.
    ///
    /// # Errors
    /// When a file cannot be read or the list not written.
    pub fn write(&self) -> Result<usize, LabError> {
        let mut manifest = Manifest::of(&self.data)?;
        manifest
            .files
            .retain(|file| !is_same(&self.data.join(&file.path), &self.path));
        manifest.write(&self.path)?;
        Ok(manifest.files.len())
    }

    /// The differences of what is there from the list, and the number of files in it; `contents` compares hashes too.
    ///
    /// # Errors
    /// When the list or a file cannot be read.
    pub fn compare(&self, contents: bool) -> Result<(Vec<String>, usize), LabError> {
        let manifest = Manifest::read(&self.path)?;
        let mut differences = manifest.check(&self.data, contents)?;
        // A list inside the folder, under whatever name, does not list itself.
        differences.retain(|difference| match difference {
            Difference::Extra { path } => !is_same(&self.data.join(path), &self.path),
            _ => true,
        });
        let differences = differences.iter().map(Difference::to_string).collect();
        Ok((differences, manifest.files.len()))
    }
}

/// True when two paths are one file, however they are written.
fn is_same(one: &Path, other: &Path) -> bool {
    let canonical = |path: &Path| path.canonicalize().ok();
    canonical(one).is_some_and(|one| canonical(other) == Some(one))
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
