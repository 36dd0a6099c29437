//! Data folders: question sets in their official formats, and captions.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::bail;
use diffprune::Vlm;
use diffprune_eval::{Benchmark, ModelFamily, Protocol, Question, ReadOptions};

use crate::annotations::Captions;
use crate::digest::Digest;

/// The questions of every benchmark that has a folder below `root`, in the words of a protocol.
pub fn questions(root: &Path, prompts: Protocol) -> anyhow::Result<Vec<Question>> {
    let options = ReadOptions {
        prompts,
        ..ReadOptions::default()
    };
    let mut questions = Vec::new();
    for benchmark in Benchmark::ALL {
        let folder = root.join(benchmark.name());
        if folder.is_dir() {
            questions.extend(benchmark.read(&folder, &options)?);
        }
    }
    if questions.is_empty() {
        bail!(
            "{}: found no questions, wanted folders of benchmarks (gqa, pope, mme, ...) with the official files; \
             write small ones with `diffprune mini data --out {}`",
            root.display(),
            root.display()
        );
    }
    Ok(questions)
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
