//! Data folders: question sets in their official formats, and captions.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use diffprune::Vlm;
use diffprune::vlm::write_atomic;
use diffprune_eval::{Benchmark, EvalError, ModelFamily, Protocol, Question, ReadOptions};

use crate::annotations::Captions;
use crate::commands::eval::make_folder;
use crate::digest::Digest;

/// Name of the list of samples that were left out, in an output folder.
pub const PROBLEMS: &str = "data.problems.jsonl";

/// The questions of every benchmark that has a folder below `root`, in the words of a protocol; the first unusable sample
/// is an error.
pub fn questions(root: &Path, prompts: Protocol) -> anyhow::Result<Vec<Question>> {
    Ok(read(root, prompts, true)?.questions)
}

/// Questions, and the samples that could not be read.
pub struct Sound {
    /// The sound questions.
    pub questions: Vec<Question>,
    /// What is wrong with each of the others.
    pub problems: Vec<(Benchmark, EvalError)>,
}

/// As [`questions`]; unless it is strict, unusable samples are left out.
pub fn read(root: &Path, prompts: Protocol, strict: bool) -> anyhow::Result<Sound> {
    let options = ReadOptions {
        prompts,
        ..ReadOptions::default()
    };
    let (mut questions, mut problems) = (Vec::new(), Vec::new());
    for benchmark in Benchmark::ALL {
        let folder = root.join(benchmark.name());
        if !folder.is_dir() {
            continue;
        }
        if strict {
            questions.extend(benchmark.read(&folder, &options)?);
            continue;
        }
        let loaded = benchmark.load(&folder, &options)?;
        questions.extend(loaded.questions);
        problems.extend(loaded.problems.into_iter().map(|problem| (benchmark, problem)));
    }
    if questions.is_empty() {
        bail!(
            "{}: found no questions, wanted folders of benchmarks (gqa, pope, mme, ...) with the official files; \
             write small ones with `diffprune mini data --out {}`",
            root.display(),
            root.display()
        );
    }
    Ok(Sound { questions, problems })
}

impl Sound {
    /// Lists the samples that were left out in the folder; without any, the list of an earlier call goes.
    pub fn list(&self, out: &Path) -> anyhow::Result<()> {
        let path = out.join(PROBLEMS);
        if self.problems.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("cannot remove {}", path.display()))
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

    /// How many samples of which benchmarks were left out, as the end of a note; empty when none.
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

/// In whose words a model is asked when nothing else is wanted: those behind its published numbers.
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

/// The first `limit` questions of each benchmark.
pub fn limited(questions: Vec<Question>, limit: Option<usize>) -> Vec<Question> {
    let mut counts: BTreeMap<Benchmark, usize> = BTreeMap::new();
    let mut keep = |question: &Question| {
        let count = counts.entry(question.benchmark).or_default();
        *count += 1;
        limit.is_none_or(|limit| *count <= limit)
    };
    questions.into_iter().filter(|question| keep(question)).collect()
}

/// Hash of what is asked; folders do not matter.
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
pub fn captions(dir: &Path, boxes: bool) -> anyhow::Result<(Captions, Option<Captions>)> {
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
