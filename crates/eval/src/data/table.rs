//! What the readers share: LLaVA's question rows, unique ids, files that may stand in two places.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::pictures::find_picture;
use crate::EvalError;

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

/// The picture of a question, or the error that names the line.
pub(crate) fn picture(path: &Path, line: usize, folder: &Path, name: &str) -> Result<PathBuf, EvalError> {
    find_picture(folder, name).ok_or_else(|| EvalError::MissingImage {
        path: path.into(),
        line,
        image: folder.join(name),
    })
}
