//! Data folders: question sets in their official formats, and captions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use diffprune::Vlm;
use diffprune::vlm::write_atomic;
use diffprune_eval::{Benchmark, EvalError, ModelFamily, Protocol, Protocols, Question, ReadOptions, Split};
use serde::Serialize;

use crate::LabError;
use crate::annotations::Captions;
use crate::digest::Digest;
use crate::files::make_folder;

/// Name of the list of samples that were left out, in the folder of the results.
pub const PROBLEMS: &str = "data.problems.jsonl";

/// How benchmarks are read.
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
        ReadOptions {
            ocr: self.ocr,
            video: self.video,
            prompts: self.protocols.of(benchmark),
            split: if self.upload { Split::Upload } else { Split::Scored },
            ..ReadOptions::default()
        }
    }
}

/// The questions of every benchmark that has a folder below `root`, in the words of a protocol.
///
/// # Errors
/// When there are none, and at the first unusable sample.
pub fn questions(root: &Path, prompts: Protocol) -> Result<Vec<Question>, LabError> {
    Ok(QuestionSet::read(root, &prompts.into(), true)?.questions)
}

/// Questions, and the samples that could not be read.
#[derive(Debug)]
pub struct QuestionSet {
    /// The usable questions.
    pub questions: Vec<Question>,
    /// The benchmark of each unusable sample, and what is wrong with it.
    pub problems: Vec<(Benchmark, EvalError)>,
}

impl QuestionSet {
    /// Reads every benchmark that has a folder below `root`. Unusable samples end a `strict` reading; otherwise they are left
    /// out.
    ///
    /// # Errors
    /// When there are no questions or a benchmark cannot be read.
    pub fn read(root: &Path, reading: &Reading, strict: bool) -> Result<Self, LabError> {
        let (mut questions, mut problems) = (Vec::new(), Vec::new());
        for benchmark in Benchmark::ALL {
            let folder = root.join(benchmark.name());
            // A benchmark without a split for servers has nothing to upload.
            let is_wanted = !reading.upload || benchmark.has_upload_split();
            if !folder.is_dir() || !is_wanted {
                continue;
            }
            let options = reading.options(benchmark);
            if strict {
                questions.extend(benchmark.read(&folder, &options)?);
                continue;
            }
            let loaded = benchmark.load(&folder, &options)?;
            questions.extend(loaded.questions);
            problems.extend(loaded.problems.into_iter().map(|problem| (benchmark, problem)));
        }
        if questions.is_empty() {
            return Err(LabError::NoQuestions { root: root.into() });
        }
        Ok(Self { questions, problems })
    }

    /// Lists the samples that were left out in [`PROBLEMS`] below `out`; without any, the list of an earlier call is removed.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn list_problems(&self, out: &Path) -> Result<(), LabError> {
        let path = out.join(PROBLEMS);
        if self.problems.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(LabError::io(&path, "remove")(error))
                }
                _ => Ok(()),
            };
        }
        let mut lines = String::new();
        for (benchmark, error) in &self.problems {
            let line = serde_json::json!({"benchmark": benchmark, "error": error.to_string()});
            lines += &format!("{line}\n");
        }
        make_folder(out)?;
        Ok(write_atomic(&path, lines.as_bytes())?)
    }

    /// The number of samples left out of each benchmark, as the end of a note; empty when there are none.
    pub fn note(&self) -> String {
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
    match vlm.family() {
        "qwen2.5-vl" => ModelFamily::Qwen.protocol(),
        _ => ModelFamily::Llava.protocol(),
    }
}

/// At most `per_image` questions about each picture of POPE in each of its sets, yes and no in turn.
pub fn thinned(questions: Vec<Question>, per_image: usize) -> Vec<Question> {
    let mut seen: HashMap<(String, String), usize> = HashMap::new();
    let mut keep = |question: &Question| {
        if question.benchmark != Benchmark::Pope {
            return true;
        }
        let count = seen
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

/// A hash of questions and references; folders do not matter.
pub fn fingerprint(questions: &[Question]) -> String {
    let add = |digest: Digest, question: &Question| {
        let reference = format!("{:?}", question.reference);
        let texts = [&question.id, &question.image_name(), &question.text, &reference];
        texts
            .into_iter()
            .fold(digest.text(question.benchmark.name()), |digest, text| {
                digest.text(text)
            })
    };
    questions.iter().fold(Digest::new(), add).hex()
}

/// Captions to train on and, when there are some, held-out ones: `dir` itself, or `train` and `val` below it (also below
/// `captions`, as a small world has them). With `boxes` they know where the objects are, if the world does.
///
/// # Errors
/// When a list of captions or of boxes is missing or damaged.
pub fn captions(dir: &Path, boxes: bool) -> Result<(Captions, Option<Captions>), LabError> {
    if dir.join(diffprune::CAPTIONS_FILE).is_file() {
        return Ok((Captions::open(dir, boxes)?, None));
    }
    let below = dir.join("captions");
    let root: PathBuf = if below.is_dir() { below } else { dir.to_path_buf() };
    let held_out = root.join("val");
    let held_out = if held_out.is_dir() {
        Some(Captions::open(&held_out, boxes)?)
    } else {
        None
    };
    Ok((Captions::open(&root.join("train"), boxes)?, held_out))
}
