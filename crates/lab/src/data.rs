//! Data folders: question sets in their official formats, and captions.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use diffprune::{CaptionFolder, Vlm};
use diffprune_eval::{Benchmark, EvalError, Protocol, Protocols, Question, ReadOptions, Split};
use diffprune_files::write_whole;
use serde::Serialize;

use crate::annotations::Captions;
use crate::digest::Digest;
use crate::error::LabError;
use crate::files::make_folder;

/// Name of the list of samples that were left out, in the folder of the results.
pub const PROBLEMS: &str = "data.problems.jsonl";

/// The wording of the questions, and which of them are read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// Whose words the prompts have, and whose rules score.
    pub protocols: Protocols,
    /// TextVQA with OCR tokens in the prompt.
    pub ocr: bool,
    /// SEED-Bench with its questions about videos.
    pub video: bool,
    /// The questions that a server scores, in place of those with known answers.
    pub upload: bool,
}

impl From<Protocol> for Reading {
    fn from(protocol: Protocol) -> Self {
        Self {
            protocols: protocol.into(),
            ocr: true,
            video: true,
            upload: false,
        }
    }
}

impl Reading {
    /// The options of one benchmark's reader.
    pub fn options(&self, benchmark: Benchmark) -> ReadOptions {
        ReadOptions::default()
            .with_ocr(self.ocr)
            .with_video(self.video)
            .with_prompts(self.protocols.of(benchmark))
            .with_split(if self.upload { Split::Upload } else { Split::Scored })
    }
}

/// The questions of every benchmark that has a folder below `root`, in the words of a protocol.
///
/// # Errors
/// When there are none, and at the first unusable sample.
pub fn read_questions(root: &Path, prompts: Protocol) -> Result<Vec<Question>, LabError> {
    Ok(QuestionSet::read(root, &prompts.into(), true, &[])?.questions)
}

/// Questions, and the samples that could not be read.
#[derive(Debug)]
pub struct QuestionSet {
    /// The usable questions.
    pub questions: Vec<Question>,
    /// The benchmark of each unusable sample, and what is wrong with it.
    pub problems: Vec<(Benchmark, EvalError)>,
    /// Benchmarks that could not be read at all, and why.
    pub unread: Vec<(Benchmark, EvalError)>,
}

impl QuestionSet {
    /// Reads every benchmark that has a folder below `root`, or those of `wanted` if there are any there. Unusable samples, and
    /// benchmarks that cannot be read, end a `strict` reading; otherwise they are left out.
    ///
    /// # Errors
    /// When there are no questions, or a wanted benchmark has no folder.
    pub fn read(
        root: &Path,
        reading: &Reading,
        strict: bool,
        wanted: &[Benchmark],
    ) -> Result<Self, LabError> {
        let (mut questions, mut problems, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        for benchmark in Benchmark::ALL {
            // A benchmark without a split for servers has nothing to upload.
            let is_wanted = (wanted.is_empty() || wanted.contains(&benchmark))
                && (!reading.upload || benchmark.has_upload_split());
            if !is_wanted {
                continue;
            }
            let Some(folder) = benchmark_folder(root, benchmark) else {
                if wanted.contains(&benchmark) {
                    return Err(LabError::NoBenchmark {
                        root: root.into(),
                        benchmark: benchmark.name(),
                    });
                }
                continue;
            };
            let options = reading.options(benchmark);
            if strict {
                questions.extend(benchmark.read(&folder, &options)?);
                continue;
            }
            match benchmark.load(&folder, &options) {
                Ok(loaded) => {
                    questions.extend(loaded.questions);
                    problems.extend(loaded.problems.into_iter().map(|problem| (benchmark, problem)));
                }
                Err(error) => unread.push((benchmark, error)),
            }
        }
        match unread.pop() {
            // Nothing can be asked: the reason says more than that there is nothing.
            Some((_, error)) if questions.is_empty() => return Err(error.into()),
            last => unread.extend(last),
        }
        if questions.is_empty() {
            return Err(LabError::NoQuestions { root: root.into() });
        }
        Ok(Self {
            questions,
            problems,
            unread,
        })
    }

    /// Lists the samples that were left out in [`PROBLEMS`] below `out`; without any, the list of an earlier call is removed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn list_problems(&self, out: &Path) -> Result<(), LabError> {
        let path = out.join(PROBLEMS);
        if self.problems.is_empty() && self.unread.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(LabError::io(&path, "remove")(error))
                }
                _ => Ok(()),
            };
        }
        let mut lines = String::new();
        for (benchmark, error) in self.unread.iter().chain(&self.problems) {
            let line = serde_json::json!({"benchmark": benchmark, "error": error.to_string()});
            lines += &format!("{line}\n");
        }
        make_folder(out)?;
        Ok(write_whole(&path, lines.as_bytes())?)
    }

    /// The number of samples left out of each benchmark and the benchmarks that were not read, as the end of a note; empty
    /// when there are none.
    pub fn note(&self) -> String {
        let unread: Vec<String> = self
            .unread
            .iter()
            .map(|(benchmark, error)| format!(" {benchmark} is not asked: {error}."))
            .collect();
        self.problem_note() + &unread.concat()
    }

    fn problem_note(&self) -> String {
        if self.problems.is_empty() {
            return String::new();
        }
        let mut counts: BTreeMap<Benchmark, usize> = BTreeMap::new();
        for (benchmark, _) in &self.problems {
            *counts.entry(*benchmark).or_default() += 1;
        }
        let counts: Vec<String> = counts
            .iter()
            .map(|(benchmark, n)| format!("{benchmark} {n}"))
            .collect();
        format!(
            " Samples of the data left out because they cannot be used: {} (listed in {PROBLEMS}).",
            counts.join(", ")
        )
    }
}

/// The protocol behind the published numbers of a model.
pub fn protocol(vlm: &dyn Vlm) -> Protocol {
    Protocol::of_family(vlm.family())
}

/// At most `per_image` questions about each picture of POPE in each of its sets, yes and no in turn.
pub fn thinned(questions: Vec<Question>, per_image: usize) -> Vec<Question> {
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    let mut keep = |question: &Question| {
        if question.benchmark != Benchmark::Pope {
            return true;
        }
        let count = counts
            .entry((question.subset.clone(), question.image_name()))
            .or_default();
        *count += 1;
        *count <= per_image
    };
    questions.into_iter().filter(|question| keep(question)).collect()
}

/// The first `limit` questions of each benchmark, and the others of groups that would be cut: half a pair of MME or one
/// rotation of MMBench would count as the whole.
pub fn limited(questions: Vec<Question>, limit: Option<usize>) -> Vec<Question> {
    let mut counts: BTreeMap<Benchmark, usize> = BTreeMap::new();
    let mut groups: HashSet<(Benchmark, String)> = HashSet::new();
    let mut keep = |question: &Question| {
        let count = counts.entry(question.benchmark).or_default();
        *count += 1;
        let group = question.group.clone().map(|group| (question.benchmark, group));
        if limit.is_none_or(|limit| *count <= limit) {
            groups.extend(group);
            return true;
        }
        group.is_some_and(|group| groups.contains(&group))
    };
    questions.into_iter().filter(|question| keep(question)).collect()
}

/// A hash of questions, references and the content of the pictures; folders do not matter.
///
/// # Errors
/// When a picture that is there cannot be read.
pub fn question_digest(questions: &[Question]) -> Result<String, LabError> {
    let add = |digest: Digest, question: &Question| {
        let reference = format!("{:?}", question.reference);
        let texts = [&question.id, &question.image_name(), &question.text, &reference];
        texts
            .into_iter()
            .fold(digest.text(question.benchmark.name()), |digest, text| {
                digest.text(text)
            })
    };
    let digest = questions.iter().fold(Digest::new(), add);
    let pictures = questions.iter().filter(|question| question.inline.is_none());
    let pictures: BTreeSet<&Path> = pictures.map(|question| question.image.as_path()).collect();
    let pictures: Vec<&Path> = pictures.into_iter().collect();
    // Pictures inside data files have names that are hashes already.
    let hashes = picture_hashes(&pictures)?;
    Ok(hashes.iter().fold(digest, |digest, hash| digest.text(hash)).hex())
}

/// A hash of each file, name and content, on all cores.
fn picture_hashes(files: &[&Path]) -> Result<Vec<String>, LabError> {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let hash = |file: &&Path| Ok(Digest::new().file(file)?.hex());
    let part = files.len().div_ceil(threads).max(1);
    let parts: Vec<Result<Vec<String>, LabError>> = std::thread::scope(|scope| {
        let parts: Vec<_> = files
            .chunks(part)
            .map(|part| scope.spawn(move || part.iter().map(hash).collect()))
            .collect();
        let ended = || Err(LabError::Device("a reading thread ended".into()));
        parts
            .into_iter()
            .map(|part| part.join().unwrap_or_else(|_| ended()))
            .collect()
    });
    let parts: Vec<Vec<String>> = parts.into_iter().collect::<Result<_, _>>()?;
    Ok(parts.concat())
}

/// The folder of a benchmark below `root`: that of its name, whatever its case and with `-` for `_`.
pub fn benchmark_folder(root: &Path, benchmark: Benchmark) -> Option<PathBuf> {
    let exact = root.join(benchmark.name());
    if exact.is_dir() {
        return Some(exact);
    }
    let mut folders = folders_of(root);
    folders.retain(|name| plain(name) == benchmark.name());
    folders.first().map(|name| root.join(name))
}

/// The folders below `root` that are no benchmark's, by name; nothing is known about what they hold.
pub fn unknown_folders(root: &Path) -> Vec<String> {
    let known = |name: &String| {
        let own = ["captions", "images", "answers"].contains(&name.as_str());
        own || name.starts_with('.')
            || Benchmark::ALL
                .iter()
                .any(|benchmark| benchmark.name() == plain(name))
    };
    let mut folders = folders_of(root);
    folders.retain(|name| !known(name));
    folders
}

/// A folder's name as benchmarks have theirs.
fn plain(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// The names of the folders below `root`, in order.
fn folders_of(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Captions to train on and, when there are some, held-out ones: `dir` itself, or `train` and `val` (`validation`) below it (also
/// below `captions`, as a small world has them). With `boxes` they know where the objects are, if the world does.
///
/// # Errors
/// When a list of captions or of boxes is missing or damaged.
pub fn read_captions(dir: &Path, boxes: bool) -> Result<(Captions, Option<Captions>), LabError> {
    read_caption_column(dir, boxes, None)
}

/// As [`read_captions`], with the captions in a column of that name.
pub(crate) fn read_caption_column(
    dir: &Path,
    boxes: bool,
    column: Option<&str>,
) -> Result<(Captions, Option<Captions>), LabError> {
    if CaptionFolder::is_at(dir) {
        return Ok((Captions::open(dir, boxes, column)?, None));
    }
    let below = dir.join("captions");
    let root: PathBuf = if below.is_dir() { below } else { dir.to_path_buf() };
    let held_out = ["val", "validation"].map(|name| root.join(name));
    let held_out = match held_out.iter().find(|folder| folder.is_dir()) {
        Some(folder) => Some(Captions::open(folder, boxes, column)?),
        None => None,
    };
    Ok((Captions::open(&root.join("train"), boxes, column)?, held_out))
}
