//! Parts that the readers share: LLaVA's question rows, unique ids, files that may stand in two places.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::picture::find_picture;
use super::question::{Protocol, ReadOptions, Reference};
use crate::EvalError;

/// The only number of annotators that scores are defined for.
const N_ANNOTATORS: usize = 10;

/// One line of a LLaVA question file.
#[derive(Debug, Deserialize)]
pub(crate) struct LlavaRow {
    question_id: serde_json::Value,
    /// Path of the picture below the benchmark's image folder.
    pub(crate) image: String,
    /// User text, suffix included.
    pub(crate) text: String,
    /// POPE's split; "default" elsewhere.
    #[serde(default)]
    pub(crate) category: Option<String>,
}

impl LlavaRow {
    /// The id as text, whether the file has a string or a number.
    pub(crate) fn id(&self) -> String {
        id_text(&self.question_id)
    }
}

/// An id as text, whether the file has a string or a number.
pub(crate) fn id_text(id: &serde_json::Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_string)
}

/// The ids seen so far, with their lines.
#[derive(Default)]
pub(crate) struct Ids(HashMap<String, usize>);

impl Ids {
    /// Adds an id, or says where it stood before.
    pub(crate) fn add(&mut self, path: &Path, line: usize, id: &str) -> Result<(), EvalError> {
        match self.0.insert(id.to_string(), line) {
            Some(first) => Err(EvalError::DuplicateId {
                path: path.into(),
                line,
                id: id.into(),
                first,
            }),
            None => Ok(()),
        }
    }
}

/// The name of a file without its ending; empty for a path without a name.
pub(crate) fn file_stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The first of these files below `root` that exists.
pub(crate) fn first_existing(root: &Path, names: &[&str]) -> Option<PathBuf> {
    names
        .iter()
        .map(|name| root.join(name))
        .find(|path| path.exists())
}

/// The same, or an error that lists them.
pub(crate) fn require(root: &Path, names: &[&str]) -> Result<PathBuf, EvalError> {
    first_existing(root, names).ok_or_else(|| EvalError::NoFiles {
        root: root.into(),
        wanted: names.join(" or "),
    })
}

/// LLaVA's question file, when it is there and its texts are wanted.
pub(crate) fn llava_file(root: &Path, options: &ReadOptions, name: &str) -> Option<PathBuf> {
    let wanted = options.prompts == Protocol::Llava;
    first_existing(root, &[name]).filter(|_| wanted)
}

/// The folder of the pictures: as the options say, or in the first of these folders that exists.
pub(crate) fn image_folder(root: &Path, options: &ReadOptions, places: &[&str]) -> PathBuf {
    let official =
        || first_existing(root, places).unwrap_or_else(|| root.join(places.first().unwrap_or(&"")));
    options.images.clone().unwrap_or_else(official)
}

/// Longest answer of benchmarks whose answers lmms-eval leaves free: 128 new tokens by LLaVA's program, 1024 by lmms-eval.
pub(crate) fn free_answer_tokens(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Llava => 128,
        Protocol::LmmsEval => 1024,
    }
}

/// The answers of ten annotators; no other number is defined.
pub(crate) fn ten_answers(
    path: &Path,
    line: usize,
    id: &str,
    answers: Vec<String>,
) -> Result<Reference, EvalError> {
    if answers.len() == N_ANNOTATORS {
        return Ok(Reference::TenAnswers(answers));
    }
    let found = format!("{} answers to question `{id}`", answers.len());
    Err(EvalError::line(path, line, found, "exactly ten"))
}

/// An annotator's answer as VQAv2 and VizWiz write it.
#[derive(Debug, Deserialize)]
pub(crate) struct Annotated {
    /// The answer.
    pub(crate) answer: String,
}

/// The picture of a question, or the error that names the line.
pub(crate) fn picture(path: &Path, line: usize, folder: &Path, name: &str) -> Result<PathBuf, EvalError> {
    find_picture(folder, name).ok_or_else(|| EvalError::MissingImage {
        path: path.into(),
        line,
        image: folder.join(name),
    })
}

/// The first parquet file below a folder, folders and files in alphabetical order.
pub(crate) fn parquet_copy(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let is_copy =
        |path: &&PathBuf| path.is_file() && path.extension().is_some_and(|ending| ending == "parquet");
    let here = paths.iter().find(is_copy).cloned();
    here.or_else(|| {
        paths
            .iter()
            .filter(|path| path.is_dir())
            .find_map(|dir| parquet_copy(dir))
    })
}
