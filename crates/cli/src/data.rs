//! Data folders: question sets in their official formats, and captions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use diffprune::Vlm;
use diffprune::vlm::write_atomic;
use diffprune_eval::{Benchmark, EvalError, Protocol, Protocols, Question, ReadOptions, Split};
use serde::Serialize;

use crate::annotations::Captions;
use crate::commands::eval::make_folder;
use crate::digest::Digest;

/// Name of the list of samples that were left out, in an output folder.
pub const PROBLEMS: &str = "data.problems.jsonl";

/// Which questions are asked, and in whose words.
#[derive(Debug, Clone, Args)]
pub struct QuestionArgs {
    /// In whose words is asked and by whose rules scored: llava, lmms-eval, papers (LLaVA's, but lmms-eval's for SEED-Bench
    /// and VizWiz), or one of these with exceptions as in llava,seed_bench=lmms-eval [default: those behind the model's
    /// published numbers].
    #[arg(long, value_name = "PROTOCOLS")]
    prompts: Option<Protocols>,
    /// TextVQA without OCR tokens in the prompt.
    #[arg(long)]
    no_ocr: bool,
    /// SEED-Bench without its questions about videos.
    #[arg(long)]
    no_video: bool,
    /// Ask what a server scores (VQAv2 test-dev, VizWiz test, MMBench test) and write its files in place of a report.
    #[arg(long)]
    pub upload: bool,
}

impl QuestionArgs {
    /// How benchmarks are read for a model whose numbers are published under `usual`.
    pub fn reading(&self, usual: Protocol) -> Reading {
        Reading {
            protocols: self.prompts.clone().unwrap_or_else(|| usual.into()),
            ocr: !self.no_ocr,
            video: !self.no_video,
            upload: self.upload,
        }
    }
}

/// How benchmarks are read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// In whose words.
    pub protocols: Protocols,
    /// TextVQA with OCR tokens in the prompt.
    pub ocr: bool,
    /// SEED-Bench with its videos.
    pub video: bool,
    /// What a server scores.
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
    /// The same for a benchmark's reader.
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

/// The questions of every benchmark that has a folder below `root`, in the words of a protocol; the first unusable sample
/// is an error.
pub fn questions(root: &Path, prompts: Protocol) -> anyhow::Result<Vec<Question>> {
    Ok(read(root, &prompts.into(), true)?.questions)
}

/// Questions, and the samples that could not be read.
pub struct Sound {
    /// The sound questions.
    pub questions: Vec<Question>,
    /// What is wrong with each of the others.
    pub problems: Vec<(Benchmark, EvalError)>,
}

/// As [`questions`]; unless it is strict, unusable samples are left out.
pub fn read(root: &Path, reading: &Reading, strict: bool) -> anyhow::Result<Sound> {
    let (mut questions, mut problems) = (Vec::new(), Vec::new());
    for benchmark in Benchmark::ALL {
        let folder = root.join(benchmark.name());
        // Without a split of its own for servers a benchmark would be asked as ever.
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
    Protocol::of_family(vlm.family())
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
